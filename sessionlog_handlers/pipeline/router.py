"""
From batches of entries to the files of their sessions.
"""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.cleanup import clean_up
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.report import FIRST_DISTANCE
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.pipeline.session_files import Outcome, SessionFiles
from sessionlog_handlers.pipeline.shared import Shared
from sessionlog_handlers.settings.model import Settings

MANY_TROUBLED = 5  # sessions whose trouble is told one by one
MOST_TELLERS = 5  # sessions whose logs say that a mark was passed
LEAST_PAUSE = 0.01  # seconds until the router looks around again, at least


class Router:
    """
    The listener's side of a root: knows the files of each session, and which of them have something to write.

    Args:
        shared: The root's means.

        make_room: Called with the number of entries whenever some of a batch are dealt with.
    """

    def __init__(self, shared: Shared, make_room: Callable[[int], None] = lambda number: None) -> None:
        self.shared = shared
        self._make_room = make_room
        self.batches = 0
        self.flushes = 0  # sessions written to: whoever waits sees from it that work goes on
        self.reset()

    def reset(self) -> None:
        """
        Forget every session.
        """
        self._sessions: dict[Channel, SessionFiles] = {}
        self._lanes: dict[int, SessionFiles] = {}  # by the session's number: those that take entries
        self._by_id: dict[str, SessionFiles] = {}  # of each id the one that was started last
        self._touched: dict[SessionFiles, None] = {}
        self._troubled: dict[SessionFiles, int] = {}  # sessions that can't be written now, and the bytes they hold
        self._backlog = 0  # bytes that they hold together
        self._implicit: dict[SessionFiles, None] = {}  # sessions that end when they are idle
        self._tellers: dict[SessionFiles, None] = {}  # some of the sessions of the batch, which can tell of a mark
        self._next_look = 0.0

    def use(self, settings: Settings, plan: Plan) -> None:
        """
        Work by other settings from now on. What came before is written by the old ones.
        """
        self.flush_touched()
        is_other = settings.layout != self.shared.settings.layout
        if is_other:
            for files in [*self._troubled]:
                files.retry_now()  # a last time: what is kept is for the files of the old layout
                self._flush(files)
        self.shared.use(settings, plan)
        single = str(settings.single_file) if settings.single_file else None
        for files in self._sessions.values():
            files.lock = self.shared.lock_for(files.channel)
            if is_other:
                files.use_layout(files.channel.paths.in_layout(settings.layout, single))
                if files.claimed:
                    self.touch(files)
        self.flush_touched()

    # -- the listener's sink -----------------------------------------------------------------------------------------

    def count(self, batch: list[Any]) -> None:
        """
        Count a batch's entries as taken from the queue.
        """
        self.shared.taken += count_entries(batch)

    def write(self, batch: list[Any]) -> None:
        """
        Write a batch: entries and commands in the order of the queue.
        """
        self.batches += bool(batch)
        lanes, touched = self._lanes, self._touched
        for item in batch:
            if item.__class__ is Entry:
                try:
                    files = lanes[item.session]
                except KeyError:
                    self.shared.count_lost(None, "late")
                    continue
                entries = files.entries
                if not entries:
                    touched[files] = None
                entries.append(item)
            else:
                try:
                    self._obey(item)
                except BaseException as error:
                    self.shared.entry_failed(None, error, 0)
                touched = self._touched
        self._tell_losses()
        self.flush_touched()
        self.shared.marks.look_if_due()
        self._tell_marks()
        self._look_around()

    def _obey(self, command: Any) -> None:
        if isinstance(command, Barrier):
            try:
                self.flush_touched()
            finally:
                command.reached()
        else:
            command.run(self)

    def end(self, channel: Channel, end: dict[str, Any]) -> None:
        """
        A session ends; what comes after this is late.
        """
        files = self._sessions.get(channel)
        if files is not None:
            self._lanes.pop(channel.number, None)
            files.end = end
            self.touch(files)

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
            number = len(files.entries)
            if files.is_stuck and files.retry_at > now:
                self._bound_backlog(files)
            else:
                self._flush(files)
            self._touch_again(files)
            self._make_room(number)
            self.shared.marks.look_if_due()
        self._tellers.update(dict.fromkeys(islice(touched, MOST_TELLERS)))

    def _touch_again(self, files: SessionFiles) -> None:
        """Where entries are left, `write` takes it that the session is touched."""
        if files.entries and not files.is_over:
            self._touched[files] = None

    def _flush(self, files: SessionFiles) -> None:
        self.flushes += 1
        before = files.after
        if before is not None and not before.is_over:
            self._flush(before)  # its end comes before the new start
            if before.trouble is not None:
                files.put_off(before.trouble)
                self._put_off(files)
                return
        files.after = None
        try:
            outcome = files.flush()
        except BaseException as error:  # SystemExit from somewhere must not silence the log of a whole application
            files.put_off(error)
            outcome = Outcome.PUT_OFF
        if outcome is Outcome.PUT_OFF:
            self._put_off(files)
            return
        if files in self._troubled:
            self._recovered(files)
        if outcome is Outcome.OVER:
            self._session_over(files)

    def _tell_losses(self) -> None:
        """Say in a session's own log what was lost of it, where that is due. What can't be written now waits too."""
        losses, now = self.shared.losses, time.monotonic()
        for channel in losses.due(now):
            files = self._sessions.get(channel)
            if channel.over:
                losses.forget(channel)
            elif files is None:  # its start is still queued
                losses.put_off(channel, now + FIRST_DISTANCE)
            elif not files.can_tell:
                losses.put_off(channel, max(files.retry_at, now + LEAST_PAUSE))
            else:
                files.tell_losses()
                self.touch(files)

    def _tell_marks(self) -> None:
        """Say that the disk gets full in a few of the logs that are written just now; in all of them would fill it."""
        tellers = [files for files in self._tellers if files.is_writable][:MOST_TELLERS]
        self._tellers.clear()
        if not tellers or not self.shared.marks.has_news:
            return  # the next batch may have one
        for mark in self.shared.marks.take_news():
            for files in tellers:
                files.say("log_degraded", {"reason": "disk_low", "mark": mark.name, "free": mark.free})
                self.touch(files)
        self.flush_touched()

    # -- sessions ----------------------------------------------------------------------------------------------------

    def start(self, channel: Channel, start: float, begin: Mapping[str, Any]) -> None:
        """
        Open the files of a session.
        """
        files = self._know(SessionFiles(channel, self.shared, start, begin))
        files.after = self._by_id.get(channel.id)
        self._by_id[channel.id] = files
        self.touch(files)

    def inherit(self, channel: Channel) -> None:
        """
        In a forked child: the session goes on here too, as soon as the child has something to write to it.
        """
        self._know(SessionFiles(channel, self.shared, channel.opened, {}, inherited=True))

    def _know(self, files: SessionFiles) -> SessionFiles:
        files.channel.over = False
        self._sessions[files.channel] = files
        self._lanes[files.channel.number] = files
        if files.channel.implicit:
            self._implicit[files] = None
        return files

    @property
    def is_troubled(self) -> bool:
        """Whether something could not be written and is kept."""
        return bool(self._troubled)

    def files_of(self, channel: Channel) -> SessionFiles | None:
        """
        The files of a session; None before its start and after its end.
        """
        return self._sessions.get(channel)

    def _session_over(self, files: SessionFiles) -> None:
        """A session is complete: close its files and do with them what the settings say."""
        channel, settings = files.channel, self.shared.settings
        self._implicit.pop(files, None)
        self._hold(files, None)
        if self._sessions.get(channel) is files:
            del self._sessions[channel]
            self._lanes.pop(channel.number, None)
        if self._by_id.get(channel.id) is files:
            del self._by_id[channel.id]
        files.is_over = channel.over = True
        self.shared.losses.forget(channel)
        if not settings.single_file:
            for index in range(len(settings.layout.files)):
                self.shared.open.release(channel.paths.file(index))
            if settings.on_end != "keep":  # whoever leaves last finds the session over
                lock, paths = files.lock, channel.paths
                self.shared.keeper.submit(lambda: clean_up(paths, lock, settings), slow=True)
        channel.root.forget(channel, refused=files.refused)

    # -- periodic ----------------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """
        Seconds until the router wants to look around though nothing was queued; None if it does not.
        """
        times = [files.retry_at for files in self._troubled]
        times.append(self.shared.open.next_idle())
        times.append(self.shared.losses.next_due())
        if self._implicit:
            times.append(self._next_look)
        soonest = min(times)
        return None if soonest == float("inf") else max(soonest - time.monotonic(), LEAST_PAUSE)

    def _look_around(self) -> None:
        now = time.monotonic()
        for files in [files for files in self._troubled if files.retry_at <= now]:
            self._flush(files)
            self._touch_again(files)
        self.shared.open.close_idle(now)
        if now >= self._next_look:
            idle_end = self.shared.settings.idle_end
            self._next_look = now + max(idle_end / 4, 1.0)
            for files in [*self._implicit]:
                if files.last_used + idle_end < now:
                    # Not in this thread: it must never wait for a lock of the callers'.
                    self.shared.keeper.submit(functools.partial(files.channel.root.end_idle, files.channel))

    # -- trouble -----------------------------------------------------------------------------------------------------

    def _put_off(self, files: SessionFiles) -> None:
        """Tell of the trouble once, make room if descriptors are short, and bound what is kept."""
        if files.failed:
            self._tell(files)
        self._bound_backlog(files)

    def _tell(self, files: SessionFiles) -> None:
        error = files.trouble
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self.shared.open.close_half()
        reason = getattr(error, "strerror", None) or safe_repr(error)
        if files in self._troubled or len(self._troubled) < MANY_TROUBLED:
            path = getattr(error, "filename", None) or files.channel.paths.log
            message = f"{path}: can't be written ({reason}); lines are kept and tried again"
            self.shared.reporter.report(f"write {path}", message)
        else:
            message = f"more than {MANY_TROUBLED} sessions in {self.shared.directory} can't be written ({reason})"
            self.shared.reporter.report("write many", message)

    def _recovered(self, files: SessionFiles) -> None:
        self._hold(files, None)
        paths = files.channel.paths
        for path in (*paths.files(), paths.directory, paths.metadata):
            self.shared.reporter.over(f"write {path}")

    def _bound_backlog(self, files: SessionFiles) -> None:
        self._hold(files, files.held)
        if files.trim(self._backlog - self.shared.settings.backlog):
            self._hold(files, files.held)

    def _hold(self, files: SessionFiles, held: int | None) -> None:
        """Note how many bytes a session in trouble holds; None: it is in trouble no more."""
        self._backlog -= self._troubled.pop(files, 0)
        if held is not None:
            self._troubled[files] = held
            self._backlog += held

    def close(self) -> None:
        """
        Write what can be written and give every descriptor back. What is still unwritten stays, for a later record.
        """
        for files in [*self._troubled]:
            files.retry_now()
            self._flush(files)
        self.shared.close()

    def give_up(self) -> None:
        """
        The end of the process: report what could not be written.
        """
        for files in {**self._troubled, **self._touched}:
            before = self.shared.losses.lines
            entries = files.trim(files.held)
            if files.unsaid:
                self.shared.losses.count_lines(files.channel, files.unsaid)
            lines = self.shared.losses.lines - before
            self.shared.reporter.report(
                f"lost {files.channel.id}",
                f"session {files.channel.id!r} could not be written to its end; "
                f"entries lost: {entries}, audit and other lines lost: {lines}",
            )

    def forget(self) -> None:
        """
        In a forked child: close what was inherited. The lines in hand are the parent's.
        """
        self.shared.forget()
        self.reset()


def count_entries(items: list[Any]) -> int:
    """
    How many of the items are entries; the others are commands.
    """
    return [*map(type, items)].count(Entry)
