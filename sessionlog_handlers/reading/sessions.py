"""
From root directories to the sessions in them: what they are called, how they are, and their lines.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sessionlog_handlers.exceptions import ConfigurationError, SessionNotFoundError
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.pipeline.layout import check_id, directory_name
from sessionlog_handlers.pipeline.places import RootPlaces, SessionInfo
from sessionlog_handlers.pipeline.roots import known_roots
from sessionlog_handlers.reading.reader import LineReader, StrPath, read_rotated
from sessionlog_handlers.settings.values import did_you_mean

DIRECTORY_VARIABLE = "SESSIONLOG_DIR"
MAX_NAMED = 10  # sessions that an error names
MAX_ROOTS_NAMED = 3  # directories


def find_roots(directory: StrPath | None = None, environ: Mapping[str, str] | None = None) -> list[Path]:
    """
    The roots in which sessions are looked for, each once.

    Args:
        directory: The one root to look in. (default: ``SESSIONLOG_DIR``; without that, every root that an app of this
            user ever logged to and that is still there)

        environ: The environment. (default: the process's own)

    Raises:
        ConfigurationError: If the one root that was named is no directory.

        OSError: If it can't be read.
    """
    named, key = directory, ""
    if named is None:
        named, key = (os.environ if environ is None else environ).get(DIRECTORY_VARIABLE) or None, DIRECTORY_VARIABLE
    if named is not None:
        path = Path(named).expanduser().absolute()
        if not path.is_dir():
            raise ConfigurationError(f"{os.fspath(named)!r} is not a directory", key)
        with os.scandir(path):  # one that may not be read would look empty
            return [path]
    roots: dict[tuple[int, int], Path] = {}
    for name in known_roots():
        try:
            status = os.stat(name)
        except (OSError, ValueError):
            continue
        if stat.S_ISDIR(status.st_mode):
            # A root that is reached through a link too is one root.
            roots.setdefault((status.st_dev, status.st_ino), Path(name))
    return list(roots.values())


def list_sessions(
    roots: Iterable[StrPath], on_error: Callable[[OSError], object] = lambda error: None
) -> Iterator[SessionInfo]:
    """
    Every session of these roots, in no particular order. What vanishes meanwhile is left out.

    Args:
        roots: Where to look.

        on_error: What is called with each error of a directory that can't be read; it may hold sessions. (default:
            nothing)
    """
    for root in roots:
        places = RootPlaces(Path(root), on_error, first_line)
        for place in places.all():
            found = places.look(place)
            if found is not None:
                yield found


def find_session(session_id: str, roots: Iterable[StrPath]) -> SessionInfo:
    """
    The session of that id.

    Args:
        session_id: Its id, the name of its directory, or the beginning of either if only one session has it.

        roots: Where to look.

    Raises:
        InvalidSessionIdError: If *session_id* can't be one.

        SessionNotFoundError: If there is none, or more than one; the text names them, and what could not be read.
    """
    check_id(session_id)
    paths = [Path(root) for root in roots]
    found = [info for root in paths if (info := _in_its_place(session_id, root))]
    if not found:
        errors: list[OSError] = []
        everyone = list(list_sessions(paths, errors.append))
        found = [info for info in everyone if session_id in (info.id, info.directory.name)] or [
            info for info in everyone if info.id.startswith(session_id) or info.directory.name.startswith(session_id)
        ]
        if not found:
            raise SessionNotFoundError(_not_found(session_id, paths, everyone, errors), session_id)
    if len(found) > 1:
        raise SessionNotFoundError(_ambiguous(session_id, found), session_id)
    return found[0]


def read_session(
    id: str, *, directory: StrPath | None = None, file: str | None = None, strict: bool = False
) -> LineReader:
    """
    The lines of a session's log with its rotated and compressed files, oldest first.

    What this process itself has logged before is written first.

    Args:
        id: The session's id, or the beginning of it if only one session has it.

        directory: The root to look in. (default: as of `find_roots`)

        file: The name of another file of it, such as ``audit_user.log``. (default: its log)

        strict: Whether to raise `InvalidLineError` at the first bad line, instead of counting it. (default: False)

    Raises:
        SessionNotFoundError: If there is no such session, or more than one.

        ConfigurationError: If *directory* is none.

        OSError: If it has no such file, or it can't be read.

    .. versionadded:: 0.1.0
    """
    own = _drain()
    roots = find_roots(directory)
    if directory is None and not os.environ.get(DIRECTORY_VARIABLE):
        # Our own roots are noted for others by a thread that may not have come to it yet.
        roots += [root for root in own if not any(root.samefile(known) for known in roots)]
    info = find_session(id, roots)
    return read_rotated(info.file(file) if file is not None else info.log, strict=strict)


def _drain() -> list[Path]:
    """Write what this process has queued, and give its roots."""
    # A process that never wrote has nothing to drain, and need not load the writing side to learn that.
    lifecycle = sys.modules.get("sessionlog_handlers.pipeline.lifecycle")
    if lifecycle is None:
        return []
    for live in lifecycle.all_roots():
        live.flush()
    return [path for live in lifecycle.all_roots() if (path := Path(live.directory)).is_dir()]


def first_line(log: Path) -> Line | None:
    """
    The first line of a log, rotated files included, that can be read; None if there is none.
    """
    with suppress(OSError):
        return next(iter(read_rotated(log)), None)
    return None


def _in_its_place(session_id: str, root: Path) -> SessionInfo | None:
    """The session where its id says that it is, without a look at any other."""
    places = RootPlaces(root, first_line=first_line)
    for distinct in (False, True):
        for place in places.of_name(directory_name(session_id, distinct=distinct)):
            found = places.look(place)
            if found is not None and found.id == session_id:
                return found
    return None


def _not_found(session_id: str, roots: list[Path], everyone: list[SessionInfo], errors: list[OSError]) -> str:
    if not roots:
        return f"there is no session {session_id!r}: no app of this user has logged one yet"
    names = {directory_name(session_id, distinct=distinct) for distinct in (False, True)}
    for error in errors:
        if os.path.basename(os.fsdecode(error.filename or "")) in names:
            return f"session {session_id!r}: {unreadable(error)}"
    hint = did_you_mean(session_id, [info.id for info in everyone])
    unread = f"; {name_some([unreadable(error) for error in errors])}" if errors else ""
    return f"there is no session {session_id!r} in {name_some([str(root) for root in roots])}{hint}{unread}"


def unreadable(error: OSError) -> str:
    """
    The clause about a directory that is there and can't be read.
    """
    return f"{os.fsdecode(error.filename or '')} can't be read ({error.strerror})"


def name_some(names: Sequence[str], limit: int = MAX_ROOTS_NAMED) -> str:
    """
    The first names, and how many more there are.
    """
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _ambiguous(session_id: str, found: list[SessionInfo]) -> str:
    if len({info.id for info in found}) == 1 and len({info.root for info in found}) == len(found):
        roots = [str(info.root) for info in found]
        places = " and ".join(roots) if len(roots) <= MAX_ROOTS_NAMED else name_some(roots)
        return f"session {found[0].id!r} is in {places}; name one of these directories"
    names = name_some(sorted(repr(info.id) for info in found), MAX_NAMED)
    return f"{session_id!r} is the beginning of {len(found)} sessions: {names}"
