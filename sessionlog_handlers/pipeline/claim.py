"""
Taking a session's place on the disk: a new one, one that goes on, one that another process runs, or one that crashed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.compression import adopt_compressed
from sessionlog_handlers.pipeline.faults import find_faults
from sessionlog_handlers.pipeline.files import make_directory, make_root
from sessionlog_handlers.pipeline.layout import directory_name
from sessionlog_handlers.pipeline.leases import is_alive, living, read_lease
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.log_ends import CHUNK
from sessionlog_handlers.pipeline.metadata import UNSURE, Metadata, load_metadata
from sessionlog_handlers.pipeline.reconstruction import LogFile, first_of, last_number, last_of, rebuild
from sessionlog_handlers.pipeline.recovery import is_begun_anew, put_behind, settle_directory, settle_twins
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX, make_room
from sessionlog_handlers.pipeline.shared import Shared

# All sessions wait while the listener looks at a compressed file. A full one of the default size can be had in 0.1 s.
UNPACK = 12 * 1024 * 1024  # bytes that it may hold


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

        rebuilt: Its metadata, made anew from its lines because there is none, or none that can be made sense of.

        unsettled: What killed processes may have left has to be settled, with `settle`.
    """

    owner: bool
    goes_on: bool = False
    resumed: bool = False
    refused: bool = False
    seq: int = 0
    crashed: dict[str, Any] | None = None
    rebuilt: Metadata | None = None
    unsettled: bool = False


def claim(channel: Channel, shared: Shared, *, owned: bool = False, inherited: bool = False) -> Claim:
    """
    Make the session's directories and find out who runs it.

    The session's lock is held, if it is to be had. So nothing that is there is moved, changed or removed here.

    Args:
        channel: The session.

        shared: The root's means.

        owned: This process has begun it before, and not ended it.

        inherited: A parent process began it, and this one only joins it.

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
    metadata, logs = load_metadata(channel.paths.metadata), _logs(channel, shared)
    if _is_anothers(channel, metadata, logs):
        # A file system that folds case, or a directory that somebody renamed: the second comer takes another name.
        channel.paths.name = directory_name(channel.id, distinct=True)
        if _make_directories(channel, shared):
            return Claim(owner=True)
        metadata, logs = load_metadata(channel.paths.metadata), _logs(channel, shared)
    if metadata is None:
        return _go_on_without(channel, shared, logs, owned=owned)
    if inherited and metadata.state == "ended" and metadata.final:
        return Claim(owner=False, refused=True)
    return _judge(channel, shared, metadata, logs)


def settle(channel: Channel, shared: Shared, lock: FileLock) -> None:
    """
    Settle what killed processes left. And files that were compressed at the session's end become old files of the one
    that goes on. The session's lock is held.

    Args:
        channel: The session.

        shared: The root's means.

        lock: That lock.

    Raises:
        OSError: If a file can't be moved.
    """
    paths = channel.paths
    names, metadata = [os.path.basename(path) for path in paths.files()], os.path.basename(paths.metadata)
    for directory in paths.directories():
        if paths.name in directory[len(paths.root) :].split("/"):  # others may have the logs of all sessions
            for path in settle_directory(directory, names, metadata, UNPACK):
                shared.keeper.submit(partial(_settle_large, path, lock), slow=True)
    for path in paths.files():
        if not os.path.lexists(path + GZIP_SUFFIX):
            continue
        if not os.path.lexists(path):

            def slot_name(slot: int, path: str = path) -> str:
                return f"{path}.{slot}"

            make_room(slot_name, max(shared.settings.backup_count, 1))
            adopt_compressed(path, slot_name)
        elif is_begun_anew(path):  # while the lock was not to be had
            put_behind(path, packed=True)


def _settle_large(path: str, lock: FileLock) -> None:
    with suppress(OSError):  # a rotation has moved it, for example
        settle_twins(path, lock)


def _logs(channel: Channel, shared: Shared) -> list[LogFile]:
    names, formats = channel.paths.relative_files(), shared.plan.formats
    return [
        LogFile(channel.paths.file(index), name, formats[shared.plan.format_of_file[index]])
        for index, name in enumerate(names)
    ]


def _make_directories(channel: Channel, shared: Shared) -> bool:
    """Make the session's directories, and tell whether all of its files can only be new."""
    directories = channel.paths.directories()
    new = [directory for directory in directories if make_directory(directory, shared.settings.directory_mode)]
    return new == directories


