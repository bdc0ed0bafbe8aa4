"""
Seconds since the epoch to the text that lines carry, and back. Always UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import floor

HALF_MICROSECOND = 5e-4  # milliseconds; floats can't hold milliseconds exactly, so times are rounded to microseconds

MAX_MOMENTS = 4096  # milliseconds whose names are kept

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z, the first second that `datetime` can name
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that four digits can name

_FRACTIONS = tuple(b".%03dZ" % milliseconds for milliseconds in range(1000))

_Second = tuple[int, bytes]


def _name_second(second: int) -> _Second:
    return second, (_EPOCH + timedelta(seconds=second)).isoformat()[:19].encode()


# The last second that was named, with its text. One tuple, replaced as a whole, so that threads need no lock.
_cached: _Second = _name_second(0)


def _name(millisecond: int) -> bytes:
    """A millisecond's text; outside the years 1 to 9999 that of the first or the last one."""
    global _cached
    second, fraction = divmod(millisecond, 1000)
    named = _cached
    if named[0] != second:
        if not _FIRST_SECOND <= second <= _LAST_SECOND:
            return _name(_FIRST_SECOND * 1000 if second < 0 else _LAST_SECOND * 1000 + 999)
        named = _cached = _name_second(second)
    return named[1] + _FRACTIONS[fraction]


def format_ms(seconds: float) -> str:
    """
    ``2026-01-08T12:34:56.789Z``, cut to milliseconds.

    Never raises: times outside the years 1 to 9999 are held at that end, and what is no number is the epoch.
    """
    return moment_of(seconds)[0].decode()


def format_ms_bytes(seconds: float) -> bytes:
    """
    The same as `format_ms`, as bytes.
    """
    return moment_of(seconds)[0]


# The milliseconds named of late: lines of many sessions share them. Threads need no lock: a lost one is named anew.
_moments: dict[int, tuple[bytes, float, float]] = {}


def moment_of(seconds: float) -> tuple[bytes, float, float]:
    """
    The text of the millisecond that a time is in, its beginning and its end. All times between them are written alike.

    Never raises, see `format_ms`; of what is no time, the end is before the beginning.
    """
    try:
        millisecond = floor(seconds * 1e3 + HALF_MICROSECOND)
    except (ValueError, OverflowError, TypeError):
        if seconds == float("inf"):
            return _name(_LAST_SECOND * 1000 + 999), 1.0, 0.0
        return _name(_FIRST_SECOND * 1000 if seconds == float("-inf") else 0), 1.0, 0.0
    try:
        return _moments[millisecond]
    except KeyError:
        first = (millisecond - HALF_MICROSECOND) / 1e3
        moment = _name(millisecond), first, first + 1e-3
        if len(_moments) >= MAX_MOMENTS:
            _moments.clear()
        _moments[millisecond] = moment
        return moment


def format_seconds(seconds: float) -> str:
    """
    ``2025-09-22T10:00:00Z``, cut to whole seconds.
    """
    return moment_of(seconds)[0][:19].decode() + "Z"


def parse_timestamp(text: str) -> float:
    """
    Read a date and time with ``Z`` or an offset, with or without a fraction (cut to microseconds).

    Raises:
        ValueError: If it is anything else, a time without an offset included.
    """
    # `fromisoformat` also takes plain dates, week dates and times without separators.
    if len(text) < 20 or text[4] != "-" or text[7] != "-" or text[10] not in "Tt " or text[13] != ":":
        raise ValueError(f"not a timestamp: {text[:40]!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a timestamp without an offset: {text[:40]!r}")
    return (moment - _EPOCH).total_seconds()
