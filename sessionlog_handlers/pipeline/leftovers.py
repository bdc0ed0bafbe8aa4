"""
What a process leaves that is killed while it compresses or replaces a file: a copy under a temporary name.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

ORPHAN_AGE = 3600.0  # seconds; a copy that nobody has touched for so long was left by a process that was killed

# As `files.temporary_name` makes it.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)
_SLOT = re.compile(r"\.[0-9]+$")


def log_of(name: str) -> str:
    """
    The name of the log that a rotated file belongs to; of any other file its own.
    """
    return _SLOT.sub("", name)


def temporary_of(name: str) -> str | None:
    """
    The name of the file that a temporary name stands for, a rotated one's without its number; None if it is none.
    """
    match = _TEMPORARY.fullmatch(name)
    return log_of(match[1]) if match else None


def is_orphan(entry: os.DirEntry[str]) -> bool:
    """
    Whether nobody has touched a temporary file for so long that whoever made it must be dead.
    """
    with suppress(OSError):
        found = entry.stat(follow_symlinks=False)
        # A finished copy has the log's own time already, so the time of its last change counts, too.
        age = time.time() - max(found.st_mtime, found.st_ctime)
        return stat.S_ISREG(found.st_mode) and age > ORPHAN_AGE
    return False


def find_leftovers(directory: str, names: Iterable[str]) -> Iterator[str]:
    """
    The paths of temporary files in a directory that nobody works on any more.

    Args:
        directory: Where to look; one that can't be read has none.

        names: The names of the files that they stand for, rotated ones' without their numbers.
    """
    wanted = {*names}
    with suppress(OSError), os.scandir(directory or os.curdir) as entries:
        for entry in entries:
            if temporary_of(entry.name) in wanted and is_orphan(entry):
                yield entry.path


def remove_leftovers(directory: str, names: Iterable[str]) -> None:
    """
    Remove what `find_leftovers` finds. Who lives and loses a copy keeps the file that it was made of.
    """
    for path in [*find_leftovers(directory, names)]:
        with suppress(OSError):
            os.unlink(path)