def _is_anothers(channel: Channel, metadata: Metadata | None, logs: list[LogFile]) -> bool:
    """Whether the place belongs to another id: by its metadata, or where that is lost, by its lines."""
    if metadata is not None:
        return metadata.session not in ("", channel.id)
    first = first_of(logs)
    if first is None or first.session in ("", channel.id):
        return False
    return directory_name(first.session).casefold() == channel.paths.name.casefold()


def _go_on_without(channel: Channel, shared: Shared, logs: list[LogFile], *, owned: bool) -> Claim:
    """The metadata was lost, or can't be made sense of. What the lines tell is made of it again."""
    rebuilt = rebuild(channel.id, logs, UNPACK)
    if rebuilt is None:
        return Claim(owner=True, unsettled=True)  # whoever was here before had no time to say anything
    if rebuilt.state == "crashed" and not owned:
        # Its owner has not ended it, and may be any process that lives. It will say so when it writes metadata next.
        leases = shared.lease.directory
        rebuilt.writers = {name: _unsure_writer(leases, name) for name in living(leases, but=shared.own_leases)}
        if rebuilt.writers:
            rebuilt.state, rebuilt.end = "running", None
    return replace(_judge(channel, shared, rebuilt, logs), rebuilt=rebuilt)


def _unsure_writer(leases: str, name: str) -> dict[str, Any]:
    content = read_lease(leases, name)
    return {"pid": content.get("pid", 0), "host": content.get("host", ""), UNSURE: True}


def _judge(channel: Channel, shared: Shared, metadata: Metadata, logs: list[LogFile]) -> Claim:
    known = {metadata.owner, *metadata.writers} - {""}
    ours = known & shared.own_leases
    if metadata.state == "running":
        if ours and metadata.owner in ours:
            return Claim(owner=True, goes_on=True, seq=_owners_number(metadata, logs))
        leases = shared.lease.directory
        if any(is_alive(leases, name) for name in known - ours):
            return Claim(owner=False, goes_on=True, seq=last_number(logs, os.getpid(), CHUNK))
        if metadata.owner in shared.inherited_leases:
            # A daemon's parent has left, as it should.
            return Claim(owner=True, goes_on=True, seq=_owners_number(metadata, logs))
    elif metadata.state == "ended" and channel.implicit and (metadata.final or not metadata.implicit):
        return Claim(owner=False, refused=True)
    crashed = None if metadata.state == "ended" else _tell_crash(channel, metadata, logs)
    number = _owners_number(metadata, logs)
    return Claim(owner=True, resumed=True, seq=number, crashed=crashed, unsettled=True)


def _tell_crash(channel: Channel, metadata: Metadata, logs: list[LogFile]) -> dict[str, Any]:
    """What ``session_crashed`` says: also if `sessionlog doctor` has found it out before, since no line says so yet."""
    said: dict[str, Any] = {"pid": metadata.pid} if metadata.pid else {}
    said["started"] = metadata.start
    last = last_of(logs)
    if last:
        said["last_line"] = format_ms(last.ts)
    faults = find_faults(channel.paths, {metadata.owner, *metadata.writers}, last.ts if last else 0.0)
    return {**said, "faults": faults} if faults else said


def _owners_number(metadata: Metadata, logs: list[LogFile]) -> int:
    """The number of the owner's last line. Metadata is some seconds old where the owner had no time to end."""
    return max(metadata.seq, last_number(logs))
