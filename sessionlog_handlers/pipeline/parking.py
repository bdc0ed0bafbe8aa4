"""
Where sessions wait that start before the first handler is configured, with what happens in them until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sessionlog_handlers.formats.encoding import encode_object
from sessionlog_handlers.formats.line import Fields, Head, Line, Payload
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.commands import EndCommand, LevelCommand, StartCommand
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.root import SessionRoot
from sessionlog_handlers.settings.model import Settings

MAX_PARKED = 10_000  # entries; later ones are counted as lost


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
        self._asked: dict[Channel, SessionLevel] = {}

    def put(self, entry: Entry, size: int) -> bool:
        """
        Keep an entry, or count it as lost and give False.
        """
        if entry.channel.closed:
            self.count_late(entry.channel.id)
            return False
        if len(self._parked) >= MAX_PARKED:
            self.losses.count(entry.channel, "no_handler")
            return False
        self._parked.append(entry)
        return True

    def _command(self, command: Any) -> None:
        self._parked.append(command)

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
        self, session_id: str | None = None, *, level: SessionLevel | None = None, **others: Any
    ) -> tuple[Channel, bool]:
        """
        Begin a session, remembering whether it asked for a level.
        """
        channel, is_new = super().open(session_id, level=level, **others)
        if level is not None:
            self._asked[channel] = level
        return channel, is_new

    def move_to(self, root: SessionRoot) -> None:
        """
        Hand everything over to a real root, in the order in which it came.
        """
        parked, self._parked = self._parked, []
        for item in parked:
            if isinstance(item, StartCommand):
                item.channel.closed = False  # until its end is replayed
                root.adopt(item.channel, item, self._asked.pop(item.channel, None))
            elif isinstance(item, Entry):
                item.channel.replay(item)
            elif isinstance(item, LevelCommand):
                root.set_level_by_name(item.channel, item.change["to"], by=item.change["by"])
            elif isinstance(item, EndCommand):
                root.end(item.channel, item.end["reason"], item.end["data"], linger=0.0)
        for channel, reasons in self.losses.take().items():
            for reason, count in reasons.items():
                root.losses.count(channel, reason, count)
        self.sessions.clear()
