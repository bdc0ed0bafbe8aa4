"""
A session's metadata made anew from the first and the last lines of its files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.formats.line import Line, LineFormat
from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.pipeline.files import decode_json
from sessionlog_handlers.pipeline.log_ends import TAIL, first_line, newest_first
from sessionlog_handlers.pipeline.metadata import Metadata
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX


class LogFile(NamedTuple):
    """
    One of a session's files.

    Args:
        path: Where it is.

        name: Its path below the root.

        format: What its lines are written in.
    """

    path: str
    name: str
    format: LineFormat


def rebuild(session: str, logs: Sequence[LogFile], unpack: int | None = None) -> Metadata | None:
    """
    Make a session's metadata anew from the first and the last lines of its files; None if they have none.

    Args:
        session: The id; if empty, that of its first line.

        logs: Its files, its log first.

        unpack: How many bytes a compressed file may hold to have its end looked at; None for any number.

    Raises:
        OSError: If one is there and can't be read now.
    """
    first = first_of(logs)
    if first is None:
        return None
    begin = first.data if first.event == "session_start" else {}
    command, app = _plain(begin.get("command")), _plain(begin.get("metadata"))
    metadata = Metadata(
        session=session or first.session,
        start=format_ms(first.ts),
        implicit=_plain(begin.get("implicit")) is True,
        level=begin["level"] if isinstance(begin.get("level"), str) else "",
        command=command if isinstance(command, str | list) else None,
        metadata=app if isinstance(app, dict) else {},
        files=[log.name for log in logs],
    )
    own = _last_of_owner(logs, unpack)
    metadata.seq = max((line.seq or 0 for line in own), default=0)
    _close(metadata, logs, own)
    return metadata


def _plain(value: Any) -> Any:
    """A value of a line's data. Some formats have text for all that is not plain."""
    found: Any = decode_json(value.encode("utf-8", "replace"), object) if isinstance(value, str) else None
    return found if isinstance(found, list | dict | bool) else value


def close_by_lines(metadata: Metadata, logs: Sequence[LogFile]) -> None:
    """
    Say in the metadata of a session that nobody runs what its last lines say of its end.

    Raises:
        OSError: If a file is there and can't be read now.
    """
    _close(metadata, logs, _last_of_owner(logs))


def _last_of_owner(logs: Iterable[LogFile], unpack: int | None = None) -> list[Line]:
    # Of the process that began the session: others may have written after it had ended.
    return [line for log in logs if (line := _last_by(log, None, unpack=unpack))]


def _close(metadata: Metadata, logs: Sequence[LogFile], own: Iterable[Line]) -> None:
    last = max(own, key=lambda line: (line.ts, line.event == "session_end"), default=None)
    metadata.writers = {}
    if last is not None and last.event == "session_end":
        reason = last.data.get("reason")
        metadata.state, metadata.end = "ended", format_ms(last.ts)
        metadata.reason = reason if isinstance(reason, str) else None
        return
    # Only a session that has ended has its log compressed. That one may be too large to be looked at.
    log = logs[0].path
    is_packed = last is None and os.path.lexists(log + GZIP_SUFFIX) and not os.path.lexists(log)
    metadata.state = "ended" if is_packed else "crashed"
    last = last_of(logs)
    metadata.end = format_ms(last.ts) if last else None


def first_of(logs: Iterable[LogFile]) -> Line | None:
    """
    The first line of all of a session's files. Of those written at the same moment, the one with which it started.
    """
    oldest = []
    for log in logs:
        names = [*(str(path) for _, path in archives(log.path)), log.path, log.path + GZIP_SUFFIX]
        line = next((line for name in names if (line := first_line(name, log.format))), None)
        if line is not None:
            oldest.append(line)
    return min(oldest, key=lambda line: (line.ts, line.event != "session_start"), default=None)


def last_of(logs: Iterable[LogFile]) -> Line | None:
    """
    The last line of all of a session's files.

    Raises:
        OSError: If one is there and can't be read now.
    """
    found = (next(_newest_first(log, TAIL), None) for log in logs)
    return max(filter(None, found), key=lambda line: line.ts, default=None)


def _newest_first(log: LogFile, most: int, unpack: int | None = 0) -> Iterator[Line]:
    # A rotation may have moved the log away just before the crash.
    for name in (log.path, f"{log.path}.1"):
        yield from newest_first(name, log.format, most)
        if unpack != 0:
            yield from newest_first(name + GZIP_SUFFIX, log.format, most, unpack)


def last_number(logs: Iterable[LogFile], pid: int | None = None, most: int = TAIL) -> int:
    """
    The number of the last line of one process, None being the owner, in any of a session's plain files.

    An audit file may have the last one, if the level kept it out of the log. And a file may just have been rotated.

    Args:
        logs: The session's files.

        pid: The process.

        most: How many bytes of each file's end are looked at.

    Raises:
        OSError: If one is there and can't be read now.
    """
    found = (_last_by(log, pid, most) for log in logs)
    return max((line.seq or 0 for line in found if line), default=0)


def _last_by(log: LogFile, pid: int | None, most: int = TAIL, unpack: int | None = 0) -> Line | None:
    return next((line for line in _newest_first(log, most, unpack) if line.pid == pid), None)
