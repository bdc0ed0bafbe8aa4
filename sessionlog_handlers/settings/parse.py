"""
From what a user wrote to one value for each key: names, aliases and types are checked here, combinations in `model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.keys import ALIASES, KEYS, LOG_ROTATION, LOG_ROTATION_KEYS
from sessionlog_handlers.settings.values import closest, did_you_mean, join_path, no_name, parse_mapping

# Words for our keys that are too far from them for a guess by spelling.
_OTHER_WORDS = {
    "class_name": "class",
    "dir": "directory",
    "filename": "directory",
    "gzip": "compress",
    "log_dir": "directory",
    "mode": "file_mode",
    "path": "directory",
    "root": "directory",
    "max_size": "max_bytes",
    "keep": "backup_count",
    "retention_days": "retention",
}


class Entry(NamedTuple):
    """
    One setting as it was written: its path in the document, the key that it is for, and its value.
    """

    path: str
    key: str
    value: Any


@dataclass(slots=True)
class Reading:
    """
    The values that were given, by key, and what is wrong with the others.
    """

    values: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    problems: list[ConfigurationError] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)  # keys that were given, or meant, and have no value


def read_options(options: Mapping[str, Any], prefix: str = "") -> Reading:
    """
    Read every option, in order, under the name of its key.

    Args:
        options: As `SessionHandler` gets them.

        prefix: Dotted path of the mapping in its document, for errors.
    """
    reading = Reading()
    for name in options:
        try:
            for entry in _entries(name, options[name]):
                _read_entry(entry, reading)
        except ConfigurationError as error:
            reading.problems.append(ConfigurationError(error.message, join_path(prefix, error.key)))
            reading.failed |= _meant_keys(name)
    reading.paths = {key: join_path(prefix, path) for key, path in reading.paths.items()}
    return reading


def _meant_keys(name: object) -> set[str]:
    """The keys that an entry which can't be read stands for, misspelt or not."""
    if not isinstance(name, str):
        return set()
    if name == LOG_ROTATION:
        return {*LOG_ROTATION_KEYS.values()}
    word = _OTHER_WORDS.get(name.lower()) or closest(name, (*KEYS, *ALIASES))
    return {ALIASES.get(word, word)}


def _entries(name: object, value: Any) -> Iterator[Entry]:
    if not isinstance(name, str):
        raise ConfigurationError(no_name(name, "key"), "" if name is None else str(name))
    if name == LOG_ROTATION:
        yield from _log_rotation_entries(value)
        return
    key = ALIASES.get(name, name)
    if key not in KEYS:
        raise ConfigurationError(f"no such setting{_hint(name)}", name)
    yield Entry(name, key, value)


def _hint(name: str) -> str:
    if name.lower() in _OTHER_WORDS:
        return f"; did you mean {_OTHER_WORDS[name.lower()]!r}?"
    near = did_you_mean(name, (*KEYS, *ALIASES, LOG_ROTATION))
    return near or "; docs/configuration.md lists all settings"


def _log_rotation_entries(value: object) -> Iterator[Entry]:
    try:
        options = parse_mapping(value, "{max_size: 10 MB, retention_days: 7}")
    except ConfigurationError as error:
        raise ConfigurationError(error.message, LOG_ROTATION) from None
    for name in options:
        path = f"{LOG_ROTATION}.{name}"
        if name not in LOG_ROTATION_KEYS:
            hint = did_you_mean(name, LOG_ROTATION_KEYS)
            raise ConfigurationError(f"no such setting; it takes {', '.join(LOG_ROTATION_KEYS)}{hint}", path)
        key = LOG_ROTATION_KEYS[name]
        yield Entry(path, key, {"days": options[name]} if key == "retention" else options[name])


def _read_entry(entry: Entry, reading: Reading) -> None:
    if entry.key in reading.paths:
        raise ConfigurationError(f"given twice, the other time as {reading.paths[entry.key]!r}", entry.path)
    reading.paths[entry.key] = entry.path
    try:
        reading.values[entry.key] = KEYS[entry.key].parse(entry.value)
    except ConfigurationError as error:
        inner = "" if entry.path.startswith(LOG_ROTATION) else error.key
        raise ConfigurationError(error.message, join_path(entry.path, inner)) from None
