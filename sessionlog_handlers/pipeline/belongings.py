"""
Which files are a session's own: those that its metadata names, with their old ones and what was left in the making.

A directory may hold files of others too, such as a recorder's chunks beside its log. These are never touched.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sessionlog_handlers.pipeline.layout import FAULTS_FILE, FLAT_DIRECTORY, is_below_root, names_session
from sessionlog_handlers.pipeline.leftovers import temporary_of
from sessionlog_handlers.pipeline.pruning import Identity, identity
from sessionlog_handlers.pipeline.recovery import BROKEN_SUFFIX

# Rotated and compressed files, and those that were set aside because they are broken.
_OLD = re.compile(rf"(.+?)(?:\.[1-9][0-9]{{0,8}})?(?:\.gz)?(?:{re.escape(BROKEN_SUFFIX)}(?:\.[0-9]+)?)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Belongings:
    """
    What a session has on the disk. Paths are below the root.

    Args:
        files: Its files and what each of them is, the metadata last.

        directories: Its directories, the deepest first.

        whole: The session's directory, if nothing else is in it; else empty.
    """

    files: Mapping[str, Identity]
    directories: tuple[str, ...]
    whole: str = ""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for _, _, size in self.files.values())

    def moves(self) -> Iterator[str]:
        """
        What has to be renamed to take the session away, its metadata with the last of it.
        """
        for path in self.files:
            if not self.whole or not path.startswith(f"{self.whole}/"):
                yield path
        if self.whole:
            yield self.whole


def delete_belongings(root: str, belongings: Belongings) -> None:
    """
    Delete a session's files where they are, its metadata last, and the directories that are empty then. The session's
    lock is held.

    Raises:
        OSError: If a file can't be deleted.
    """
    for path in belongings.files:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(root, path))
    remove_directories(root, belongings)


def remove_directories(root: str, belongings: Belongings) -> None:
    """
    Remove the session's directories, as far as nothing is in them.
    """
    for directory in belongings.directories:
        with suppress(OSError):  # holds something that is not ours
            os.rmdir(os.path.join(root, directory))


class Listings:
    """
    The names in directories of a root, by the log that they belong to. A directory that many sessions share is read
    once.

    Args:
        root: The root directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._shared: dict[str, dict[str, list[str]]] = {}

    def names(self, directory: str, *, shared: bool) -> dict[str, list[str]]:
        """
        For each log, the names that belong to it.
        """
        if shared and directory in self._shared:
            return self._shared[directory]
        found: dict[str, list[str]] = {}
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(os.path.join(self._root, directory)):
                match = _OLD.fullmatch(name)
                for log in {name, temporary_of(name) or (match[1] if match else name)}:
                    found.setdefault(log, []).append(name)
        if shared:
            self._shared[directory] = found
        return found


def find_belongings(
    root: str, metadata_file: str, files: Iterable[str], listings: Listings | None = None
) -> Belongings:
    """
    What there is of a session. Links are not followed, and what is no regular file is nobody's.

    Args:
        root: The root directory.

        metadata_file: Its metadata, below the root.

        files: Its log and audit files, below the root, as its metadata names them.

        listings: What was read of the root before. (default: nothing)

    Raises:
        OSError: If a directory is there and can't be read.
    """
    listings = listings or Listings(root)
    own = os.path.dirname(metadata_file)
    named: dict[str, list[str]] = {}
    for path in files:
        if may_own(path, os.path.basename(own)):
            named.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    named.setdefault(own, []).append(FAULTS_FILE)
    found: dict[str, Identity] = {}
    for directory in sorted(named, key=lambda path: (path == own, path)):
        if not _is_reached_without_links(root, directory):
            continue
        is_own = directory == own or directory.startswith(f"{own}/")
        names = listings.names(directory, shared=not is_own)
        for log in dict.fromkeys(named[directory]):
            plain = {name.removesuffix(".gz") for name in names.get(log, [])}
            # The listing may be older than a compression.
            _look_at(root, directory, sorted({*plain, *(f"{name}.gz" for name in plain)}), found)
        if directory == own:
            metadata = os.path.basename(metadata_file)
            others = [name for name in names.get(metadata, []) if name != metadata]
            _look_at(root, own, [*sorted(others), metadata], found)
    directories = _directories(named, os.path.basename(own))
    is_whole = metadata_file in found and _holds_only(root, own, found, directories)
    return Belongings(found, directories, own if is_whole else "")


def may_own(path: str, name: str) -> bool:
    """
    Whether a session of that name may have that file: what metadata.json says is not to be taken on trust.
    """
    first, _, rest = path.partition("/")
    if first.startswith(".") and (first != FLAT_DIRECTORY or rest.partition("/")[0] != name):
        return False
    return is_below_root(path) and names_session(path, name)


def _is_reached_without_links(root: str, directory: str) -> bool:
    path = root
    for part in filter(None, directory.split("/")):
        path = os.path.join(path, part)
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                continue
        return False
    return True


def _look_at(root: str, directory: str, names: Iterable[str], found: dict[str, Identity]) -> None:
    for name in names:
        path = os.path.join(directory, name)
        with suppress(FileNotFoundError):
            status = os.lstat(os.path.join(root, path))
            if stat.S_ISREG(status.st_mode):
                found[path] = identity(status)


def _directories(named: Iterable[str], name: str) -> tuple[str, ...]:
    """The directories that are there for this session alone, since their path names it."""
    found: set[str] = set()
    for directory in named:
        while name in directory.split("/"):
            found.add(directory)
            directory = os.path.dirname(directory)
    return tuple(sorted(found, key=lambda path: (-path.count("/"), path)))


def _holds_only(root: str, directory: str, files: Mapping[str, Identity], directories: tuple[str, ...]) -> bool:
    try:
        with os.scandir(os.path.join(root, directory)) as entries:
            for entry in entries:
                path = os.path.join(directory, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if path not in directories or not _holds_only(root, path, files, directories):
                        return False
                elif path not in files:
                    return False
    except FileNotFoundError:  # somebody is removing it
        return False
    return True
