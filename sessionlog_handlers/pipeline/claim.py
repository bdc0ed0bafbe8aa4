"""
Taking a session's place on the disk: a new one, one that goes on, one that another process runs, or one that crashed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Line, LineFormat
from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.compression import adopt_compressed
from sessionlog_handlers.pipeline.files import is_missing, make_directory, make_root, open_regular
from sessionlog_handlers.pipeline.layout import directory_name
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.metadata import Metadata, load_metadata
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX, make_room
from sessionlog_handlers.pipeline.shared import Shared

CHUNK = 64 * 1024  # bytes of a log's end that are read at a time
TAIL = 1024 * 1024  # bytes of a log's end in which a line is looked for


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What was found in the session's place.

    Args:
        owner: This process begins the session, and will end it.

        goes_on: It runs, so nothing needs to be said of its start.

        resumed: It was there before, ended or crashed.

        refused: It was ended on purpose, and only a record without a session to belong to asks for it.

        seq: The number of the last line that is already there: of the owner's if this process is it, else of its own.

        crashed: What is to be said of a process that ended without ending the session.
    """

    owner: bool
    goes_on: bool = False
    resumed: bool = False
    refused: bool = False
    seq: int = 0
    crashed: dict[str, Any] | None = None


def claim(channel: Channel, shared: Shared) -> Claim:
    """
    Make the session's directories and find out who runs it. The session's lock is held.

    Raises:
        OSError: If the directories can't be made, or what is there can't be read.
    """
    settings = shared.settings
    if settings.single_file:
        for directory in channel.paths.directories():
            make_root(directory, settings.directory_mode)
        return Claim(owner=True)
    make_root(shared.directory, settings.directory_mode)
    shared.take_lease()
    if _make_directories(channel, shared):
        return Claim(owner=True)
    metadata = load_metadata(channel.paths.metadata)
    if metadata is not None and metadata.session != channel.id and metadata.session:
        # A file system that folds case, or a directory that somebody renamed: the second comer takes another name.
        channel.paths.name = directory_name(channel.id, distinct=True)
        if _make_directories(channel, shared):
            return Claim(owner=True)
        metadata = load_metadata(channel.paths.metadata)
    if metadata is None:
        resumed = _last_line(channel, shared) is not None
        return Claim(owner=True, resumed=resumed, seq=_last_number(channel, shared) if resumed else 0)
    return _judge(channel, shared, metadata)


def _make_directories(channel: Channel, shared: Shared) -> bool:
    """Make the session's directories, and tell whether all of its files can only be new."""
    directories = channel.paths.directories()
    new = [directory for directory in directories if make_directory(directory, shared.settings.directory_mode)]
    return new == directories


def _judge(channel: Channel, shared: Shared, metadata: Metadata) -> Claim:
    known = {metadata.owner, *metadata.writers} - {""}
    ours = known & shared.own_leases
    if metadata.state == "running":
        if ours and metadata.owner in ours:
            return Claim(owner=True, goes_on=True, seq=_owners_number(channel, shared, metadata))
        leases = shared.lease.directory
        if any(is_alive(leases, name) for name in known - ours):
            return Claim(owner=False, goes_on=True, seq=_last_number(channel, shared, os.getpid(), CHUNK))
        if metadata.owner in shared.inherited_leases:
            # A daemon's parent has left, as it should.
            return Claim(owner=True, goes_on=True, seq=_owners_number(channel, shared, metadata))
    elif metadata.state == "ended" and channel.implicit and (metadata.final or not metadata.implicit):
        return Claim(owner=False, refused=True)
    _adopt(channel, shared)
    seq = _owners_number(channel, shared, metadata)
    crashed = None
    if metadata.state == "running":
        crashed = {"pid": metadata.pid, "started": metadata.start}
        last = _last_line(channel, shared)
        if last is not None:
            crashed["last_line"] = last.time.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return Claim(owner=True, resumed=True, seq=seq, crashed=crashed)


def _adopt(channel: Channel, shared: Shared) -> None:
    """Files that were compressed at the session's end become old files of the one that goes on."""
    for path in channel.paths.files():
        if os.path.lexists(path + GZIP_SUFFIX) and not os.path.lexists(path):

            def slot_name(slot: int, path: str = path) -> str:
                return f"{path}.{slot}"

            make_room(slot_name, max(shared.settings.backup_count, 1))
            adopt_compressed(path, slot_name)


def _owners_number(channel: Channel, shared: Shared, metadata: Metadata) -> int:
    """The number of the owner's last line. Metadata is some seconds old where the owner had no time to end."""
    return max(metadata.seq, _last_number(channel, shared))


def _last_number(channel: Channel, shared: Shared, pid: int | None = None, most: int = TAIL) -> int:
    """
    The number of the last line of one process, None being the owner, in any of the session's files.

    An audit file may have the last one, if the level kept it out of the log. And a file may just have been rotated.
    """
    found = 0
    for index, path in enumerate(channel.paths.files()):
        for name in (path, f"{path}.1"):
            lines = _newest_first(name, _format(shared, index), most)
            last = next((line for line in lines if line.pid == pid), None)
            if last is not None:
                found = max(found, last.seq or 0)
                break
    return found


def _last_line(channel: Channel, shared: Shared) -> Line | None:
    """The last whole line of the session's log, if there is one."""
    return next(_newest_first(channel.paths.log, _format(shared, 0)), None)


def _format(shared: Shared, index: int) -> LineFormat:
    return shared.plan.formats[shared.plan.format_of_file[index]]


def _newest_first(path: str, log_format: LineFormat, most: int = TAIL) -> Iterator[Line]:
    """The lines at a file's end, those left out that are none. Not more than *most* bytes are read."""
    try:
        descriptor = open_regular(path)
    except OSError as error:
        if is_missing(error):
            return
        raise
    with open(descriptor, "rb") as log:
        start = log.seek(0, os.SEEK_END)
        end = max(start - most, 0)
        rest = b""
        while start > end:
            begin = max(start - CHUNK, end)
            log.seek(begin)
            pieces = (log.read(start - begin) + rest).split(b"\n")
            rest = pieces.pop(0) if begin else b""
            for raw in filter(None, reversed(pieces)):
                with suppress(InvalidLineError):
                    yield log_format.parse(raw)
            start = begin
