"""
Which sessions are open in this process: how they begin, are found for a record, change their level, and end.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Mapping
from logging import LogRecord
from typing import Any

from sessionlog_handlers.context import find_session_id
from sessionlog_handlers.exceptions import ConfigurationError, SessionNotFoundError
from sessionlog_handlers.levels import SessionLevel, threshold_name
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.commands import EndCommand, JoinCommand, LevelCommand, StartCommand
from sessionlog_handlers.pipeline.layout import SessionPaths, check_id, directory_name
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.values import parse_severity

MAX_ENDED = 10_000  # ids of ended sessions that are remembered; of older ones metadata.json tells


class OpenSessions(ABC):
    """
    The sessions of one root that are open in this process.

    Args:
        directory: The root, an absolute path.

        settings: The handler's settings.

        channel_type: What a session is on the callers' side.
    """

    def __init__(self, directory: str, settings: Settings, channel_type: type[Channel]) -> None:
        self.directory = directory
        self.settings = settings
        self.channel_type = channel_type
        self.plan = Plan(settings)
        self.queue: BoundedQueue[Any] = BoundedQueue(settings.queue_size, settings.queue_bytes, settings.overflow)
        self.sessions: dict[str, Channel] = {}
        self.reporter = Reporter()
        self.losses = Losses(self.queue.wake)
        self.unrouted = 0  # records that belong to no session
        self.lock = threading.RLock()  # for sessions that come and go; a signal handler may log while it is held
        self._implicit = 0  # how many of the sessions began by a record alone
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._gone: deque[tuple[Channel, bool]] = deque()  # over, and still among the sessions

    @abstractmethod
    def put(self, channel: Channel, entry: Entry, size: int) -> bool:
        """
        Queue a session's entry that holds *size* bytes, or count it as lost and give False.
        """

    @abstractmethod
    def refuses(self, channel: Channel, priority: int) -> bool:
        """
        Whether the queue is too full for what is of that priority and does not wait; then it is counted as lost.
        """

    @abstractmethod
    def rouse(self) -> None:
        """
        See to it that what was queued is dealt with, since the listener sleeps, or does not run.
        """

    @abstractmethod
    def flush(self, timeout: float = 0.0, *, durable: bool = False) -> bool:
        """
        Wait until everything logged before is in its files, and *durable*: on the disk. Gives False after *timeout*.
        """

    @abstractmethod
    def durable_barrier(self, channel: Channel | None = None) -> Barrier:
        """
        A barrier that is reached when everything before it is on the disk; its *error* tells what could not be.
        """

    @abstractmethod
    def _command(self, command: Any) -> None:
        """Queue a command. The lock may be held, so nothing is waited for."""

    @abstractmethod
    def _before_start(self) -> None:
        """Slow down whoever starts sessions faster than they can be begun. The lock is not held."""

    @abstractmethod
    def _attend(self) -> None:
        """See to it that what was queued is dealt with. The lock is not held."""

    @abstractmethod
    def _end_later(self, channel: Channel, end: dict[str, Any], delay: float) -> None:
        """Call `end_now` after *delay* seconds."""

    def open(
        self,
        session_id: str | None = None,
        *,
        level: SessionLevel | None = None,
        severity: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        command: list[str] | str | None = None,
        implicit: bool = False,
    ) -> tuple[Channel, bool]:
        """
        Begin a session, or give the one that runs under that id in this process, and tell whether it is new.

        Raises:
            InvalidSessionIdError: If the id is no text or empty.
        """
        session_id = str(uuid.uuid4()) if session_id is None else check_id(session_id)
        self._before_start()
        with self.lock:
            self._purge()
            channel = self.sessions.get(session_id)
            if channel is not None and channel.ending:
                self._close_channel(channel, channel.ending)  # a new start does not wait for late lines of the old one
            elif channel is not None and not channel.closed:
                return channel, False
            own_level, own_severity = level is not None, severity is not None
            level = level or self.settings.level_for(session_id)
            table = self.plan.table(level, self.settings.severity if severity is None else severity)
            channel = self.channel_type(self, session_id, self._paths(session_id), table, implicit)
            channel.own_level, channel.own_severity = own_level, own_severity
            begin: dict[str, Any] = {"level": level.value}
            if metadata:
                channel.app_metadata = begin["metadata"] = dict(metadata)
            if command is not None:
                begin["command"] = command
            if implicit:
                begin["implicit"] = True
            self._begin(channel, StartCommand(channel, channel.opened, begin))
        self._attend()
        return channel, True

    def join(self, session_id: str, level: SessionLevel, severity: int, metadata: Mapping[str, Any]) -> Channel:
        """
        Know a session that the parent process runs, or give the one that is known under that id.

        Nothing is written for it before its first entry, and it is not ended here.
        """
        with self.lock:
            self._purge()
            known = self.sessions.get(session_id)
            if known is not None and not known.closed:
                return known
            table = self.plan.table(level, severity)
            channel = self.channel_type(self, session_id, self._paths(session_id), table)
            channel.app_metadata = dict(metadata)
            self._begin(channel, JoinCommand(channel, channel.opened, {}))
        return channel

    def _begin(self, channel: Channel, start: StartCommand) -> None:
        self._command(start)  # before anybody can find the session and put an entry ahead of it
        self.sessions[channel.id] = channel
        self._implicit += channel.implicit
        self._ended.pop(channel.id, None)

    def adopt(self, channel: Channel, start: StartCommand, level: SessionLevel | None, severity: int | None) -> None:
        """
        Take over a session that began before there was a handler.

        Args:
            channel: The session.

            start: Its start.

            level: The session level that was asked for, None for this root's own.

            severity: The threshold that was asked for, None for this root's own.
        """
        with self.lock:
            channel.own_level, channel.own_severity = level is not None, severity is not None
            level = level or self.settings.level_for(channel.id)
            channel.paths = self._paths(channel.id)
            channel.use_table(self.plan.table(level, self.settings.severity if severity is None else severity))
            start.begin = {**start.begin, "level": level.value}
            self._begin(channel, start)

    def _paths(self, session_id: str) -> SessionPaths:
        single = self.settings.single_file
        return SessionPaths(
            self.directory, self.settings.layout, directory_name(session_id), str(single) if single else None
        )

    def find(self, record: LogRecord) -> Channel | None:
        """
        The session that an ordinary record belongs to; None if it has none or must not have one.
        """
        session_id = find_session_id(record, self.settings.logger_prefixes) or self.settings.default_session
        if session_id is None:
            self.unrouted += 1
            return None
        channel = self.sessions.get(session_id)
        return channel if channel is not None and not channel.closed else self._find_other(record, session_id)

    def _find_other(self, record: LogRecord, session_id: str) -> Channel | None:
        """A record whose session is not open here: of a child logger, a late one, or the first of a new session."""
        if "session_id" not in record.__dict__ and record.name.endswith(session_id):
            parent = session_id
            while "." in parent:
                parent = parent.rpartition(".")[0]
                known = self.sessions.get(parent)
                if known is not None and not known.closed:
                    return known
        with self.lock:
            self._purge()
            ended = session_id in self._ended
        if ended:
            self.count_late(session_id)
            return None
        if not self.settings.implicit:
            self.unrouted += 1
            return None
        if self._implicit >= self.settings.max_sessions:
            self.losses.count(None, "max_sessions")
            self.reporter.report(
                "max_sessions", f"more than {self.settings.max_sessions} sessions began by a record alone"
            )
            return None
        return self.open(session_id, implicit=True)[0]

    def count_late(self, session_id: str) -> None:
        """
        Somebody still logs to a session that has ended.
        """
        self.losses.count(None, "late")
        self.reporter.report(f"late {session_id}", f"session {session_id!r} has ended; what still names it is left out")

    def flooded(self, channel: Channel, event: str, excess: int) -> None:
        """
        A session logs an event more often than it may: count this one as lost, the *excess*-th beyond the rate.
        """
        self.losses.count(channel, "flood", 1, event)
        if excess == 1:
            what = repr(event) if event else "events of very many names"
            text = f"session {channel.id!r} logs {what} faster than 'flood' allows; the rest is only counted"
            self.reporter.report("flood", text)

    def end(
        self,
        channel: Channel,
        reason: str,
        data: Mapping[str, Any] | None = None,
        *,
        linger: float | None = None,
        final: bool = True,
    ) -> bool:
        """
        End a session, and tell whether it still ran.

        Late lines are let in for *linger* seconds (by default the settings' ``end_linger``). A *final* end is one that
        the app asked for: no mere record begins the session again.
        """
        linger = self.settings.end_linger if linger is None else linger
        with self.lock:
            if channel.closed or (channel.ending and linger):
                return False
            end = channel.ending or {"reason": reason, "created": time.time(), "data": dict(data or {}), "final": final}
            if linger:
                channel.ending = end
            else:
                self._close_channel(channel, end)
        if linger:
            self._end_later(channel, end, linger)
        self._attend()
        return True

    def end_idle(self, channel: Channel) -> None:
        """
        End a session that began by a record alone and had none for long. Its next record begins it again.
        """
        self.end(channel, "idle", linger=0.0, final=False)

    def end_now(self, channel: Channel, end: dict[str, Any]) -> None:
        """
        The time for late lines is over.
        """
        with self.lock:
            self._close_channel(channel, end)
        self._attend()

    def _close_channel(self, channel: Channel, end: dict[str, Any]) -> None:
        """Refuse everything from now on, and queue the end. The lock is held."""
        if channel.closed:
            return
        channel.closed = True
        if end["final"]:
            self._remember_end(channel.id)
        self._command(EndCommand(channel, end))

    def _remember_end(self, session_id: str) -> None:
        self._ended[session_id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def forget(self, channel: Channel, *, refused: bool = False) -> None:
        """
        A session's last line is written, or it was refused because it had been ended.

        Called by the listener's thread, which must never wait for the lock: whoever holds it may wait for the listener.
        """
        self._gone.append((channel, refused))

    def _purge(self) -> None:
        """Take the sessions that are over off the books. The lock is held."""
        while self._gone:
            channel, refused = self._gone.popleft()
            # A session whose handler was only switched off is still open, and goes on when it is switched on again.
            if channel.closed and self.sessions.get(channel.id) is channel:
                del self.sessions[channel.id]
                self._implicit -= channel.implicit
            if refused:
                self._remember_end(channel.id)

    def set_level(
        self, channel: Channel, level: SessionLevel | None = None, severity: int | None = None, by: str = "app"
    ) -> dict[str, Any] | None:
        """
        Change a session's level, its severity threshold, or both, and give what changed; None if nothing did.

        Raises:
            SessionNotFoundError: If it has ended.
        """
        with self.lock:
            if channel.closed:
                raise SessionNotFoundError(f"session {channel.id!r} has ended; its level can't change", channel.id)
            channel.own_level |= level is not None
            channel.own_severity |= severity is not None
            before = channel.table
            change = self._change_level(
                channel, level or before.level, before.severity if severity is None else severity, by
            )
        if change is not None:
            self._attend()
        return change

    def _change_level(self, channel: Channel, level: SessionLevel, severity: int, by: str) -> dict[str, Any] | None:
        """Let the session judge by other levels, and give what changed; None if nothing did. The lock is held."""
        before, table = channel.table, self.plan.table(level, severity)
        if table is before:
            return None
        if (level, severity) == (before.level, before.severity):
            channel.use_table(table)  # the same by other settings
            return None
        change: dict[str, Any] = {"from": before.level.value, "to": level.value, "by": by}
        if severity != before.severity:
            change["severity"] = threshold_name(severity) or "off"
        # Raised: the line comes first, so no line of the new level precedes it. Lowered: it comes after what was put
        # before; events that other threads had already judged may follow it.
        command = LevelCommand(channel, time.time(), change)
        if level > before.level:
            self._command(command)
            channel.use_table(table)
        else:
            channel.use_table(table)
            self._command(command)
        return change

    def _follow_settings(self) -> None:
        """Let the sessions take the levels that nobody asked for from the settings in force. The lock is held."""
        for channel in self.sessions.values():
            level, severity = channel.session_level, channel.severity
            if channel.closed:  # its last line is on its way
                channel.use_table(self.plan.table(level, severity))
                continue
            level = level if channel.own_level else self.settings.level_for(channel.id)
            severity = severity if channel.own_severity else self.settings.severity
            self._change_level(channel, level, severity, by="config")

    def set_level_by_name(self, channel: Channel, name: str, by: str = "app") -> dict[str, Any] | None:
        """
        Change a session's level by a word of either vocabulary, a session level or a severity. Gives what changed.

        Raises:
            ConfigurationError: If it is a word of neither.

            SessionNotFoundError: If the session has ended.
        """
        try:
            level = SessionLevel.parse(name)
        except ConfigurationError as error:
            try:
                severity = parse_severity(name)
            except ConfigurationError:
                raise ConfigurationError(f"{error.message}, or a severity: debug, info, warning, error, off") from None
            return self.set_level(channel, severity=severity, by=by)
        return self.set_level(channel, level, by=by)
