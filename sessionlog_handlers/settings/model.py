"""
`Settings`: everything a `SessionHandler` may be told, validated and with its defaults.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sessionlog_handlers.events import EventCatalogue, EventType
from sessionlog_handlers.exceptions import ConfigurationError, SessionLogWarning
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.environment import read_level
from sessionlog_handlers.settings.files import choose_layout
from sessionlog_handlers.settings.keys import KEYS
from sessionlog_handlers.settings.layouts import LAYOUTS, Layout
from sessionlog_handlers.settings.parse import Reading, read_options
from sessionlog_handlers.settings.tables import Flood, Hook, Retention
from sessionlog_handlers.settings.values import did_you_mean, format_size, is_within, join_path, show

KIB = 1024
MIB = 1024 * KIB

_LAYOUT_KEYS = ("layout", "files", "format", "audit")  # which files there are depends on all of them


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
    capture_errors: bool = False

    retention: Retention | None = None
    pinned: tuple[str, ...] = ()  # patterns of ids
    trash: Path | None = None
    archive: Hook | None = None
    marks: Mapping[str, int | float] = field(default_factory=dict)  # action -> free bytes, or a share of the disk
    on_mark: Hook | None = None
    flood: Flood | None = None

    # Validated now, in force with the features they belong to; `Settings.later` names those that are set.
    later: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], *, key_prefix: str = "", environ: Mapping[str, str] | None = None
    ) -> Settings:
        """
        The settings that a user's options make. What deserves a word, but is no error, is a `SessionLogWarning`.

        Args:
            options: By key, as `docs/configuration.md` has them; each value as it may stand in YAML.

            key_prefix: Dotted path of the options in their document, for errors. (default: empty)

            environ: The environment. (default: the process's own)

        Raises:
            ConfigurationError: If a key or a value is wrong, or two contradict each other; the first is told.
        """
        examined = cls.examine(options, key_prefix=key_prefix, environ=environ)
        if examined.settings is None:
            raise examined.problems[0]
        for sentence in examined.warnings:
            warnings.warn(sentence, SessionLogWarning, stacklevel=3)
        return examined.settings

    @classmethod
    def examine(
        cls, options: Mapping[str, Any], *, key_prefix: str = "", environ: Mapping[str, str] | None = None
    ) -> Examined:
        """
        Like `from_options`, but every problem and warning is given back and none is raised or shown.
        """
        reading = read_options(options, key_prefix)
        try:
            layout = choose_layout(cls.layout, reading.values)
        except ConfigurationError as error:
            reading.problems.append(ConfigurationError(error.message, join_path(key_prefix, error.key)))
            reading.failed.update(_LAYOUT_KEYS)
            layout = cls.layout
        settings = cls(layout=layout, **_fields_of(reading.values))
        problems = reading.problems + [
            ConfigurationError(sentence, reading.paths.get(key, join_path(key_prefix, key)))
            for key, others, sentence in settings._contradictions(reading)
            # What has no value can't be compared; its default is not what was meant.
            if reading.failed.isdisjoint((key, *others))
        ]
        if reading.problems:
            return Examined(None, problems, [])
        level, complaints = read_level(os.environ if environ is None else environ)
        notes = [*settings._idle_keys(reading), *complaints]
        return Examined(None if problems else settings._with_override(level), problems, notes)

    @property
    def is_recording(self) -> bool:
        """Whether a terminal's bytes have a file of their own."""
        return any(spec.takes == "bytes" for spec in self.layout.files)

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

    def _with_override(self, level: SessionLevel | None) -> Settings:
        if level is None or not self.is_recording:
            return replace(self, level_override=level)
        # A recording is what its user asked for, so the environment may add to it, never take from it.
        return replace(
            self,
            session_level=max(self.session_level, level),
            session_levels=tuple((pattern, max(own, level)) for pattern, own in self.session_levels),
        )

    def _contradictions(self, reading: Reading) -> Iterator[_Contradiction]:
        yield from self._contradictions_of_files(reading)
        yield from self._contradictions_of_rotation(reading)
        if self.audit_on_error == "raise" and self.audit_durability != "sync":
            sentence = "'raise' needs 'audit_durability: sync'; else nobody waits for what could be raised"
            yield _Contradiction("audit_on_error", ("audit_durability",), sentence)
        if self.audit_durability == "sync" and not any(spec.audits for spec in self.layout.files):
            yield _Contradiction("audit_durability", _LAYOUT_KEYS, "'sync' waits for audit files, and there are none")
        if self.max_record_bytes > self.queue_bytes:
            sentence = (
                f"a record of that length would never fit into 'queue_bytes', which is {format_size(self.queue_bytes)}"
            )
            yield _Contradiction("max_record_bytes", ("queue_bytes",), sentence)
        yield from self._contradictions_of_sampling()
        if self.trash is not None and self.archive is not None:
            sentence = "a removed session goes to 'trash' or to 'archive'; give one of them"
            yield _Contradiction("archive", ("trash",), sentence)
        if self.trash is not None and is_within(self.trash, self.directory):
            sentence = f"{show(str(self.trash))} is within 'directory', where sessions are; name one outside it"
            yield _Contradiction("trash", ("directory",), sentence)
        if self.on_mark is not None and not self.marks:
            yield _Contradiction("on_mark", ("marks",), "there are no 'marks' that it could be called for")

    def _contradictions_of_files(self, reading: Reading) -> Iterator[_Contradiction]:
        given = reading.values
        if "layout" in given and "files" in given:
            yield _Contradiction("files", ("layout",), "it takes the place of 'layout'; give one of them")
        if self.single_file is not None:
            for key in ("layout", "files"):
                if key in given:
                    sentence = "'single_file' writes one file for all sessions; leave one of them out"
                    yield _Contradiction(key, ("single_file",), sentence)

    def _contradictions_of_rotation(self, reading: Reading) -> Iterator[_Contradiction]:
        given = reading.values
        rotates = self.rotation == "time" or (self.rotation == "size" and self.max_bytes > 0)
        if rotates and self.backup_count == 0:
            sentence = "0 would throw the log away at each rotation; keep at least 1 file, or write 'rotation: off'"
            yield _Contradiction("backup_count", ("rotation", "max_bytes"), sentence)
        if self.compress and not rotates:
            reason = "'rotation: off'" if self.rotation == "off" else "'max_bytes: 0'"
            sentence = f"with {reason} there are no old files; 'on_end: compress' compresses ended sessions"
            yield _Contradiction("compress", ("rotation", "max_bytes"), sentence)
        if self.rotation == "time" and self.when.startswith("W") and "interval" in given and self.interval != 1:
            sentence = f"{self.when!r} is once a week; an interval can't be counted from it"
            yield _Contradiction("interval", ("rotation", "when"), sentence)

    def _contradictions_of_sampling(self) -> Iterator[_Contradiction]:
        types = EventCatalogue(self.events).types
        for name in self.sampling:
            if name not in types:
                yield _Contradiction(f"sampling.{name}", ("events",), f"no such event{did_you_mean(name, types)}")
            elif types[name].session_level is not SessionLevel.FULL:
                sentence = (
                    f"only events of session level full are sampled, and this one is at {types[name].session_level}"
                )
                yield _Contradiction(f"sampling.{name}", ("events",), sentence)

    def _idle_keys(self, reading: Reading) -> Iterator[str]:
        for key, path in reading.paths.items():
            if KEYS[key].later:
                yield f"{path} is accepted but not enforced by this version"
        if self.single_file is not None and "retention" in reading.paths and self.retention is not None:
            yield f"{reading.paths['retention']} has no effect with 'single_file', which holds all sessions"
        if self.rotation != "time":
            for key in ("when", "interval"):
                if key in reading.paths:
                    yield f"{reading.paths[key]} has no effect without 'rotation: time'"


class _Contradiction(NamedTuple):
    """
    Two settings that don't go together: the key that is to blame, the others that it depends on, and a sentence.
    """

    key: str
    others: tuple[str, ...]
    sentence: str


class Examined(NamedTuple):
    """
    What options came to: settings, or problems, and sentences for those who may have meant something else.
    """

    settings: Settings | None
    problems: list[ConfigurationError]
    warnings: list[str]


def _fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in values.items() if not (KEYS[key].derived or KEYS[key].later)}
    fields["later"] = {key: value for key, value in values.items() if KEYS[key].later}
    if fields.get("rotation") == "time":
        # Size counts beside time only for those who ask for both.
        fields.setdefault("max_bytes", 0)
    return fields
