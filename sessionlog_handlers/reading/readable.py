"""
A stored line the way people read it: one line of text, with nothing in it that acts on a terminal.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sessionlog_handlers.events import BYTE_EVENTS, ORDINARY_RECORD
from sessionlog_handlers.formats.encoding import cut_text
from sessionlog_handlers.formats.escaping import clean_key, format_pairs, make_visible, value_text
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.timestamps import format_ms

MAX_CONTENT = 2000  # characters shown of a terminal's input or output

Part = Literal["time", "level", "event", "message", "fields", "trace"]
Paint = Callable[[Part, str, Line], str]


def _plain(part: Part, text: str, line: Line) -> str:
    return text


def readable_line(line: Line, paint: Paint = _plain) -> str:
    """
    ``2026-01-08T12:34:56.789Z INFO    session_start level=signals``, without a line end.

    A traceback is left to `readable_traceback`; a terminal's bytes are shown as text.

    Args:
        line: The stored line.

        paint: Called with each part, its text and the line; gives the text in colour. (default: none)
    """
    parts = [
        paint("time", format_ms(line.ts), line),
        paint("level", f"{make_visible(line.level).upper():<7}", line),
    ]
    if line.event == ORDINARY_RECORD:
        if line.logger:
            parts.append(paint("event", f"{make_visible(line.logger)}:", line))
    else:
        parts.append(paint("event", make_visible(line.event), line))
    if line.msg:
        parts.append(paint("message", make_visible(line.msg), line))
    if fields := _fields(line):
        parts.append(paint("fields", fields, line))
    return " ".join(parts).rstrip()


def readable_traceback(line: Line, paint: Paint = _plain) -> list[str]:
    """
    A line's traceback as lines to stand below it; empty if it has none.
    """
    if not line.exc:
        return []
    return [paint("trace", f"    {make_visible(text)}", line) for text in line.exc.split("\n")]


def _fields(line: Line) -> str:
    data = dict(line.data)
    if line.event in BYTE_EVENTS and isinstance(data.get("base64"), str):
        try:
            content = base64.b64decode(data["base64"], validate=True)
        except (binascii.Error, ValueError):
            return _pairs(data)
        del data["base64"]
        text = make_visible(cut_text(content.decode("utf-8", "replace"), MAX_CONTENT))
        return f"{_pairs(data)} | {text}"
    return _pairs(data)


def _pairs(data: Mapping[str, Any]) -> str:
    # Quotes around JSON would only make its own quotes hard to read.
    return " ".join(
        f"{clean_key(name)}={make_visible(value_text(value))}"
        if isinstance(value, (dict, list))
        else format_pairs({name: value})
        for name, value in data.items()
    )
