"""
``sessionlog ls``: the sessions that there are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from sessionlog_handlers.cli.options import color_option, dir_option, json_option, use_color

if TYPE_CHECKING:
    from pathlib import Path

    from sessionlog_handlers.pipeline.places import SessionInfo
MAX_PATH = 1000  # characters shown of a directory; a path that is cut leads nowhere


@click.command("ls")
@dir_option
@click.option(
    "--state",
    "states",
    type=click.Choice(["running", "ended", "crashed", "unknown"]),
    multiple=True,
    help="Only sessions in this state; may be given more than once.",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--pruned", is_flag=True, help="Those that were removed instead, the last one first.")
@color_option
@json_option
def command(
    directory: str | None, states: tuple[str, ...], limit: int | None, pruned: bool, color: str, as_json: bool
) -> int:
    """
    List sessions, the newest first. Times are UTC.

    A session without a living process that never ended has crashed. A directory that can't be read is named on stderr,
    and the exit code is 1. Long ids are cut with …; --json has them in full.

    \b
    Example:
      sessionlog ls --state running
      sessionlog ls --json | jq -r 'select(.size > 1000000) | .id'
      sessionlog ls --pruned
    """
    from sessionlog_handlers.cli.output import print_json, session_object, tell_unreadable
    from sessionlog_handlers.reading.sessions import find_roots, list_sessions

    roots = find_roots(directory)
    errors: list[OSError] = []
    if pruned:
        _list_pruned(roots, states, limit, color, as_json, errors)
        return tell_unreadable(errors)
    found = [info for info in list_sessions(roots, errors.append) if not states or info.state in states]
    found.sort(key=lambda info: (info.start or info.last_write or 0.0, info.id), reverse=True)
    found = found[:limit]
    if as_json:
        for info in found:
            print_json(session_object(info))
    elif found:
        for line in _table(found, use_color(color)):
            click.echo(line, color=True)
    elif not errors:
        _say_nothing(roots, states)
    return tell_unreadable(errors)


def _table(found: list[SessionInfo], in_color: bool) -> list[str]:
    from sessionlog_handlers.cli import output
    from sessionlog_handlers.cli.output import cell, human_time

    several = len({info.root for info in found}) > 1
    head = ["ID", "STATE", "LEVEL", "START", "DURATION", "SIZE", "REASON", *(["DIRECTORY"] if several else [])]
    rows = [
        [
            cell(info.id, output.MAX_ID),
            info.state,
            cell(output.level_text(info)),
            human_time(info.start),
            _duration(info),
            output.human_size(info.size),
            cell(info.reason or "-"),
            *([cell(info.root, MAX_PATH)] if several else []),
        ]
        for info in found
    ]
    lines = output.format_table(head, rows, right=("DURATION", "SIZE"))
    if not in_color:
        return lines
    start = len(lines[0].partition("STATE")[0])
    colored = [click.style(lines[0], bold=True)]
    for line, info in zip(lines[1:], found, strict=True):
        end = start + len(info.state)
        colored.append(line[:start] + click.style(line[start:end], fg=output.STATE_COLORS.get(info.state)) + line[end:])
    return colored


def _list_pruned(
    roots: list[Path], states: tuple[str, ...], limit: int | None, color: str, as_json: bool, errors: list[OSError]
) -> None:
    from sessionlog_handlers.cli import output
    from sessionlog_handlers.cli.output import cell, format_table, human_size, human_time, print_json
    from sessionlog_handlers.formats.timestamps import format_ms
    from sessionlog_handlers.reading.pruned import list_pruned

    found = [one for one in list_pruned(roots, errors.append) if not states or one.data.get("state") in states]
    found.reverse()  # of those that went in the same millisecond, too, the last one comes first
    found.sort(key=lambda one: one.removed, reverse=True)
    found = found[:limit]
    if as_json:
        for one in found:
            print_json({"id": one.session, "removed": format_ms(one.removed), "root": str(one.root), **one.data})
        return
    if not found:
        if not errors:
            click.echo("Nothing was removed.", err=True)
        return
    rows = [
        [
            cell(one.session, output.MAX_ID),
            human_time(one.removed),
            human_size(size) if isinstance(size := one.data.get("bytes"), int) else "-",
            cell(one.data.get("reason") or "-"),
            cell(one.data.get("trash") or "-", MAX_PATH),
        ]
        for one in found
    ]
    lines = format_table(["ID", "REMOVED", "SIZE", "WHY", "NOW IN"], rows, right=("SIZE",))
    for number, line in enumerate(lines):
        click.echo(click.style(line, bold=True) if use_color(color) and not number else line, color=True)


def _duration(info: SessionInfo) -> str:
    from sessionlog_handlers.cli.output import human_duration

    until = time.time() if info.state == "running" else info.end or info.last_write
    return "-" if info.start is None or until is None else human_duration(until - info.start)


def _say_nothing(roots: list[Path], states: tuple[str, ...]) -> None:
    from sessionlog_handlers.cli.output import cell
    from sessionlog_handlers.reading.sessions import name_some

    if not roots:
        text = "No sessions yet: no app of yours has logged one. --dir names a directory to look in."
    else:
        kind = f"{' or '.join(states)} " if states else ""
        text = f"No {kind}sessions in {name_some([cell(root, MAX_PATH) for root in roots])}."
    click.echo(text, err=True)
