"""
Every key of `SessionHandler` in one table: how it is read, its default, and what it does.

The reference in `docs/configuration.md` is made from this table, and a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.files import parse_files, parse_format, parse_layout
from sessionlog_handlers.settings.tables import (
    parse_events,
    parse_flood,
    parse_hook,
    parse_marks,
    parse_redact,
    parse_retention,
    parse_sampling,
    parse_session_level,
    parse_session_levels,
)
from sessionlog_handlers.settings.values import (
    format_duration,
    format_size,
    parse_choice,
    parse_duration,
    parse_flag,
    parse_mode,
    parse_path,
    parse_severity,
    parse_size,
    parse_text,
    parse_texts,
    parse_whole,
    show,
)

T = TypeVar("T")

WHEN = ("S", "M", "H", "D", "midnight", "W0", "W1", "W2", "W3", "W4", "W5", "W6")

DEFAULT_DIRECTORY = "~/.sessionlog/logs"
MIN_ROTATION = 1024  # bytes
MIN_OPEN_FILES = 8  # descriptors

# A day: longer than anyone waits for a line, short enough to catch a wrong unit.
MAX_WAIT = 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key of the configuration.

    Args:
        name: As it is written in YAML.

        parse: Reads its value, or raises `ConfigurationError`.

        type: What is written, for the reference.

        default: What could be written to get the default.

        doc: What it does, in one sentence.

        unit: What a bare number counts.

        aliases: Other names of it.

        later: Whether it is only checked by this version.

        derived: Whether it is not a field of `Settings` but goes into one.
    """

    name: str
    parse: Callable[[Any], Any]
    type: str
    default: Any
    doc: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    later: bool = False
    derived: bool = False


def _size(name: str, default: str | int, doc: str, *, least: int = 0, aliases: tuple[str, ...] = ()) -> Key:
    def parse(value: object) -> int:
        size = parse_size(value)
        if size < least:
            raise ConfigurationError(f"{show(value)} is too small; the least is {format_size(least)}")
        return size

    return Key(name, parse, "size", default, doc, "bytes", aliases)


def _duration(name: str, default: str | int, doc: str, *, least: float = 0.0, most: float = float("inf")) -> Key:
    def parse(value: object) -> float:
        seconds = parse_duration(value)
        if seconds < least:
            raise ConfigurationError(f"{show(value)} is too short; the least is {format_duration(least)}")
        if seconds > most:
            raise ConfigurationError(f"{show(value)} is too long; the most is {format_duration(most)}")
        return seconds

    return Key(name, parse, "duration", default, doc, "seconds")


def _whole(name: str, default: int, doc: str, unit: str, *, least: int = 0, aliases: tuple[str, ...] = ()) -> Key:
    return Key(name, partial(parse_whole, least=least), "whole number", default, doc, unit, aliases)


def _choice(name: str, choices: tuple[str, ...], default: str, doc: str, *, aliases: tuple[str, ...] = ()) -> Key:
    return Key(name, partial(parse_choice, choices=choices), " | ".join(choices), default, doc, aliases=aliases)


def _flag(name: str, default: bool, doc: str) -> Key:
    return Key(name, parse_flag, "true | false", default, doc)


def _later(name: str, parse: Callable[[Any], Any], type: str, doc: str) -> Key:
    return Key(name, parse, type, None, doc, later=True)


