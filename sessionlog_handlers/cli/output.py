"""
How commands write numbers, times, tables and JSON. Nothing here acts on a terminal, whatever a session is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sessionlog_handlers.formats.escaping import escape_json, make_visible
from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.pipeline.places import SessionInfo
from sessionlog_handlers.reading.pruned import is_pinned
from sessionlog_handlers.reading.sessions import unreadable
from sessionlog_handlers.settings.values import human_size as human_size  # commands take it from here, with the others

MAX_ID = 40  # characters of an id in a table; a UUID has 36
MAX_NAMED = 10  # directories that can't be read, by name
MAX_CELL = 60  # characters of a cell; the whole text is in --json
STATE_COLORS = {"running": "green", "crashed": "red", "unknown": "yellow"}


def print_json(value: Mapping[str, Any]) -> None:
    """
    Print an object on one line.
    """
    click.echo(escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)))


def tell_unreadable(errors: Sequence[OSError]) -> int:
    """
    Name on stderr what could not be read, and give the exit code: 1 if there was any.
    """
    for error in errors[:MAX_NAMED]:
        click.echo(f"sessionlog: {make_visible(unreadable(error))}", err=True)
    if len(errors) > MAX_NAMED:
        click.echo(f"sessionlog: … and {len(errors) - MAX_NAMED} more", err=True)
    return 1 if errors else 0


def cell(text: object, limit: int = MAX_CELL) -> str:
    """
    A text as a table may have it: on one line, without tabs, not too long, and in quotes if it is blank.
    """
    text = str(text)
    shown = make_visible(text if text.strip() else repr(text)).replace("\t", "\\t")
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """
    Rows in columns as wide as their widest cell. *right* names the columns that are flush right.
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(row, widths, head, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]


def human_duration(seconds: float) -> str:
    """
    A time span with its two largest units: ``2h05m``.
    """
    if seconds < 0.9995:
        return f"{max(round(seconds * 1000), 0)}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 24 else f"{hours // 24}d{hours % 24:02d}h"


def human_time(seconds: float | None) -> str:
    """
    Date and time in UTC to the second, as the logs have it; ``-`` if there is none.
    """
    return "-" if seconds is None else format_ms(seconds)[:19].replace("T", " ") + "Z"


def session_object(info: SessionInfo) -> dict[str, Any]:
    """
    A session as ``--json`` has it.
    """
    return {
        "id": info.id,
        "state": info.state,
        "level": info.level,
        "severity": info.severity,
        "start": None if info.start is None else format_ms(info.start),
        "end": None if info.end is None else format_ms(info.end),
        "reason": info.reason,
        "pinned": is_pinned(info),
        "size": info.size,
        "last_write": None if info.last_write is None else format_ms(info.last_write),
        "root": str(info.root),
        "directory": str(info.directory),
        "log": str(info.log),
        "files": [str(path) for path in info.files],
        "pid": info.pid,
        "metadata": info.metadata.metadata if info.metadata else {},
    }


def level_text(info: SessionInfo) -> str:
    """
    Session level and severity threshold as one text.
    """
    return f"{info.level or '?'}, severity {info.severity}" if info.severity else info.level or "?"
