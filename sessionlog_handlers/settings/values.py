"""
Sizes, durations, modes, flags and choices, read the way people write them. What a key means is told elsewhere.

Each parser takes what YAML or Python gave, returns one plain value, and raises `ConfigurationError` with one sentence.
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.escaping import make_visible
from sessionlog_handlers.levels import SEVERITY_NUMBERS

T = TypeVar("T")

MAX_SHOWN = 80  # characters of a value in an error
MAX_PATH_SHOWN = 160  # characters of a key with those around it
MAX_ITEMS_SHOWN = 8  # of a list or mapping in an error
MAX_DEPTH_SHOWN = 3  # levels of lists and mappings in each other

SIZE_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
MAX_NUMBER = 2**1000  # beyond which a whole number may be none that a float can hold
MAX_SIZE = 2**63 - 1  # bytes, the largest offset of a file

DURATION_UNITS = {
    "us": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
    "w": Fraction(604_800),
}
_DURATION_WORDS = {
    **dict.fromkeys(("us", "µs", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?|(b|bytes?)?)", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*[a-zµ]+\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")

SEVERITY_CHOICES = ("debug", "info", "warning", "error", "off")
_FLAG_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """
    The end of a sentence that names the closest known word, empty if none is close.
    """
    near = closest(given, known)
    return f"; did you mean {near!r}?" if near else ""


def closest(given: object, known: Iterable[str]) -> str:
    """
    The known word that is meant, empty if none is close.
    """
    if not isinstance(given, str) or len(given) > MAX_SHOWN:
        return ""
    words = {_plain(word): word for word in reversed(tuple(known))}
    near = difflib.get_close_matches(_plain(given), words, n=1, cutoff=0.6)
    return words[near[0]] if near else ""


def show(value: object) -> str:
    """
    A value as an error quotes it: on one line, visible, and not longer than about *MAX_SHOWN* characters.
    """
    text = make_visible(_short_repr(value, MAX_DEPTH_SHOWN))
    return text if len(text) <= MAX_SHOWN + 2 else f"{text[:MAX_SHOWN]}…"


def _short_repr(value: object, depth: int) -> str:
    # What YAML's aliases make may be endless when it is written out.
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_SHOWN else f"{value[: MAX_SHOWN - 1]}…")
    if isinstance(value, Mapping | list | tuple):
        opening, closing = "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, list) else "()"
        if value and depth == 0:
            return f"{opening}…{closing}"
        parts = [_short_repr(key, depth - 1) for key in itertools.islice(value, MAX_ITEMS_SHOWN)]
        if isinstance(value, Mapping):
            values = (value[key] for key in itertools.islice(value, MAX_ITEMS_SHOWN))
            parts = [f"{key}: {_short_repr(one, depth - 1)}" for key, one in zip(parts, values, strict=True)]
        if len(value) > MAX_ITEMS_SHOWN:
            parts.append("…")
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"{opening}{', '.join(parts)}{comma}{closing}"
    try:
        return repr(value)
    except Exception:  # a number of thousands of digits, or an object of the app's
        return f"<{type(value).__name__}>"


def join_path(*parts: str) -> str:
    """
    A dotted path of the parts that are not empty, visible and not endless.
    """
    path = make_visible(".".join(part for part in parts if part))
    return path if len(path) <= MAX_PATH_SHOWN else f"{path[: MAX_PATH_SHOWN - 1]}…"


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def matches_any(text: str, patterns: Iterable[str]) -> bool:
    """
    Whether one of some patterns, as shells have them for names of files, matches all of a text.
    """
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def parse_size(value: object) -> int:
    """
    Read a number of bytes: ``5 MB``, ``10MiB``, ``1.5 GB`` or ``5242880``. Units count in 1024s.

    Raises:
        ConfigurationError: If it is no size, negative, or not a whole number of bytes.
    """
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, unit = Fraction(match[1]), (match[2] or "").lower()
        size = number * SIZE_UNITS[unit]
        # A tenth of a kilobyte is meant roughly, half a byte is a mistake.
        if unit or size.denominator == 1:
            return _bounded_size(round(size), value)
    elif _is_number(value) and value >= 0 and value == int(value):
        return _bounded_size(int(value), value)
    raise ConfigurationError(
        f"{show(value)} is not a size; write bytes or a number with a unit, such as 5242880 or '5 MB'"
    )


def _bounded_size(size: int, given: object) -> int:
    if size > MAX_SIZE:
        raise ConfigurationError(f"{show(given)} is larger than any file can be")
    return size


def format_size(size: int) -> str:
    """
    Write a number of bytes with the largest unit that keeps it whole: 5242880 is ``5 MB``.
    """
    for unit in ("t", "g", "m", "k"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]} {unit.upper()}B"
    return f"{size} B"


def human_size(size: int) -> str:
    """
    Bytes with the unit that leaves few digits, in 1024s: ``2.4 MB``.
    """
    if size < 1024:
        return f"{size} B"
    number = float(size)
    for unit in ("KB", "MB", "GB"):
        number /= 1024
        if number < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TB"


def parse_duration(value: object) -> float:
    """
    Read a time span in seconds: ``7d``, ``1h30m``, ``50 ms``, ``2 weeks`` or ``0.05``. ``m`` is a minute.

    Raises:
        ConfigurationError: If it is no time span or negative.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        seconds = _duration_of(value.strip().lower())
        if seconds is not None:
            return float(seconds)
    elif _is_number(value) and value >= 0:
        return float(value)
    raise ConfigurationError(
        f"{show(value)} is not a time span; "
        "write seconds or a number with a unit, such as 0.05, '50 ms', '1h30m' or '7d'"
    )


