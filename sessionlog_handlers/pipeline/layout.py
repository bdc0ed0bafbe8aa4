"""
From a session's id to its place below the root. An id is never a path.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

from sessionlog_handlers.exceptions import InvalidSessionIdError
from sessionlog_handlers.settings.layouts import Layout

LOCKS_DIRECTORY = ".locks"
LEASES_DIRECTORY = ".leases"
CONTROL_FILE = ".control"
FAULTS_DIRECTORY = ".faults"
FAULTS_FILE = "faults.txt"  # what `faulthandler` writes, in the session's directory
FLAT_DIRECTORY = ".sessions"  # where a flat layout has everything but the logs
PRUNING_DIRECTORY = ".pruning"  # sessions that are being removed
PRUNED_FILE = ".pruned.jsonl"  # what was removed, and why

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Names that Windows keeps for devices, whatever follows the first dot:
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
SLUG_LENGTH = 48  # characters of the readable part
DIGEST_LENGTH = 16  # hex digits: 64 bits, a chance of 3e-10 for two of 100,000 ids to meet
MARK = "~"  # between slug and digest; not allowed in an id that is used as it is, so the two kinds never meet


def check_id(session_id: object) -> str:
    """
    Give the id back if it can name a session.

    Raises:
        InvalidSessionIdError: If it is no text, or empty.
    """
    if not isinstance(session_id, str):
        raise InvalidSessionIdError(
            f"a session id is text, and {session_id!r:.60} is {type(session_id).__name__}; pass str(…)", session_id
        )
    if not session_id:
        raise InvalidSessionIdError("a session id can't be empty", session_id)
    return session_id


def is_below_root(path: str) -> bool:
    """
    Whether a relative path, as metadata.json names files, stays below the root. Whoever wrote it must not lead others
    elsewhere.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half of a surrogate pair: no file can have that name
        return False
    return not os.path.isabs(path) and ".." not in path.split("/") and "\0" not in path


def names_around(part: str, name: str) -> Iterator[str]:
    """
    A session's name where it stands as a word in one part of a path, and all longer names that it may be a piece of:
    of ``job`` in ``of-job-2.log`` also ``job-2`` and ``of-job``, for example.
    """
    for found in re.finditer(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", part):
        starts = [place.start() for place in re.finditer(r"(?<![A-Za-z0-9])(?=[A-Za-z0-9])", part[: found.end()])]
        ends = {found.end(), *(place.start() for place in re.finditer(r"(?<=[A-Za-z0-9])(?![A-Za-z0-9])", part))}
        for start in starts:
            if start <= found.start():
                yield from (part[start:end] for end in ends if end >= found.end())


def directory_name(session_id: str, *, distinct: bool = False) -> str:
    """
    The one name below the root that belongs to an id.

    Args:
        session_id: Any text.

        distinct: Use the name with the digest even if the id could be used as it is, because the plain name is taken
            by an id that the file system does not tell apart.
    """
    plain = _SAFE_ID.fullmatch(session_id) and not session_id.endswith(".") and not _RESERVED.fullmatch(session_id)
    if plain and not distinct:
        return session_id
    digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", session_id)[:SLUG_LENGTH].strip("-._")
    return f"{slug or 'session'}{MARK}{digest}"


class SessionPaths:
    """
    Where the files of one session are.

    Args:
        root: The root directory.

        layout: The layout of its sessions.

        name: The session's name below the root, from `directory_name`.

        single_file: The one file that takes the place of all, if per-session files are switched off.
    """

    __slots__ = ("_layout", "_root", "_single_file", "name")

    def __init__(self, root: str, layout: Layout, name: str, single_file: str | None = None) -> None:
        self._root = root
        self._layout = layout
        self._single_file = single_file
        self.name = name

    def in_layout(self, layout: Layout, single_file: str | None) -> SessionPaths:
        """
        The same session's place in another layout. Its name stays, also one that it only has because of a clash.
        """
        return SessionPaths(self._root, layout, self.name, single_file)

    @property
    def root(self) -> str:
        """The root directory."""
        return self._root

    def file(self, index: int) -> str:
        """The path of the layout's file of that number."""
        # Not by `os.path.join`, which takes six times as long: this is asked for with each write.
        return self._single_file or f"{self._root}/{self._layout.files[index].path.replace('{id}', self.name)}"

    def files(self) -> list[str]:
        """The paths of all files of the layout."""
        return [self.file(index) for index in range(len(self._layout.files))]

    def formats(self) -> dict[str, str]:
        """The format of each file of the layout, by its path."""
        return {self.file(index): spec.format for index, spec in enumerate(self._layout.files)}

    def relative_files(self) -> list[str]:
        """The same, below the root."""
        return [spec.path.replace("{id}", self.name) for spec in self._layout.files]

    @property
    def log(self) -> str:
        """The session's log, the first file of the layout."""
        return self.file(0)

    @property
    def metadata(self) -> str:
        """The path of ``metadata.json``."""
        return f"{self._root}/{self._layout.metadata.replace('{id}', self.name)}"

    @property
    def directory(self) -> str:
        """The session's own directory, where its metadata is."""
        return os.path.dirname(self.metadata)

    def directories(self) -> list[str]:
        """Every directory that must be there before the session's files can be."""
        if self._single_file:
            return [os.path.dirname(self._single_file)]
        found = {os.path.dirname(self.file(index)): None for index in range(len(self._layout.files))}
        return [*found, self.directory] if self.directory not in found else [*found]
