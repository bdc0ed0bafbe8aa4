"""
``.pruned.jsonl``: a line for each session that was removed, with what it was, why it went, and where to.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.jsonl import JsonLinesFormat
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.pipeline.files import open_for_append, read_private, write_all
from sessionlog_handlers.pipeline.layout import PRUNED_FILE
from sessionlog_handlers.pipeline.pruning import RemovalRecord

EVENT = "log_pruned"

_format = JsonLinesFormat()
_sync_data = getattr(os, "fdatasync", os.fsync)


def write_tombstone(root: str, record: RemovalRecord, removed: float) -> None:
    """
    Add a removal's line, and wait until it is on the disk.

    Args:
        root: The root directory.

        record: The removal.

        removed: When it was removed, in seconds since the epoch.

    Raises:
        OSError: If it can't be written. No part of it is left then.
    """
    data = {
        "rule": record.rule,
        "reason": record.reason,
        "state": record.state,
        "start": record.start,
        "end": record.end,
        "bytes": record.bytes,
        "files": record.files,
        "trash": record.trash,
        "removal": record.removal,
    }
    content = _format.format(Line(ts=removed, level="info", session=record.session, event=EVENT, data=data))
    descriptor, found = open_for_append(os.path.join(root, PRUNED_FILE), 0o600)
    try:
        end = found.st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            content = b"\n" + content  # somebody was killed while writing: a torn line stays one
        try:
            write_all(descriptor, content)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
        _sync_data(descriptor)
    finally:
        os.close(descriptor)


def has_tombstone(root: str, removal: str) -> bool:
    """
    Whether a removal's line is there.

    Raises:
        OSError: If the file can't be read.
    """
    marks = removal.encode()
    for raw in (read_private(os.path.join(root, PRUNED_FILE)) or b"").splitlines():
        if marks in raw:
            with suppress(InvalidLineError):
                if _format.parse(raw).data.get("removal") == removal:
                    return True
    return False