def _duration_of(text: str) -> Fraction | None:
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    if not _DURATION.fullmatch(text):
        return None
    total = Fraction(0)
    for number, word in _DURATION_PART.findall(text):
        if word not in _DURATION_WORDS:
            return None
        total += Fraction(number) * DURATION_UNITS[_DURATION_WORDS[word]]
    return total


def format_duration(seconds: float) -> str:
    """
    Write a time span with the largest unit that keeps it whole: 604800 is ``1w``, 0.05 is ``50ms``.
    """
    exact = Fraction(repr(seconds))
    for unit in ("w", "d", "h", "m", "s", "ms", "us"):
        if exact and (exact / DURATION_UNITS[unit]).denominator == 1:
            return f"{exact / DURATION_UNITS[unit]}{unit}"
    return f"{seconds}s" if exact else "0s"


def parse_mode(value: object, *, directory: bool = False) -> int:
    """
    Read permission bits: ``'0600'``, ``'600'``, ``0o600``, and both numbers that YAML makes of ``0600`` and ``600``.

    Args:
        directory: Whether they are a directory's, which its owner must also be able to enter.

    Raises:
        ConfigurationError: If it is no mode, goes beyond 0777, or would lock the owner out.
    """
    mode = _mode_of(value)
    if mode is None:
        raise ConfigurationError(
            f"{show(value)} is not a permission mode; write octal digits in quotes, such as '0600'"
        )
    if mode > 0o777:
        raise ConfigurationError(f"{mode:#06o} sets more than permission bits; modes go from '0600' to '0777'")
    needed = 0o700 if directory else 0o600
    if mode & needed != needed:
        rights = "read, write and enter it" if directory else "read and write it"
        raise ConfigurationError(f"{mode:#06o} does not let the owner {rights}; the least is '{needed:04o}'")
    return mode


def _mode_of(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"(?:0o)?([0-7]{1,6})", value.strip().lower())
        return int(match[1], 8) if match else None
    if not isinstance(value, int) or not 0 <= value <= 0o777777:
        return None
    # YAML reads `0640` as the number 416, and `600` as six hundred. Only the first is a mode that somebody would want.
    meant_as_digits = re.fullmatch(r"[0-7]{3}", str(value)) and not _is_usual(value)
    return int(str(value), 8) if meant_as_digits else value


def _is_usual(mode: int) -> bool:
    owner, group, other = mode >> 6, mode >> 3 & 7, mode & 7
    return (
        {owner, group, other} <= {0, 4, 5, 6, 7}
        and other | group == group
        and group | owner == owner
        and (not owner & 1 or all(right & 1 for right in (group, other) if right))
    )


def parse_flag(value: object) -> bool:
    """
    Read yes or no: a boolean, or ``true, yes, on, false, no, off`` in any case.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _FLAG_WORDS:
        return _FLAG_WORDS[value.strip().lower()]
    raise ConfigurationError(f"{show(value)} is neither true nor false")


def parse_text(value: object) -> str:
    """
    Read a text that is not empty.
    """
    if not isinstance(value, str):
        hint = "; write one text" if isinstance(value, Mapping | list | tuple) else "; put it in quotes"
        raise ConfigurationError(f"{show(value)} is not a text{hint if value is not None else ''}")
    if not value.strip():
        raise ConfigurationError(f"{show(value)} is empty; write at least one character")
    if "\0" in value:
        raise ConfigurationError(f"{show(value)} has a NUL character, which nothing can be called")
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    """
    Read a list of texts; one text alone is a list of one.
    """
    if isinstance(value, str):
        return (parse_text(value),)
    if isinstance(value, (list, tuple)):
        return tuple(parse_text(value[number]) for number in range(len(value)))
    raise ConfigurationError(f"{show(value)} is not a list of texts")


def parse_path(value: object) -> Path:
    """
    Read a path; ``~`` and ``$NAME`` are filled in, and a relative path counts from the current directory.

    Raises:
        ConfigurationError: If it is no path, or names a variable that is not set or a home that is not known.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ConfigurationError(f"{show(value)} is not a path; write one text, such as '~/logs'")
    expanded = os.path.expanduser(os.path.expandvars(parse_text(value)))
    missing = _VARIABLE.search(expanded)
    if missing:
        raise ConfigurationError(f"{show(value)} names {missing[0]}, which is not set in the environment")
    if expanded.startswith("~"):
        raise ConfigurationError(f"{show(value)} starts with a home directory that is not known")
    try:
        return Path(os.path.abspath(expanded))
    except OSError as error:
        raise ConfigurationError(
            f"{show(value)} is relative, and the current directory can't be told ({error.strerror}); "
            "give an absolute path"
        ) from error


