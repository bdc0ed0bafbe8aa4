"""
From batches of entries to the files of their sessions, with a bounded number of them open.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from typing import Any

from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.cleanup import clean_up, compress_slots
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, LOCKS_DIRECTORY
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.locks import STRIPES, FileLock, StripedLocks
from sessionlog_handlers.pipeline.open_files import OpenFiles, default_max_open_files
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.pipeline.session_files import SessionFiles
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.settings.model import Settings

LOCK_SHARE = 4  # one of four descriptors may be a lock's
SINGLE_FILE = "single"  # stands for a lease where there is no metadata.json to name one
OTHER_DESCRIPTORS = 4  # lease, sync, and a compression's two


class Router:
    """
    The listener's side of a root.

    Args:
        directory: The root.

        settings: The handler's settings.

        plan: Formats and routes, shared with the callers' side.

        keeper: Runs what is slow.

        syncer: Syncs what must be durable.

        reporter: Where failures are told.

        losses: Where lost entries are counted.
    """

    def __init__(
        self,
        directory: str,
        settings: Settings,
        plan: Plan,
        *,
        keeper: Keeper,
        syncer: Syncer,
        reporter: Reporter,
        losses: Losses,
    ) -> None:
        self.directory = directory
        self.keeper = keeper
        self.syncer = syncer
        self.reporter = reporter
        self.losses = losses
        self.taken = 0  # entries that came from the queue: written, lost, or waiting for a file that can't be written
        self.written = 0
        self.lost = 0
        self.rotations = 0
        self.flushes = 0  # sessions written to: whoever waits sees from it that work goes on
        self.batches = 0
        self.unlocked = 0  # batches that were written without their lock
        self.lease = Lease(os.path.join(directory, LEASES_DIRECTORY))
        self.own_leases: set[str] = set()  # a new one after each `close`
        self.inherited_leases: set[str] = set()  # of the processes that this one was forked from
        self.use(settings, plan)
        self.reset()

    def reset(self) -> None:
        """
        Forget every open file and session, without closing what a parent process owns.
        """
        self._touched: dict[SessionFiles, None] = {}
        self._troubled: dict[SessionFiles, None] = {}
        self._implicit: dict[SessionFiles, None] = {}  # sessions that end when they are idle
        self._next_look = 0.0

    def use(self, settings: Settings, plan: Plan) -> None:
        """
        Work by other settings from now on. No file is open.
        """
        self.settings = settings
        self.plan = plan
        self.max_descriptors = settings.max_open_files or default_max_open_files()
        locks_open = min(STRIPES, self.max_descriptors // LOCK_SHARE)
        self.locks = StripedLocks(os.path.join(self.directory, LOCKS_DIRECTORY), keep_open=locks_open)
        self.open = OpenFiles(settings, max(self.max_descriptors - locks_open - OTHER_DESCRIPTORS, 1), self.syncer)
        self._single_lock = FileLock(f"{settings.single_file}.lock") if settings.single_file else None
        self.config_summary = {
            "layout": settings.layout.name,
            "session_level": settings.session_level.value,
            "rotation": settings.rotation,
            "max_bytes": settings.max_bytes,
            "backup_count": settings.backup_count,
            "when": settings.when,
            "interval": settings.interval,
            "utc": settings.utc,
            "compress": settings.compress,
            "on_end": settings.on_end,
            "audit_durability": settings.audit_durability,
            "sampling": dict(settings.sampling),
        }

    # -- the listener's sink -----------------------------------------------------------------------------------------

    def write(self, batch: list[Any]) -> None:
        """
        Write a batch: entries and commands in the order of the queue.
        """
        self.batches += bool(batch)
        for item in batch:
            try:
                self._take(item)
            except BaseException as error:
                self.entry_failed(None, error)
        self.tell_losses()
        self.flush_touched()
        self._look_around()

    def _take(self, item: Any) -> None:
        if isinstance(item, Entry):
            self.taken += 1
            files = item.channel.files
            if files is None or files.end is not None:
                self.count_lost(None, "late")
                return
            if item.route.layout is not self.settings.layout and item.route.layout != self.settings.layout:
                self.count_lost(item.channel, "reconfigured")  # frozen for files that there are no more
                return
            files.add(item)
            self._touched[files] = None
        elif isinstance(item, Barrier):
            try:
                self.flush_touched()
            finally:
                item.reached()
        else:
            item.run(self)

    def entry_failed(self, channel: Channel | None, error: BaseException, entries: int = 1) -> None:
        """
        An entry could not be made a line, for a reason that is nobody's fault but ours.
        """
        self.count_lost(channel, "error", entries)
        self.reporter.report(f"write {type(error).__name__}", f"an entry could not be written: {safe_repr(error):.200}")

    def touch(self, files: SessionFiles) -> None:
        """
        That session has something to write.
        """
        self._touched[files] = None

    def flush_touched(self) -> None:
        """
        Write what all sessions of the batch have pending.
        """
        touched, self._touched = self._touched, {}
        now = time.monotonic()
        for files in touched:
            if files.retry_at > now:
                self._bound_backlog(files)
                continue
            self.flushes += 1
            try:
                files.flush()
            except BaseException as error:
                self.entry_failed(None, error)

    def start(self, channel: Channel, start: float, begin: Mapping[str, Any]) -> None:
        """
        Open the files of a session.
        """
        files = channel.files = SessionFiles(channel, self, start, begin)
        self._watch_idle(files)
        self.touch(files)

    def _watch_idle(self, files: SessionFiles) -> None:
        if files.channel.implicit:
            self._implicit[files] = None

    def inherit(self, channel: Channel) -> None:
        """
        In a forked child: the session goes on here too, as soon as the child has something to write to it.
        """
        files = channel.files = SessionFiles(channel, self, channel.opened, {}, inherited=True)
        self._watch_idle(files)

    def tell_losses(self) -> None:
        """
        Say in each session's own log what was lost of it. Where nothing can be written now, this waits too.
        """
        for channel in self.losses.untold():
            files = channel.files
            if channel.over:
                self.losses.take(channel)  # its last line is written; the counters and stderr tell
            elif files is not None and not files.retry_at:
                files.tell_losses()
                self.touch(files)

    # -- periodic ----------------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """
        Seconds until the router wants to look around though nothing was queued; None if it does not.
        """
        now = time.monotonic()
        times = [files.retry_at for files in self._troubled]
        times.append(self.open.next_idle())
        if self._implicit:
            times.append(self._next_look)
        soonest = min(times)
        return None if soonest == float("inf") else max(soonest - now, 0.01)

    def _look_around(self) -> None:
        now = time.monotonic()
        for files in [files for files in self._troubled if files.retry_at <= now]:
            if files.flush():
                self._troubled.pop(files, None)
        self.open.close_idle(now)
        if now >= self._next_look:
            self._next_look = now + max(self.settings.idle_end / 4, 1.0)
            for files in [*self._implicit]:
                if files.last_used + self.settings.idle_end < now:
                    files.channel.root.end(files.channel, "idle")

    # -- what a session's files need ---------------------------------------------------------------------------------

    def lock_for(self, channel: Channel) -> FileLock:
        """
        The lock of a session's files.
        """
        return self._single_lock or self.locks.for_session(channel.id)

    @property
    def lease_name(self) -> str:
        """What metadata.json knows this process by, empty while no lease is held."""
        return SINGLE_FILE if self.settings.single_file else self.lease.name

    @property
    def leases_directory(self) -> str:
        """Where the root's leases are."""
        return self.lease.directory

    def take_lease(self) -> None:
        """
        Prove from now on that this process lives.

        Raises:
            OSError: If the lease can't be written.
        """
        self.own_leases.add(self.lease.take())

    def count_lost(self, channel: Channel | None, reason: str, entries: int = 1) -> None:
        """
        So many entries that were taken from the queue will not be in a file.
        """
        self.lost += entries
        self.losses.count(channel, reason, entries)

    def count_written(self, entries: int) -> None:
        """
        So many entries are in their files.
        """
        self.written += entries

    def file_names(self, channel: Channel) -> list[str]:
        """
        A session's files as ``metadata.json`` lists them, below the root.
        """
        return [
            os.path.relpath(channel.paths.file(index), self.directory)
            for index in range(len(self.settings.layout.files))
        ]

    def file_rotated(self, files: SessionFiles, index: int) -> None:
        """
        A file was rotated: its new name must be durable, and the old files may want compressing.
        """
        self.rotations += 1
        path = files.channel.paths.file(index)
        self.syncer.add_directory(os.path.dirname(path))
        if self.settings.compress == "gzip":
            settings = self.settings
            self.keeper.submit(lambda: compress_slots(path, files.lock, settings))

    def refuse(self, files: SessionFiles, entries: int) -> None:
        """
        A record without a session of its own asked for one that was ended on purpose.
        """
        self.count_lost(None, "late", entries)
        self.reporter.report(
            f"late {files.channel.id}",
            f"session {files.channel.id!r} has ended; records that still name it are left out",
        )
        self.session_over(files)

    # -- trouble and the end -----------------------------------------------------------------------------------------

    def put_off(self, files: SessionFiles, error: OSError) -> None:
        """
        A session's lines could not be written: tell of it once, make room if descriptors are short, bound the backlog.
        """
        if error.errno in (errno.EMFILE, errno.ENFILE):
            self.open.close_half()
        path = error.filename or files.channel.paths.log
        self.reporter.report(
            f"write {path}", f"{path}: can't be written ({error.strerror or error}); lines are kept and tried again"
        )
        self._troubled[files] = None
        self._bound_backlog(files)

    def recovered(self, files: SessionFiles) -> None:
        """
        A session's lines are being written again.
        """
        self._troubled.pop(files, None)
        for path in (files.channel.paths.log, files.channel.paths.directory, files.channel.paths.metadata):
            self.reporter.over(f"write {path}")

    def _bound_backlog(self, files: SessionFiles) -> None:
        if len(self._troubled) > 1:
            held = sum(other.backlog_bytes for other in self._troubled if other is not files)
        else:
            held = 0
        files.trim(held + files.backlog_bytes - self.settings.backlog)

    def session_over(self, files: SessionFiles) -> None:
        """
        A session is complete: close its files and do with them what the settings say.
        """
        channel = files.channel
        self._implicit.pop(files, None)
        self._troubled.pop(files, None)
        channel.files, channel.over = None, True
        if not self.settings.single_file:
            for index in range(len(self.settings.layout.files)):
                self.open.release(channel.paths.file(index))
            if self.settings.on_end != "keep":  # whoever leaves last finds the session over
                settings, lock, paths = self.settings, files.lock, channel.paths
                self.keeper.submit(lambda: clean_up(paths, lock, settings))
        channel.root.forget(channel)

    def close(self) -> None:
        """
        Write what can be written and give every descriptor back. What is still unwritten stays, for a later record.
        """
        for files in [*self._troubled]:
            files.flush()
        self.open.close()
        self.locks.close()
        if self._single_lock:
            self._single_lock.close()

    def give_up(self) -> None:
        """
        The end of the process: report what could not be written.
        """
        for files in [*self._troubled]:
            lost = files.give_up()
            if lost:
                self.reporter.report(
                    f"lost {files.channel.id}", f"{lost} entries of session {files.channel.id!r} could not be written"
                )

    @property
    def open_files(self) -> int:
        """How many descriptors are held, locks and lease included."""
        return len(self.open) + self.locks.open_count + self.lease.is_held

    def forget(self) -> None:
        """
        In a forked child: close what was inherited. The lines in hand are the parent's.
        """
        self.open.close()
        self.locks.forget()
        if self._single_lock:
            self._single_lock.forget()
        self.lease.forget()
        self.inherited_leases |= self.own_leases
        self.own_leases = set()
        self.reset()
