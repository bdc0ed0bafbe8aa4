"""
When retention runs by itself in an app that logs: at its start, now and then, after sessions' ends, on a full disk.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator

from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.pruner import Pruner, Step
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.tables import Retention

INTERVAL = 600.0  # seconds between two runs: no age is so exact that minutes matter, and a look costs 0.1 ms a session
GAP = 60.0  # seconds between two runs of whichever process, though many sessions end or many processes start
DISK_GAP = 5.0  # seconds between two looks at the free space, and between two runs for its sake
FAILED = "retention"  # the reporter's word for it


class Upkeep:
    """
    Runs the retention of a root, in a thread of its own: an archive may take minutes, and neither the compression of
    old files nor an alarm is to wait for that.

    Args:
        directory: The root.

        settings: The handler's settings.

        reporter: Where failures are told.

        is_live: Whether the root has threads at the moment; without them nothing runs.

        is_open: Whether a session of that id is open in this process.
    """

    def __init__(
        self,
        directory: str,
        settings: Settings,
        *,
        reporter: Reporter,
        is_live: Callable[[], bool],
        is_open: Callable[[str], bool],
    ) -> None:
        self._directory = directory
        self._keeper = Keeper(lambda: False, DISK_GAP, reporter, "sessionlog-upkeep")
        self._reporter = reporter
        self._is_live = is_live
        self._is_open = is_open
        self.pruned = 0  # sessions removed
        self.use(settings)
        self._at_work = self._pruner  # that of the last run

    def use(self, settings: Settings) -> None:
        """
        Work by other settings from the next run on.
        """
        self._retention = settings.retention or Retention()
        self._pruner = Pruner(
            self._directory,
            self._retention,
            pinned=settings.pinned,
            trash=settings.trash,
            archive=settings.archive,
            is_open=self._is_open,
        )
        self._is_on = self._retention.removes and settings.enabled and settings.single_file is None
        self._due: float | None = None  # when the next run is due, on the monotonic clock
        self._gap = GAP
        self._next_disk_look = 0.0
        self._full_until = 0.0  # until when a full disk is put up with, since nothing could be removed
        self._was_over = False  # whether a session ended since the last run began, so that one may be removed
        self._will_look = False  # whether a look after a session's end is due
        self._frees_disk = True  # as the last run saw it

    def stop(self, timeout: float) -> None:
        """
        End the thread, after the session at hand. What takes longer than *timeout* seconds is left to it.
        """
        self._keeper.stop(timeout)

    def give_up(self) -> None:
        """
        The process ends: an archive's command that still runs is killed, with all that it started.
        """
        self._at_work.give_up()

    def forget(self) -> None:
        """
        In a forked child: close what was inherited. What was due is the parent's to do.
        """
        self._keeper.reset()
        self._pruner.forget()
        self._at_work.forget()
        self._due = None
        self._will_look = False
        self.pruned = 0

    def start(self) -> None:
        """
        The root came to life: run soon.
        """
        self._due = None  # what was due before may have been left out
        self._will_look = False
        self._schedule(0.0)

    def session_over(self) -> None:
        """
        A session is over: where their number or bytes matter, run soon; where the disk does, look at that.
        """
        self._was_over = True
        if self._retention.count is not None or self._retention.total is not None:
            self._schedule(0.0)
        elif self._retention.keep_free is not None and not self._will_look and self._is_on and self._is_live():
            # Without a session that is open, nothing ticks.
            self._will_look = True
            self._keeper.submit(self._look_after_end, DISK_GAP)

    def _look_after_end(self) -> None:
        self._will_look = False
        self._next_disk_look = 0.0
        self.tick()

    def tick(self) -> None:
        """
        Look at the free space now and then, and run if it is too little.
        """
        now = time.monotonic()
        if self._retention.keep_free is None or now < self._next_disk_look:
            return
        if now < self._full_until and not (self._was_over and self._frees_disk):
            return
        self._next_disk_look = now + DISK_GAP
        if self._is_disk_full():
            self._gap = DISK_GAP
            self._schedule(0.0)

    def _is_disk_full(self) -> bool:
        disk, keep_free = self._pruner.disk(), self._retention.keep_free
        return disk is not None and keep_free is not None and disk.free < disk.floor(keep_free)

    def _schedule(self, delay: float) -> None:
        if not self._is_on or not self._is_live():
            return
        due = time.monotonic() + delay
        if self._due is None or due < self._due:
            self._due = due
            self._keeper.submit(functools.partial(self._run_at, due), delay)

    def _run_at(self, due: float) -> None:
        if due != self._due:
            return  # another one came before it, or the settings changed
        self._due = None
        if not self._is_live():
            return  # the root was closed, and starts this anew when it comes back to life
        age = self._pruner.age_of_last_run()
        if age < self._gap:
            self._schedule(self._gap - age)
            return
        self._was_over = False
        # As long as there is nothing to remove, a disk that stays full is no reason to look at every session.
        if not self._run() and self._is_disk_full():
            self._full_until = time.monotonic() + GAP
        self._gap = GAP
        self._schedule(INTERVAL)

    def _run(self) -> int:
        """Prune the root and give the number of sessions that went. Whatever fails, later runs go on."""
        try:
            return self._prune()
        except Exception as error:
            self._reporter.report(FAILED, f"sessions of {self._directory} could not be removed: {error}")
            return 0

    def _prune(self) -> int:
        """The same, unless another process is at it."""
        pruner, removed, failed = self._pruner, 0, False
        self._at_work = pruner
        with pruner.alone() as alone:
            if not alone:
                return 0
            self._frees_disk = self._retention.keep_free is None or pruner.frees_disk
            if not self._frees_disk:
                message = f"removing sessions of {self._directory} makes no room: their trash is on the same disk"
                self._reporter.report(f"{FAILED} disk", message)
            for step in self._steps(pruner):
                removed += step.record is not None
                self.pruned += step.record is not None
                if step.failure:
                    failed = True
                    self._reporter.report(FAILED, step.failure)
                if not self._is_live():
                    break
        if not failed:
            self._reporter.over(FAILED)
        return removed

    def _steps(self, pruner: Pruner) -> Iterator[Step]:
        """What was cut short makes room too, so it is finished before anything else is chosen."""
        yield from pruner.finish()
        yield from pruner.remove(pruner.choose(self._is_live))