def is_within(path: Path, directory: Path) -> bool:
    """
    Whether a path is a directory or lies below it, links followed.
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))


def parse_severity(value: object) -> int:
    """
    Read a severity threshold as its number in `logging`: ``debug, info, warning, error``; ``off`` is 0.
    """
    word = parse_choice(value, SEVERITY_CHOICES)
    return 0 if word == "off" else SEVERITY_NUMBERS[word]


def parse_choice(value: object, choices: Iterable[str]) -> str:
    """
    Read one of *choices*, in any case.

    YAML makes booleans of ``on`` and ``off`` and nothing of an empty value; where these are choices, they are meant.
    """
    known = tuple(choices)
    word = _word_of(value)
    for choice in known:
        if choice.lower() == word:
            return choice
    raise ConfigurationError(f"{show(value)} is none of {', '.join(known)}{did_you_mean(value, known)}")


def _word_of(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value).strip().lower() if isinstance(value, str) else ""


def parse_share(value: object) -> float:
    """
    Read a share from 0 to 1, as a number or in percent: ``0.1`` or ``10%``.
    """
    share = _percent_of(value) if isinstance(value, str) else value
    if _is_number(share) and 0 <= share <= 1:
        return float(share)
    raise ConfigurationError(f"{show(value)} is not a share; write a number from 0 to 1, or '10%'")


def parse_size_or_share(value: object) -> int | float:
    """
    Read a size in bytes (an int), or a share of the disk (a float from 0 to 1): in percent, or with a decimal point.
    """
    try:
        if _is_share(value):
            return parse_share(value)
        return parse_size(value)
    except ConfigurationError:
        raise ConfigurationError(
            f"{show(value)} is neither a size nor a share of the disk; write bytes or a number with a unit, such as "
            "'5 MB', or a share up to 1 such as '5%' or 0.05"
        ) from None


def _is_share(value: object) -> bool:
    if isinstance(value, str):
        text = value.strip()
        return text.endswith("%") or ("." in text and (number := parse_number(text)) is not None and number <= 1)
    return isinstance(value, float) and value <= 1


def parse_number(value: object) -> float | None:
    """
    A number without a unit, also as text; None for anything else.
    """
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else None
    return float(value) if _is_number(value) else None


def _percent_of(text: str) -> float | None:
    number = text.strip().removesuffix("%").strip()
    if not _NUMBER.fullmatch(number):
        return None
    return float(Fraction(number) / 100) if text.strip().endswith("%") else float(number)


def parse_whole(value: object, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """
    Read a whole number from *least* to *most*.
    """
    number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII) else value
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number
    raise ConfigurationError(f"{show(value)} is not a whole number from {least} to {most}")


def parse_mapping(value: object, shape: str) -> Mapping[str, Any]:
    """
    Read a mapping whose keys are texts; *shape* shows in the error how one looks.
    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{show(value)} is not a mapping; write it like {shape}")
    for key in value:
        if not isinstance(key, str) or not key:
            raise ConfigurationError(no_name(key))
    return value


def no_name(key: object, what: str = "name") -> str:
    """
    The sentence about a key of a mapping that is no text, or empty.
    """
    if key is None or key == "":
        return f"there is no {what} before a ':'; if it is called null or ~, put it in quotes"
    return f"{show(key)} is not a {what}; put it in quotes"


def parse_each(value: object, shape: str, parse: Callable[[Any], T]) -> dict[str, T]:
    """
    Read a mapping of any names to values of one kind, in its order; *shape* shows in the error how one looks.
    """
    # By item, not by .items(): only then does dictConfig's mapping resolve cfg:// and ext:// values.
    mapping = parse_mapping(value, shape)
    return {parse_text(name): parse_within(name, parse, mapping[name]) for name in mapping}


def parse_fields(value: object, parsers: Mapping[str, Callable[[Any], Any]], what: str) -> dict[str, Any]:
    """
    Read a mapping of known names, each with a parser of its own; *what* names the mapping in the error.
    """
    options = parse_mapping(value, "{" + ": …, ".join(parsers) + ": …}")
    for name in options:
        if name not in parsers:
            raise ConfigurationError(f"{what} takes {', '.join(parsers)}{did_you_mean(name, parsers)}", name)
    return {name: parse_within(name, parsers[name], options[name]) for name in options}


def parse_within(name: str, parse: Callable[[Any], T], value: object) -> T:
    """
    Read a value, and say in an error that it is the one called *name*.
    """
    try:
        return parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(error.message, join_path(name, error.key)) from None


def _is_number(value: object) -> TypeGuard[int | float]:
    # bool is an int to Python, not to a reader of YAML.
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= MAX_NUMBER
    return isinstance(value, float) and math.isfinite(value)
