"""
One session on the listener's side: takes its place on the disk, writes its lines, and ends.
"""

from __future__ import annotations

import enum
import errno
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.claim import claim, settle
from sessionlog_handlers.pipeline.cleanup import compress_slots
from sessionlog_handlers.pipeline.faults import link_faults, unlink_faults
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.relayout import change_layout
from sessionlog_handlers.pipeline.session_lines import ENTRY, FIRST_RETRY, LONGEST_RETRY, Pending, SessionLines
from sessionlog_handlers.pipeline.session_record import SessionRecord, WriterState
from sessionlog_handlers.pipeline.session_size import SessionSize
from sessionlog_handlers.pipeline.shared import Shared

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.writer import Writer

ROUNDS = 3  # writing may rotate, which writes a line, which may rotate; the rest waits for the next batch


class Outcome(enum.Enum):
    """
    What became of an attempt to write.
    """

    WRITTEN = enum.auto()
    PUT_OFF = enum.auto()  # it is tried again; `SessionFiles.trouble` tells why
    OVER = enum.auto()  # the session is complete


class SessionFiles(SessionLines):
    """
    The files of one session, as the listener's thread sees them.

    Args:
        channel: The session on the caller's side.

        shared: The root's means.

        start: When it started, in seconds since the epoch.

        begin: What to say in ``session_start``.

        inherited: Whether a parent process began it; then nothing is done for it before its first entry.
    """

    __slots__ = (
        "_begin",
        "_faults",
        "_inherited",
        "_left",
        "_lock_news",
        "_retry",
        "_size",
        "_start",
        "_unsettled",
        "after",
        "claimed",
        "dropped",
        "end",
        "failed",
        "is_over",
        "is_stuck",
        "last_used",
        "lock",
        "owner",
        "record",
        "refused",
        "retry_at",
        "trouble",
        "written",
    )

    def __init__(
        self, channel: Channel, shared: Shared, start: float, begin: Mapping[str, Any], *, inherited: bool = False
    ) -> None:
        super().__init__(channel, shared)
        self._start = start
        self._begin = begin
        self._inherited = inherited
        self._left: SessionPaths | None = None  # where its files are until it has come to its new layout
        self._faults = ""  # the link to what `faulthandler` writes
        self.record = SessionRecord(channel, shared, start, begin)
        self._retry = FIRST_RETRY
        self._lock_news: bool | None = None  # True: a write went without the lock; False: and that was said
        self._unsettled = False  # what killed processes left has to be settled, once the lock is to be had
        self._size: SessionSize | None = None  # only where it is limited
        self.after: SessionFiles | None = None  # the same session's files before it was started again
        self.is_over = False
        self.refused = False  # the session was ended on purpose, and only a record that names it asked for it
        self.retry_at = 0.0  # when what could not be written is tried again
        self.trouble: BaseException | None = None  # why the last attempt to write was put off
        self.is_stuck = False  # it is the session that can't be written, and not only some of its files
        self.failed = False  # the last call of `flush` met an error; else it only left out what has to wait
        self.lock: FileLock = shared.lock_for(channel)
        self.claimed = ""  # the lease under which metadata.json knows this process
        self.owner = False
        self.written = 0
        self.dropped = 0
        self.last_used = time.monotonic()
        self.end: dict[str, Any] | None = None  # what `session_end` will say, once it was called for

    # -- what is said of it ------------------------------------------------------------------------------------------

    def tell_losses(self) -> None:
        """
        Say what was lost of the session, and what sampling left out, if it is to end. Nothing follows its last line.
        """
        if self.end is not None and self.end.get("said"):
            return
        for reason, count, event in self._shared.losses.take(self.channel):
            self.dropped += count
            named = {"event": event} if event else {}
            self.say("log_dropped", {"reason": reason, **named, "count": count})
        if self.end is not None:
            for event, left_out in self.channel.take_left_out().items():
                self.say("log_dropped", {"reason": "sampling", "event": event, "count": left_out})

    def change_level(self, change: dict[str, Any], created: float) -> bool:
        """
        Note a change of the session's level, in the log and in ``metadata.json``. Gives False if that is not ours.

        Every process of a session takes a level that was set from outside, by a command or a configuration that they
        share; the one that began the session tells of it.
        """
        is_others = not self.owner if self.claimed else self._inherited
        if is_others and change["by"] != "app":
            return False
        self.say("level_change", change, created)
        self.record.note_change(change, created)
        return True

    @property
    def is_writable(self) -> bool:
        """Whether a line of our own can be added: it runs, and its files can be written."""
        return bool(self.claimed) and not self.retry_at and self.end is None and not self.is_over

    @property
    def unsaid(self) -> int:
        """How many of its start and its end are no lines yet, since its place on the disk could not be had."""
        if self.claimed or self._inherited:
            return 0
        return 1 if self.end is None else 2

    # -- writing -----------------------------------------------------------------------------------------------------

    def flush(self) -> Outcome:
        """
        Write what is pending, under the session's lock. A file that can't be written keeps no other waiting.
        """
        self.failed = False
        self.last_used = time.monotonic()
        if self._inherited and self.end is not None and not self.claimed and not self.entries:
            return Outcome.OVER  # a parent's session in which this process had nothing to say
        if self._lock_news and self.end is None:
            self.say("log_degraded", {"reason": "lock"})
            self._lock_news = False
        lock = self.lock
        locked = lock.acquire()
        self._shared.unlocked += not locked
        try:
            outcome = self._write(locked)
        except Exception as error:
            self.put_off(error)
            return Outcome.PUT_OFF
        finally:
            if locked:
                lock.release()
        self._note_lock(locked)
        self.is_stuck, self._retry = False, FIRST_RETRY
        if waiting := self._waiting():
            soonest = min(waiting, key=lambda pending: pending.retry_at)
            self.trouble, self.retry_at = soonest.error, soonest.retry_at
            return Outcome.PUT_OFF
        self.trouble, self.retry_at = None, 0.0
        return outcome

    def use_layout(self, paths: SessionPaths) -> None:
        """
        Go on in another layout, from the next `flush` on. What could not be written in the old one is counted as lost.
        """
        self.give_up_lines()
        if self.claimed and self._left is None:
            self._left = self.channel.paths
        self.channel.paths = paths
        self._size = None

    def _come_to_layout(self, left: SessionPaths) -> None:
        """Leave the old layout behind. The session's lock is held."""
        if not self._shared.settings.single_file:
            for path in change_layout(self.channel.id, left, self.channel.paths, self._shared.settings):
                self._note_rotation(path, [f"{path}.1"])
            unlink_faults(self._faults)
            self._faults = self._link_faults()
            self._save_metadata(True)  # first: what is written now is found by the names in it
        self._left = None

    def _note_lock(self, locked: bool) -> None:
        """Let the next write say that this one was made without the lock, once until the lock is to be had again."""
        if not locked and self._lock_news is None:
            self._lock_news = True
        elif locked and self._lock_news is False:
            self._lock_news = None

    @property
    def can_tell(self) -> bool:
        """Whether a line of our own would be in the log at once. One that is kept is the first to go."""
        log = self._pending.get(0)
        return not self.is_stuck and (log is None or log.error is None)

    def retry_now(self) -> None:
        """
        Try with the next `flush` what would have to wait.
        """
        self.retry_at = 0.0
        for pending in self._pending.values():
            pending.retry_at = 0.0

    def _waiting(self) -> list[Pending]:
        """What is kept for files that could not be written."""
        return [pending for pending in self._pending.values() if pending.error is not None]

    def put_off(self, error: BaseException) -> None:
        """
        Try all of the session again later, because of that error.
        """
        self.is_stuck = self.failed = True
        self.trouble = error
        self.retry_at = time.monotonic() + self._retry
        self._retry = min(self._retry * 2, LONGEST_RETRY)

    def _write(self, locked: bool) -> Outcome:
        if self._left is not None:
            if not locked:
                raise OSError(errno.EAGAIN, "its lock can't be had, and files are to change", self.channel.paths.log)
            self._come_to_layout(self._left)
        if (not self.claimed or self.claimed != self._shared.lease_name) and not self._claim(locked):
            return Outcome.OVER
        if self._unsettled and locked:
            settle(self.channel, self._shared, self.lock)
            self._unsettled = False
        self._write_rounds(locked)
        if self.end is not None:
            if not self._waiting():  # where too much is kept, the last lines are the first to go
                self._finish(self.end, locked)
            return Outcome.OVER
        if self.record.is_due or (locked and self.record.takes_turn()):
            self._save_metadata(locked)
        return Outcome.WRITTEN

    def _claim(self, locked: bool) -> bool:
        """
        Take the session's place on the disk, then make the lines of what came before it could be had.

        Gives False if the session was ended on purpose, and only a record that names it asks for it.
        """
        found = claim(self.channel, self._shared, owned=self.owner, inherited=self._inherited)
        if found.refused:
            self._refuse()
            return False
        self.owner = found.owner
        self.pid = 0 if found.owner else os.getpid()
        self._unsettled = self._unsettled or found.unsettled
        first = not self.claimed
        if first:
            self._faults = self._link_faults()
            self.seq = found.seq
            self.record.note_begin(resumed=found.resumed)
        if found.rebuilt is not None:
            self.record.remember(found.rebuilt)
        # First: until others can know that the session runs here, nothing is written, and the place is looked at anew.
        self._save_metadata(locked, self._shared.lease_name)
        self.claimed = self._shared.lease_name
        waiting, self.entries, self._measured = self.entries, [], (0, 0)
        if first:
            if found.crashed:
                self.say("session_crashed", found.crashed)
            if not found.goes_on:
                self.say("session_start", {**self._begin, **({"resumed": True} if found.resumed else {})}, self._start)
        self.entries += waiting
        return True

    def _link_faults(self) -> str:
        shared = self._shared
        if not shared.settings.capture_errors or shared.settings.single_file:
            return ""
        return link_faults(self.channel.paths, shared.lease_name, shared.reporter)

    def _refuse(self) -> None:
        self.channel.closed = self.refused = True
        self._shared.count_lost(None, "late", self.waiting_entries)
        self._shared.reporter.report(
            f"late {self.channel.id}", f"session {self.channel.id!r} has ended; records that still name it are left out"
        )

    def _write_rounds(self, locked: bool) -> None:
        now = time.monotonic()
        for _ in range(ROUNDS):
            if self.entries:
                if self._shared.session_bytes:
                    self._keep_to_size(self._shared.session_bytes)
                self.settle()
            due = sorted(index for index, pending in self._pending.items() if pending.retry_at <= now)
            if not due:
                return
            for index in due:
                self._write_file(index, locked)

    def _keep_to_size(self, most: int) -> None:
        """Count what a session is too large for as lost."""
        if self._size is None:
            self._size = SessionSize(self._shared.settings.backup_count)
        kept = self._size.admit(self.entries, self.channel.paths, most)
        if len(kept) < len(self.entries):
            self._shared.count_lost(self.channel, "session_bytes", len(self.entries) - len(kept))
            self.entries, self._measured = kept, (0, 0)

    def _write_file(self, index: int, locked: bool) -> None:
        pending = self._pending[index]
        path = self.channel.paths.file(index)
        writer = self._shared.open.writer(path)
        if pending.durable:
            self._shared.syncer.expect(path)
        used, begun = writer.inode, writer.begun
        done = writer.append(pending.lines, rotate=locked, joined=pending.joined)
        if used and writer.begun > begun and not writer.rotated:
            self.record.is_due = True  # somebody took the file away, and with it perhaps the whole directory
        if done:
            self._note_written(path, writer, pending, done)
        if done == len(pending.lines):
            del self._pending[index]
            if pending.error is not None:
                self._shared.reporter.over(f"write {path}")
        else:
            pending.written(done)
            if writer.error is not None:
                self.failed = True
                pending.put_off(writer.error)
        if writer.rotated or writer.rotation_error:
            self._note_turn(path, writer)

    def _note_written(self, path: str, writer: Writer, pending: Pending, done: int) -> None:
        """Count the lines that a file took, and have them synced."""
        shared = self._shared
        if shared.marks.watching or self._size is not None:
            is_whole = pending.joined and done == len(pending.lines)
            size = len(pending.joined) if is_whole else sum(map(len, pending.lines[:done]))
            shared.marks.wrote(size)
            if self._size is not None:
                self._size.wrote(size)
        entries = pending.counts.count(ENTRY, 0, done)
        self.written += entries
        shared.count_written(entries)
        if writer.is_new and not os.path.lexists(self.channel.paths.metadata):
            self.record.is_due = True  # somebody deleted the whole directory
        sync = shared.syncer.add if pending.durable else shared.syncer.note
        sync(path, writer.inode, new=writer.is_new)
        writer.is_new = False

    def _note_turn(self, path: str, writer: Writer) -> None:
        """A new file was begun, or was to be."""
        reporter = self._shared.reporter
        if writer.rotation_error:
            reason = writer.rotation_error.strerror or writer.rotation_error
            reporter.report(f"rotate {path}", f"{path}: no new file can be started ({reason}); it grows on")
        else:
            reporter.over(f"rotate {path}")
        if writer.rotated:
            rotated, writer.rotated = writer.rotated, []
            self._note_rotation(path, rotated)

    def _note_rotation(self, path: str, rotated: list[str]) -> None:
        """Tell of files that became old ones, and have them synced and compressed."""
        shared = self._shared
        name = os.path.basename(path)
        if self._size is not None:
            self._size.changed()
        for archive in rotated:
            size = 0
            with suppress(OSError):
                size = os.stat(archive).st_size
            self.record.note_rotation(name, size)
            if self.end is None:  # nothing may follow the end line
                self.say("log_rotated", {"file": name, "archive": os.path.basename(archive), "bytes": size})
        shared.rotations += len(rotated)
        shared.syncer.add_directory(os.path.dirname(path))  # the new names must be durable, too
        if shared.settings.compress == "gzip":
            settings, lock = shared.settings, self.lock
            shared.keeper.submit(lambda: compress_slots(path, lock, settings), slow=True)

    # -- metadata and the end ----------------------------------------------------------------------------------------

    def _save_metadata(self, locked: bool, claimed: str = "") -> None:
        """Bring our part of ``metadata.json`` up to date."""
        if not self._shared.settings.single_file:
            state = WriterState(claimed or self.claimed, self.owner, self.written, self.dropped, self.seq)
            self.record.save(state, None if claimed else self.end, locked=locked)

    def _finish(self, end: dict[str, Any], locked: bool) -> None:
        """The session's last lines, then its metadata. What can't be written yet is tried again like any other line."""
        if not end.get("said"):
            self.tell_losses()
            if self.owner:
                data = {"reason": end["reason"], "seconds": round(end["created"] - self._start, 3), **end["data"]}
                self.say("session_end", data, end["created"])
            end["said"] = True
        self._write_rounds(locked)
        if not self._waiting():
            unlink_faults(self._faults)
            self._save_metadata(locked)
