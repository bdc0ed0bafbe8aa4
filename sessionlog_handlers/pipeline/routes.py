"""
Which files of a session take which event: worked out once for each level, then one look-up a call.
"""

from __future__ import annotations

import msgspec

from sessionlog_handlers.events import (
    FRAME_EVENTS,
    ORDINARY_RECORD,
    RESERVED_EVENTS,
    UNCONDITIONAL_EVENTS,
    EventCatalogue,
    EventType,
)
from sessionlog_handlers.formats.encoding import FEW_BYTES
from sessionlog_handlers.formats.line import LineFormat
from sessionlog_handlers.formats.registry import get_format
from sessionlog_handlers.levels import LEVELS_BY_RANK, SessionLevel, rank_of_record, severity_name
from sessionlog_handlers.pipeline.queue import ENTRY_OVERHEAD
from sessionlog_handlers.settings.layouts import FileSpec, Layout
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.tables import Flood

# Who is refused first when the queue fills, as positions in `queue.MARKS`.
SHED_FULL, SHED_DEBUG, SHED_PROMPTS, SHED_SIGNALS, SHED_LAST = range(5)

TERMINAL_EVENTS = frozenset({"output", "input", "resize", "header", "exit", "gap", "suppressed"})

_FULL_RANK = SessionLevel.FULL.rank


class Route(msgspec.Struct, frozen=True, eq=False, gc=False):
    """
    Where one event goes at one session level. Compared by identity; in a queue, invisible to the garbage collector.

    Args:
        event: The event's name.

        type: What the catalogue says of it; for ordinary records a type of their class.

        level: The severity's word.

        files: The layout's files that take it, by number.

        formats: The formats that these files need, by number.

        priority: Its position among the queue's marks.

        durable: Whether it is synced within a second.

        sampled: The share of it that is kept, below 1.0 only where sampling is on.

        flood: How many of it a session may log in a time, None if that is not bounded.

        gated: Whether sampling or the flood guard has a say.

        layout: The layout that the files are counted in.

        format: The one format that these files need, or None where they need several.

        clocked: Whether a format stores the time since the session's start.

        quick: The most bytes of an event's encoded fields that need no second look, 0 if they always do.

        rare: Whether its class is one of the rare ones, of which others than the session's files are told.

        waits: Whether the caller of this rare audited event waits for its line to be on the disk.
    """

    event: str
    type: EventType
    level: str
    files: tuple[int, ...]
    formats: tuple[int, ...]
    priority: int
    durable: bool
    sampled: float
    flood: Flood | None
    gated: bool
    layout: Layout
    format: LineFormat | None
    clocked: bool
    quick: int
    rare: bool
    waits: bool


