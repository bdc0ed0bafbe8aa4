"""
When a file is full or its time is over, and how the numbered files behind it move up.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from sessionlog_handlers.pipeline.files import check_regular

GZIP_SUFFIX = ".gz"

_UNIT_SECONDS = {"S": 1, "M": 60, "H": 3600}
_DAYS = ("D", "MIDNIGHT")  # by the calendar: a local day may have 23 or 25 hours
_DAY = 86_400  # seconds
_WEEKDAY = re.compile(r"W[0-6]")
_COARSE = 0.1  # seconds after a boundary in which a file's time may be before it; Linux's ticks are at most 0.01 apart
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY = 3  # that was a Thursday; Monday is 0


def is_when(text: str) -> bool:
    """
    Whether *text* names a time unit as the standard library's timed handler does: S, M, H, D, midnight, W0 to W6.
    """
    return text.upper() in (*_UNIT_SECONDS, *_DAYS) or bool(_WEEKDAY.fullmatch(text.upper()))


@dataclass(frozen=True)
class RotationPolicy:
    """
    When to start a new file, and how many old ones to keep.

    Args:
        max_bytes: Size at which a new file is started. 0 means never.

        backup_count: How many old files are kept.

        when: Time unit of the boundaries, or empty for none.

        interval: How many units lie between two boundaries; of no meaning for W0 to W6.

        utc: Whether days begin at midnight UTC or local time. Stamps are always UTC.

        clock: Gives the present, in seconds since the epoch.
    """

    max_bytes: int = 0
    backup_count: int = 0
    when: str = ""
    interval: int = 1
    utc: bool = True
    clock: Callable[[], float] = time.time

    def is_over(self, last_write: float) -> bool:
        """
        Whether a boundary lies between the file's last write and now.

        The file's own modification time is the only state, so all processes agree, and a clock that is set back or
        forward costs one rotation at most.
        """
        return bool(self.when) and last_write < self.boundary(self.clock()) <= self.clock()

    def has_just_begun(self, now: float) -> bool:
        """
        Whether the latest boundary is so near that a file written to after it may be dated before it.
        """
        return bool(self.when) and now - self.boundary(now) < _COARSE

    def boundary(self, now: float) -> float:
        """
        The latest boundary that is not after *now*.
        """
        when = self.when.upper()
        if when in _UNIT_SECONDS:
            step = _UNIT_SECONDS[when] * self.interval
            offset = 0 if self.utc else time.localtime(now).tm_gmtoff
            return (now + offset) // step * step - offset
        parts = time.gmtime(now) if self.utc else time.localtime(now)
        day = _day_number(parts)
        if when in _DAYS:
            day -= day % self.interval
        else:
            day -= (day + _EPOCH_WEEKDAY - int(when[1])) % 7
        return float(day * _DAY) if self.utc else _local_midnight(day)

    def room(self, size: int) -> int:
        """
        How many bytes still fit into a file of that size; a very large number if size does not matter.
        """
        return self.max_bytes - size if self.max_bytes > 0 else 1 << 62


def _day_number(parts: time.struct_time) -> int:
    return date(parts.tm_year, parts.tm_mon, parts.tm_mday).toordinal() - _EPOCH_DAY


def _local_midnight(day: int) -> float:
    parts = time.gmtime(day * _DAY)
    return time.mktime((parts.tm_year, parts.tm_mon, parts.tm_mday, 0, 0, 0, 0, 0, -1))


def occupied(name: str) -> bool:
    """
    Whether a slot holds a file, plain or compressed.
    """
    return os.path.lexists(name) or os.path.lexists(name + GZIP_SUFFIX)


def move_slot(source: str, target: str) -> None:
    """
    Move a slot's file, plain or compressed, to a free one. Where a crash left both, both are moved: to compare them
    takes too long here, and either may hold what the other lacks.

    Raises:
        NotRegularError: If it is anything but a regular file. It is left as it is.

        OSError: If it can't be moved.
    """
    for name in (source, source + GZIP_SUFFIX):
        with suppress(FileNotFoundError):
            check_regular(name)
    if os.path.lexists(source):
        os.replace(source, target)
        with suppress(FileNotFoundError):
            os.replace(source + GZIP_SUFFIX, target + GZIP_SUFFIX)
    else:
        os.replace(source + GZIP_SUFFIX, target + GZIP_SUFFIX)


def empty_slot(name: str) -> None:
    """
    Delete what a slot holds.
    """
    for found in (name, name + GZIP_SUFFIX):
        with suppress(FileNotFoundError):
            os.unlink(found)


def make_room(slot_name: Callable[[int], str], backup_count: int) -> None:
    """
    Free slot 1 by moving the files before the first gap up by one, the oldest first.

    Each step is one rename, so a crash leaves a gap, which the next call fills, and never a loss. Only when no slot is
    free is the oldest file deleted, and files beyond *backup_count* with it.

    Args:
        slot_name: The path of a slot, counted from 1.

        backup_count: How many slots there are, at least 1.
    """
    free = next((slot for slot in range(1, backup_count + 1) if not occupied(slot_name(slot))), None)
    if free is None:
        beyond = backup_count
        while occupied(slot_name(beyond + 1)):
            beyond += 1
        for slot in range(beyond, backup_count - 1, -1):
            empty_slot(slot_name(slot))
        free = backup_count
    for slot in range(free - 1, 0, -1):
        move_slot(slot_name(slot), slot_name(slot + 1))