def _or_none(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else parse(value)


def _or_empty(parse: Callable[[Any], T], empty: T) -> Callable[[Any], T]:
    return lambda value: empty if value is None else parse(value)


def _parse_directory(value: object) -> Path:
    return parse_path(DEFAULT_DIRECTORY if value is None else value)


def _parse_compress(value: object) -> str | None:
    # `true` is what people write who think of it as a switch.
    word = "gzip" if value is True else parse_choice(value, ("gzip", "off", "none"))
    return "gzip" if word == "gzip" else None


def _parse_prefixes(value: object) -> tuple[str, ...]:
    # A prefix that ends like a name is that of a logger; its children are meant, not names that merely begin so.
    return tuple(f"{prefix}." if prefix[-1].isalnum() or prefix[-1] == "_" else prefix for prefix in parse_texts(value))


def _parse_max_bytes(value: object) -> int:
    size = parse_size(value)
    if 0 < size < MIN_ROTATION:
        raise ConfigurationError(
            f"{show(value)} is too small, each line would rotate; the least is {format_size(MIN_ROTATION)}, 0 is never"
        )
    return size


def _parse_open_files(value: object) -> int:
    count = parse_whole(value)
    if 0 < count < MIN_OPEN_FILES:
        raise ConfigurationError(
            f"{show(value)} is too few; the least is {MIN_OPEN_FILES}, 0 lets the process's limit decide"
        )
    return count


FILE_KEYS = (
    Key(
        "directory",
        _parse_directory,
        "path",
        DEFAULT_DIRECTORY,
        "The root, with one place for each session below it; `~` and `$NAME` are filled in.",
    ),
    Key(
        "layout",
        parse_layout,
        "multiplexer | fugue | recorder | terminal",
        "multiplexer",
        "Which files a session has, by name.",
        derived=True,
    ),
    Key(
        "files",
        parse_files,
        "mapping",
        None,
        "Which files a session has, spelled out instead of *layout*: path to what it takes, or to `{format, takes}`.",
        derived=True,
    ),
    Key(
        "format",
        parse_format,
        "jsonl | fugue | text | event_line | pty",
        None,
        "The line format of the session's log, the first of its files, in place of the layout's.",
        derived=True,
    ),
    Key("audit", parse_flag, "true | false", True, "Whether the layout's audit files are written.", derived=True),
    Key(
        "single_file",
        _or_none(parse_path),
        "path",
        None,
        "One file for all sessions in place of a file for each; what is audited is in it at every session level.",
    ),
    _flag("enabled", True, "Whether anything is written at all."),
    Key(
        "file_mode",
        parse_mode,
        "octal mode",
        "0600",
        "Permissions of each file; they do not depend on the umask.",
    ),
    Key(
        "directory_mode",
        partial(parse_mode, directory=True),
        "octal mode",
        "0700",
        "Permissions of each directory that is made.",
    ),
    Key(
        "max_open_files",
        _parse_open_files,
        "whole number",
        0,
        "How many descriptors stay open at a time; 0 is a quarter of the process's limit, at most 256.",
        "descriptors",
    ),
    _choice(
        "on_error",
        ("report", "raise"),
        "report",
        "Whether a root that can't be written is reported on stderr and tried again, or an error at start.",
    ),
)

LEVEL_KEYS = (
    Key(
        "session_level",
        parse_session_level,
        "spawns | signals | prompts | full",
        "signals",
        "How much is kept of a session that asks for nothing else.",
        aliases=("session_log_level", "default_session_log_level"),
    ),
    Key(
        "session_levels",
        parse_session_levels,
        "mapping",
        {},
        "Session levels by id: pattern (`*`, `?`, `[…]`) to level, the first that matches counts.",
    ),
    Key(
        "severity",
        parse_severity,
        "debug | info | warning | error | off",
        "off",
        "Severity below which a record is left out of the session's log, whatever its session level.",
    ),
    Key("sampling", parse_sampling, "mapping", {}, "Share of a `full` event that is kept: event to 0 … 1 or `10%`."),
    _flag("content", True, "Whether lines of input and output hold the bytes themselves, not only their number."),
    Key(
        "events",
        parse_events,
        "mapping",
        {},
        "The app's own events: name to session level, or to `{session_level, severity, audit, durable}`.",
    ),
)

ROTATION_KEYS = (
    _choice("rotation", ("size", "time", "off"), "size", "What starts a new file; old ones are numbered from 1."),
    Key(
        "max_bytes",
        _parse_max_bytes,
        "size",
        "10 MB",
        "Size at which a new file is started, 0 is never; beside `rotation: time` it counts when it is written.",
        "bytes",
        aliases=("maxBytes",),
    ),
    _whole("backup_count", 5, "How many old files are kept.", "files", aliases=("backupCount",)),
    _choice("when", WHEN, "midnight", "Time unit or weekday of `rotation: time`.", aliases=("time_when",)),
    _whole("interval", 1, "How many of these units are between two files.", "units of *when*", least=1),
    _flag("utc", True, "Whether days of `rotation: time` begin at midnight UTC; timestamps are always UTC."),
    Key("compress", _parse_compress, "gzip | true | off", "off", "Whether old files are compressed, beside the app."),
    _choice(
        "on_end",
        ("keep", "compress", "delete"),
        "keep",
        "What happens to a session's files when it has ended.",
    ),
)

QUEUE_KEYS = (
    _whole("queue_size", 65_536, "How many records may wait to be written.", "records", least=16),
    _size("queue_bytes", "32 MB", "How many bytes of records may wait.", least=65_536),
    _choice(
        "overflow",
        ("shed", "wait"),
        "shed",
        "Whether a full queue refuses the least important and counts it, or lets the caller wait.",
    ),
    _duration("linger", "50ms", "How long a line may wait for others to be written with; 0 is not at all.", most=60.0),
    _size("backlog", "8 MB", "How many bytes of lines are kept while their files can't be written."),
    _size("max_record_bytes", "1 MB", "Length at which one line is cut, and says so.", least=1024),
)

AUDIT_KEYS = (
    _choice(
        "audit_durability",
        ("none", "interval", "sync"),
        "interval",
        "Whether audited events are left to the system, synced within a second, or waited for by their caller.",
    ),
    _choice(
        "audit_on_error",
        ("continue", "raise"),
        "continue",
        "Whether an audited event that is not known to be on the disk raises `AuditWriteError`.",
    ),
    _duration("audit_timeout", "5s", "How long `audit_durability: sync` waits.", least=0.001, most=MAX_WAIT),
    _duration("sync_interval", "500ms", "How often durable lines are synced.", least=0.001, most=60.0),
)

SESSION_KEYS = (
    _flag("implicit", True, "Whether a session may begin by its first record."),
    _whole("max_sessions", 10_000, "How many sessions that began so are open at a time.", "sessions", least=1),
    Key("default_session", _or_none(parse_text), "text", None, "The session of records that belong to none."),
    Key(
        "logger_prefixes",
        _parse_prefixes,
        "list of texts",
        [],
        "Loggers whose children are called by session: with `app.session`, `app.session.abc123` belongs to abc123.",
    ),
    _duration("idle_close", "5m", "After how long without a line a session's files are closed; it goes on."),
    _duration("idle_end", "1h", "After how long without a line a session that began by its first record ends."),
    _duration("end_linger", 0, "How long after its end a session still takes late lines.", most=MAX_WAIT),
    _flag("capture_signals", False, "Whether SIGTERM and SIGHUP end sessions with their name as the reason."),
    _flag(
        "capture_errors",
        False,
        "Whether unhandled exceptions are logged to their session, and what `faulthandler` writes lies beside its log.",
    ),
)

RETENTION_KEYS = (
    Key(
        "retention",
        _or_none(parse_retention),
        "duration, or mapping",
        None,
        "Which ended sessions are kept: an age (a bare number counts days), or any of `days`, `count`, "
        "`total`, `keep_free`; `session_bytes` is the size at which one session takes no more.",
    ),
    Key(
        "pinned",
        _or_empty(parse_texts, ()),
        "list of texts",
        [],
        "Ids, or patterns of them, of sessions that are never removed.",
    ),
    Key("trash", _or_none(parse_path), "path", None, "Directory to which removed sessions are moved."),
    Key(
        "archive",
        _or_none(parse_hook),
        "command, or callable",
        None,
        "What is given a session's files before they are removed; if it fails, they stay.",
    ),
)

DISK_KEYS = (
    Key(
        "marks",
        _or_empty(parse_marks, {}),
        "mapping",
        {},
        "Free space of the disk at which an action begins: `warn`, `shed`, `suspend` to a size or `5%`.",
    ),
    Key(
        "on_mark",
        _or_none(parse_hook),
        "command, or callable",
        None,
        "What is called when a mark is passed, and when it is over.",
    ),
    Key(
        "flood",
        _or_none(parse_flood),
        "mapping",
        None,
        "How many events of one name a session may log in a time, the rest is only counted: `{rate: 1000, per: 1s}`.",
    ),
)

LATER_KEYS = (
    _later("redact", parse_redact, "true | false, or list of patterns", "Whether secrets are taken out of lines."),
    _later(
        "redact_device",
        partial(parse_choice, choices=("hash", "keep", "drop")),
        "hash | keep | drop",
        "How the name of a recording device is written.",
    ),
    _later(
        "stderr",
        partial(parse_choice, choices=("classified", "all")),
        "classified | all",
        "How much of a recorded process's stderr is logged.",
    ),
)

GROUPS = {
    "Files": FILE_KEYS,
    "Levels and events": LEVEL_KEYS,
    "Rotation": ROTATION_KEYS,
    "Queue": QUEUE_KEYS,
    "Audit and durability": AUDIT_KEYS,
    "Sessions": SESSION_KEYS,
    "Retention": RETENTION_KEYS,
    "Full disks and floods": DISK_KEYS,
    "Accepted, not enforced yet": LATER_KEYS,
}

KEYS: dict[str, Key] = {key.name: key for keys in GROUPS.values() for key in keys}
ALIASES: dict[str, str] = {alias: key.name for key in KEYS.values() for alias in key.aliases}

# One key of the requirement documents stands for two of ours.
LOG_ROTATION = "log_rotation"
LOG_ROTATION_KEYS = {"max_size": "max_bytes", "retention_days": "retention"}
