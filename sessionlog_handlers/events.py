"""
The catalogue of events: what a session's event is called, which session level holds it, and who audits it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal

import msgspec

from sessionlog_handlers.exceptions import SessionLogWarning
from sessionlog_handlers.levels import SessionLevel, severity_name

AuditSide = Literal["user", "system"]

# Events whose payload is a terminal's bytes, not named fields.
BYTE_EVENTS = frozenset({"input", "output"})

# What a session says about its own log: in `session.log` at every level.
UNCONDITIONAL_EVENTS = frozenset({"level_change", "log_dropped", "log_degraded"})

# Lines that pass every severity threshold, so that each log has its frame.
# What readers take a session's state from: only the package says these of a session.
RESERVED_EVENTS = frozenset({"session_start", "session_end", "session_crashed"})

FRAME_EVENTS = frozenset({"session_start", "session_end", "session_crashed", "chunk_created", "process_started"})

ORDINARY_RECORD = "log"  # the event's name in the line of a record that has none
EVENT_LOGGER = "sessionlog.session"  # the logger of events, where there has to be one

MAX_UNKNOWN_NAMES = 1024  # names; beyond it an unknown name is neither remembered nor warned of


class EventType(msgspec.Struct, frozen=True):
    """
    What is known about every event of one name.

    Args:
        name: The event's name, such as ``session_start``.

        session_level: The lowest session level that holds it.

        severity: Its number on stdlib's scale; by default the session level's own.

        audit: Whose audit trail it belongs to, ``"user"`` or ``"system"``, or None.

        durable: Whether it is synced to the disk within a second.
    """

    name: str
    session_level: SessionLevel = SessionLevel.SIGNALS
    severity: int = 0
    audit: AuditSide | None = None
    durable: bool = False

    def __post_init__(self) -> None:
        if not self.severity:
            msgspec.structs.force_setattr(self, "severity", self.session_level.number)

    @property
    def level(self) -> str:
        """The severity's word as lines carry it."""
        return severity_name(self.severity)


def _family(
    names: str,
    session_level: SessionLevel,
    *,
    severity: int = 0,
    audit: AuditSide | None = None,
    durable: bool = False,
) -> list[EventType]:
    return [EventType(name, session_level, severity, audit, durable) for name in names.split()]


_SPAWNS, _SIGNALS, _PROMPTS, _FULL = SessionLevel

BUILTIN_EVENTS: tuple[EventType, ...] = (
    *_family("session_start session_end", _SPAWNS, audit="system", durable=True),
    *_family("session_crashed", _SPAWNS, severity=logging.ERROR, audit="system", durable=True),
    *_family("session_created session_terminated window_created window_closed", _SPAWNS, audit="system"),
    *_family("pane_created pane_closed", _SPAWNS, audit="system"),
    *_family("completion signal_received process_started process_exited", _SIGNALS, audit="system"),
    *_family("chunk_created recovery", _SIGNALS, audit="system"),
    *_family("warning retry", _SIGNALS, severity=logging.WARNING, audit="system"),
    *_family("error", _SIGNALS, severity=logging.ERROR, audit="system", durable=True),
    *_family("client_attached client_detached", _SIGNALS, audit="user"),
    *_family("level_change", _SIGNALS, audit="user", durable=True),
    *_family("log_dropped log_degraded", _SIGNALS, severity=logging.WARNING, audit="system"),
    *_family("log_rotated log_pruned", _SIGNALS, audit="system"),
    *_family("initial_prompt prompt_change command_started", _PROMPTS, audit="user"),
    *_family("prompt_detected", _PROMPTS, audit="system"),
    *_family("input", _FULL, audit="user"),
    *_family("output resize", _FULL),
    *_family("state_change", _FULL, audit="system"),
)


class EventCatalogue:
    """
    Event types by name: the built-in ones and those that an app adds or redefines.

    Args:
        extra: Event types of the app; one with a built-in name takes its place.
    """

    def __init__(self, extra: Iterable[EventType] = ()) -> None:
        self._types: dict[str, EventType] = {known.name: known for known in (*BUILTIN_EVENTS, *extra)}
        self._unknown: dict[str, EventType] = {}

    @property
    def types(self) -> Mapping[str, EventType]:
        """Every known event type by its name."""
        return self._types

    def get(self, name: str) -> EventType:
        """
        The type of that name. An unknown name is of class signals, without an audit side, and warns once.
        """
        known = self._types.get(name) or self._unknown.get(name)
        if known is None:
            known = EventType(name)
            if len(self._unknown) < MAX_UNKNOWN_NAMES:
                self._unknown[name] = known
                # Where warnings are errors, the event must still be logged, and its caller not be stopped.
                with suppress(SessionLogWarning):
                    warnings.warn(
                        f"unknown event {name!r} is logged at session level signals; declare it under 'events:' "
                        "in the handler's configuration",
                        SessionLogWarning,
                        stacklevel=4,
                    )
        return known