class RouteTable:
    """
    All routes at one session level and severity threshold.

    Args:
        plan: What does not depend on the level.

        level: The session level.

        severity: The threshold, a stdlib number; 0 for none.
    """

    def __init__(self, plan: Plan, level: SessionLevel, severity: int) -> None:
        self.level = level
        self.severity = severity
        self._plan = plan
        self.layout = plan.settings.layout
        self.events: dict[str, Route | None] = {}  # known by now; for others see `event`
        self.ordinary: dict[int, Route | None] = {}  # by the record's number, known by now; for others see `record`
        self._leveled: dict[tuple[Route, str], Route] = {}  # a record's own severity instead of the event's

    def event(self, name: str) -> Route | None:
        """
        The route of that event, or None if no file takes it.
        """
        try:
            return self.events[name]
        except KeyError:
            known = self._plan.catalogue.get(name)
            route = self._route(known, self._priority(known), self._plan.sampling.get(name, 1.0))
            if known.name in self._plan.catalogue.types or len(self.events) < self._plan.max_names:
                self.events[name] = route
            return route

    def record(self, levelno: int, event: str | None = None) -> Route | None:
        """
        The route of a record of that number, which may name an *event*; None if no file takes it.
        """
        route = self.event(event) if event else self._ordinary(levelno)
        route = self._at_level(route, severity_name(levelno))
        if not event and len(self.ordinary) < self._plan.max_names:
            self.ordinary[levelno] = route
        return route

    def like(self, route: Route) -> Route | None:
        """
        Another table's route for the same kind of line, as this table has it.
        """
        if route.event == ORDINARY_RECORD:
            return self.record(route.type.severity)
        return self._at_level(self.event(route.event), route.level)

    def _at_level(self, route: Route | None, level: str) -> Route | None:
        """The route with a severity of its own, the same one each time."""
        if route is None or route.level == level:
            return route
        known = self._leveled.get((route, level))
        if known is None:
            known = msgspec.structs.replace(route, level=level)
            if len(self._leveled) < self._plan.max_names:
                self._leveled[route, level] = known
        return known

    @staticmethod
    def _priority(event: EventType) -> int:
        if event.session_level is SessionLevel.FULL:
            return SHED_FULL
        if event.audit or event.session_level is SessionLevel.SPAWNS:
            return SHED_LAST
        return SHED_PROMPTS if event.session_level is SessionLevel.PROMPTS else SHED_SIGNALS

    def _ordinary(self, levelno: int) -> Route | None:
        if levelno < self.severity:
            return None
        record_class = LEVELS_BY_RANK[rank_of_record(levelno)]
        by_class = {SessionLevel.FULL: SHED_DEBUG, SessionLevel.PROMPTS: SHED_PROMPTS}
        passing = EventType(ORDINARY_RECORD, record_class, severity=levelno)
        return self._route(passing, by_class.get(record_class, SHED_SIGNALS), 1.0)

    def _route(self, event: EventType, priority: int, sampled: float) -> Route | None:
        settings = self._plan.settings
        specs = settings.layout.files if settings.enabled else ()
        files = tuple(index for index, spec in enumerate(specs) if self._takes(spec, event))
        if not files:
            return None
        if settings.single_file:
            files = (0,)  # they all are that one, and each event stands in it once
        plan = self._plan
        formats = tuple(dict.fromkeys(plan.format_of_file[index] for index in files))
        single = plan.formats[formats[0]] if len(formats) == 1 else None
        clocked = any(plan.formats[index].clocked for index in formats)
        is_rare = event.session_level is not SessionLevel.FULL
        flood = settings.flood if self._may_flood(event) else None
        is_gated = sampled < 1.0 or flood is not None
        is_own = event.name in RESERVED_EVENTS  # which the app may not log
        is_simple = single is not None and not clocked and not is_gated and not is_own
        return Route(
            event=event.name,
            type=event,
            level=event.level,
            files=files,
            formats=formats,
            priority=priority,
            durable=self._durable(event),
            sampled=sampled,
            flood=flood,
            gated=is_gated,
            layout=settings.layout,
            format=single,
            clocked=clocked,
            quick=self._most_quick(single, event.name) if single is not None and is_simple else 0,
            rare=is_rare,
            waits=is_rare and event.audit is not None and settings.audit_durability == "sync",
        )

    def _may_flood(self, event: EventType) -> bool:
        """
        Starts, ends and what we say ourselves are never held back, nor what an audit relies on: a flood must be no way
        to hide what a user did.
        """
        if event.session_level is SessionLevel.FULL:
            return True
        is_relied_on = event.audit == "user" or (event.audit and self._plan.settings.audit_durability == "sync")
        return not (is_relied_on or event.session_level is SessionLevel.SPAWNS or event.name in UNCONDITIONAL_EVENTS)

    def _most_quick(self, line_format: LineFormat, event: str) -> int:
        """How many bytes the fields may have that are not looked at again, and that take no more than a slot."""
        settings = self._plan.settings
        slot = max(settings.queue_bytes // settings.queue_size - ENTRY_OVERHEAD, 0)
        return min(line_format.simple_bytes(event), FEW_BYTES, slot)

    def _durable(self, event: EventType) -> bool:
        return event.durable or (event.audit is not None and self._plan.settings.audit_durability != "none")

    def _takes(self, spec: FileSpec, event: EventType) -> bool:
        by_level = event.name in UNCONDITIONAL_EVENTS or (
            event.session_level.rank <= self.level.rank
            and (event.severity >= self.severity or event.name in FRAME_EVENTS)
        )
        # Audit files ignore the session level for every class but `full`.
        audited = event.session_level is not SessionLevel.FULL or self.level is SessionLevel.FULL
        match spec.takes:
            case "level":
                return by_level
            case "user" | "system":
                return event.audit == spec.takes and audited
            case "rest":
                return event.audit != "user" and (by_level or (event.audit == "system" and audited))
            case "bytes":
                return event.name in TERMINAL_EVENTS and by_level
            case "records":
                return event.name not in TERMINAL_EVENTS and by_level


class Plan:
    """
    What all sessions of a root share: its formats, its catalogue, and one table of routes for each level in use.

    Args:
        settings: The handler's settings.
    """

    max_names = 4096  # unknown event names whose route is remembered, per table

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = settings.layout
        self.catalogue = EventCatalogue(settings.events)
        self.sampling = dict(settings.sampling)
        names = tuple(dict.fromkeys(spec.format for spec in settings.layout.files))
        self.formats: tuple[LineFormat, ...] = tuple(
            get_format(name, max_record_bytes=settings.max_record_bytes, content=settings.content) for name in names
        )
        self.format_of_file = tuple(names.index(spec.format) for spec in settings.layout.files)
        self._tables: dict[tuple[SessionLevel, int], RouteTable] = {}

    def table(self, level: SessionLevel, severity: int) -> RouteTable:
        """
        The routes at that level and threshold.
        """
        key = (level, severity)
        try:
            return self._tables[key]
        except KeyError:
            return self._tables.setdefault(key, RouteTable(self, level, severity))
