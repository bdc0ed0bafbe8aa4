"""
One session as it is examined: its files, what they are written in, and whether it may run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.formats.registry import detect_format, get_format
from sessionlog_handlers.pipeline.belongings import owns
from sessionlog_handlers.pipeline.cleanup import is_written
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, LOCKS_DIRECTORY
from sessionlog_handlers.pipeline.leases import living
from sessionlog_handlers.pipeline.locks import FileLock, StripedLocks
from sessionlog_handlers.pipeline.log_ends import read_head
from sessionlog_handlers.pipeline.places import METADATA_NAMES, SessionInfo, is_place_of, metadata_in
from sessionlog_handlers.pipeline.reconstruction import LogFile, first_of
from sessionlog_handlers.pipeline.recovery import Finding
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX

LATER = "nothing now: a process runs the session, or may"


class Case:
    """
    A session that is examined.

    Args:
        info: The session as its files show it.
    """

    def __init__(self, info: SessionInfo) -> None:
        self.info = info
        self.root = str(info.root)
        self.directory = str(info.directory)
        # Whoever could write the metadata must not lead us to another session's files.
        own = [str(path) for path in dict.fromkeys((info.log, *info.files)) if self._is_own(path)]
        self.logs = own or [str(info.directory / info.log.name)]
        self.config: dict[str, Any] = info.metadata.config if info.metadata else {}
        self.leases = os.path.join(self.root, LEASES_DIRECTORY)

    def _is_own(self, path: Path) -> bool:
        return owns(self.root, path.relative_to(self.info.root).as_posix(), self.info.directory.name)

    @cached_property
    def root_is_used(self) -> bool:
        """Whether any process logs to the root."""
        return any(living(self.leases))

    @cached_property
    def may_run(self) -> bool:
        """Whether a process runs the session; where nobody can tell which one would, whether any could."""
        if self.info.state == "running" or (self.info.state == "unknown" and self.root_is_used):
            return True
        return self.info.metadata is not None and is_written(self.root, self.info.metadata)

    @property
    def is_ours(self) -> bool:
        """Whether its metadata or its lines prove that it is a session. Other programs' logs may be there, too."""
        return self.info.metadata is not None or bool(self.id_by_lines)

    @cached_property
    def id_by_lines(self) -> str:
        """The session's id as its lines tell it; empty if they prove none."""
        first = first_of(self.log_files)
        if first is None:
            return ""
        if first.session:
            return first.session if self.belongs_to(first.session) else ""
        name = self.info.directory.name
        return name if first.event == "session_start" and self.belongs_to(name) else ""

    def belongs_to(self, session: str) -> bool:
        """
        Whether the session of that id has its place here.
        """
        return is_place_of(session, self.info.directory.name)

    @property
    def lock(self) -> FileLock:
        """The lock of the session's files."""
        return StripedLocks(os.path.join(self.root, LOCKS_DIRECTORY), keep_open=0).for_session(self.info.id)

    @cached_property
    def directories(self) -> list[str]:
        """The session's own directories."""
        parents = (os.path.dirname(log) for log in self.logs)
        return [path for path in dict.fromkeys((self.directory, *parents)) if path != self.root]

    @cached_property
    def metadata_path(self) -> str:
        """Where its metadata is, or would be."""
        path, metadata = metadata_in(self.info.directory)
        if metadata is not None:
            return str(path)
        paths = [os.path.join(self.directory, name) for name in METADATA_NAMES]
        # Two layouts have a text log alone. The reader prefers the plain name, so the other is never in anybody's way.
        (log, *others) = self.log_files
        if log.format.name == "text" and not others:
            paths.reverse()
        return next(filter(os.path.lexists, paths), paths[0])

    @cached_property
    def log_files(self) -> list[LogFile]:
        """Its files with their formats, told by what is in them."""
        return [LogFile(path, os.path.relpath(path, self.root), _format_of(path)) for path in self.logs]

    def finding(
        self,
        kind: str,
        path: str,
        wrong: str,
        remedy: str,
        mend: Callable[[], object] | None = None,
        *,
        harmless: bool = False,
        while_running: bool = False,
        locks: bool = False,
        reads: bool = False,
    ) -> Finding:
        """
        Something that is wrong here. What a running process could have a hand in is not mended.
        """
        if mend is not None and self.may_run and not while_running:
            mend, remedy = None, LATER
        return Finding(
            kind=kind,
            path=path,
            wrong=wrong,
            remedy=remedy,
            session=self.info.id,
            harmless=harmless,
            while_running=while_running,
            locks=locks,
            reads=reads,
            mend=mend,
        )


def _format_of(path: str) -> Any:
    for name in (path, path + GZIP_SUFFIX, *(str(archive) for _, archive in archives(path)[::-1])):
        found = detect_format(read_head(name))
        if found is not None:
            return found
    return get_format("jsonl")
