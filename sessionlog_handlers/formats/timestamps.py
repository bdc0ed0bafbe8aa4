"""
Seconds since the epoch to the text that lines carry, and back. Always UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import floor
from typing import NamedTuple

HALF_MICROSECOND = 5e-4  # milliseconds; floats can't hold milliseconds exactly, so times are rounded to microseconds

MAX_MOMENTS = 4096  # milliseconds whose names are kept

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
    return moment_of(seconds).text.decode()


def format_ms_bytes(seconds: float) -> bytes:
    """
    The same as `format_ms`, as bytes.
    """
    return moment_of(seconds).text


class Moment(NamedTuple):
    """
    A millisecond.

    Args:
        text: How it is written.

        first: Its beginning, in seconds since the epoch.

        last: Its end. Of what is no time at all, the end is before the beginning.
    """

    text: bytes
    first: float
    last: float


# The milliseconds named of late: lines of many sessions share them. Threads need no lock: a lost one is named anew.
_moments: dict[int, Moment] = {}


def moment_of(seconds: float) -> Moment:
    """
    The millisecond that a time is in. Never raises, see `format_ms`.
    """
    try:
        millisecond = floor(seconds * 1e3 + HALF_MICROSECOND)
        return _moments[millisecond]
    except KeyError:
        named, fraction = _split(seconds)
        first = millisecond / 1e3 - HALF_MICROSECOND / 1e3
        moment = Moment(named[2] + _FRACTION_BYTES[fraction], first, first + 1e-3)
        if len(_moments) >= MAX_MOMENTS:
            _moments.clear()
        _moments[millisecond] = moment
        return moment
    except (ValueError, OverflowError, TypeError):
        named, fraction = _split(seconds)
        return Moment(named[2] + _FRACTION_BYTES[fraction], 1.0, 0.0)


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
