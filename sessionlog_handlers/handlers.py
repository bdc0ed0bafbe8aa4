"""
What a configuration names: `SessionHandler`, a log per session.
"""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any, Unpack

from sessionlog_handlers.exceptions import SessionLogWarning
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.formats.records import TAKEN
from sessionlog_handlers.offers import BY_ALL, TakesEvents
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.files import make_root
from sessionlog_handlers.session import Session
from sessionlog_handlers.unhandled import capture

if TYPE_CHECKING:
    from sessionlog_handlers.settings.options import SettingsOptions

FLUSH_TIMEOUT = 5.0  # seconds


class SessionHandler(TakesEvents, logging.Handler):
    """
    Write each record to the log of the session it belongs to.

    A plain handler that owns its queue, its thread and its files, so that `logging.config.dictConfig` treats it alike
    on every Python. `emit` never raises, and waits for no disk. `close` writes what is queued and gives everything
    back; the next record brings the handler to life again.

    Args:
        directory: The root, with one directory per session. Created on first write, readable by its owner only.
            (default: ``~/.sessionlog/logs``)

        options: Every other setting, by name: see ``docs/configuration.md``.

    Raises:
        ConfigurationError: If a setting is unknown, of the wrong type, out of range, or contradicts another.

        OSError: With ``on_error: raise`` only, if the root can't be made.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, **options: Unpack[SettingsOptions]) -> None:
        from sessionlog_handlers.processes import serve_children  # who makes no handler pays nothing for these
        from sessionlog_handlers.settings.model import Settings

        given: dict[str, Any] = {**options}
        if directory is not None:
            given["directory"] = directory
        settings = Settings.from_options(given)
        if settings.on_error == "raise" and settings.enabled:
            make_root(str(settings.directory), settings.directory_mode)
        self.settings = settings
        self.options = given  # for child processes
        self._name = None  # whoever looks for a handler by its name may come before the base class sets it
        self._enabled = settings.enabled
        self._has_plain_filter = type(self).filter is logging.Handler.filter
        self._place = lifecycle.place_of(settings)
        self._taken = (self._place,)
        self.root = lifecycle.root_for(settings, self, Session)
        if settings.capture_errors:
            capture()
        serve_children(SessionHandler)
        super().__init__()  # last: what could not be made must not be registered with `logging`

    def createLock(self) -> None:
        """Do without the lock of the base class: nothing here needs one."""
        self.lock = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.root.directory} ({logging.getLevelName(self.level)})>"

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """
        Ignore a formatter, and say so: the settings ``layout`` or ``files`` name the line format.
        """
        if fmt is not None:
            warnings.warn(
                f"{type(self).__name__} writes the line format of its layout; remove 'formatter:' "
                f"({type(fmt).__name__}), or choose a format with 'layout:' or 'files:'",
                SessionLogWarning,
                stacklevel=2,
            )

    def handle(self, record: logging.LogRecord) -> bool:
        """
        Pass the record through the handler's filters and take it.
        """
        if not self.filters and self._has_plain_filter:
            self.emit(record)
            return True
        try:
            passed: Any = self.filter(record)
        except Exception as error:  # a filter of the app's own
            self.root.reporter.report(f"filter {type(error).__name__}", f"a filter failed: {safe_repr(error):.200}")
            return False
        if isinstance(passed, logging.LogRecord):  # from Python 3.12 on, a filter may give another one
            record = passed
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """
        Take a record into its session's log. Never raises.
        """
        try:
            attributes = record.__dict__
            taken = attributes.get(TAKEN)
            if not self._enabled or (taken is not None and (taken == BY_ALL or self._place in taken)):
                return
            root = self.root
            session_id = attributes.get("session_id")
            channel = root.sessions.get(session_id) if session_id.__class__ is str else None
            if channel is None or channel.closed:
                channel = root.find(record)
            if channel is not None:
                channel.accept_record(record)
                if session_id is None:
                    attributes["session_id"] = channel.id  # for the handlers that come after
            # A handler on two loggers, or an older one of the same root, sees the record again.
            attributes[TAKEN] = self._taken if taken is None else (*taken, self._place)
        except Exception as error:
            self._failed(record, error)

    def _failed(self, record: logging.LogRecord, error: Exception) -> None:
        try:
            self.root.losses.count(None, "error")
            self.root.reporter.report(
                f"emit {type(error).__name__}",
                f"a record of logger {record.name} was not taken: {safe_repr(error):.200}",
            )
        except Exception:
            return  # the stack or the memory is at its end; the app matters more than its log

    def flush(self) -> None:
        """
        Wait until everything logged before is in its files, for at most five seconds.
        """
        self.root.flush(FLUSH_TIMEOUT)

    def close(self) -> None:
        """
        Write what is queued, stop the threads and give every descriptor back. Idempotent; sessions stay open, and while
        one is, its lease is kept.

        The next record starts all of it again: another library's configuration closes handlers that stay attached.
        """
        super().close()
        if lifecycle.is_newest(self, self.root):
            self.root.close()

    def stats(self) -> dict[str, Any]:
        """
        Counters of the root since the process began: ``accepted = written + dropped + pending``.

        Sizes are bytes, ``last_error_at`` is UTC in ISO 8601. Each counter is told in `docs/queue.md`.
        """
        return self.root.stats()
