"""
Filters for other handlers and loggers: stamp records with their session, pass by session level, thin out.
"""

from __future__ import annotations

import logging
import threading

from sessionlog_handlers.context import NoSession, find_session_id
from sessionlog_handlers.events import BUILTIN_EVENTS
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.records import STAMPED, Stamp
from sessionlog_handlers.levels import LEVELS_BY_RANK, SessionLevel, rank_of_record

_RANK_OF_EVENT = {known.name: known.session_level.rank for known in BUILTIN_EVENTS}
_AUDIT_OF_EVENT = {known.name: known.audit for known in BUILTIN_EVENTS}


class Sampler:
    """
    Admits a fixed share of what it is asked for, evenly spread, and counts the rest exactly.

    Args:
        share: From 0.0 (nothing) to 1.0 (everything).
    """

    __slots__ = ("_asked", "_kept", "_left_out", "_lock", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._asked = 0
        self._kept = 0
        self._left_out = 0
        self._lock = threading.RLock()  # a signal handler may log while its thread counts

    def admit(self) -> bool:
        """
        Whether this one is kept.
        """
        with self._lock:
            self._asked += 1
            # A product, not a sum: adding 0.1 a thousand times gives less than 100.
            due = int(self._asked * self.share)
            if due > self._kept:
                self._kept = due
                return True
            self._left_out += 1
            return False

    def take_left_out(self) -> int:
        """
        How many were left out since the last call.
        """
        with self._lock:
            number, self._left_out = self._left_out, 0
        return number


class FloodGuard:
    """
    Counts the events of one time, which begins with the first of them, and says how many are too many.
    """

    __slots__ = ("_began", "_count", "_lock")

    def __init__(self) -> None:
        self._began = float("-inf")
        self._count = 0
        self._lock = threading.RLock()  # a signal handler may log while its thread counts

    def excess(self, now: float, rate: int, per: float) -> int:
        """
        Count one more event, and give how many there were beyond *rate* since the time began; 0 if it is not too many.

        Args:
            now: Seconds on the monotonic clock.

            rate: Events that are admitted in a time.

            per: Seconds that a time lasts.
        """
        with self._lock:
            if now - self._began >= per:
                self._began, self._count = now, 0
            self._count += 1
            return max(self._count - rate, 0)


class SessionFilter(logging.Filter):
    """
    Stamp each record with its session, session level and audit side, and pass only records up to a level.

    Put it on any handler that runs in the caller's thread, so that its format can say ``%(session_id)s``,
    ``%(session_level)s`` and ``%(audit)s``.

    Args:
        name: Pass only records of this logger and its children, as in `logging.Filter`. (default: all)

        session_level: Pass only records that a session at this level takes. (default: full, that is all)

        logger_prefixes: Prefixes of logger names behind which an id stands, such as ``echolog.session.``.

        default: The ``session_id`` of a record that has none. (default: ``-``)

        require_session: Whether to pass only records that belong to a session. (default: False)

    Raises:
        ConfigurationError: If *session_level* is none of the four.
    """

    def __init__(
        self,
        name: str = "",
        *,
        session_level: str | SessionLevel = SessionLevel.FULL,
        logger_prefixes: tuple[str, ...] | list[str] = (),
        default: str = "-",
        require_session: bool = False,
    ) -> None:
        super().__init__(name)
        self.session_level = SessionLevel.parse(session_level)
        self.logger_prefixes = tuple(logger_prefixes)
        self.default = default
        self.require_session = require_session

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Stamp the record and say whether it passes.
        """
        session_id = find_session_id(record, self.logger_prefixes)
        event = record.__dict__.get("event")
        rank = _RANK_OF_EVENT.get(event, -1) if isinstance(event, str) else -1
        if rank < 0:
            rank = rank_of_record(record.levelno)
        record.session_id = session_id or NoSession(self.default)
        audit = (_AUDIT_OF_EVENT.get(event) if isinstance(event, str) else None) or "-"
        for name, value in (("session_level", LEVELS_BY_RANK[rank].value), ("audit", audit)):
            if isinstance(record.__dict__.get(name, Stamp()), Stamp):
                record.__dict__[STAMPED] = True
                record.__dict__[name] = Stamp(value)  # an `extra` of the app's own by that name stays what it is
        if self.require_session and not session_id:
            return False
        return rank <= self.session_level.rank and bool(super().filter(record))


class SamplingFilter(logging.Filter):
    """
    Pass a fixed share of the records below a severity, evenly spread.

    Args:
        share: From 0.0 (none) to 1.0 (all).

        below: Records of this severity and above always pass. (default: ``WARNING``)

    Raises:
        ConfigurationError: If *share* is no number from 0 to 1, or *below* no level of the standard library.
    """

    def __init__(self, share: float, *, below: str | int = "WARNING") -> None:
        from sessionlog_handlers.settings.values import parse_share  # sessions need this module without it

        super().__init__()
        share = parse_share(share)
        number = logging.getLevelNamesMapping().get(below.upper()) if isinstance(below, str) else below
        if number is None:
            raise ConfigurationError(f"{below!r} is not a level of the standard library, such as WARNING", "below")
        self.below = number
        self._sampler = Sampler(share)

    @property
    def left_out(self) -> int:
        """How many records were left out since the last look."""
        return self._sampler.take_left_out()

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Say whether the record passes.
        """
        return record.levelno >= self.below or self._sampler.admit()
