"""
Where sessions wait that start before the first handler is configured, with what happens in them until then.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from sessionlog_handlers.formats.encoding import encode_object
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, Payload
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.commands import JoinCommand, LevelCommand, StartCommand
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.root import SessionRoot
from sessionlog_handlers.settings.model import Settings

MAX_PARKED = 10_000  # entries; later ones are counted as lost
MAX_BYTES = 32 * 1024 * 1024  # held by entries, as much as a handler's queue holds by default
MAX_COMMANDS = 20_000  # entries and commands; sessions that come and go later leave no trace


class _Parked(NamedTuple):
    """
    An entry and the session it belongs to.
    """

    channel: Channel
    entry: Entry


class _Wish(NamedTuple):
    """
    A change of level that was asked for, to be judged against the level that the session will have.
    """

    channel: Channel
    level: SessionLevel | None
    severity: int | None
    by: str


class _Unformatted(LineFormat):
    """
    Freezes values without deciding on a line format, which only the handler to come will name.
    """

    name: ClassVar[str] = "unformatted"
    clocked: ClassVar[bool] = True

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now."""
        return encode_object({"data": data, "msg": msg, "logger": logger, "exc": exc}), b""

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """Never a line: what waits here goes through a real format first."""
        raise NotImplementedError

    def format(self, line: Line) -> bytes:
        """As `assemble`."""
        raise NotImplementedError

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """As `assemble`."""
        raise NotImplementedError


