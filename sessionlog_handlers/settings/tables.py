"""
Settings that are tables of their own: events, levels by session, sampling, retention, marks, flood guard, redaction.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

from sessionlog_handlers.events import BUILTIN_EVENTS, ORDINARY_RECORD, AuditSide, EventType
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.levels import SEVERITIES, SEVERITY_NUMBERS, SessionLevel
from sessionlog_handlers.settings.values import (
    did_you_mean,
    parse_choice,
    parse_duration,
    parse_each,
    parse_fields,
    parse_flag,
    parse_mapping,
    parse_number,
    parse_share,
    parse_size,
    parse_size_or_share,
    parse_texts,
    parse_whole,
    parse_within,
    show,
)

DAY = 86_400.0  # seconds
MAX_DAYS = 36_500  # of an age; what is longer has a wrong unit
MARKS = ("warn", "shed", "suspend")  # by the free space at which each begins, the largest first

_BUILTIN = {event.name: event for event in BUILTIN_EVENTS}
_MONTHS_OR_MINUTES = re.compile(r"\d\s*M(?![A-Za-z])")
_EVENT_NAME = re.compile(r"[^\s|\x00-\x1f\x7f]{1,128}")


def parse_session_level(value: object) -> SessionLevel:
    """
    Read a session level; a severity is refused with the key that takes it.
    """
    try:
        return SessionLevel.parse(value if isinstance(value, str) else "")
    except ConfigurationError:
        choices = [level.value for level in SessionLevel]
        if isinstance(value, str) and value.strip().lower() in SEVERITIES:
            hint = "; the threshold on severity is the key severity"
        else:
            hint = did_you_mean(value, choices)
        sentence = f"{show(value)} is not a session level; choose one of {', '.join(choices)}{hint}"
        raise ConfigurationError(sentence) from None


def parse_session_levels(value: object) -> tuple[tuple[str, SessionLevel], ...]:
    """
    Read PATTERN: LEVEL, in the order in which they are tried.
    """
    return tuple(parse_each(value, "{'debug-*': full}", parse_session_level).items())


def parse_sampling(value: object) -> dict[str, float]:
    """
    Read EVENT: SHARE, the part of an event's lines that is kept.
    """
    return parse_each(value, "{output: 0.1}", parse_share)


def parse_events(value: object) -> tuple[EventType, ...]:
    """
    Read an app's own events: NAME: LEVEL or NAME: {session_level, severity, audit, durable}.

    What is not said is as in the built-in event of that name, else as in an unknown one.
    """
    events = parse_mapping(value, "{build_finished: {session_level: signals, audit: system}}")
    return tuple(parse_within(name, partial(_parse_event, name), events[name]) for name in events)


def _parse_event(name: str, value: object) -> EventType:
    if name == ORDINARY_RECORD or not _EVENT_NAME.fullmatch(name):
        raise ConfigurationError(f"{show(name)} can't be an event's name; use letters, digits and _, but not 'log'")
    if not isinstance(value, Mapping):
        value = {"session_level": value}
    options = parse_fields(value, _EVENT_FIELDS, "an event")
    if "class" in options and "session_level" in options:
        raise ConfigurationError("class and session_level are the same; give one of them")
    base = _BUILTIN.get(name) or EventType(name)
    level = options.get("session_level", options.get("class", base.session_level))
    # A built-in event without a severity of its own goes on following its class.
    own = base.severity if base.severity != base.session_level.number else level.number
    return EventType(
        name,
        level,
        severity=options.get("severity", own),
        audit=options.get("audit", base.audit),
        durable=options.get("durable", base.durable),
    )


def _parse_event_severity(value: object) -> int:
    return SEVERITY_NUMBERS[parse_choice(value, SEVERITIES)]


def _parse_audit_side(value: object) -> AuditSide | None:
    sides: dict[str, AuditSide | None] = {"user": "user", "system": "system", "none": None, "off": None}
    return sides[parse_choice(value, sides)]


_EVENT_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "session_level": parse_session_level,
    "class": parse_session_level,
    "severity": _parse_event_severity,
    "audit": _parse_audit_side,
    "durable": parse_flag,
}


@dataclass(frozen=True, slots=True)
class Retention:
    """
    Which ended sessions are kept, and how large one may get. None sets no bound.

    Args:
        days: Age since the end at which a session is removed.

        count: How many ended sessions are kept.

        total: Bytes of all sessions of the root together, those that run included.

        keep_free: Free space of the disk below which the oldest ended sessions are removed: bytes, or a share of the
            disk as a float.

        session_bytes: Bytes of all files of one session from which on it takes no more.
    """

    days: float | None = None
    count: int | None = None
    total: int | None = None
    keep_free: int | float | None = None
    session_bytes: int | None = None

    @property
    def removes(self) -> bool:
        """Whether any bound makes sessions be removed."""
        return any(bound is not None for bound in (self.days, self.count, self.total, self.keep_free))


@dataclass(frozen=True, slots=True)
class Flood:
    """
    How many events of one name a session may log in a time; what goes beyond is only counted.

    Args:
        rate: Events.

        per: Seconds.
    """

    rate: int
    per: float = 1.0


# What is called: a callable, or the words of a command.
Hook: TypeAlias = Callable[..., Any] | tuple[str, ...]


def parse_retention(value: object) -> Retention:
    """
    Read which ended sessions are kept: an age alone (``7d``), or any of days, count, total, keep_free, session_bytes.
    """
    if isinstance(value, str | int | float | timedelta) and not isinstance(value, bool):
        return Retention(days=_parse_days(value))
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{show(value)} does not say what to keep; write 7d or {{days: 7, total: 1 GB}}")
    return Retention(**parse_fields(value, _RETENTION_FIELDS, "retention"))


def _parse_days(value: object) -> float:
    """An age in days, which is also what a bare number counts."""
    if isinstance(value, str) and _MONTHS_OR_MINUTES.search(value):
        raise ConfigurationError(f"{show(value)} may mean months or minutes; write days, such as 30d, or 30min")
    try:
        days = parse_number(value)
        days = parse_duration(value) / DAY if days is None else days
    except ConfigurationError:
        days = -1.0
    if not 0 < days <= MAX_DAYS:
        raise ConfigurationError(
            f"{show(value)} is not an age to keep sessions for; write days, or a number with a unit, "
            f"such as 7, '12h' or '7d', above 0 and up to {MAX_DAYS} days; leave it out to keep all"
        )
    return days


def _parse_total(value: object) -> int:
    size = parse_size(value)
    if not size:
        raise ConfigurationError(f"{show(value)} would keep nothing; the least is 1 byte, or leave it out to keep all")
    return size


_RETENTION_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "days": _parse_days,
    "count": partial(parse_whole, least=1),
    "total": _parse_total,
    "keep_free": parse_size_or_share,
    "session_bytes": parse_size,
}


def parse_marks(value: object) -> dict[str, int | float]:
    """
    Read the free space of the disk at which each action begins: ``{warn: 1 GB, shed: 500 MB, suspend: 100 MB}``.
    """
    marks: dict[str, int | float] = parse_fields(value, dict.fromkeys(MARKS, parse_size_or_share), "marks")
    given = [name for name in MARKS if name in marks]
    for earlier, later in itertools.pairwise(given):
        # A size and a share can only be compared on the disk itself.
        if type(marks[earlier]) is type(marks[later]) and marks[earlier] <= marks[later]:
            raise ConfigurationError(f"{later} would come before {earlier}; the disk fills from {' to '.join(MARKS)}")
    return marks


def parse_flood(value: object) -> Flood:
    """
    Read the rate above which lines of one session and event are only counted: ``{rate: 1000, per: 1s}``.
    """
    flood = parse_fields(value, {"rate": partial(parse_whole, least=1), "per": _parse_per}, "flood")
    if "rate" not in flood:
        raise ConfigurationError("rate is missing: how many lines of one event a session may have")
    return Flood(**flood)


def _parse_per(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ConfigurationError(f"{show(value)} is no time to count lines in; write one above 0, such as '1s'")
    return seconds


def parse_hook(value: object) -> Hook:
    """
    Read what is called: a callable (``ext://package.function`` in YAML), or a command as text or list of words.
    """
    if callable(value):
        return value
    try:
        words = tuple(shlex.split(value)) if isinstance(value, str) else parse_texts(value)
    except ValueError as error:
        raise ConfigurationError(f"{show(value)} can't be split into words: {error}") from None
    if not words:
        raise ConfigurationError(f"{show(value)} can't be called; write a command, or ext://package.function")
    return words


def parse_redact(value: object) -> bool | tuple[str, ...]:
    """
    Read whether secrets are taken out of lines: yes, no, or a list of further patterns (regular expressions).
    """
    if isinstance(value, bool):
        return value
    patterns = parse_texts(value)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(f"{show(pattern)} is not a regular expression: {error}") from None
    return patterns
