"""
`Settings`: everything a `SessionHandler` may be told, validated and with its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from sessionlog_handlers.events import EventType
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.layouts import LAYOUTS, Layout

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    One handler's settings. Times are seconds, sizes bytes. `docs/configuration.md` describes each key for its users.
    """

    directory: Path = field(default_factory=lambda: Path.home() / ".sessionlog" / "logs")
    layout: Layout = LAYOUTS["multiplexer"]

    session_level: SessionLevel = SessionLevel.SIGNALS
    session_levels: tuple[tuple[str, SessionLevel], ...] = ()  # (pattern of ids, level), the first match counts
    level_override: SessionLevel | None = None  # from the environment, above the two
    severity: int = 0  # stdlib number; records below it are left out of `level` files; 0 is off
    sampling: Mapping[str, float] = field(default_factory=dict)  # `full` event -> share kept, 0.0 to 1.0
    content: bool = True  # False leaves the bytes of input and output out of lines
    events: tuple[EventType, ...] = ()

    rotation: Literal["size", "time", "off"] = "size"
    max_bytes: int = 10 * MIB
    backup_count: int = 5
    when: str = "midnight"  # S, M, H, D, midnight, W0 to W6, as in the standard library
    interval: int = 1
    utc: bool = True
    compress: Literal["gzip"] | None = None

    queue_size: int = 65_536  # entries
    queue_bytes: int = 32 * MIB
    overflow: Literal["shed", "wait"] = "shed"
    linger: float = 0.05
    backlog: int = 8 * MIB  # bytes of lines kept while files can't be written
    max_record_bytes: int = MIB

    audit_durability: Literal["none", "interval", "sync"] = "interval"
    audit_on_error: Literal["continue", "raise"] = "continue"
    audit_timeout: float = 5.0
    sync_interval: float = 0.5

    implicit: bool = True
    max_sessions: int = 10_000  # implicit sessions open at a time
    default_session: str | None = None
    logger_prefixes: tuple[str, ...] = ()
    idle_close: float = 300.0
    idle_end: float = 3600.0
    end_linger: float = 0.0
    on_end: Literal["keep", "compress", "delete"] = "keep"

    max_open_files: int = 0  # descriptors, locks included; 0: min(256, a quarter of the process's limit)
    file_mode: int = 0o600
    directory_mode: int = 0o700
    on_error: Literal["report", "raise"] = "report"
    enabled: bool = True
    single_file: Path | None = None
    capture_signals: bool = False

    # Validated now, in force with the features they belong to; `Settings.later` names those that are set.
    later: Mapping[str, Any] = field(default_factory=dict)

    def level_for(self, session_id: str) -> SessionLevel:
        """
        The level of a session that asked for none: environment, then the first pattern that matches, then the default.
        """
        if self.level_override is not None:
            return self.level_override
        for pattern, level in self.session_levels:
            if fnmatchcase(session_id, pattern):
                return level
        return self.session_level
