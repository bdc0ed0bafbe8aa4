"""
``sessionlog show``: a session's lines.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from sessionlog_handlers.cli.options import color_option, dir_option, id_argument, json_option, use_color

if TYPE_CHECKING:
    from sessionlog_handlers.formats.line import Line
    from sessionlog_handlers.reading.readable import Part
    from sessionlog_handlers.reading.reader import LineReader

MAX_NAMED = 10  # lines that could not be read, by name

_LEVEL_COLORS = {"debug": "bright_black", "info": "green", "warning": "yellow", "error": "red", "critical": "red"}
_PART_COLORS = {"time": "bright_black", "event": "cyan", "trace": "bright_black", "fields": "bright_black"}


@click.command("show")
@id_argument
@dir_option
@click.option("--file", "file", metavar="NAME", help="Another file of the session, such as audit_user.log.")
@click.option("-n", "--lines", "last", type=click.IntRange(min=1), help="Only the last so many lines.")
@color_option
@json_option
def command(
    session_id: str, directory: str | None, file: str | None, last: int | None, color: str, as_json: bool
) -> None:
    """
    Show a session's lines, oldest first. Times are UTC.

    Rotated and compressed files are read too. ID may be the beginning of an id if only one session has it. What can't
    be read is counted at the end.

    \b
    Example:
      sessionlog show abc123 -n 20
      sessionlog show abc123 --file audit_user.log
      sessionlog show abc123 --json | jq -r 'select(.event == "error") | .exc'
    """
    from sessionlog_handlers.reading.exporters import exporter
    from sessionlog_handlers.reading.reader import read_rotated
    from sessionlog_handlers.reading.sessions import find_roots, find_session

    info = find_session(session_id, find_roots(directory))
    reader = read_rotated(info.log if file is None else info.file(file))
    lines: Iterable[Line] = reader if last is None else deque(reader, maxlen=min(last, sys.maxsize))
    if as_json:
        exporter("jsonl").export(_with_session(lines, info.id), sys.stdout.buffer)
    elif use_color(color):
        _print_in_color(lines)
    else:
        exporter("text").export(lines, sys.stdout.buffer)
    _tell_bad(reader)


def _with_session(lines: Iterable[Line], session_id: str) -> Iterator[Line]:
    """The lines with the session's id in them; some formats don't store it."""
    from msgspec.structs import replace

    for line in lines:
        yield line if line.session else replace(line, session=session_id)


def _print_in_color(lines: Iterable[Line]) -> None:
    from sessionlog_handlers.reading.readable import readable_line, readable_traceback

    for line in lines:
        for text in (readable_line(line, _paint), *readable_traceback(line, _paint)):
            sys.stdout.write(f"{text}\n")


def _paint(part: Part, text: str, line: Line) -> str:
    color = _LEVEL_COLORS.get(line.level) if part == "level" else _PART_COLORS.get(part)
    if part == "fields" and line.level not in ("debug", "info"):
        color = None  # what an error says is mostly in its fields
    return click.style(text, fg=color) if color else text


def _tell_bad(reader: LineReader) -> None:
    from sessionlog_handlers.formats.escaping import make_visible

    if not reader.bad_count:
        return
    sys.stdout.flush()
    what = "1 line" if reader.bad_count == 1 else f"{reader.bad_count} lines"
    click.echo(f"sessionlog: {what} could not be read:", err=True)
    for bad in reader.bad[:MAX_NAMED]:
        click.echo(f"  {make_visible(str(bad))}", err=True)
    if reader.bad_count > MAX_NAMED:
        click.echo(f"  … and {reader.bad_count - MAX_NAMED} more", err=True)
