from __future__ import annotations

import logging

import pytest

from sessionlog_handlers.events import BUILTIN_EVENTS, RESERVED_EVENTS, EventType
from sessionlog_handlers.exceptions import SessionLogWarning
from sessionlog_handlers.levels import LEVELS_BY_RANK, SessionLevel
from sessionlog_handlers.pipeline.routes import (
    SHED_DEBUG,
    SHED_FULL,
    SHED_LAST,
    SHED_PROMPTS,
    SHED_SIGNALS,
    Plan,
)
from sessionlog_handlers.settings.layouts import LAYOUTS
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.tables import Flood

LOG, USER, SYSTEM = range(3)  # the multiplexer's files
SPAWNS, SIGNALS, PROMPTS, FULL = LEVELS_BY_RANK


def _files(event: str, level: SessionLevel, severity: int = 0, **settings: object) -> tuple[int, ...]:
    route = Plan(Settings(**settings)).table(level, severity).event(event)
    return route.files if route else ()


class TestLevels:
    @pytest.mark.parametrize("level", LEVELS_BY_RANK, ids=str)
    @pytest.mark.parametrize("event", BUILTIN_EVENTS, ids=lambda event: event.name)
    def test_session_log(self, event, level):
        """
        The session's log takes the classes up to its level, and what it says of itself at every level.
        """
        unconditional = event.name in ("level_change", "log_dropped", "log_degraded")
        assert (LOG in _files(event.name, level)) == (event.session_level <= level or unconditional)

    @pytest.mark.parametrize("level", LEVELS_BY_RANK, ids=str)
    @pytest.mark.parametrize("event", BUILTIN_EVENTS, ids=lambda event: event.name)
    def test_audit_files(self, event, level):
        """
        Audit files take their side's events at every level, those of class full at full only.
        """
        audited = event.session_level is not FULL or level is FULL
        files = _files(event.name, level)
        assert (USER in files) == (audited and event.audit == "user")
        assert (SYSTEM in files) == (audited and event.audit == "system")

    @pytest.mark.parametrize(("level", "takes"), [(SPAWNS, 1), (SIGNALS, 2), (PROMPTS, 3), (FULL, 4)])
    def test_ordinary_records(self, level, takes):
        """
        Ordinary records are taken by their class; a log at spawns has those of class spawns only.
        """
        table = Plan(Settings()).table(level, 0)
        routes = [table.record(level.number) for level in LEVELS_BY_RANK]
        assert [route is not None for route in routes] == [True] * takes + [False] * (4 - takes)
        assert {route.files for route in routes if route} == {(LOG,)}


class TestSeverity:
    @pytest.mark.parametrize(
        ("event", "severity", "taken"),
        [
            ("completion", 20, True),
            ("completion", 30, False),
            ("warning", 30, True),
            ("warning", 40, False),
            ("error", 40, True),
            ("output", 10, False),
            ("session_start", 40, True),
            ("session_end", 40, True),
            ("process_started", 40, True),
            ("chunk_created", 40, True),
            ("level_change", 40, True),
            ("log_dropped", 40, True),
        ],
    )
    def test_threshold(self, event, severity, taken):
        """
        What is below the threshold is left out of the log, its frame and its own words excepted.
        """
        assert (LOG in _files(event, FULL, severity)) == taken

    def test_audit_files_ignore_it(self):
        """
        The threshold does not thin the audit trail.
        """
        assert _files("completion", FULL, 40) == (SYSTEM,)
        assert _files("initial_prompt", FULL, 40) == (USER,)


class TestPriorities:
    @pytest.mark.parametrize(
        ("event", "priority"),
        [
            ("output", SHED_FULL),
            ("input", SHED_FULL),
            ("state_change", SHED_FULL),
            ("initial_prompt", SHED_LAST),
            ("session_start", SHED_LAST),
            ("error", SHED_LAST),
            ("plain_prompt", SHED_PROMPTS),
            ("plain_signal", SHED_SIGNALS),
            ("plain_spawn", SHED_LAST),
        ],
    )
    def test_events(self, event, priority):
        """
        Full events go first, audit or not; audited rare events and spawns go last.
        """
        events = (
            EventType("plain_prompt", PROMPTS),
            EventType("plain_signal", SIGNALS),
            EventType("plain_spawn", SPAWNS),
        )
        assert Plan(Settings(events=events)).table(FULL, 0).event(event).priority == priority

    def test_ordinary_records(self):
        """
        Ordinary records go by their class: debug, then info, then the rest.
        """
        table = Plan(Settings()).table(FULL, 0)
        routes = [table.record(number) for number in (SPAWNS.number, logging.ERROR, logging.INFO, logging.DEBUG)]
        assert [route.priority for route in routes] == [SHED_SIGNALS, SHED_SIGNALS, SHED_PROMPTS, SHED_DEBUG]


