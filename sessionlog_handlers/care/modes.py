"""
Permissions of files and directories that are not those that were asked for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class WrongMode(NamedTuple):
    """
    A file or a directory with other permissions than it should have.

    Args:
        path: Where it is.

        found: Its permission bits.

        wanted: Those that it should have.
    """

    path: str
    found: int
    wanted: int

    def __str__(self) -> str:
        return f"its permissions are {self.found:04o}, and should be {self.wanted:04o}"

    @property
    def remedy(self) -> str:
        """What is done about it."""
        return f"it gets {self.wanted:04o}"

    def mend(self) -> None:
        """
        Give it the permissions that it should have, if it still has those that were found.

        Raises:
            OSError: If that is refused.
        """
        found = os.lstat(self.path).st_mode
        if not stat.S_ISLNK(found) and found & 0o777 == self.found:
            os.chmod(self.path, found & 0o7000 | self.wanted)


def told_modes(config: Mapping[str, Any]) -> tuple[int, int]:
    """
    The permissions that a session's files and directories should have, by its metadata.
    """
    return _parse(config.get("file_mode"), FILE_MODE), _parse(config.get("directory_mode"), DIRECTORY_MODE)


def _parse(text: Any, default: int) -> int:
    try:
        return int(text, 8) & 0o777
    except (TypeError, ValueError):
        return default


def wrong_files(paths: Iterable[str], wanted: int) -> Iterator[WrongMode]:
    """
    Those of the files that have other permissions. What is no regular file is passed over.
    """
    return _wrong(paths, wanted, stat.S_ISREG)


def wrong_directories(paths: Iterable[str], wanted: int) -> Iterator[WrongMode]:
    """
    The same for directories.
    """
    return _wrong(paths, wanted, stat.S_ISDIR)


def _wrong(paths: Iterable[str], wanted: int, is_kind: Callable[[int], bool]) -> Iterator[WrongMode]:
    for path in paths:
        try:
            found = os.lstat(path).st_mode
        except OSError:
            continue
        if is_kind(found) and found & 0o777 != wanted:
            yield WrongMode(path, found & 0o777, wanted)
