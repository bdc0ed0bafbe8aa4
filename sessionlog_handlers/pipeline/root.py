"""
One directory of sessions as this process serves it: the callers' side and the listener's side tied together.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from sessionlog_handlers.exceptions import ConfigurationError, SessionNotFoundError
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.commands import CallCommand, EndCommand, StartCommand
from sessionlog_handlers.pipeline.control import POLL_INTERVAL, ControlFile
from sessionlog_handlers.pipeline.counters import balance, count_unwritten, troubles
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.listener import Barrier, BatchingQueueListener
from sessionlog_handlers.pipeline.marks import DiskMarks
from sessionlog_handlers.pipeline.open_sessions import OpenSessions
from sessionlog_handlers.pipeline.roots import note_root
from sessionlog_handlers.pipeline.router import Router
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.pipeline.shared import Shared
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.settings.model import Settings

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.upkeep import Upkeep

STOP_TIMEOUT = 2.0  # seconds that closing may take
EXIT_LIMIT = 30.0  # seconds that the end of the process may take while files are being written
FORK_TIMEOUT = 1.0  # seconds that a fork waits at most
LEAST_WAIT = 0.1  # seconds that each thread is given at least


class SessionRoot(OpenSessions):
    """
    All that one process keeps for one root: its open sessions, the queue, the listener and the threads beside it.

    Args:
        directory: The root, an absolute path.

        settings: The handler's settings.

        channel_type: What a session is on the callers' side.
    """

    def __init__(self, directory: str, settings: Settings, channel_type: type[Channel] = Channel) -> None:
        super().__init__(directory, settings, channel_type)
        self.control = ControlFile(directory)
        self._closing = threading.RLock()
        self._live = False
        self._is_closing = False
        self._stuck_at = -1  # the listener's moves when a fork waited for it in vain
        self._given_up = False  # at the end of the process: a disk that stands still is not waited for again
        self.keeper = Keeper(self._look, POLL_INTERVAL, self.reporter)
        self.syncer = Syncer(settings.sync_interval, self.reporter)
        self.marks = DiskMarks(directory, settings, queue=self.queue, keeper=self.keeper, reporter=self.reporter)
        self.shared = Shared(
            directory,
            settings,
            self.plan,
            keeper=self.keeper,
            syncer=self.syncer,
            reporter=self.reporter,
            losses=self.losses,
            marks=self.marks,
        )
        self.router = Router(self.shared, self.queue.done)
        self.listener = BatchingQueueListener(
            self.queue,
            linger=settings.linger,
            sink=self.router.write,
            on_done=self.router.count,
            due=self.router.due,
            on_error=self._sink_failed,
        )
        self.upkeep: Upkeep | None = None  # only where sessions are removed
        self._equip_upkeep(settings)

    def _equip_upkeep(self, settings: Settings) -> None:
        if self.upkeep is not None:
            self.upkeep.use(settings)
        elif settings.retention is not None and settings.retention.removes:
            self.upkeep = load_upkeep()(
                self.directory,
                settings,
                reporter=self.reporter,
                is_live=lambda: self._live,
                is_open=self._is_open,
            )

    def _is_open(self, session_id: str) -> bool:
        channel = self.sessions.get(session_id)
        return channel is not None and not channel.over

    def _sink_failed(self, error: BaseException) -> None:
        self.reporter.report(f"listener {type(error).__name__}", f"writing failed and goes on: {error!r}")

    # -- life --------------------------------------------------------------------------------------------------------

    def use(self, settings: Settings, plan: Plan) -> None:
        """
        Work by other settings from now on; what was queued is written by the old ones. Nothing in it may fail.

        Open sessions keep the levels that they were asked to have, and take the others from the new settings.

        Args:
            settings: The settings.

            plan: What follows from them.
        """
        if settings == self.settings:
            return
        with self.lock:
            self._purge()
            before, self.settings, self.plan = self.settings, settings, plan
            self.syncer.interval = settings.sync_interval
            self.queue.configure(settings.queue_size, settings.queue_bytes, settings.overflow)
            self.listener.linger = settings.linger
            self.marks.use(settings)
            # In the queue's order, and in the listener's thread: what was put before is written by the old settings.
            self._switch(before, CallCommand(lambda router: router.use(settings, plan)))
            self._equip_upkeep(settings)
        if self.upkeep is not None:
            self.upkeep.start()

    def settle(self) -> None:
        """
        After `use`, when the caller holds no lock any more: where no thread can write what was queued, write it.
        """
        self._drain_if_threadless()

    def _switch(self, before: Settings, command: CallCommand) -> None:
        """Queue the change of settings, with the starts and ends that switching the handler on or off means."""
        channels = [channel for channel in self.sessions.values() if not channel.closed]
        if before.enabled and not self.settings.enabled:
            for channel in channels:
                end = {"reason": "disabled", "created": time.time(), "data": {}, "final": False}
                self.queue.put_always(EndCommand(channel, end))
        self.queue.put_always(command)
        self._follow_settings()
        if self.settings.enabled and not before.enabled:
            for channel in channels:
                self.queue.put_always(StartCommand(channel, time.time(), {"level": channel.session_level.value}))

    def _revive(self) -> None:
        """Start the threads, at the first record and again after `close`; what comes during it waits for its end."""
        with self.lock:
            if self._live or self._is_closing:
                return
            self.listener.start()
            self._live = self.listener.is_running
        if self._live:
            self.keeper.submit(self._note)
            self.keeper.watch()
            if self.upkeep is not None:
                self.upkeep.start()

    def _note(self) -> None:
        try:
            note_root(self.directory)
        except OSError as error:
            self.reporter.report("roots", f"commands will need --dir to find {self.directory}: {error}")

    def close(self, timeout: float = STOP_TIMEOUT) -> None:
        """
        Write what is queued, stop the threads and give every descriptor back. The next record starts them again.

        Only the lease is kept while a session is open: it tells other processes that nobody crashed.

        Args:
            timeout: Seconds that all of it may take. What a disk too slow for that holds up is left to the threads.
        """
        deadline = time.monotonic() + (LEAST_WAIT if self._given_up else timeout)

        def left() -> float:
            return max(deadline - time.monotonic(), LEAST_WAIT)

        with self._closing:
            with self.lock:
                self._live = False
                self._is_closing = True
            try:
                self.listener.stop(left())
                if self.listener.is_running:
                    waiting = len(self.queue) + len(self.listener.in_hand)
                    self.reporter.report("close", f"{waiting} entries for {self.directory} still wait for a slow disk")
                    return
                self.keeper.stop(left())
                if self.upkeep is not None:
                    self.upkeep.stop(left())
                self.syncer.stop(left())
                self.router.close()
                with self.lock:
                    self._purge()
                if not self.sessions:  # while one is open, it must not look crashed
                    self.shared.lease.give_back()
            finally:
                self._is_closing = False
        if len(self.queue):
            self._attend()

    def finish(self, reason: str) -> None:
        """
        The process ends: end its sessions, write what can be written, and say what could not be.

        That takes as long as files are being written, up to a limit; a disk that stands still is not waited for.
        """
        for channel in [*self.sessions.values()]:
            self.end(channel, reason, linger=0.0, final=False)
        limit = time.monotonic() + EXIT_LIMIT
        before = -1
        while self.router.flushes > before and time.monotonic() < limit and self.listener.is_running:
            before = self.router.flushes
            self.listener.stop(STOP_TIMEOUT)
        self._given_up = self.listener.is_running
        self.close()
        if self._live and not self._given_up:
            self.close()  # something came while it was closed
        if self.upkeep is not None:
            self.upkeep.give_up()
        self.router.give_up()
        if not self.listener.is_running:
            self.shared.lease.give_back()

    def before_fork(self) -> None:
        """
        Let sessions that have just started take their place on the disk, so that it is not the child that begins them.

        A disk that stands still is waited for once, and not again before the listener has moved.
        """
        if self.listener.moves == self._stuck_at:
            return
        known = (self.router.files_of(channel) for channel in [*self.sessions.values()])
        if any(files is None or not files.claimed for files in known) and not self.flush(FORK_TIMEOUT):
            self._stuck_at = self.listener.moves

    def after_fork_in_child(self) -> None:
        """
        Begin anew in a forked child. What is queued is the parent's to write; the sessions go on.
        """
        self.lock = threading.RLock()
        self._closing = threading.RLock()
        self._live = self._is_closing = False
        self._stuck_at = -1
        self.losses.reset()
        self.keeper.reset()
        if self.upkeep is not None:
            self.upkeep.forget()
        self.syncer.reset()
        self.router.forget()
        self.queue.reset()
        self.marks.reset()
        self.listener.reset()
        for channel in [*self.sessions.values()]:
            if channel.closed:
                self.forget(channel)
            else:
                channel.after_fork()
                self.router.inherit(channel)

    # -- the queue ---------------------------------------------------------------------------------------------------

    def put(self, channel: Channel, entry: Entry, size: int) -> bool:
        """
        Queue an entry, or count it as lost and give False. For most of them the session has done this by itself.
        """
        if channel.closed:
            self.count_late(channel.id)
            return False
        if not self._live:
            self._revive()
        if not self.queue.put(entry, entry.route.priority, size):
            self._count_refused(channel, entry.route.priority)
            return False
        if not self._live:
            self._drain_if_threadless()
        return True

    def refuses(self, channel: Channel, priority: int) -> bool:
        """
        Whether the queue is too full for what is of that priority and does not wait; then it is counted as lost.
        """
        if channel.closed or not self.queue.refuses(priority):
            return False
        self._count_refused(channel, priority)
        return True

    def _count_refused(self, channel: Channel, priority: int) -> None:
        if priority < self.queue.bar:
            self.losses.count(channel, "disk_low")  # stderr has heard of the mark
            if not self._live:  # after `close`, or in a forked child, nobody looks whether there is room again
                self._revive()
            return
        self.losses.count(channel, "queue_full")
        self.reporter.report("queue_full", f"the queue of {self.directory} is full; entries are left out and counted")

    def rouse(self) -> None:
        """
        See to it that what was queued is dealt with, since the listener sleeps, or does not run.
        """
        try:
            if not self._live:
                self._revive()
            self.queue.wake()
            if not self._live:
                self._drain_if_threadless()
        except Exception as error:  # the entry is queued, and the app must not hear of it
            self.reporter.report("rouse", f"the listener could not be started: {error!r}")

    def _before_start(self) -> None:
        self.queue.wait_for_start()

    def _attend(self) -> None:
        if not self._live and self.settings.enabled:
            self._revive()
            self._drain_if_threadless()

    def _begin(self, channel: Channel, start: StartCommand) -> None:
        super()._begin(channel, start)
        if self._live:
            self.keeper.watch()

    def forget(self, channel: Channel, *, refused: bool = False) -> None:
        super().forget(channel, refused=refused)
        if self.upkeep is not None:
            self.upkeep.session_over()

    def _end_later(self, channel: Channel, end: dict[str, Any], delay: float) -> None:
        self._revive()
        self.keeper.submit(lambda: self.end_now(channel, end), delay)

    def _drain_if_threadless(self) -> None:
        """At the interpreter's end there can be no thread, and whoever logs writes."""
        if not self._live and not self._is_closing and not self.listener.is_running:
            self.listener.drain()

    def _command(self, command: Any) -> None:
        if self.settings.enabled:
            self.queue.put_always(command)
        elif isinstance(command, EndCommand):
            self.forget(command.channel)

    def flush(self, timeout: float = STOP_TIMEOUT, *, durable: bool = False) -> bool:
        """
        Wait until everything logged before is in its files, and *durable*: on the disk.

        Returns:
            Whether that was so within *timeout* seconds.
        """
        if self._given_up:
            timeout = min(timeout, LEAST_WAIT)
        if durable:
            barrier = self.durable_barrier()
            return barrier.wait(timeout) and barrier.error is None
        if self._live or self.listener.is_running:
            reached = self.listener.flush(timeout)
        else:
            reached = self.listener.drain(timeout)
        return reached and not self.router.is_troubled

    def durable_barrier(self, channel: Channel | None = None) -> Barrier:
        """
        A barrier that is reached when everything before it is on the disk; its *error* tells what could not be.
        """
        barrier = Barrier()

        def sync(router: Router) -> None:
            files = router.files_of(channel) if channel is not None else None
            if router.is_troubled if channel is None else files is not None and files.trouble is not None:
                barrier.error = OSError("something could not be written yet")
            router.shared.syncer.sync_for(barrier, asks_for_all=channel is None)

        self.queue.put_always(CallCommand(sync))
        self._attend()
        self.queue.wake(urgent=True)
        return barrier

    def _look(self) -> bool:
        """The keeper's tick: levels set from outside, room on the disk, and our counters for others to see."""
        with self.lock:
            self._purge()
        self.marks.look()
        for request in self.control.changed():
            channel = self.sessions.get(request.session)
            if channel is None or channel.closed or request.at < channel.opened:
                continue
            try:
                self.set_level_by_name(channel, request.level, by="command")
            except (ConfigurationError, SessionNotFoundError) as error:
                self.reporter.report(f"control {request.session}", str(error))
        if self.sessions and not self.listener.is_running and self._live:
            self._live = False
            self._revive()
        if self.upkeep is not None:
            self.upkeep.tick()
        stats = self.stats()
        # Others fill the disk too: an idle process does not write because of that.
        self.shared.lease.write({"stats": stats}, {**stats, "disk_free": None})
        return bool(self.sessions) and self._live

    def stats(self) -> dict[str, Any]:
        """
        Counters since this process began: ``accepted = written + dropped + pending``. `docs/queue.md` tells each.
        """
        with self.lock:
            self._purge()
        queued, taken = count_unwritten(self.queue, self.listener, self.shared)
        return {
            **balance(queued, taken, self.shared, self.losses),
            "unrouted": self.unrouted,
            "sessions": len(self.sessions),
            "batches": self.router.batches,
            "rotations": self.shared.rotations,
            "unlocked": self.shared.unlocked,
            "open_files": self.shared.open_files,
            "mark": self.marks.in_force,
            "disk_free": self.marks.free(),
            "syncs": self.syncer.syncs,
            "pruned": self.upkeep.pruned if self.upkeep is not None else 0,
            **troubles(self.reporter),
        }


def load_upkeep() -> type[Upkeep]:
    """
    What removes sessions: loaded with the first handler whose settings ask for it.
    """
    from sessionlog_handlers.pipeline.upkeep import Upkeep

    return Upkeep
