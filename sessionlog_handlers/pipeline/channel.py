"""
One session on the caller's side: judges what it takes, freezes values, and puts entries into the root's queue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from logging import LogRecord
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from sessionlog_handlers.events import RESERVED_EVENTS
from sessionlog_handlers.filters import FloodGuard, Sampler
from sessionlog_handlers.formats.records import take_apart
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.pipeline.queue import ENTRY_OVERHEAD, BoundedQueue

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.layout import SessionPaths
    from sessionlog_handlers.pipeline.routes import Plan, Route, RouteTable

MOST_GUARDS = 256  # event names of a session that are guarded each by itself; what is beyond shares one guard

_numbers = count(1)  # of this process's sessions: what an entry knows its session by

# What a format's `fields` takes.
_Content: TypeAlias = tuple[str, Mapping[str, Any], str | None, str | None, str | None]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """
    One event on its way through the queue: values only, nothing that the caller could still change.

    The garbage collector knows nothing of entries, so a long queue costs it nothing; they hold nothing that could be
    part of a cycle.

    Args:
        session: The session's number, see `Channel`.

        route: Its event and the files it goes to.

        created: Seconds since the epoch, at the call.

        data: The encoded fields, or a terminal's bytes as they are. Where the files have several formats, a tuple with
            both parts for each of them.

        tail: What follows the sequence number, encoded; None if *data* is a terminal's bytes.

        elapsed: Seconds since the session's start on the monotonic clock, for formats that store them.
    """

    session: int
    route: Route
    created: float
    data: Any
    tail: bytes | None
    elapsed: float = 0.0


class Home(Protocol):
    """
    What a session needs of the root it belongs to.
    """

    plan: Plan
    queue: BoundedQueue[Any]

    def put(self, channel: Channel, entry: Entry, size: int) -> bool:
        """Queue an entry of that channel, or count it as lost and give False."""
        ...

    def refuses(self, channel: Channel, priority: int) -> bool:
        """Whether the queue is too full for what is of that priority and does not wait; then it is counted as lost."""
        ...

    def flooded(self, channel: Channel, event: str, excess: int) -> None:
        """An event was one too many, the *excess*-th of its time; count it as lost."""
        ...

    def rouse(self) -> None:
        """See to it that what was queued is dealt with, since the listener sleeps, or does not run."""
        ...

    def end_idle(self, channel: Channel) -> None:
        """A session that began by a record alone had none for long."""
        ...

    def forget(self, channel: Channel, *, refused: bool = False) -> None:
        """A session's last line is written, or it was refused because it had been ended."""
        ...


