from __future__ import annotations

import logging
import warnings

import pytest

from sessionlog_handlers.events import BUILTIN_EVENTS, BYTE_EVENTS, MAX_UNKNOWN_NAMES, EventCatalogue, EventType
from sessionlog_handlers.exceptions import SessionLogWarning
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.model import Settings

# names | class | severity ("-": the class's own) | audit ("-": none) | durable
CATALOGUE = """
session_start session_end | spawns | - | system | yes
session_crashed | spawns | ERROR | system | yes
session_created session_terminated window_created window_closed pane_created pane_closed | spawns | - | system | no
completion signal_received process_started process_exited chunk_created recovery | signals | - | system | no
warning retry | signals | WARNING | system | no
error | signals | ERROR | system | yes
client_attached client_detached | signals | - | user | no
level_change | signals | - | user | yes
log_dropped log_degraded | signals | WARNING | system | no
log_rotated log_pruned | signals | - | system | no
initial_prompt prompt_change command_started | prompts | - | user | no
prompt_detected | prompts | - | system | no
input | full | - | user | no
output resize | full | - | - | no
state_change | full | - | system | no
"""

NUMBERS = {"spawns": 26, "signals": 23, "prompts": 16, "full": 6}


def _rows() -> list[tuple[str, ...]]:
    cells = [[cell.strip() for cell in row.split("|")] for row in CATALOGUE.strip().splitlines()]
    return [(name, *others) for names, *others in cells for name in names.split()]


class TestCatalogue:
    @pytest.mark.parametrize(("name", "level", "severity", "audit", "durable"), _rows())
    def test_row(self, name, level, severity, audit, durable):
        """
        Each event has its class, severity, audit side and durability.
        """
        event = EventCatalogue().get(name)
        number = NUMBERS[level] if severity == "-" else logging.getLevelNamesMapping()[severity]
        assert (event.name, event.session_level.value, event.severity) == (name, level, number)
        assert (event.audit or "-", event.durable) == (audit, durable == "yes")

    def test_has_no_other_events(self):
        """
        The table above is complete.
        """
        assert sorted(event.name for event in BUILTIN_EVENTS) == sorted(name for name, *_ in _rows())

    @pytest.mark.parametrize(
        ("name", "word"), [("session_start", "info"), ("error", "error"), ("retry", "warning"), ("output", "debug")]
    )
    def test_word_in_lines(self, name, word):
        """
        An event's line carries its severity as a word.
        """
        assert EventCatalogue().get(name).level == word

    def test_bytes(self):
        """
        Only a terminal's output and input are bytes.
        """
        assert {event.name for event in BUILTIN_EVENTS if event.name in BYTE_EVENTS} == {"input", "output"}

    def test_unknown_event_warns_once(self):
        """
        An unknown event is of class signals without an audit side, and is warned of once for each name.
        """
        catalogue = EventCatalogue()
        with pytest.warns(SessionLogWarning, match="unknown event 'deployed'.*'events:'"):
            event = catalogue.get("deployed")
        assert (event.session_level, event.audit, event.durable) == (SessionLevel.SIGNALS, None, False)
        assert catalogue.get("deployed") is event
        with pytest.warns(SessionLogWarning, match="'undeployed'"):
            catalogue.get("undeployed")

    def test_unknown_event_where_warnings_are_errors(self):
        """
        Where warnings are errors an unknown event is known all the same, and its caller not stopped.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert EventCatalogue().get("deployed").session_level is SessionLevel.SIGNALS

    def test_endless_unknown_names_are_forgotten(self):
        """
        However many unknown names come, only so many are remembered and warned of.
        """
        catalogue = EventCatalogue()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(MAX_UNKNOWN_NAMES + 10):
                assert catalogue.get(f"event{number}").session_level is SessionLevel.SIGNALS
        assert len(caught) == MAX_UNKNOWN_NAMES

    def test_app_adds_and_redefines(self):
        """
        An event type of the app is known like the built-in ones, and takes the place of one with its name.
        """
        catalogue = EventCatalogue(
            [EventType("deployed", SessionLevel.PROMPTS, audit="user"), EventType("output", SessionLevel.SIGNALS)]
        )
        assert catalogue.get("deployed").severity == 16
        assert catalogue.get("output").session_level is SessionLevel.SIGNALS
        assert set(catalogue.types) == {"deployed", *(event.name for event in BUILTIN_EVENTS)}

    def test_configuration_adds_events(self):
        """
        Event types come from the handler's configuration as plain values.
        """
        events = {"deployed": {"session_level": "spawns", "severity": "warning", "audit": "system", "durable": True}}
        (event,) = Settings.from_options({"events": events}).events
        assert event == EventType("deployed", SessionLevel.SPAWNS, logging.WARNING, "system", True)
