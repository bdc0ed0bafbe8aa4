"""
One look at a root directory: where sessions are in it, whatever their layout, and what their files tell of them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.timestamps import parse_timestamp
from sessionlog_handlers.pipeline.layout import FLAT_DIRECTORY, LEASES_DIRECTORY, directory_name, is_below_root
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata
from sessionlog_handlers.pipeline.pruning import identity_of, records_of

METADATA_NAMES = ("metadata.json", ".metadata.json")

# What the log is called in the named layouts; for sessions without metadata, the first that is there.
_USUAL_LOGS = ("session.log", "system.jsonl")
_FLAT_SUFFIX = ".jsonl"
_LOG = re.compile(r"(.+\.(?:log|jsonl))(?:\.[1-9][0-9]{0,8})?(?:\.gz)?", re.DOTALL)

OnError: TypeAlias = Callable[[OSError], object]
FirstLine: TypeAlias = Callable[[Path], Line | None]

SessionState = Literal["running", "ended", "crashed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """
    One session as its files show it. Times are seconds since the epoch.

    Args:
        id: As the app gave it. Of a session without metadata the name of its place, if its lines do not tell.

        root: The root directory.

        directory: The session's own directory, where its metadata is.

        log: Its log. The file may be missing, while rotated ones are there.

        files: Its log and audit files, each without its rotated ones, as far as they are there. The log is the first.

        metadata: What ``metadata.json`` holds; None if there is none or it can't be read.

        state: ``running``, ``ended`` or ``crashed``. ``running`` is only who has a living process, any other is
            ``crashed``. Without metadata nobody can tell: ``unknown``.

        start: When it began.

        end: When it ended; None while it runs. If it crashed, the time of its last line, where somebody has noted it.

        reason: Why it ended.

        level: Its session level; empty if not known.

        severity: Its severity threshold; empty for none.

        size: Bytes of all its files, rotated ones and metadata included.

        last_write: When a log of it was written last.

    .. versionadded:: 0.1.0
    """

    id: str
    root: Path
    directory: Path
    log: Path
    files: tuple[Path, ...]
    metadata: Metadata | None
    state: SessionState
    start: float | None
    end: float | None
    reason: str | None
    level: str
    severity: str
    size: int
    last_write: float | None

    @property
    def over(self) -> float | None:
        """When it ended, or was written last if it crashed; None while nobody can tell that it is over."""
        if self.state not in ("ended", "crashed"):
            return None
        return next((time for time in (self.end, self.last_write, self.start) if time is not None), None)

    @property
    def flat(self) -> bool:
        """Whether its log is beside its directory and not in it."""
        return self.directory.parent.name == FLAT_DIRECTORY

    @property
    def pinned(self) -> bool:
        """Whether it was pinned by itself (``sessionlog pin``), so that retention never removes it."""
        return bool(self.metadata and self.metadata.pinned)

    @property
    def pid(self) -> int | None:
        """The process that began it, if that is known."""
        return (self.metadata.pid or None) if self.metadata else None

    def file(self, name: str) -> Path:
        """
        One of its files by name, or by path below the root.

        Raises:
            FileNotFoundError: If it has no such file; the text lists those it has.
        """
        for path in self.files:
            if name in (path.name, str(path), os.path.relpath(path, self.root)):
                return path
        names = ", ".join(path.name for path in self.files) or "none"
        raise FileNotFoundError(f"session {self.id!r} has no file {name!r}; it has {names}")


class Place(NamedTuple):
    """
    Where a session may be.

    Args:
        name: Its name below the root.

        directory: Its own directory.

        flat: Whether its log is beside that directory and not in it.
    """

    name: str
    directory: Path
    flat: bool


class _LogFiles(NamedTuple):
    """A log with its rotated files, in numbers."""

    size: int = 0
    last_write: float = 0.0

    def plus(self, status: os.stat_result) -> _LogFiles:
        return _LogFiles(self.size + status.st_size, max(self.last_write, status.st_mtime))


def _ignore(error: OSError) -> None:
    pass


def _unread(log: Path) -> Line | None:
    return None


class RootPlaces:
    """
    One look at a root. What vanishes meanwhile is taken as not there.

    Args:
        root: The root directory.

        on_error: What is called with each error of a directory that is there and can't be read. (default: nothing)

        first_line: Gives the first line of a log, which tells the id of a session without metadata. (default: such a
            session is called as its place is)
    """

    def __init__(self, root: Path, on_error: OnError = _ignore, first_line: FirstLine = _unread) -> None:
        self.root = root
        self._on_error = on_error
        self._first_line = first_line
        self._told: set[str] = set()
        self._alive: dict[str, bool] = {}

    @cached_property
    def _logs_of_root(self) -> dict[str, _LogFiles]:
        # Read once: in a flat layout all sessions' logs are in it.
        return _list_logs(self.root, self._tell)

    def _tell(self, error: OSError) -> None:
        # What is not there is no error: sessions are removed while somebody looks.
        if isinstance(error, FileNotFoundError | NotADirectoryError) or str(error.filename) in self._told:
            return
        self._told.add(str(error.filename))
        self._on_error(error)

    def all(self) -> Iterator[Place]:
        """
        Every place in which a session may be.
        """
        for name in _list_directories(self.root, self._tell):
            if not name.startswith("."):
                yield Place(name, self.root / name, flat=False)
        flat = _list_directories(self.root / FLAT_DIRECTORY, self._tell)
        names = {log.removesuffix(_FLAT_SUFFIX) for log in self._logs_of_root if log.endswith(_FLAT_SUFFIX)}
        for name in sorted({*flat, *names}):
            if not name.startswith("."):
                yield self._flat(name)

    def of_name(self, name: str) -> list[Place]:
        """
        The places in which a session of that name below the root may be.
        """
        return [Place(name, self.root / name, flat=False), self._flat(name)]

    def _flat(self, name: str) -> Place:
        return Place(name, self.root / FLAT_DIRECTORY / name, flat=True)

    def look(self, place: Place) -> SessionInfo | None:
        """
        The session in that place, or None if there is none, or only what is left of one that is being removed.
        """
        found = self._look(place)
        return None if found is None or self._is_being_removed(place, found) else found

    def _is_being_removed(self, place: Place, found: SessionInfo) -> bool:
        """
        Whether a session is on its way out, of which there may have been only a part to be seen.

        Who removes one makes a record of that first and takes its metadata last. So whoever finds no record after the
        look, and the metadata still there after that, has seen a whole session.
        """
        metadata = next((path for name in METADATA_NAMES if os.path.lexists(path := place.directory / name)), None)
        for record in records_of(str(self.root), place.name, flat=place.flat):
            if metadata is None or record.metadata == identity_of(str(metadata)):
                return True
        if found.metadata is not None:
            return not any(os.path.lexists(place.directory / name) for name in METADATA_NAMES)
        # The listing of a flat root is as old as this object.
        return place.flat and not os.path.lexists(found.log) and found.log.name not in _list_logs(self.root, _ignore)

    def _look(self, place: Place) -> SessionInfo | None:
        metadata_path, metadata = metadata_in(place.directory)
        logs = self._find_logs(place, metadata)
        if metadata is None and (not logs or self._are_of_other_place(place, logs)):
            return None
        files = tuple(path for path, found in logs.items() if found.last_write)
        log = next(iter(logs), place.directory / _USUAL_LOGS[0])
        if metadata is None:
            first = self._first_line(log)
            return SessionInfo(
                id=_id_from(first, place),
                root=self.root,
                directory=place.directory,
                log=log,
                files=files,
                metadata=None,
                state="unknown",
                start=first.ts if first else None,
                end=None,
                reason=None,
                level="",
                severity="",
                size=sum(found.size for found in logs.values()),
                last_write=max((found.last_write for found in logs.values()), default=None),
            )
        metadata, state = self._judge(place, metadata)
        return SessionInfo(
            id=metadata.session or place.name,
            root=self.root,
            directory=place.directory,
            log=log,
            files=files,
            metadata=metadata,
            state=state,
            start=_seconds(metadata.start),
            end=_seconds(metadata.end),
            reason=metadata.reason,
            level=metadata.level,
            severity=metadata.severity,
            size=sum(found.size for found in logs.values()) + _size_of(metadata_path),
            last_write=max((found.last_write for found in logs.values()), default=0.0) or None,
        )

    def _are_of_other_place(self, place: Place, logs: Iterable[Path]) -> bool:
        """Whether logs without metadata are those of a session that came to a flat layout, or left one."""
        other = next(one for one in self.of_name(place.name) if one.flat != place.flat)
        metadata = metadata_in(other.directory)[1]
        named = {self.root / name for name in metadata.files} if metadata else set()
        return any(log in named for log in logs)

    def _find_logs(self, place: Place, metadata: Metadata | None) -> dict[Path, _LogFiles]:
        """The session's logs, its main one first; one that metadata names may be empty-handed."""
        listings: dict[Path, dict[str, _LogFiles]] = {}
        found: dict[Path, _LogFiles] = {}
        for name in metadata.files if metadata else ():
            if not is_below_root(name):
                continue
            path = self.root / name
            if path.parent not in listings:
                listings[path.parent] = self._logs_in(path.parent)
            found[path] = listings[path.parent].get(path.name, _LogFiles())
        if metadata is not None and found:
            return found
        if place.flat:
            log = self.root / f"{place.name}{_FLAT_SUFFIX}"
            if log.name in self._logs_of_root:
                found[log] = self._logs_of_root[log.name]
        names = self._logs_in(place.directory)
        for name in sorted(names, key=lambda name: (name not in _USUAL_LOGS, name)):
            found[place.directory / name] = names[name]
        return found

    def _logs_in(self, directory: Path) -> dict[str, _LogFiles]:
        return self._logs_of_root if directory == self.root else _list_logs(directory, self._tell)

    def _judge(self, place: Place, metadata: Metadata) -> tuple[Metadata, SessionState]:
        if metadata.state == "running" and not self._lives(metadata):
            # It may have ended between the two looks, and given its lease back.
            metadata = metadata_in(place.directory)[1] or metadata
            if metadata.state == "running" and not self._lives(metadata):
                return metadata, "crashed"
        states: dict[str, SessionState] = {"running": "running", "ended": "ended", "crashed": "crashed"}
        return metadata, states.get(metadata.state, "unknown")

    def _lives(self, metadata: Metadata) -> bool:
        leases = os.path.join(self.root, LEASES_DIRECTORY)
        for name in {metadata.owner, *metadata.writers}:
            if not self._alive.get(name):
                self._alive[name] = is_alive(leases, name)
            if self._alive[name]:
                return True
        return False


