"""
What all sessions of a root share on the listener's side: settings, locks, open files, the lease, and the counters.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from typing import Any

from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline.channel import Channel
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, LOCKS_DIRECTORY
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.locks import STRIPES, FileLock, StripedLocks
from sessionlog_handlers.pipeline.marks import DiskMarks
from sessionlog_handlers.pipeline.open_files import OpenFiles, default_max_open_files
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.settings.model import Settings

LOCK_SHARE = 4  # one of four descriptors may be a lock's
OTHER_DESCRIPTORS = 4  # lease, sync, and a compression's two
SINGLE_FILE = "single"  # stands for a lease where there is no metadata.json to name one


class Shared:
    """
    One root's means, used by the listener's thread.

    Args:
        directory: The root.

        settings: The handler's settings.

        plan: Formats and routes, shared with the callers' side.

        keeper: Runs what is slow.

        syncer: Syncs what must be durable.

        reporter: Where failures are told.

        losses: Where lost entries are counted.

        marks: Watches the disk.
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
        marks: DiskMarks,
    ) -> None:
        self.directory = directory
        self.keeper = keeper
        self.syncer = syncer
        self.reporter = reporter
        self.losses = losses
        self.marks = marks
        self.taken = 0  # entries that came from the queue: written, lost, or waiting for a file that can't be written
        self.written = 0
        self.lost = 0
        self.rotations = 0
        self.unlocked = 0  # times that a session was written to without its lock
        self.next_refresh = 0.0  # when counters may be told again, on the monotonic clock
        self.lease = Lease(os.path.join(directory, LEASES_DIRECTORY))
        self.locks = StripedLocks(os.path.join(directory, LOCKS_DIRECTORY))
        self._single_lock = FileLock(f"{settings.single_file}.lock") if settings.single_file else None
        self.own_leases: set[str] = set()  # a new one after each `close`
        self.inherited_leases: set[str] = set()  # of the processes that this one was forked from
        self._equip(settings, plan)

    def use(self, settings: Settings, plan: Plan) -> None:
        """
        Work by other settings from now on. What is open by the old ones is closed.
        """
        self.close()
        self._equip(settings, plan)

    def _equip(self, settings: Settings, plan: Plan) -> None:
        self.settings = settings
        self.plan = plan
        most = settings.max_open_files or default_max_open_files()
        locks_open = min(STRIPES, most // LOCK_SHARE)
        self.locks.keep_open(locks_open)
        self.open = OpenFiles(settings, max(most - locks_open - OTHER_DESCRIPTORS, 1), self.syncer)
        self.config_summary = self._summarize(settings)
        retention = settings.retention if settings.single_file is None else None
        self.session_bytes = (retention.session_bytes if retention else None) or 0  # the most of a session; 0: no limit
        self.lease.has_kin = settings.retention is not None and settings.retention.removes

    def _summarize(self, settings: Settings) -> dict[str, Any]:
        """The settings as metadata.json tells them."""
        names = ("rotation", "max_bytes", "backup_count", "when", "interval", "utc", "compress", "on_end")
        return {
            "layout": settings.layout.name,
            "session_level": settings.session_level.value,
            **{name: getattr(settings, name) for name in names},
            "audit_durability": settings.audit_durability,
            "sampling": dict(settings.sampling),
            "file_mode": f"{settings.file_mode:04o}",
            "directory_mode": f"{settings.directory_mode:04o}",
            **self._summarize_retention(settings),
        }

    @staticmethod
    def _summarize_retention(settings: Settings) -> dict[str, Any]:
        """What `sessionlog prune` goes by."""
        if settings.retention is None:
            return {}
        archive = settings.archive
        if callable(archive):
            archive = (f"{archive.__module__}.{getattr(archive, '__qualname__', type(archive).__qualname__)}",)
        return {
            "retention": {name: bound for name, bound in asdict(settings.retention).items() if bound is not None},
            "pinned": list(settings.pinned),
            "trash": str(settings.trash) if settings.trash else None,
            "archive": shlex.join(archive) if archive else None,
        }

    def lock_for(self, channel: Channel) -> FileLock:
        """
        The lock of a session's files.
        """
        return self._single_lock or self.locks.for_session(channel.id)

    @property
    def lease_name(self) -> str:
        """What metadata.json knows this process by, empty while no lease is held."""
        return SINGLE_FILE if self.settings.single_file else self.lease.name

    def take_lease(self) -> None:
        """
        Prove from now on that this process lives.

        Raises:
            OSError: If the lease can't be written.
        """
        self.own_leases.add(self.lease.take())

    def count_written(self, entries: int) -> None:
        """
        So many entries are in their files.
        """
        self.written += entries

    def count_lost(self, channel: Channel | None, reason: str, entries: int = 1) -> None:
        """
        So many entries that were taken from the queue will not be in a file.
        """
        self.lost += entries
        self.losses.count(channel, reason, entries)

    def entry_failed(self, channel: Channel | None, error: BaseException, entries: int = 1) -> None:
        """
        An entry could not be made a line, for a reason that is nobody's fault but ours.
        """
        if entries:
            self.count_lost(channel, "error", entries)
        self.reporter.report(f"write {type(error).__name__}", f"an entry could not be written: {safe_repr(error):.200}")

    @property
    def open_files(self) -> int:
        """How many descriptors are held, locks and lease included."""
        return len(self.open) + self.locks.open_count + self.lease.open_count

    def close(self) -> None:
        """
        Give every descriptor but the lease's back.
        """
        self.open.close()
        self.locks.close()
        if self._single_lock:
            self._single_lock.close()

    def forget(self) -> None:
        """
        In a forked child: close what was inherited.
        """
        self.open.close()
        self.locks.forget()
        if self._single_lock:
            self._single_lock.forget()
        self.lease.forget()
        self.inherited_leases |= self.own_leases
        self.own_leases = set()
        self.taken = self.written = self.lost = self.rotations = self.unlocked = 0