class Parking(SessionRoot):
    """
    A root without a directory: it keeps everything, within bounds, for the first real one.

    Args:
        channel_type: What a session is on the callers' side.
    """

    def __init__(self, channel_type: type[Channel]) -> None:
        settings = Settings(session_level=SessionLevel.FULL)
        # A layout object of its own: by it a session sees that a route was made here, see `Channel`.
        super().__init__("", replace(settings, layout=replace(settings.layout)), channel_type)
        self.plan.formats = (_Unformatted(),)
        self.plan.format_of_file = (0,) * len(self.plan.format_of_file)
        self.queue.slot_bytes = 0  # no entry is so small that it could do without `put`
        self._parked: list[Any] = []
        self._bytes = 0
        self._begun: set[Channel] = set()  # those whose start is parked
        self._inherited: set[Channel] = set()
        self._asked: dict[Channel, tuple[SessionLevel | None, int | None]] = {}
        self._heir: SessionRoot | None = None  # the root that got everything

    def put(self, channel: Channel, entry: Entry, size: int) -> bool:
        """
        Keep an entry, or count it as lost and give False.

        While the session is handed over, this waits, so that nothing overtakes what was parked before.
        """
        with self.lock:
            if channel.root is self:
                return self._keep(channel, entry, size)
        return channel.replay(entry, channel.root)

    def _keep(self, channel: Channel, entry: Entry, size: int) -> bool:
        if channel.closed:
            self.count_late(channel.id)
            return False
        if len(self._parked) >= MAX_PARKED or self._bytes + size > MAX_BYTES:
            self.losses.count(channel, "no_handler")
            return False
        self._parked.append(_Parked(channel, entry))
        self._bytes += size
        return True

    def _command(self, command: Any) -> None:
        if isinstance(command, LevelCommand):
            return  # `set_level` keeps the wish instead
        if isinstance(command, StartCommand):
            if len(self._parked) < MAX_COMMANDS:
                self._parked.append(command)
                self._begun.add(command.channel)
        elif command.channel in self._begun:
            self._parked.append(command)  # there are no more ends than starts
        else:
            self._asked.pop(command.channel, None)
            self._inherited.discard(command.channel)
            self.forget(command.channel)

    def _attend(self) -> None:
        """Nothing is dealt with here."""

    def set_level(
        self, channel: Channel, level: SessionLevel | None = None, severity: int | None = None, by: str = "app"
    ) -> dict[str, Any] | None:
        """
        As for any root; what it means for the session's own level shows when the handler comes.
        """
        with self.lock:
            if channel.root is self:
                change = super().set_level(channel, level, severity, by)
                if len(self._parked) < MAX_COMMANDS:
                    self._parked.append(_Wish(channel, level, severity, by))
                return change
            root: Any = channel.root
        return root.set_level(channel, level, severity, by)  # type: ignore[no-any-return]  # a root, as this one is

    def end(self, channel: Channel, reason: str, *args: Any, **others: Any) -> bool:
        """
        As for any root.
        """
        with self.lock:
            if channel.root is self:
                return super().end(channel, reason, *args, **others)
            root: Any = channel.root
        return root.end(channel, reason, *args, **others)  # type: ignore[no-any-return]  # as above

    def _moved_to(self) -> SessionRoot | None:
        with self.lock:
            return self._heir

    def flush(self, timeout: float = 0.0, *, durable: bool = False) -> bool:
        """
        There is nowhere to write to yet.
        """
        heir = self._moved_to()
        return heir.flush(timeout, durable=durable) if heir else not self._parked

    def durable_barrier(self, channel: Channel | None = None) -> Barrier:
        """
        A barrier that is reached at once, with the error that nothing could be written.
        """
        heir = self._moved_to()
        if heir:
            return heir.durable_barrier(channel)
        barrier = Barrier()
        barrier.error = OSError("no handler is configured yet")
        barrier.reached()
        return barrier

    def close(self, timeout: float = 0.0) -> None:
        """
        Nothing is open.
        """

    def open(
        self,
        session_id: str | None = None,
        *,
        level: SessionLevel | None = None,
        severity: int | None = None,
        **others: Any,
    ) -> tuple[Channel, bool]:
        """
        Begin a session, remembering which levels it asked for.
        """
        with self.lock:
            if self._heir is None:
                channel, is_new = super().open(session_id, level=level, severity=severity, **others)
                if is_new and (level is not None or severity is not None):
                    self._asked[channel] = level, severity
                return channel, is_new
        return self._heir.open(session_id, level=level, severity=severity, **others)

    def move_to(self, root: SessionRoot) -> None:
        """
        Hand everything over to a real root, in the order in which it came.

        Until the last of it is there, the sessions belong here, and what arrives meanwhile waits for the lock.
        """
        with self.lock:
            self._heir = root
            moved: set[Channel] = set()
            for channel in [*self.sessions.values()]:
                if channel.root is self and not channel.closed and channel not in self._begun:
                    self._hand_over(self._start_of(channel), root)
                    moved.add(channel)
            self._replay(root, moved)
            for channel in self.losses.untold():
                for loss in self.losses.take(channel):
                    root.losses.count(channel, *loss)
            for channel in moved:
                channel.root = root
            self._replay(root, moved)  # what a signal handler of this thread put meanwhile
            self.sessions.clear()
            self._begun.clear()
            self._inherited.clear()
        root._attend()

    def _start_of(self, channel: Channel) -> StartCommand:
        """A start for a session whose own had no room, or is the parent process's."""
        command = JoinCommand if channel in self._inherited else StartCommand
        return command(channel, channel.opened, {})

    def _replay(self, root: SessionRoot, moved: set[Channel]) -> None:
        while self._parked:
            parked, self._parked, self._bytes = self._parked, [], 0
            for item in parked:
                if isinstance(item, StartCommand):
                    item.channel.closed = False  # until its end is replayed
                    self._hand_over(item, root)
                    moved.add(item.channel)
                elif item.channel not in moved:
                    continue  # its start had no room, and it is over
                elif isinstance(item, _Parked):
                    item.channel.replay(item.entry, root)
                elif isinstance(item, _Wish):
                    root.set_level(*item)
                else:
                    item.channel.root = root
                    root.end_now(item.channel, item.end)

    def _hand_over(self, start: StartCommand, root: SessionRoot) -> None:
        channel = start.channel
        level, severity = self._asked.pop(channel, (None, None))
        root.adopt(channel, start, level, severity)

    def after_fork_in_child(self) -> None:
        """
        Begin anew in a forked child, after the other roots. What is parked is the parent's; the sessions go on.
        """
        self.lock = threading.RLock()
        self.losses.reset()
        parked, self._parked, self._bytes = self._parked, [], 0
        for wish in parked:
            if isinstance(wish, _Wish):
                level, severity = self._asked.get(wish.channel, (None, None))
                severity = severity if wish.severity is None else wish.severity
                self._asked[wish.channel] = wish.level or level, severity
        self.sessions = {name: channel for name, channel in self.sessions.items() if not channel.closed}
        self._inherited = {*self.sessions.values()}
        self._begun = set()
        self._asked = {channel: asked for channel, asked in self._asked.items() if channel in self._inherited}
        for channel in self._inherited:
            channel.after_fork()
        if self._heir is not None:
            self._finish_for(self._heir)

    def _finish_for(self, heir: SessionRoot) -> None:
        """The process was forked in the middle of a hand-over: what is left of it are the sessions themselves."""
        for channel in self._inherited:
            if heir.sessions.get(channel.id) is not channel:
                self._hand_over(self._start_of(channel), heir)
            channel.root = heir
        self.sessions.clear()
        self._inherited.clear()

    def tell_unwritten(self) -> None:
        """
        The process ends: say what was never written, because no handler ever came.
        """
        with self.lock:
            entries = [item for item in self._parked if isinstance(item, _Parked)]
            sessions = {entry.channel for entry in entries}
            number = len(entries)
            for channel in self.losses.untold():
                sessions.add(channel)
                number += sum(loss.number for loss in self.losses.take(channel))
            self._parked, self._bytes = [], 0
        if number:
            self.reporter.report(
                "unwritten",
                f"{number} events of {len(sessions)} sessions were never written: no SessionHandler was configured",
            )
