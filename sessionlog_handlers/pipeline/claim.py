"""
Taking a session's place on the disk: a new one, one that goes on, one that another process runs, or one that crashed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.compression import adopt_compressed
from sessionlog_handlers.pipeline.files import make_directory, make_root, open_regular
from sessionlog_handlers.pipeline.layout import directory_name
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX, make_room
from sessionlog_handlers.pipeline.shared import Shared

TAIL = 64 * 1024  # bytes of a log's end in which its last whole line is looked for


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What was found in the session's place.

    Args:
        owner: This process begins the session, and will end it.

        goes_on: It runs, so nothing needs to be said of its start.

        resumed: It was there before, ended or crashed.

        refused: It was ended on purpose, and only a record without a session to belong to asks for it.

        seq: The number of the last line that is already there.

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
        OSError: If the directories can't be made.
    """
    settings = shared.settings
    if settings.single_file:
        for directory in channel.paths.directories():
            make_root(directory, settings.directory_mode)
        return Claim(owner=True)
    make_root(shared.directory, settings.directory_mode)
    shared.take_lease()
    metadata = read_metadata(channel.paths.metadata)
    if metadata is not None and metadata.session != channel.id and metadata.session:
        # A file system that folds case, or a directory that somebody renamed: the second comer takes another name.
        channel.paths.name = directory_name(channel.id, distinct=True)
        metadata = read_metadata(channel.paths.metadata)
    for directory in channel.paths.directories():
        make_directory(directory, settings.directory_mode)
    if metadata is None:
        last = _last_line(channel, shared)
        return Claim(owner=True, resumed=last is not None, seq=last.seq or 0 if last else 0)
    return _judge(channel, shared, metadata)


def _judge(channel: Channel, shared: Shared, metadata: Metadata) -> Claim:
    known = {metadata.owner, *metadata.writers} - {""}
    ours = known & shared.own_leases
    if metadata.state == "running":
        if ours and metadata.owner in ours:
            return Claim(owner=True, goes_on=True, seq=metadata.seq)
        leases = shared.lease.directory
        if any(is_alive(leases, name) for name in known - ours):
            return Claim(owner=False, goes_on=True)
        if metadata.owner in shared.inherited_leases:
            return Claim(owner=True, goes_on=True, seq=metadata.seq)  # a daemon's parent has left, as it should
    elif metadata.state == "ended" and channel.implicit and not metadata.implicit:
        return Claim(owner=False, refused=True)
    _adopt(channel, shared)
    last = _last_line(channel, shared)
    seq = max(metadata.seq, last.seq or 0 if last else 0)
    crashed = None
    if metadata.state == "running":
        crashed = {"pid": metadata.pid, "started": metadata.start}
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


def _last_line(channel: Channel, shared: Shared) -> Line | None:
    """The last whole line of the session's log, if there is one."""
    try:
        with open(open_regular(channel.paths.log), "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - TAIL, 0))
            tail = log.read()
    except OSError:
        return None
    log_format = shared.plan.formats[shared.plan.format_of_file[0]]
    for raw in reversed(tail.splitlines()):
        try:
            return log_format.parse(raw)
        except InvalidLineError:
            continue
    return None