class Channel:
    """
    A session as the pipeline knows it. `Session` is its face for apps.

    Args:
        root: Where it belongs.

        session_id: Its id.

        paths: Where its files are.

        table: The routes of its level.

        implicit: Whether it began by its first record.
    """

    __slots__ = (
        "__weakref__",
        "_guards",
        "_input",
        "_output",
        "_samplers",
        "_table",
        "app_metadata",
        "closed",
        "ending",
        "id",
        "implicit",
        "number",
        "opened",
        "over",
        "own_level",
        "own_severity",
        "paths",
        "root",
        "started",
    )

    def __init__(
        self, root: Home, session_id: str, paths: SessionPaths, table: RouteTable, implicit: bool = False
    ) -> None:
        self.root = root
        self.id = session_id
        self.paths = paths
        self.implicit = implicit
        self.own_level = self.own_severity = False  # asked for; else they follow the settings
        self.app_metadata: dict[str, Any] = {}
        self.closed = False  # refuses everything from now on
        self.over = False  # its last line is written
        self.ending: dict[str, Any] | None = None  # the end that was called for, while late lines are still let in
        self.number = next(_numbers)
        self.opened = time()
        self.started = monotonic()
        self.use_table(table)
        self._samplers: dict[str, Sampler] = {}
        self._guards: dict[str, FloodGuard] = {}

    def use_table(self, table: RouteTable) -> None:
        """
        Judge everything by another level from now on. Each event looks at one of these once, so it is judged by exactly
        one level.
        """
        self._table = table
        self._output, self._input = table.event("output"), table.event("input")

    @property
    def table(self) -> RouteTable:
        """The routes of its level."""
        return self._table

    @property
    def session_level(self) -> SessionLevel:
        """Its level now."""
        return self._table.level

    @property
    def severity(self) -> int:
        """Its severity threshold now, 0 for none."""
        return self._table.severity

    def accept_event(
        self,
        route: Route,
        data: Mapping[str, Any],
        exc: str | Callable[[], str] | None = None,
        msg: str | None = None,
    ) -> bool:
        """
        Take an event of the API. Gives False if it was refused; then no traceback is made, where *exc* would make it.
        """
        root = self.root  # once: it may change meanwhile, and what is frozen for one root is no good for another
        now = route if route.layout is root.plan.layout else self._rerouted(root, route)
        if now is None or (now.gated and not self._passes(root, now)) or self._is_refused(root, now):
            return False
        if callable(exc):
            exc = exc()
        if now.format is None:
            return self._accept_in_all(root, now, (now.event, data, msg, None, exc), time())
        encoded, tail = now.format.fields(now.event, data, msg, None, exc)
        return self._put(root, now, time(), encoded, tail, len(encoded) + len(tail) + ENTRY_OVERHEAD)

    def accept_bytes(self, route: Route, content: Any) -> bool:
        """
        Take a terminal's bytes as they are, or a text as UTF-8.
        """
        root = self.root
        now = route if route.layout is root.plan.layout else self._rerouted(root, route)
        if now is None or (now.gated and not self._passes(root, now)) or self._is_refused(root, now):
            return False
        if type(content) is not bytes:
            # A buffer's owner may fill it anew before it is written.
            is_text = isinstance(content, str)
            content = content.encode("utf-8", "backslashreplace") if is_text else bytes(memoryview(content))
        return self._put(root, now, time(), content, None, len(content) + ENTRY_OVERHEAD)

    def accept_record(self, record: LogRecord) -> bool:
        """
        Take a record of the app's loggers. Gives False if the level leaves it out or it was refused.
        """
        root = self.root
        table = self._table
        if table.layout is not root.plan.layout:
            table = self._table_of(root)
        event = record.__dict__.get("event")
        try:
            if event is None:
                route = table.ordinary[record.levelno]
            elif isinstance(event, str):
                if event in RESERVED_EVENTS:
                    return self.accept_record(_without_event(record))
                route = table.record(record.levelno, event)
            else:
                route = table.record(record.levelno)
        except KeyError:
            route = table.record(record.levelno)
        if route is None or (route.gated and not self._passes(root, route)):
            return False
        queue = root.queue
        is_full = len(queue.items) >= queue.room[route.priority]
        if is_full and root.refuses(self, route.priority):
            return False
        event, data, msg, logger, exc = take_apart(record)
        if route.format is None:
            return self._accept_in_all(root, route, (event, data, msg, logger, exc), _seconds(record.created))
        created = record.created
        if created.__class__ is not float:
            created = _seconds(created)
        encoded, tail = route.format.fields(event, data, msg, logger, exc)
        size = len(encoded) + len(tail) + ENTRY_OVERHEAD
        if is_full or size > queue.slot_bytes or route.clocked or self.closed:
            return self._put(root, route, created, encoded, tail, size)
        # What `_put` does, without the call: this is the way of nearly all records.
        queue.items.append(Entry(self.number, route, created, encoded, tail))
        if queue.idle:
            root.rouse()
        return True

    def _accept_in_all(self, root: Home, route: Route, content: _Content, created: float) -> bool:
        """Take what goes to files of several formats."""
        formats = root.plan.formats
        payloads = tuple(formats[index].fields(*content) for index in route.formats)
        return self._put(root, route, created, payloads, b"", entry_size(payloads, b""))

    def _put(self, root: Home, route: Route, created: float, data: Any, tail: bytes | None, size: int) -> bool:
        """Queue an entry: at once if it is small and there is room, else by the root's own way."""
        elapsed = monotonic() - self.started if route.clocked else 0.0
        entry = Entry(self.number, route, created, data, tail, elapsed)
        queue = root.queue
        if size > queue.slot_bytes or self.closed or len(queue.items) >= queue.room[route.priority]:
            return root.put(self, entry, size)
        queue.items.append(entry)
        if queue.idle:
            root.rouse()
        return True

    def replay(self, entry: Entry, root: Home) -> bool:
        """
        Give a root an entry that was frozen before the root and its formats were known. Its level judges anew.
        """
        frozen, data, tail = entry.route, entry.data, entry.tail
        route = self._table_of(root).like(frozen)
        if route is None or (route.gated and not self._passes(root, route, self.started + entry.elapsed)):
            return False
        if tail is not None:
            values = json.loads(data)  # the faster decoder refuses halves of surrogate pairs
            content = frozen.event, values["data"], values["msg"], values["logger"], values["exc"]
            payloads = tuple(root.plan.formats[index].fields(*content) for index in route.formats)
            data, tail = payloads[0] if len(payloads) == 1 else (payloads, b"")
        again = Entry(self.number, route, entry.created, data, tail, entry.elapsed)
        return root.put(self, again, entry_size(data, tail))

    def _is_refused(self, root: Home, route: Route) -> bool:
        """Before anything is done for it: whoever logs more than can be written is not to pay for that as well."""
        queue = root.queue
        return len(queue.items) >= queue.room[route.priority] and root.refuses(self, route.priority)

    def _table_of(self, root: Home) -> RouteTable:
        """Its level's routes, as that root counts files and formats."""
        return root.plan.table(self._table.level, self._table.severity)

    def _rerouted(self, root: Home, route: Route) -> Route | None:
        """The route anew: since the caller looked it up, the session came to that root, or its settings changed."""
        return self._table_of(root).like(route)

    def _passes(self, root: Home, route: Route, at: float = 0.0) -> bool:
        """Whether sampling and the flood guard let an event in, of now, or of *at* on the monotonic clock."""
        if self.closed:
            return True  # and be counted as late
        event, flood = route.event, route.flood
        if route.sampled < 1.0:
            samplers = self._samplers
            sampler = samplers.get(event) or samplers.setdefault(event, Sampler(route.sampled))
            if not sampler.admit():
                return False
        if flood is None:
            return True
        guards = self._guards
        if event not in guards and len(guards) >= MOST_GUARDS:
            event = ""
        guard = guards.get(event) or guards.setdefault(event, FloodGuard())
        excess = guard.excess(at or monotonic(), flood.rate, flood.per)
        if excess:
            root.flooded(self, event, excess)
        return not excess

    def after_fork(self) -> None:
        """
        In a forked child: another thread of the parent may have held the lock of a sampler or a flood guard.
        """
        self._samplers = {}
        self._guards = {}

    def take_left_out(self) -> dict[str, int]:
        """
        How many events sampling left out since the last call, by name.
        """
        left_out = {event: sampler.take_left_out() for event, sampler in self._samplers.copy().items()}
        return {event: number for event, number in left_out.items() if number}


def _without_event(record: LogRecord) -> LogRecord:
    """A record that names an event which is not the app's to log, as an ordinary one that tells of it."""
    plain = record.__class__.__new__(record.__class__)
    plain.__dict__.update(record.__dict__)
    plain.__dict__["claimed_event"] = plain.__dict__.pop("event")
    return plain


def _seconds(created: Any) -> float:
    """A record's time, whatever somebody has put in its place; the epoch where it is none."""
    try:
        return float(created)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def entry_size(data: Any, tail: bytes | None) -> int:
    """
    The bytes that an entry is counted with.
    """
    if type(data) is tuple:
        return ENTRY_OVERHEAD + sum(entry_size(*payload) for payload in data)
    return ENTRY_OVERHEAD + len(data) + (len(tail) if tail else 0)
