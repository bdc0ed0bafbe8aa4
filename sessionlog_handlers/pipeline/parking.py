"""
Where sessions wait that start before the first handler is configured, with what happens in them until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from sessionlog_handlers.formats.encoding import encode_object
from sessionlog_handlers.formats.line import Fields, Head, Line, Payload
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.commands import EndCommand, LevelCommand, StartCommand
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.root import SessionRoot
from sessionlog_handlers.settings.model import Settings

MAX_PARKED = 10_000  # entries; later ones are counted as lost
MAX_COMMANDS = 20_000  # entries and commands; sessions that come and go later leave no trace


class _Wish(NamedTuple):
    """
    A change of level that was asked for, to be judged against the level that the session will have.
    """

    channel: Channel
    level: SessionLevel | None
    severity: int | None
    by: str


class _Unformatted:
    """
    Freezes values without deciding on a line format, which only the handler to come will name.
    """

    name: ClassVar[str] = "unformatted"

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now."""
        return Fields(encode_object({"data": data, "msg": msg, "logger": logger, "exc": exc}))

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
        super().__init__("", Settings(session_level=SessionLevel.FULL), channel_type)
        self.plan.formats = (_Unformatted(),)
        self._parked: list[Any] = []
        self._asked: dict[Channel, tuple[SessionLevel | None, int | None]] = {}

    def put(self, entry: Entry, size: int) -> bool:
        """
        Keep an entry, or count it as lost and give False.
        """
        with self.lock:
            if entry.channel.root is self:
                return self._keep(entry)
        entry.channel.replay(entry)  # the session moved while the event was on its way here
        return True

    def _keep(self, entry: Entry) -> bool:
        if entry.channel.closed:
            self.count_late(entry.channel.id)
            return False
        if len(self._parked) >= MAX_PARKED:
            self.losses.count(entry.channel, "no_handler")
            return False
        self._parked.append(entry)
        return True

    def _command(self, command: Any) -> None:
        if isinstance(command, LevelCommand):
            return  # `set_level` keeps the wish instead
        if len(self._parked) < MAX_COMMANDS:
            self._parked.append(command)
        elif isinstance(command, EndCommand):
            self._asked.pop(command.channel, None)
            self.forget(command.channel)

    def set_level(
        self, channel: Channel, level: SessionLevel | None = None, severity: int | None = None, by: str = "app"
    ) -> dict[str, Any] | None:
        """
        As for any root; what it means for the session's own level shows when the handler comes.
        """
        with self.lock:
            change = super().set_level(channel, level, severity, by)
            if len(self._parked) < MAX_COMMANDS:
                self._parked.append(_Wish(channel, level, severity, by))
        return change

    def flush(self, timeout: float = 0.0, *, durable: bool = False) -> bool:
        """
        There is nowhere to write to yet.
        """
        return not self._parked

    def durable_barrier(self, channel: Channel | None = None) -> Barrier:
        """
        A barrier that is reached at once, with the error that nothing could be written.
        """
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
        channel, is_new = super().open(session_id, level=level, severity=severity, **others)
        if is_new and (level is not None or severity is not None):
            self._asked[channel] = level, severity
        return channel, is_new

    def move_to(self, root: SessionRoot) -> None:
        """
        Hand everything over to a real root, in the order in which it came.
        """
        with self.lock:
            self._move_to(root)

    def _move_to(self, root: SessionRoot) -> None:
        parked, self._parked = self._parked, []
        for item in parked:
            if isinstance(item, StartCommand):
                item.channel.closed = False  # until its end is replayed
                self._hand_over(item, root)
            elif isinstance(item, Entry):
                item.channel.replay(item)
            elif item.channel.root is not root:
                continue  # its start had no room
            elif isinstance(item, _Wish):
                root.set_level(*item)
            elif isinstance(item, EndCommand):
                root._end_now(item.channel, item.end)
        for channel in self.sessions.values():
            if channel.root is self and not channel.closed:
                self._hand_over(StartCommand(channel, channel.opened, {}), root)
        for channel in self.losses.untold():
            for reason, count in self.losses.take(channel).items():
                root.losses.count(channel, reason, count)
        self.sessions.clear()

    def _hand_over(self, start: StartCommand, root: SessionRoot) -> None:
        channel = start.channel
        level, severity = self._asked.pop(channel, (None, None))
        channel.use_table(self.plan.table(channel.session_level, severity or 0))
        root.adopt(channel, start, level)