class TestLayouts:
    @pytest.mark.parametrize("event", BUILTIN_EVENTS, ids=lambda event: event.name)
    def test_fugue(self, event):
        """
        In the fugue dialect each event is in one of the two files: the user's side in the audit file.
        """
        files = _files(event.name, FULL, layout=LAYOUTS["fugue"])
        assert files == ((1,) if event.audit == "user" else (0,))

    @pytest.mark.parametrize("level", LEVELS_BY_RANK, ids=str)
    def test_fugue_keeps_the_trail(self, level):
        """
        The system's side of the trail is kept at every level there, too.
        """
        assert _files("completion", level, layout=LAYOUTS["fugue"]) == (0,)
        assert _files("initial_prompt", level, layout=LAYOUTS["fugue"]) == (1,)

    def test_terminal(self):
        """
        In the terminal's layout a recording takes bytes and sizes, and the log all else.
        """
        layout = LAYOUTS["terminal"]
        assert _files("output", FULL, layout=layout) == (0,)
        assert _files("resize", FULL, layout=layout) == (0,)
        assert _files("input", FULL, layout=layout)[0] == 0
        assert _files("completion", FULL, layout=layout) == (1, 3)
        assert _files("output", SIGNALS, layout=layout) == ()

    def test_formats_are_shared(self):
        """
        A line that several files take is made once for each format.
        """
        plan = Plan(Settings())
        route = plan.table(FULL, 0).event("error")
        assert route.files == (LOG, SYSTEM)
        assert route.formats == (0,)
        assert len(plan.formats) == 1

    def test_switched_off(self):
        """
        When it is switched off nothing is taken.
        """
        table = Plan(Settings(enabled=False)).table(FULL, 0)
        assert table.event("error") is None
        assert [table.record(number) for number in (10, 20, 26, 50)] == [None] * 4


class TestTables:
    def test_one_for_each_level(self):
        """
        Sessions at one level and threshold share a table.
        """
        plan = Plan(Settings())
        assert plan.table(FULL, 0) is plan.table(FULL, 0)
        assert plan.table(FULL, 0) is not plan.table(FULL, 20)
        assert plan.table(FULL, 20).severity == 20
        assert plan.table(SIGNALS, 0).level is SIGNALS

    def test_unknown_names(self):
        """
        An unknown event is a signal; endless names are not remembered for ever.
        """
        plan = Plan(Settings())
        plan.max_names = 3
        table = plan.table(SIGNALS, 0)
        for number in range(10):
            with pytest.warns(SessionLogWarning):
                route = table.event(f"unknown{number}")
            assert (route.event, route.files, route.priority) == (f"unknown{number}", (LOG,), SHED_SIGNALS)
        assert len(table.events) == 3

    def test_sampling(self):
        """
        A route knows its share.
        """
        table = Plan(Settings(sampling={"output": 0.25})).table(FULL, 0)
        assert table.event("output").sampled == 0.25
        assert table.event("input").sampled == 1.0

    def test_gates(self):
        """
        What is sampled or guarded against floods has a gate, and no event with a gate takes the quick way.
        """
        flood = Flood(10)
        table = Plan(Settings(sampling={"output": 0.25}, flood=flood)).table(FULL, 0)
        for name in ("session_start", "window_closed", "level_change", "log_dropped", "client_attached"):
            route = table.event(name)
            assert (route.flood, route.gated) == (None, False)
            assert (route.quick > 0) is (name not in RESERVED_EVENTS)
        for route in (table.event("output"), table.event("input"), table.event("error"), table.record(logging.INFO)):
            assert (route.flood, route.gated, route.quick) == (flood, True, 0)
        table = Plan(Settings(flood=flood, audit_durability="sync")).table(FULL, 0)
        assert [table.event(name).flood for name in ("error", "input")] == [None, flood]
        table = Plan(Settings(sampling={"output": 0.25})).table(FULL, 0)
        assert [table.event(name).gated for name in ("output", "input")] == [True, False]

    @pytest.mark.parametrize(("durability", "audited"), [("none", False), ("interval", True), ("sync", True)])
    def test_durability(self, durability, audited):
        """
        Durable events are synced at any setting, all audited ones unless that is switched off, and no others.
        """
        table = Plan(Settings(audit_durability=durability)).table(FULL, 0)
        assert table.event("error").durable
        assert table.event("completion").durable == audited
        assert not table.event("output").durable
