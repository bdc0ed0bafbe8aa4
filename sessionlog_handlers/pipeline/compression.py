"""
Gzip of files that are full: made beside them without a lock, put in their place under it.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

from sessionlog_handlers.pipeline.files import open_for_append, open_regular, temporary_name
from sessionlog_handlers.pipeline.leftovers import log_of, remove_leftovers
from sessionlog_handlers.pipeline.locks import LOCK_TIMEOUT, FileLock
from sessionlog_handlers.pipeline.recovery import Twins, compare_twins
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX, move_slot

COMPRESSION_LEVEL = 6  # zlib's own default: 9 takes three times as long for a few percent
CHUNK = 256 * 1024  # bytes


def compress_file(
    path: str,
    lock: FileLock,
    *,
    mode: int = 0o600,
    names: Iterable[str] = (),
    allowed: Callable[[], bool] | None = None,
) -> str | None:
    """
    Replace a file that nobody appends to by its gzip, and give the new name; None if it is gone, was not needed, or has
    another gzip beside it that holds what it lacks.

    While the copy is made, other processes may move the file to another slot or delete it. So the copy is put in place
    under the lock, beside the name that has the same inode then.

    Args:
        path: The plain file.

        lock: The lock of the session's files.

        mode: Permission bits of the new file.

        names: The names that the file may have moved to meanwhile. (default: *path* alone)

        allowed: Asked under the lock whether the file may still be replaced.

    Raises:
        OSError: If the copy can't be made, on a full disk for example. The plain file is untouched then.
    """
    try:
        if os.path.lexists(path + GZIP_SUFFIX) and compare_twins(path) is not Twins.SAME:
            return None
        source = open_regular(path)
    except FileNotFoundError:
        return None
    directory, name = os.path.split(path)
    remove_leftovers(directory, [log_of(name)])
    temporary = temporary_name(path)
    with open(source, "rb") as plain:
        before = os.fstat(source)
        try:
            _write_copy(plain, temporary, mode)
            os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
            return _commit(temporary, before, lock, names or (path,), allowed)
        except FileNotFoundError:  # its session was removed meanwhile, and the copy with it
            return None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def _write_copy(plain: BinaryIO, temporary: str, mode: int) -> None:
    target, _ = open_for_append(temporary, mode, extra_flags=os.O_EXCL)
    with open(target, "wb") as raw:
        # No name and no time in the header: the same log gives the same bytes.
        with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, raw, mtime=0) as packed:
            shutil.copyfileobj(plain, packed, CHUNK)
        raw.flush()
        os.fsync(target)  # before the plain file goes, the copy must survive a power loss


def _commit(
    temporary: str, before: os.stat_result, lock: FileLock, names: Iterable[str], allowed: Callable[[], bool] | None
) -> str | None:
    with lock.hold(LOCK_TIMEOUT) as locked:
        if not locked or (allowed and not allowed()):
            return None
        for name in names:
            with suppress(FileNotFoundError):
                found = os.lstat(name)
                if (found.st_ino, found.st_dev, found.st_size) == (before.st_ino, before.st_dev, before.st_size):
                    os.replace(temporary, name + GZIP_SUFFIX)
                    os.unlink(name)
                    return name + GZIP_SUFFIX
    return None


def adopt_compressed(path: str, slot_name: Callable[[int], str]) -> None:
    """
    Make a log that was compressed at its session's end (``session.log.gz``) the youngest old file, since its session
    goes on. Slot 1 must be free.
    """
    if os.path.lexists(path + GZIP_SUFFIX) and not os.path.lexists(path):
        move_slot(path, slot_name(1))
