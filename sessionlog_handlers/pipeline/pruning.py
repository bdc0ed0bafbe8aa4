"""
Sessions on their way out: each has a place below ``.pruning``, with a record of what it is and why it goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

import msgspec
from msgspec import structs

from sessionlog_handlers.pipeline.files import load_json, read_json
from sessionlog_handlers.pipeline.layout import PRUNING_DIRECTORY

LEAVING = "leaving.json"  # the record while files are moved out; the session's metadata is moved last
GONE = "gone.json"  # the same record from then on
DIGITS = 12  # of the random part of a removal's name

# What a file is as long as nobody has touched it: inode, time of its last change in ns, bytes.
Identity: TypeAlias = tuple[int, int, int]


class RemovalRecord(msgspec.Struct, kw_only=True, frozen=True):
    """
    One removal. Times are UTC text as in the lines.

    Args:
        version: Of this format.

        removal: Its name, which is also that of its place below ``.pruning``.

        session: The session's id.

        name: What the session's directory is called.

        flat: Whether its log is beside that directory and not in it.

        metadata_file: Its metadata, below the root.

        metadata: What that file was when the session was chosen.

        rule: Which rule wants it gone.

        reason: Why, in a few words.

        state: ``ended`` or ``crashed``.

        start: When it began.

        end: When it ended, or was written last.

        bytes: Of all its files.

        files: How many it has.

        trash: The directory that it is moved to; None to delete it.
    """

    version: int = 1
    removal: str
    session: str
    name: str
    flat: bool
    metadata_file: str
    metadata: Identity
    rule: str
    reason: str
    state: str
    start: str | None
    end: str | None
    bytes: int
    files: int
    trash: str | None = None


def identity_of(path: str) -> Identity | None:
    """
    What a file is now; None if it is not there. A link is not followed.
    """
    with suppress(OSError):
        return identity(os.lstat(path))
    return None


def identity(found: os.stat_result) -> Identity:
    """
    The same, of a file that was looked at.
    """
    return found.st_ino, found.st_mtime_ns, found.st_size


def places_of_removals(root: str) -> list[str]:
    """
    The directories of all removals that are under way, or were cut short.
    """
    directory = os.path.join(root, PRUNING_DIRECTORY)
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def encode_record(record: RemovalRecord) -> bytes:
    """
    A removal's record as it is written.
    """
    # An id may hold half of a surrogate pair, which `msgspec` refuses.
    return json.dumps(structs.asdict(record)).encode()


def load_record(path: str) -> RemovalRecord | None:
    """
    A removal's record; None if it is not there or was not written to its end.

    Raises:
        OSError: If it is there and can't be read now.
    """
    return load_json(path, RemovalRecord)


def records_of(root: str, name: str, *, flat: bool) -> Iterator[RemovalRecord]:
    """
    The removals that are moving the files of that session out.
    """
    for place in places_of_removals(root):
        if os.path.basename(place)[: -DIGITS - 1] == name:
            record = read_json(os.path.join(place, LEAVING), RemovalRecord)
            if record is not None and (record.name, record.flat) == (name, flat):
                yield record
