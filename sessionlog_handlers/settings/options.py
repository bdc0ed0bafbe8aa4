"""
The keyword arguments of `SessionHandler`, for type checkers: the keys of `settings.keys`, their aliases, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict

from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.layouts import Layout

Size: TypeAlias = int | str
Duration: TypeAlias = float | str | timedelta
Mode: TypeAlias = int | str
Hook: TypeAlias = str | Sequence[str] | Callable[..., Any]


class SettingsOptions(TypedDict, total=False):
    """
    Every setting but the directory, as Python code writes it. `docs/configuration.md` says what each one does.
    """

    layout: str | Layout
    files: Mapping[str, str | Mapping[str, str]]
    format: Literal["jsonl", "fugue", "text", "event_line", "pty"]
    audit: bool
    single_file: str | PathLike[str] | None
    enabled: bool
    file_mode: Mode
    directory_mode: Mode
    max_open_files: int
    on_error: Literal["report", "raise"]
    session_level: str | SessionLevel
    session_levels: Mapping[str, str | SessionLevel]
    severity: Literal["debug", "info", "warning", "error", "off"]
    sampling: Mapping[str, float | str]
    content: bool
    events: Mapping[str, str | Mapping[str, Any]]
    rotation: Literal["size", "time", "off"]
    max_bytes: Size
    backup_count: int
    when: Literal["S", "M", "H", "D", "midnight", "W0", "W1", "W2", "W3", "W4", "W5", "W6"]
    interval: int
    utc: bool
    compress: Literal["gzip", "off"] | bool | None
    on_end: Literal["keep", "compress", "delete"]
    queue_size: int
    queue_bytes: Size
    overflow: Literal["shed", "wait"]
    linger: Duration
    backlog: Size
    max_record_bytes: Size
    audit_durability: Literal["none", "interval", "sync"]
    audit_on_error: Literal["continue", "raise"]
    audit_timeout: Duration
    sync_interval: Duration
    implicit: bool
    max_sessions: int
    default_session: str | None
    logger_prefixes: str | Sequence[str]
    idle_close: Duration
    idle_end: Duration
    end_linger: Duration
    capture_signals: bool
    retention: str | Mapping[str, float | str]
    pinned: str | Sequence[str]
    trash: str | PathLike[str]
    archive: Hook
    marks: Mapping[str, int | str]
    on_mark: Hook
    flood: Mapping[str, float | str]
    capture_errors: bool
    redact: bool | Sequence[str]
    redact_device: Literal["hash", "keep", "drop"]
    stderr: Literal["classified", "all"]

    # Other names of them.
    session_log_level: str | SessionLevel
    default_session_log_level: str | SessionLevel
    maxBytes: Size
    backupCount: int
    time_when: Literal["S", "M", "H", "D", "midnight", "W0", "W1", "W2", "W3", "W4", "W5", "W6"]
    log_rotation: Mapping[str, int | str]
