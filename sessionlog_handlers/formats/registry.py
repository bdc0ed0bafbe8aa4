"""
Line formats by name, and which one a file has.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from sessionlog_handlers.exceptions import ConfigurationError, InvalidLineError
from sessionlog_handlers.formats.event_line import EventLineFormat
from sessionlog_handlers.formats.foreign import ForeignJsonFormat
from sessionlog_handlers.formats.fugue import FugueFormat
from sessionlog_handlers.formats.jsonl import JsonLinesFormat
from sessionlog_handlers.formats.line import LineFormat
from sessionlog_handlers.formats.pty import PtyFormat
from sessionlog_handlers.formats.text import TextFormat

MAX_SAMPLE_LINES = 20  # lines that a format is told by

# The order counts for a sample that speaks for several formats: JSON of other programs is tried last.
FORMATS: dict[str, Callable[..., LineFormat]] = {
    "jsonl": JsonLinesFormat,
    "fugue": FugueFormat,
    "pty": PtyFormat,
    "text": TextFormat,
    "event_line": EventLineFormat,
    "json": ForeignJsonFormat,
}


def get_format(name: str, **options: Any) -> LineFormat:
    """
    A new format of that name, with the options of its class.

    Raises:
        ConfigurationError: If there is none of that name, or it has no such option.
    """
    factory = FORMATS.get(name)
    if factory is None:
        near = difflib.get_close_matches(str(name), FORMATS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(FORMATS)}"
        raise ConfigurationError(f"unknown line format {name!r}; {hint}", "format")
    try:
        return factory(**options)
    except TypeError as error:
        raise ConfigurationError(f"line format {name!r}: {error}", "format") from error


def detect_format(sample: bytes) -> LineFormat | None:
    """
    The format of a file, by the first lines of it: the one that most of them can be read with, None if there is none.

    Args:
        sample: The beginning of the file. A last line without its end counts only when it is the only one.
    """
    head, _, rest = sample.rpartition(b"\n")
    whole = [line for line in (head if head else rest).split(b"\n", MAX_SAMPLE_LINES) if line.strip()]
    best: LineFormat | None = None
    most = 0
    for factory in FORMATS.values():
        candidate = factory()
        readable = sum(_can_read(candidate, line) for line in whole[:MAX_SAMPLE_LINES])
        if readable > most:
            best, most = candidate, readable
    return best


def _can_read(candidate: LineFormat, line: bytes) -> bool:
    try:
        candidate.parse(line)
    except InvalidLineError:
        return False
    return True
