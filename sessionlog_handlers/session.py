"""
`Session`: what an app calls to start a session, say what happens in it, and end it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from contextvars import ContextVar, Token
from functools import partial
from time import time
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from sessionlog_handlers import context, unhandled
from sessionlog_handlers.events import RESERVED_EVENTS
from sessionlog_handlers.exceptions import AuditWriteError, ConfigurationError
from sessionlog_handlers.formats.encoding import encode_fast, freeze, safe_repr
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.offers import offer, text_of
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.queue import in_running_loop
from sessionlog_handlers.pipeline.reasons import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from sessionlog_handlers.pipeline.layout import SessionPaths
    from sessionlog_handlers.pipeline.open_sessions import OpenSessions
    from sessionlog_handlers.pipeline.routes import Route, RouteTable

# The `with` blocks around this context's code, the innermost last. Not kept in the session, which tasks share: each of
# them goes back to what was current in itself.
_blocks: ContextVar[tuple[tuple[Session, Token[Any]], ...]] = ContextVar("sessionlog_blocks", default=())


class Session(Channel):
    """
    One session of the app, with a log of its own.

    Get one from `start_session`. Every method may be called from any thread, never raises for what is logged
    (`AuditWriteError`, asked for by configuration, excepted), and costs next to nothing for what the level leaves out.

    As a context manager it is current for its block, and ends with it: ``return``, ``exception NAME``, ``exit CODE`` or
    ``signal SIGINT`` is the reason. Where several blocks hold it, in one task or many, the last one to be left ends it.
    """

    __slots__ = ("_held", "_prompted")

    root: OpenSessions

    def __init__(
        self, root: OpenSessions, session_id: str, paths: SessionPaths, table: RouteTable, implicit: bool = False
    ) -> None:
        super().__init__(root, session_id, paths, table, implicit)
        self._held = 0  # `with` blocks, of all tasks and threads
        self._prompted = False

    @property
    def directory(self) -> Path:
        """The session's own directory."""
        return _path(self.paths.directory)

    @property
    def log_path(self) -> Path:
        """The session's log."""
        return _path(self.paths.log)

    @property
    def level(self) -> SessionLevel:
        """The session level now."""
        return self.session_level

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the app said of the session when it started it, as the plain values of its first line."""
        return MappingProxyType(self.app_metadata)

    def __repr__(self) -> str:
        return f"<Session {self.id!r} {'ended' if self.closed else self.level.value}>"

    def event(self, name: str, /, **data: Any) -> None:
        """
        Log an event.

        Args:
            name: What happened, such as ``prompt_change``. Names of the catalogue bring their session level, severity
                and audit side along; any other is of class signals.

            data: Named fields, of any names and values.

        Raises:
            AuditWriteError: If the event is audited, and the handler was told to wait and to raise (``audit_durability:
                sync``, ``audit_on_error: raise``).
        """
        # What `_log` does in seven calls, in one step for an event that has nothing special about it: most of them are
        # of class full, where each call less is a tenth of the whole.
        encoded = b""
        root = self.root
        queue = root.queue
        try:
            route = self._table.events[name]
            if route is None:
                return
            if len(queue.items) < queue.room[route.priority]:
                encoded = encode_fast(data)
        except Exception:
            route = None  # not known so far, or values that take more
        if (
            route is None
            or not 0 < len(encoded) <= route.quick
            or encoded.rfind(b"null") >= 0  # see `is_whole`
            or route.layout is not root.plan.layout
            or self.closed
        ):
            del encoded  # which may be large
            self._log(name, data)
            return
        queue.items.append(Entry(self.number, route, time(), encoded, b""))
        if queue.idle:
            root.rouse()
        if route.rare:
            self._tell(route, data)

    async def aevent(self, name: str, /, **data: Any) -> None:
        """
        Log an event from a coroutine. Where `event` would wait for the disk, this waits without blocking the loop.

        It waits in a thread of the loop's default executor, one for each call that waits.

        Raises:
            AuditWriteError: As `event`.
        """
        accepted = False
        try:
            if name in RESERVED_EVENTS:
                self._refuse(name)
                return
            route = self.table.event(name)
            accepted = route is not None and self.accept_event(route, data)
            if route is None or not accepted:
                return
            self._offer(route, data)
            if route.waits:
                import asyncio  # only who runs a loop needs it

                failure: Exception | None = None
                try:
                    barrier = self.root.durable_barrier(self)
                    reached = await asyncio.to_thread(barrier.wait, self.root.settings.audit_timeout)
                    failure = barrier.error
                except Exception as error:  # an executor that is shut down, for example
                    reached, failure = False, error
                self._check(name, reached, failure)
        except AuditWriteError:
            raise
        except Exception as error:
            self._failed(error, accepted)

    def output(self, content: bytes | str) -> None:
        """
        Log what the session's terminal put out.

        Args:
            content: The bytes as they are; a ``bytearray`` or another buffer is copied. Text is taken as UTF-8, what
                can't be encoded, halves of surrogate pairs, as an escape such as ``\\ud800``.
        """
        if self._output is not None:
            self._bytes(self._output, content)

    def input(self, content: bytes | str) -> None:
        """
        Log what was typed into the session's terminal.

        Args:
            content: As for `output`.
        """
        if self._input is not None:
            self._bytes(self._input, content)

    def _bytes(self, route: Route, content: bytes | str) -> None:
        try:
            self.accept_bytes(route, content)
        except Exception as error:
            self._failed(error)

    def prompt(self, text: str, **data: Any) -> None:
        """
        Log what the user asked for: the first time as ``initial_prompt``, then as ``prompt_change``.

        Args:
            text: The prompt.

            data: More named fields.
        """
        with self.root.lock:
            name = "prompt_change" if self._prompted else "initial_prompt"
            self._prompted = True
        self.event(name, **{**data, "text": text})

    def error(self, error: BaseException | str, **data: Any) -> None:
        """
        Log an error, with its traceback if it is an exception.

        Args:
            error: The exception, or a text.

            data: More named fields.
        """
        try:
            route = self.table.event("error")
            if route is None:
                return  # before a traceback is made for nothing
            exc = None
            if isinstance(error, BaseException):
                exc = partial(_traceback_of, error)
                data["type"] = type(error).__name__
            data["error"] = text_of(error)
            if not self.accept_event(route, data, exc):
                return
        except Exception as failure:
            self._failed(failure)
            return
        self._tell(route, data)

    def set_level(self, level: SessionLevel | str) -> None:
        """
        Change what is logged from now on. The change is logged too.

        Args:
            level: A session level (``spawns``, ``signals``, ``prompts``, ``full``), or a severity threshold (``debug``,
                ``info``, ``warning``, ``error``; ``off`` for none).

        Raises:
            ConfigurationError: If it is none of these.

            SessionNotFoundError: If the session has ended.
        """
        if isinstance(level, SessionLevel):
            change = self.root.set_level(self, level)
        else:
            change = self.root.set_level_by_name(self, level)
        if change:
            self._offer_event("level_change", change)

    def flush(self, timeout: float = 5.0, *, durable: bool = False) -> bool:
        """
        Wait until everything logged before is in its file.

        Args:
            timeout: Seconds to wait at most. (default: 5)

            durable: Wait until it is on the disk, too. (default: False)

        Returns:
            Whether it is.
        """
        return self.root.flush(timeout, durable=durable)

    def end(self, reason: str = "end", **data: Any) -> None:
        """
        End the session. Its last line says why; later events are refused and counted. Ending it twice does nothing.

        Args:
            reason: Why, in a word or two.

            data: More named fields for the last line.
        """
        reason = text_of(reason)
        if self.root.end(self, reason, freeze(data) if data else data):
            self._offer_event("session_end", {"reason": reason, **data})

    def __enter__(self) -> Session:
        with self.root.lock:
            self._held += 1
        _blocks.set((*_blocks.get(), (self, context.enter(self))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        blocks = _blocks.get()
        at = next((at for at in reversed(range(len(blocks))) if blocks[at][0] is self), None)
        if at is not None:
            _blocks.set(blocks[:at] + blocks[at + 1 :])
            context.leave(blocks[at][1])
        # Else the block was entered in another context, such as that of a fixture, and nothing is current here by it.
        if error is not None:
            context.note_origin(error, self)
            unhandled.tell(self, error, "block")
        with self.root.lock:
            self._held -= 1
            is_last = self._held <= 0
        if is_last:
            self.end(reason_of(error))

    async def __aenter__(self) -> Session:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _log(self, name: str, data: Mapping[str, Any]) -> None:
        try:
            if name in RESERVED_EVENTS:
                self._refuse(name)
                return
            route = self._table.event(name)
            if route is None or not self.accept_event(route, data):
                return
        except Exception as error:
            self._failed(error)
            return
        if route.rare:
            self._tell(route, data)

    def _refuse(self, name: str) -> None:
        self.root.losses.count(self, "reserved")
        message = (
            f"event {name!r} of session {self.id!r} is left out: only the session itself says this; see Session.end"
        )
        self.root.reporter.report(f"reserved {name}", message)

    def _tell(self, route: Route, data: Mapping[str, Any]) -> None:
        """Offer a rare event that was taken to others, and wait until it is on the disk where that was asked for."""
        try:
            self._offer(route, data)
            if route.waits and not in_running_loop():
                failure: Exception | None = None
                try:
                    barrier = self.root.durable_barrier(self)
                    reached = barrier.wait(self.root.settings.audit_timeout)
                    failure = barrier.error
                except Exception as error:  # no thread can be started, for example
                    reached, failure = False, error
                self._check(route.event, reached, failure)
        except AuditWriteError:
            raise
        except Exception as error:
            self._failed(error, accepted=True)

    def _failed(self, error: Exception, accepted: bool = False) -> None:
        """Nothing that is wrong with an event may reach the app that logs it."""
        if not accepted:  # else its line is written, and must not be counted as lost
            self.root.losses.count(self, "error")
        what = "was taken, and then failed" if accepted else "was not taken"
        self.root.reporter.report(
            f"event {type(error).__name__}", f"an event of session {self.id!r} {what}: {safe_repr(error):.200}"
        )

    def _check(self, event: str, reached: bool, error: Exception | None) -> None:
        if reached and error is None:
            return
        seconds = self.root.settings.audit_timeout
        reason = f"not on the disk within {seconds:g} s" if error is None else str(error)
        message = f"audited event {event!r} of session {self.id!r} is not known to be on the disk: {reason}"
        self.root.reporter.report(f"audit {self.id}", message)
        if self.root.settings.audit_on_error == "raise":
            raise AuditWriteError(message, self.id, event) from error

    def _offer_event(self, name: str, data: Mapping[str, Any]) -> None:
        route = self.table.event(name)
        if route is not None:
            self._offer(route, data)

    def _offer(self, route: Route, data: Mapping[str, Any]) -> None:
        if not route.rare:
            return
        try:
            offer(route.type, self.id, data)
        except Exception as error:  # a record factory or a filter of the app's own
            message = f"event {route.event!r} could not be offered to other handlers: {error!r}"
            self.root.reporter.report("offer", message)


def start_session(
    id: str | None = None,
    *,
    level: SessionLevel | str | None = None,
    severity: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    command: list[str] | str | None = None,
    handler: logging.Handler | str | None = None,
) -> Session:
    """
    Start a session, or join the one that runs under that id.

    Use it as a context manager, or call `Session.end` yourself; at the latest it ends with the process.

    Args:
        id: Any text that is not empty. (default: a new UUID4)

        level: The session's level. (default: from the environment and the handler's settings)

        severity: Leave out what is below: ``debug``, ``info``, ``warning``, ``error``. (default: the handler's)

        metadata: What the app wants to remember of the session, for ``metadata.json`` and the first line. Its values
            are those of the call, made plain as in any line.

        command: What runs in the session, as arguments or as text.

        handler: The `SessionHandler` that serves it, or its name. (default: the newest; before any is configured, the
            session and its events wait for the first)

    Raises:
        InvalidSessionIdError: If *id* is no text or empty.

        ConfigurationError: If *level* or *severity* is not known.

        HandlerNotFoundError: If no handler has that name.
    """
    wanted = None if level is None else SessionLevel.parse(level)
    threshold = None if severity is None else _read_severity(severity)
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata is a mapping, and {safe_repr(metadata):.60} is {type(metadata).__name__}")
    frozen = freeze({"metadata": metadata or {}, "command": command})
    root = lifecycle.find_root(handler, Session)
    session, is_new = root.open(
        id, level=wanted, severity=threshold, metadata=frozen.get("metadata"), command=frozen.get("command")
    )
    if not isinstance(session, Session):
        # A root that was made by hand, without a handler.
        raise TypeError(f"this root keeps {type(session).__name__}, not Session")
    if is_new:
        session._offer_event("session_start", {"level": session.level.value, **session.app_metadata})
    return session


def current_session() -> Session | None:
    """
    The session that is current here, or None; None as well where only an id is current that no handler serves.
    """
    here = context.current()
    if isinstance(here, str):
        found = (root.sessions.get(here) for root in reversed(lifecycle.all_roots()))
        here = next((session for session in found if session is not None), None)
    return here if isinstance(here, Session) else None


def _path(name: str) -> Path:
    from pathlib import Path  # not everybody asks for one

    return Path(name)


def _read_severity(word: str) -> int:
    from sessionlog_handlers.settings.values import parse_severity  # most sessions give none

    return parse_severity(word)


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:
        return f"{type(error).__name__} (its traceback can't be made)"
