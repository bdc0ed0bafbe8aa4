"""
``sessionlog status``: what is logged right now, and whether it goes well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from sessionlog_handlers.cli.options import color_option, dir_option, json_option, use_color

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.places import SessionInfo
    from sessionlog_handlers.reading.processes import ProcessInfo


@click.command("status")
@dir_option
@color_option
@json_option
def command(directory: str | None, color: str, as_json: bool) -> int:
    """
    Show what is logged now, and by which processes.

    Counters begin with the process: what was accepted is written, dropped for a reason that is named, or pending.

    \b
    Example:
      sessionlog status
      sessionlog status --json | jq '.processes[].stats.dropped'
    """
    from sessionlog_handlers.cli.output import print_json, session_object, tell_unreadable
    from sessionlog_handlers.reading.processes import list_processes
    from sessionlog_handlers.reading.sessions import find_roots, list_sessions

    roots = find_roots(directory)
    errors: list[OSError] = []
    processes = list(list_processes(roots, errors.append))
    running = [info for info in list_sessions(roots) if info.state == "running"] if processes else []
    running.sort(key=lambda info: (str(info.root), info.start or 0.0, info.id))
    if as_json:
        print_json(
            {"sessions": [session_object(info) for info in running], "processes": [_object(info) for info in processes]}
        )
    elif processes:
        for line in _lines(running, processes, use_color(color)):
            click.echo(line, color=True)
    elif not errors:
        click.echo("Nothing is logged right now.", err=True)
    return tell_unreadable(errors)


def _object(info: ProcessInfo) -> dict[str, Any]:
    return {"root": str(info.root), "pid": info.pid, "host": info.host, "stats": dict(info.stats)}


def _lines(running: list[SessionInfo], processes: list[ProcessInfo], in_color: bool) -> list[str]:
    lines: list[str] = []
    for info in running:
        lines += _session_lines(info, in_color)
    for process in processes:
        lines += _process_lines(process, in_color)
    return lines


def _session_lines(info: SessionInfo, in_color: bool) -> list[str]:
    from sessionlog_handlers.cli.output import cell, human_time, level_text

    title = f"session {cell(info.id)}"
    return [
        click.style(title, fg="green", bold=True) if in_color else title,
        f"  log: {cell(info.log, 1000)}",
        f"  level: {cell(level_text(info))}",
        f"  pid: {info.pid or '?'}",
        f"  since: {human_time(info.start)}",
    ]


def _process_lines(process: ProcessInfo, in_color: bool) -> list[str]:
    from sessionlog_handlers.cli.output import cell

    title = f"process {process.pid or '?'} on {cell(process.host)}"
    lines = [click.style(title, bold=True) if in_color else title, f"  directory: {cell(process.root, 1000)}"]
    stats = process.stats
    if not stats:
        return [*lines, "  counters: not yet said"]
    lines += [
        f"  accepted: {_count(stats, 'accepted')}, written: {_count(stats, 'written')}, "
        f"pending: {_count(stats, 'pending')}",
        f"  dropped: {_dropped(stats)}",
        f"  queue: {_count(stats, 'queue_depth')}, batches: {_count(stats, 'batches')}, "
        f"rotations: {_count(stats, 'rotations')}, open files: {_count(stats, 'open_files')}",
        f"  disk: {_size(stats, 'disk_free')} free",
    ]
    if stats.get("mark"):
        mark = f"  mark: {_count(stats, 'mark')}"
        lines.append(click.style(mark, fg="yellow" if stats["mark"] == "warn" else "red") if in_color else mark)
    lines.append(f"  errors: {_count(stats, 'errors')}")
    if stats.get("last_error"):
        error = f"  last error: {cell(stats['last_error'], 1000)}{_age(stats)}"
        lines.append(click.style(error, fg="red") if in_color else error)
    return lines


def _count(stats: Mapping[str, Any], name: str) -> str:
    from sessionlog_handlers.cli.output import cell

    return cell(stats.get(name, "?"))


def _dropped(stats: Mapping[str, Any]) -> str:
    from sessionlog_handlers.cli.output import cell

    dropped = stats.get("dropped")
    if not isinstance(dropped, dict) or not dropped:
        return "0"
    return ", ".join(f"{cell(count)} ({cell(reason)})" for reason, count in sorted(dropped.items()))


def _size(stats: Mapping[str, Any], name: str) -> str:
    from sessionlog_handlers.cli.output import human_size

    size = stats.get(name)
    return human_size(size) if isinstance(size, int) and size >= 0 else "?"


def _age(stats: Mapping[str, Any]) -> str:
    from sessionlog_handlers.cli.output import human_duration
    from sessionlog_handlers.formats.timestamps import parse_timestamp

    try:
        at = parse_timestamp(stats["last_error_at"])
    except (KeyError, TypeError, ValueError, AttributeError):  # another version's lease
        return ""
    return f" ({human_duration(max(time.time() - at, 0.0))} ago)"