def _list_directories(directory: Path, on_error: OnError) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        on_error(error)
        return []


def is_log(name: str) -> bool:
    """
    Whether a file of that name is taken for a log, or for a rotated or compressed one.
    """
    return _LOG.fullmatch(name) is not None


def _list_logs(directory: Path, on_error: OnError) -> dict[str, _LogFiles]:
    """The logs in a directory by name, each with its rotated and compressed files."""
    found: dict[str, _LogFiles] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                match = _LOG.fullmatch(entry.name)
                if match is None or entry.name.startswith("."):
                    continue
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[match[1]] = found.get(match[1], _LogFiles()).plus(status)
    except OSError as error:
        on_error(error)
    return found


def metadata_in(directory: Path) -> tuple[Path, Metadata | None]:
    """
    The metadata in a session's directory, and where it is: of two the one that names this place's session.

    An app may have a ``metadata.json`` of its own beside a recording's, which names neither a session nor its files.
    """
    found = [(path, metadata) for name in METADATA_NAMES if (metadata := read_metadata(str(path := directory / name)))]
    for path, metadata in reversed(found):
        if is_place_of(metadata.session, directory.name):
            return path, metadata
    return found[0] if found else (directory / METADATA_NAMES[0], None)


def is_place_of(session_id: str, name: str) -> bool:
    """
    Whether a session of that id may be called so below the root.
    """
    return bool(session_id) and any(name == directory_name(session_id, distinct=distinct) for distinct in (False, True))


def _id_from(first: Line | None, place: Place) -> str:
    """The id that the lines name, if it is one that belongs to this place."""
    return first.session if first and is_place_of(first.session, place.name) else place.name


def _seconds(text: str | None) -> float | None:
    with suppress(ValueError):
        return parse_timestamp(text) if text else None
    return None


def _size_of(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def look_again(info: SessionInfo, first_line: FirstLine = _unread) -> SessionInfo | None:
    """
    The same session as it is now, or None if it is gone.
    """
    place = Place(info.directory.name, info.directory, info.flat)
    return RootPlaces(info.root, first_line=first_line).look(place)
