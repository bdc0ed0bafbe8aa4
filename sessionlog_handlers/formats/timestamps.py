"""
Seconds since the epoch to the text that lines carry, and back. Always UTC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

HALF_MICROSECOND = 5e-4  # milliseconds; floats can't hold milliseconds exactly, so times are rounded to microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z, the first second that `datetime` can name
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one that four digits can name

_FRACTIONS = tuple(f".{milliseconds:03d}Z" for milliseconds in range(1000))
_FRACTION_BYTES = tuple(fraction.encode() for fraction in _FRACTIONS)

_Second = tuple[int, str, bytes]


def _name_second(second: int) -> _Second:
    text = (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
    return second, text, text.encode()


# The last second that was named, with its text. One tuple, replaced as a whole, so that threads need no lock.
_cached: _Second = _name_second(0)


def _split(seconds: float) -> tuple[_Second, int]:
    """The named second and the milliseconds within it."""
    global _cached
    try:
        # A float can't hold milliseconds exactly: 0.789 may be stored as 0.78899999. So to whole microseconds first.
        second, microseconds = divmod(round(seconds * 1e6), 1_000_000)
    except (ValueError, OverflowError, TypeError):
        # Not a number, or infinite: a line with a wrong time is worth more than no line.
        if seconds == float("inf"):
            second, microseconds = _LAST_SECOND, 999_999
        else:
            second, microseconds = (_FIRST_SECOND if seconds == float("-inf") else 0), 0
    named = _cached
    if named[0] != second:
        if not _FIRST_SECOND <= second <= _LAST_SECOND:
            return (_name_second(_FIRST_SECOND), 0) if second < 0 else (_name_second(_LAST_SECOND), 999)
        named = _cached = _name_second(second)
    return named, microseconds // 1000


def format_ms(seconds: float) -> str:
    """
    ``2026-01-08T12:34:56.789Z``, cut to milliseconds.

    Never raises: times outside the years 1 to 9999 are held at that end, and what is no number is the epoch.
    """
    named, milliseconds = _split(seconds)
    return named[1] + _FRACTIONS[milliseconds]


def format_ms_bytes(seconds: float) -> bytes:
    """
    The same as `format_ms`, as bytes.
    """
    named, milliseconds = _split(seconds)
    return named[2] + _FRACTION_BYTES[milliseconds]


def millisecond_of(seconds: float) -> tuple[float, float]:
    """
    The millisecond that a time is in, as its beginning and its end: all times between are written alike. Never raises.
    """
    try:
        first = math.floor(seconds * 1e3 + HALF_MICROSECOND)
    except (ValueError, OverflowError, TypeError):
        return 1.0, 0.0  # in no millisecond at all
    return (first - HALF_MICROSECOND) / 1e3, (first + 1 - HALF_MICROSECOND) / 1e3


def format_seconds(seconds: float) -> str:
    """
    ``2025-09-22T10:00:00Z``, cut to whole seconds.
    """
    return _split(seconds)[0][1] + "Z"


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
