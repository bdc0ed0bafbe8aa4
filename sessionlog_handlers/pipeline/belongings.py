"""
Which files are a session's own: those that its metadata names, with their old ones and what was left in the making.

A directory may hold files of others too, such as a recorder's chunks beside its log. These are never touched.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sessionlog_handlers.pipeline.layout import FAULTS_FILE, FLAT_DIRECTORY, is_below_root, names_around
from sessionlog_handlers.pipeline.leftovers import temporary_of
from sessionlog_handlers.pipeline.places import metadata_in
from sessionlog_handlers.pipeline.pruning import Identity, identity
from sessionlog_handlers.pipeline.recovery import BROKEN_SUFFIX
from sessionlog_handlers.settings.layouts import LAYOUTS

_SUFFIXES = (".log", ".jsonl")  # of a flat log, after the session's name alone
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


def owns(root: str, path: str, name: str) -> bool:
    """
    Whether a session may have that file: what metadata.json says is not to be taken on trust.

    All in its own directory is its own. So is what has its name elsewhere, unless another session's directory is that
    place, or one whose name is longer has the file: ``job-2.log`` may be of ``job`` or of ``job-2``.

    Args:
        root: The root directory.

        path: The file, below the root.

        name: The session's name below the root.
    """
    if not is_below_root(path) or path != posixpath.normpath(path):
        return False
    first, *others = path.split("/")
    if first.startswith("."):
        return first == FLAT_DIRECTORY and len(others) > 1 and others[0] == name
    if others and first == name:
        return True
    if others and metadata_in(Path(root, first))[1] is not None:
        return False
    *directories, last = first, *others
    if name in directories or last.removeprefix(name) in _SUFFIXES:
        return True
    around = {found for part in (first, *others) for found in names_around(part, name)}
    return bool(around) and not any(_has(root, other, path) for other in around - {name})


def _has(root: str, name: str, path: str) -> bool:
    """Whether there is a session of that name which has that file, by its metadata or if that is lost, by the names."""
    for directory in (Path(root, name), Path(root, FLAT_DIRECTORY, name)):
        metadata = metadata_in(directory)[1]
        if metadata is not None and path in metadata.files:
            return True
        if metadata is None and directory.is_dir() and _stands_for(name, path):
            return True
    return False


def _stands_for(name: str, path: str) -> bool:
    return path in {spec.path.replace("{id}", name) for layout in LAYOUTS.values() for spec in layout.files}


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
        if owns(root, path, os.path.basename(own)):
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
