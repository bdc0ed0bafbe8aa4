"""
From batches of entries to the files of their sessions, with a bounded number of them open.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.levels import SEVERITY_NUMBERS
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.cleanup import clean_up, compress_slots
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, LOCKS_DIRECTORY
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.locks import STRIPES, FileLock, StripedLocks
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.pipeline.session_files import SessionFiles
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.pipeline.writer import Writer
from sessionlog_handlers.settings.model import Settings

MOST_OPEN_FILES = 256  # descriptors, unless the settings say otherwise
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
        self._writers: OrderedDict[str, tuple[Writer, float]] = OrderedDict()
        self._touched: dict[SessionFiles, None] = {}
        self._troubled: dict[SessionFiles, None] = {}
        self._open: dict[SessionFiles, None] = {}
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
        self._max_writers = max(self.max_descriptors - locks_open - OTHER_DESCRIPTORS, 1)
        self._single_lock = FileLock(f"{settings.single_file}.lock") if settings.single_file else None
        self._rotation = RotationPolicy(
            max_bytes=0 if settings.rotation == "off" else settings.max_bytes,
            backup_count=settings.backup_count,
            when=settings.when if settings.rotation == "time" else "",
            interval=settings.interval,
            utc=settings.utc,
        )
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
            try:
                files.flush()
            except BaseException as error:
                self.entry_failed(None, error)

    def start(self, channel: Channel, start: float, begin: Mapping[str, Any]) -> None:
        """
        Open the files of a session.
        """
        files = channel.files = SessionFiles(channel, self, start, begin)
        self._open[files] = None
        self.touch(files)

    def inherit(self, channel: Channel) -> None:
        """
        In a forked child: the session goes on here too, as soon as the child has something to write to it.
        """
        files = channel.files = SessionFiles(channel, self, channel.opened, {}, inherited=True)
        self._open[files] = None

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
        if self._writers:
            times.append(next(iter(self._writers.values()))[1] + self.settings.idle_close)
        if any(files.channel.implicit for files in self._open):
            times.append(self._next_look)
        return max(min(times) - now, 0.01) if times else None

    def _look_around(self) -> None:
        now = time.monotonic()
        for files in [files for files in self._troubled if files.retry_at <= now]:
            if files.flush():
                self._troubled.pop(files, None)
        while self._writers:
            path, (writer, used) = next(iter(self._writers.items()))
            if used + self.settings.idle_close > now:
                break
            writer.release()
            del self._writers[path]
        if now >= self._next_look:
            self._next_look = now + max(self.settings.idle_end / 4, 1.0)
            for files in [*self._open]:
                if files.channel.implicit and files.last_used + self.settings.idle_end < now:
                    files.channel.root.end(files.channel, "idle")

    # -- what a session's files need ---------------------------------------------------------------------------------

    def lock_for(self, channel: Channel) -> FileLock:
        """
        The lock of a session's files.
        """
        return self._single_lock or self.locks.for_session(channel.id)

    def writer(self, path: str) -> Writer:
        """
        The writer of a file, the least recently used one giving way.
        """
        found = self._writers.pop(path, None)
        writer = found[0] if found else self._new_writer(path)
        if path in self.syncer.failed:
            self.syncer.failed.discard(path)
            writer.release()
        self._writers[path] = (writer, time.monotonic())
        while len(self._writers) > self._max_writers:
            _, (oldest, _) = self._writers.popitem(last=False)
            oldest.release()
        return writer

    def _new_writer(self, path: str) -> Writer:
        def before_rotation(descriptor: int) -> None:
            self.syncer.adopt(path, descriptor)

        return Writer(
            path,
            self._rotation,
            file_mode=self.settings.file_mode,
            directory_mode=self.settings.directory_mode,
            before_rotation=before_rotation,
        )

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

    @staticmethod
    def severity_name(number: int) -> str:
        """
        A threshold's word; empty for none.
        """
        return next((name for name, known in SEVERITY_NUMBERS.items() if known == number), str(number or ""))

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
            self.close_files(keep=len(self._writers) // 2)
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
        self._open.pop(files, None)
        self._troubled.pop(files, None)
        channel.files, channel.over = None, True
        if not self.settings.single_file:
            for index in range(len(self.settings.layout.files)):
                found = self._writers.pop(channel.paths.file(index), None)
                if found:
                    found[0].release()
            if self.settings.on_end != "keep":  # whoever leaves last finds the session over
                settings, lock, paths = self.settings, files.lock, channel.paths
                self.keeper.submit(lambda: clean_up(paths, lock, settings))
        channel.root.forget(channel)

    def close_files(self, keep: int = 0) -> None:
        """
        Give descriptors back, those that were used longest ago first.
        """
        while len(self._writers) > keep:
            _, (writer, _) = self._writers.popitem(last=False)
            writer.release()

    def close(self) -> None:
        """
        Write what can be written and give every descriptor back. What is still unwritten stays, for a later record.
        """
        for files in [*self._troubled]:
            files.flush()
        self.close_files()
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
        writers = sum(writer.descriptor >= 0 for writer, _ in self._writers.values())
        return writers + self.locks.open_count + self.lease.is_held

    def forget(self) -> None:
        """
        In a forked child: close what was inherited. The lines in hand are the parent's.
        """
        for writer, _ in self._writers.values():
            with suppress(OSError):
                writer.release()
        self.locks.forget()
        if self._single_lock:
            self._single_lock.forget()
        self.lease.forget()
        self.inherited_leases |= self.own_leases
        self.own_leases = set()
        self.reset()


def default_max_open_files() -> int:
    """
    At most 256 descriptors, and at most a quarter of what the process may have.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_OPEN_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if soft == resource.RLIM_INFINITY else max(min(MOST_OPEN_FILES, soft // 4), 8)
