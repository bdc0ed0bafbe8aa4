"""
What a crash left in a session's place, and its mending: what is safe and cheap for whoever goes on with the session.

`sessionlog doctor` looks for more of it, with the same means. Nothing here cuts or changes what is in a file.
"""

from __future__ import annotations

import enum
import gzip
import itertools
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.pipeline.files import check_regular, open_regular
from sessionlog_handlers.pipeline.leftovers import is_orphan, log_of, temporary_of
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.log_ends import read_head
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX, make_room, move_slot, occupied

CHUNK = 256 * 1024  # bytes
_GZIP_SIZE = 4  # bytes at a gzip's end that tell the size of what it holds
BROKEN_SUFFIX = ".broken"  # of a file that was set aside
BROKEN_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    Something that is not as it should be.

    Args:
        kind: Its name, one word for each kind.

        path: The file or directory.

        wrong: What is wrong with it.

        remedy: What is done about it, or why nothing can be.

        session: The session's id; empty for what belongs to the root.

        harmless: Nothing is lost by it, and it is in nobody's way.

        while_running: It may be mended while the session runs.

        locks: Its mending takes the session's lock by itself; any other wants it held.

        reads: Its mending reads whole files, without the lock, and gives what is left to do with it held.

        mend: Mends it, after another look at it. None if it can't be mended now.
    """

    kind: str
    path: str
    wrong: str
    remedy: str
    session: str = ""
    harmless: bool = False
    while_running: bool = False
    locks: bool = False
    reads: bool = False
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)


# -- a session's directory ---------------------------------------------------------------------------------------------


def settle_directory(directory: str, logs: Iterable[str], metadata: str, most: int) -> list[str]:
    """
    Settle what killed processes left of the compression and replacement of a session's files. Its lock is held.

    Costs one listing where there is nothing to do. What can't be settled stays as it is. Gives the files that are there
    plain and compressed and take too long to be compared now: `settle_twins` wants the lock for those.

    Args:
        directory: A directory of the session's.

        logs: The names of its logs.

        metadata: The name of its metadata.

        most: How many bytes a file and its gzip may have to be compared now.
    """
    logs, found, large = {*logs}, set(), []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            found.add(entry.name)
            stands_for = temporary_of(entry.name)
            if (stands_for in logs or stands_for == metadata) and is_orphan(entry):
                with suppress(OSError):
                    os.unlink(entry.path)
    for name in found:
        if name + GZIP_SUFFIX in found and log_of(name) in logs:
            path = os.path.join(directory, name)
            with suppress(OSError):
                if _size_of_twins(path) > most:
                    large.append(path)
                else:
                    settle_twins(path)
    return large


def _size_of_twins(path: str) -> int:
    """The most bytes that a comparison would read or unpack."""
    with open(open_regular(path + GZIP_SUFFIX), "rb") as packed:
        size = packed.seek(0, os.SEEK_END)
        packed.seek(max(size - _GZIP_SIZE, 0))
        return max(os.lstat(path).st_size, size, int.from_bytes(packed.read(_GZIP_SIZE), "little"))


class Twins(enum.Enum):
    """
    What a plain file and the compressed one beside it have to do with each other.
    """

    SAME = "the compressed one holds nothing that the plain one lacks"
    PLAIN_IS_CUT = "the plain one is only the beginning of the compressed one"
    DIFFERENT = "each holds what the other lacks"


def compare_twins(path: str) -> Twins:
    """
    Compare a file with its gzip, as far as that can be read.

    Raises:
        OSError: If one of them can't be read.
    """
    with open(open_regular(path), "rb") as plain, open(open_regular(path + GZIP_SUFFIX), "rb") as raw:
        packed = gzip.GzipFile(fileobj=raw)
        while True:
            try:
                unpacked = packed.read1(CHUNK)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                return Twins.SAME
            if not unpacked:  # it is whole: its checksum was compared
                return Twins.SAME
            here = plain.read(len(unpacked))
            if here != unpacked:
                is_cut = unpacked.startswith(here) and _is_whole(packed)
                return Twins.PLAIN_IS_CUT if is_cut else Twins.DIFFERENT


def _is_whole(packed: gzip.GzipFile) -> bool:
    try:
        while packed.read(CHUNK):
            pass
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    return True


def is_begun_anew(path: str) -> bool:
    """
    Whether a log and its gzip begin differently, so that the gzip is a log of before and no copy.
    """
    plain, unpacked = read_head(path), read_head(path + GZIP_SUFFIX)
    common = min(len(plain), len(unpacked))
    return plain[:common] != unpacked[:common]


def settle_twins(path: str, lock: FileLock | None = None) -> Twins | None:
    """
    Of a file and its gzip in the same place, remove the one that holds nothing of its own.

    A process was killed between the last two steps of a compression. The plain file is the one that counts, unless a
    loss of power has cut it.

    Args:
        path: The plain file.

        lock: The lock of the session's files, taken when the two have been compared; None if it is held. What has
            changed meanwhile is left alone, and None given.

    Raises:
        OSError: If one can't be read or removed.
    """
    before = _state_of_twins(path)
    found = compare_twins(path)
    with lock.hold() if lock else nullcontext(True) as locked:
        if not locked or _state_of_twins(path) != before:
            return None
        remove_twin(path, found)
    return found


def remove_twin(path: str, found: Twins) -> None:
    """
    Of a file and its gzip, remove the one that holds nothing of its own by that comparison.

    Raises:
        OSError: If it can't be removed.
    """
    if found is Twins.SAME:
        os.unlink(path + GZIP_SUFFIX)
    elif found is Twins.PLAIN_IS_CUT:
        os.unlink(path)


def _state_of_twins(path: str) -> list[tuple[int, int, int]]:
    states = map(os.lstat, (path, path + GZIP_SUFFIX))
    return [(found.st_ino, found.st_size, found.st_mtime_ns) for found in states]


# -- logs --------------------------------------------------------------------------------------------------------------


def has_torn_end(path: str) -> bool:
    """
    Whether a file's last line has no line end.

    Raises:
        OSError: If it can't be read.
    """
    with open(open_regular(path), "rb") as log:
        return _has_torn_end(log)


def _has_torn_end(log: BinaryIO) -> bool:
    size = log.seek(0, os.SEEK_END)
    if not size:
        return False
    log.seek(size - 1)
    return log.read(1) != b"\n"


def end_last_line(path: str) -> None:
    """
    Give a file's last line the line end that it lacks, as the next writer would. The lock is held.

    Raises:
        OSError: If it can't be written.
    """
    check_regular(path)
    flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags), "r+b", buffering=0) as log:
        if _has_torn_end(log):
            log.write(b"\n")


def missing_slots(path: str) -> list[int]:
    """
    The numbers that a log's rotated files leave out.
    """
    slots = {slot for slot, _ in archives(path)}
    return [slot for slot in range(1, max(slots, default=0)) if slot not in slots]


def close_gaps(path: str) -> None:
    """
    Move a log's rotated files down to the numbers that are left out, the youngest first. The lock is held.

    Raises:
        OSError: If a rename fails. Those that were made stay.
    """
    slots = sorted(slot for slot, _ in archives(path))
    for target, slot in enumerate(slots, 1):
        if slot != target:
            move_slot(f"{path}.{slot}", f"{path}.{target}")


def put_behind(path: str, *, packed: bool = False) -> None:
    """
    Move a log to the first of its rotated files, as a rotation does, but never delete one for it. The lock is held.

    What is whole in it stays readable, and nothing is ever appended behind what is not.

    Args:
        path: The log.

        packed: Whether it is its compressed self that is moved, of a time before the plain one. (default: False)

    Raises:
        OSError: If a rename fails. The log is still in its place then.
    """

    def slot_name(slot: int) -> str:
        return f"{path}.{slot}"

    make_room(slot_name, next(slot for slot in itertools.count(1) if not occupied(slot_name(slot))))
    if packed:
        check_regular(path + GZIP_SUFFIX)
        os.rename(path + GZIP_SUFFIX, slot_name(1) + GZIP_SUFFIX)
    else:
        check_regular(path)
        os.rename(path, slot_name(1))


# -- metadata ----------------------------------------------------------------------------------------------------------


def set_aside(path: str) -> str:
    """
    Give a file that can't be made sense of another name, which nobody else has, and tell that. The lock is held.

    Raises:
        OSError: If it can't be renamed.
    """
    check_regular(path)
    name, number = path + BROKEN_SUFFIX, 0
    while os.path.lexists(name):
        number += 1
        name = f"{path}{BROKEN_SUFFIX}.{number}"
    os.rename(path, name)
    with suppress(OSError):  # a file system without modes
        os.chmod(name, BROKEN_MODE)
    return name


def kept_aside(path: str) -> list[str]:
    """
    The files that `set_aside` has made of that one.
    """
    directory, name = os.path.split(path)
    aside = re.compile(re.escape(name + BROKEN_SUFFIX) + r"(\.[0-9]+)?")
    with suppress(OSError):
        return [os.path.join(directory, found) for found in sorted(os.listdir(directory)) if aside.fullmatch(found)]
    return []


def is_broken(path: str) -> bool:
    """
    Whether something is there that could be metadata, and only is none. Asked when it could not be read as such.
    """
    with suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False
