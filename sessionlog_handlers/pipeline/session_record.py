"""
This process's part of a session's ``metadata.json``: noted as it happens, merged with what other processes wrote.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import structs

from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.levels import threshold_name
from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.cleanup import wish_at_end
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.metadata import (
    UNSURE,
    Metadata,
    decode_metadata,
    encode_metadata,
    load_metadata,
    write_metadata,
)
from sessionlog_handlers.pipeline.recovery import is_broken, set_aside
from sessionlog_handlers.pipeline.shared import Shared

REFRESH = 5.0  # seconds between two writes only for the sake of the counters
REFRESH_GAP = 0.1  # seconds between two such writes of different sessions, so that thousands of them cost no more
ROTATION_SIZES = 10  # sizes of the last rotated files that are kept


class WriterState(NamedTuple):
    """
    What a writing process says of itself.

    Args:
        lease: The name it is known by.

        owner: Whether it began the session.

        written: Entries in files.

        dropped: Entries lost.

        seq: The number of its last line.
    """

    lease: str
    owner: bool
    written: int
    dropped: int
    seq: int


class SessionRecord:
    """
    What is still to be put into ``metadata.json``.

    Args:
        channel: The session.

        shared: The root's means.

        start: When the session started, in seconds since the epoch.

        begin: What the app said when it started it.
    """

    __slots__ = (
        "_begin",
        "_begins",
        "_changes",
        "_channel",
        "_known",
        "_resumed",
        "_rotations",
        "_saved",
        "_shared",
        "_start",
        "is_due",
    )

    def __init__(self, channel: Channel, shared: Shared, start: float, begin: Mapping[str, Any]) -> None:
        self._channel = channel
        self._shared = shared
        self._start = start
        self._begin = begin
        self._changes: list[dict[str, Any]] = []  # of the level
        self._rotations: dict[str, list[int]] = {}  # by file: sizes of the rotated ones
        self._begins = self._resumed = False
        self._saved = 0.0
        self._known = b""  # the metadata as it was written last, for when somebody deletes the file
        self.is_due = False  # something happened that others should know at once

    def takes_turn(self) -> bool:
        """
        Take this session's turn to have its counters refreshed, if they are old and no other has just had one.
        """
        now = time.monotonic()
        if now < self._shared.next_refresh or now - self._saved <= REFRESH:
            return False
        self._shared.next_refresh = now + REFRESH_GAP
        return True

    def note_begin(self, *, resumed: bool) -> None:
        """
        The session begins, or begins again.
        """
        self._begins, self._resumed = True, resumed
        self.is_due = True

    def remember(self, metadata: Metadata) -> None:
        """
        Keep in mind what only the file knows: history, rotations, the beginning, other processes.
        """
        # Encoded, since of 10,000 sessions each has one. The rest is known anyway.
        self._known = encode_metadata(structs.replace(metadata, config={}, files=[]))

    def note_change(self, change: Mapping[str, Any], created: float) -> None:
        """
        The level changed.
        """
        self._changes.append({"at": format_ms(created), **change})
        self.is_due = True

    def note_rotation(self, file: str, size: int) -> None:
        """
        A file of *size* bytes was rotated.
        """
        self._rotations.setdefault(file, []).append(size)
        self.is_due = True

    def save(self, state: WriterState, end: Mapping[str, Any] | None, *, locked: bool) -> None:
        """
        Write the file.

        It is whole at any time. Of two processes that write it at once without the lock the last one wins, and what
        the other said of itself is missing until that writes next.

        Args:
            state: This process.

            end: What ended the session here, if it has ended.

            locked: Whether the session's lock is held. Without it, what can't be made sense of is not replaced.

        Raises:
            OSError: If it can't be written. What was noted is kept for the next time.
        """
        path = self._channel.paths.metadata
        metadata = load_metadata(path)
        if metadata is None:
            if is_broken(path):
                if not locked:
                    self.is_due = True
                    return
                set_aside(path)
            metadata = self._fresh()
        elif state.owner and not metadata.owner and self._known:
            metadata = self._restored(metadata)
        self._update(metadata, state)
        if self._begins or end is not None:
            self._leave_out_dead(metadata, state)
        if end is not None:
            metadata.writers.pop(state.lease, None)
            if state.owner:
                metadata.state, metadata.end, metadata.reason = "ended", format_ms(end["created"]), end["reason"]
                metadata.final = bool(end.get("final", True))
            if metadata.state == "ended":  # whoever leaves last does it
                metadata.on_end = wish_at_end(self._channel.id, self._shared.settings)
        write_metadata(path, metadata, self._shared.settings.file_mode)
        self.remember(metadata)
        self._changes, self._rotations, self._begins, self._resumed = [], {}, False, False
        self._saved = time.monotonic()
        self.is_due = False

    def _update(self, metadata: Metadata, state: WriterState) -> None:
        metadata.session = metadata.session or self._channel.id  # somebody damaged it
        metadata.level = self._channel.session_level.value
        metadata.severity = threshold_name(self._channel.severity)
        metadata.resumed += self._resumed
        # The layout may be another one since it began, and what is not named here is not taken for the session's.
        files = self._channel.paths.relative_files()
        metadata.files = [*files, *(path for path in metadata.files if path not in files)]
        metadata.level_history = [*metadata.level_history, *self._changes]
        pid = os.getpid()
        if state.owner:
            metadata.owner, metadata.pid, metadata.seq = state.lease, pid, state.seq
            metadata.state, metadata.end, metadata.reason, metadata.final = "running", None, None, False
            metadata.on_end = ""
            metadata.config = self._shared.config_summary
        # An older lease of this process went when its handler was closed. The process's number says nothing: in each
        # of two containers it may be 1.
        ours = self._shared.own_leases
        others = {
            name: other
            for name, other in metadata.writers.items()
            if name not in ours and not (state.owner and other.get(UNSURE))
        }
        own = {"written": state.written, "dropped": state.dropped, "seq": state.seq}
        metadata.writers = {**others, state.lease: {"pid": pid, "host": socket.gethostname(), **own}}
        for file, sizes in self._rotations.items():
            seen = metadata.rotations.get(file, {})
            metadata.rotations[file] = {
                "count": int(seen.get("count", 0)) + len(sizes),
                "last": format_ms(time.time()),
                "sizes": [*seen.get("sizes", []), *sizes][-ROTATION_SIZES:],
            }

    def _leave_out_dead(self, metadata: Metadata, state: WriterState) -> None:
        """Forget the writers that were killed. Each is looked at on the disk, so not whenever counters are told."""
        leases = self._shared.lease.directory
        metadata.writers = {
            name: writer for name, writer in metadata.writers.items() if name == state.lease or is_alive(leases, name)
        }

    def _restored(self, found: Metadata) -> Metadata:
        """The metadata that another process made anew meanwhile, with what only the owner knows."""
        known = self._fresh()
        return structs.replace(
            known,
            writers=found.writers,
            level_history=[*known.level_history, *found.level_history],
            rotations={**found.rotations, **known.rotations},
            pinned=known.pinned or found.pinned,
        )

    def _fresh(self) -> Metadata:
        """The metadata of a session that was never on this disk, or whose file somebody has deleted or broken."""
        known = decode_metadata(self._known) or Metadata()
        return structs.replace(
            known,
            session=self._channel.id,
            start=known.start or format_ms(self._start),
            implicit=known.implicit if self._known else self._channel.implicit,
            command=known.command or self._begin.get("command"),
            metadata=known.metadata or dict(self._begin.get("metadata", {})),
            config=self._shared.config_summary,
            files=self._channel.paths.relative_files(),
        )
