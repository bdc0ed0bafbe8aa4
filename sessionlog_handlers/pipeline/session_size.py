"""
How many bytes a session's files hold, and what it still takes when they are too many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress

from sessionlog_handlers.pipeline.channel import Entry, entry_size
from sessionlog_handlers.pipeline.cleanup import slot_names
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.queue import ENTRY_OVERHEAD
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX
from sessionlog_handlers.pipeline.routes import SHED_LAST
from sessionlog_handlers.pipeline.session_lines import OWN

HEAD_BYTES = 80  # of a line, at least, beside what its entry holds: time, level, session, event, number
LOOK_AGAIN = 5.0  # seconds between two looks at the files: old ones may have been compressed, others write too


class SessionSize:
    """
    The size of one session: the bytes that this process appends are counted, and the files looked at now and then.

    Args:
        backup_count: How many old files a log has.
    """

    __slots__ = ("_backup_count", "_held", "_looked")

    def __init__(self, backup_count: int) -> None:
        self._backup_count = backup_count
        self._held = -1  # bytes; below 0: not known
        self._looked = 0.0

    def wrote(self, size: int) -> None:
        """
        So many bytes were appended.
        """
        self._held += size if self._held >= 0 else 0

    def changed(self) -> None:
        """
        Files came or went; they are looked at when the size is wanted next.
        """
        self._held = -1

    def admit(self, entries: Sequence[Entry], paths: SessionPaths, most: int) -> list[Entry]:
        """
        The entries that a session still takes that may hold *most* bytes: all until then, and after that its own
        lines, starts, ends and audited rare events.
        """
        now = time.monotonic()
        if self._held < 0 or now - self._looked > LOOK_AGAIN:
            self._held, self._looked = self._look(paths), now
        kept, held = [], self._held
        for entry in entries:
            if held < most or entry.session == OWN or entry.route.priority == SHED_LAST:
                kept.append(entry)
                held += _least_bytes(entry)
        return kept

    def _look(self, paths: SessionPaths) -> int:
        held = 0
        for path in paths.files():
            for name in (path, *slot_names(path, self._backup_count)):
                for found in (name, name + GZIP_SUFFIX):
                    with suppress(OSError):
                        held += os.lstat(found).st_size
        return held


def _least_bytes(entry: Entry) -> int:
    """About what an entry's lines will hold. Rather too little: nothing is to be refused while there is room."""
    size, files = entry_size(entry.data, entry.tail), len(entry.route.files)
    if type(entry.data) is tuple:  # in each of its formats
        return size - ENTRY_OVERHEAD * (1 + len(entry.data)) + HEAD_BYTES * files
    return (size - ENTRY_OVERHEAD + HEAD_BYTES) * files
