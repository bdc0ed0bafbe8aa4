"""
``sessionlog prune``: remove the sessions that are over and not to be kept.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessionlog_handlers.cli.options import GivenPath, color_option, dir_option, json_option, use_color
from sessionlog_handlers.exceptions import ConfigurationError, SessionLogError

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.pruner import Pruner, Step
    from sessionlog_handlers.pipeline.pruning import RemovalRecord
    from sessionlog_handlers.pipeline.retention import Chosen
    from sessionlog_handlers.settings.tables import Hook, Retention

    _Base = click.ParamType[Any]
    _Plan = list[tuple[Pruner, list[Chosen]]]  # what each root's pruner is to remove
else:
    _Base = click.ParamType  # which older releases of click can't subscript

LOCK_TIMEOUT = 2.0  # seconds to wait for an app that is at it
PROGRESS_PAUSE = 0.5  # seconds until a terminal is told how far it is, and between two times
MAX_PATH = 1000  # characters shown of a directory


class Rule(_Base):
    """
    A rule's value, as the key ``retention`` has it in a configuration.
    """

    def __init__(self, field: str) -> None:
        self.name = self.field = field

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from sessionlog_handlers.settings.tables import parse_retention

        try:
            return getattr(parse_retention({self.field: value}), self.field)
        except ConfigurationError as error:
            self.fail(error.message, param, ctx)


class Command(_Base):
    """
    A command, as the key ``archive`` has it in a configuration.
    """

    name = "command"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from sessionlog_handlers.settings.tables import parse_hook

        try:
            return parse_hook(value)
        except ConfigurationError as error:
            self.fail(error.message, param, ctx)


@click.command("prune")
@dir_option
@click.option("--older-than", "days", metavar="AGE", type=Rule("days"), help="Those that ended longer ago, as in 7d.")
@click.option("--keep", "count", metavar="N", type=Rule("count"), help="All that are over but the last so many.")
@click.option("--total", metavar="SIZE", type=Rule("total"), help="The oldest, until all hold no more, as in 1GB.")
@click.option(
    "--keep-free", metavar="SIZE|%", type=Rule("keep_free"), help="The oldest, until so much of the disk is free."
)
@click.option("--trash", metavar="DIRECTORY", type=GivenPath(path_type=Path), help="Move them there.")
@click.option(
    "--archive", metavar="COMMAND", type=Command(), help="Run this for each one before; if it fails, the session stays."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would go, and why. Nothing is touched.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@color_option
@json_option
def command(
    directory: str | None,
    trash: Path | None,
    archive: Hook | None,
    dry_run: bool,
    yes: bool,
    color: str,
    as_json: bool,
    **rules: Any,
) -> int:
    """
    Remove sessions that are over, by age, number or size.

    Without a rule, those that the app was configured with count. Never removed are sessions that run, that are pinned,
    or of which nobody can tell whether they are over. The list is shown, and on a terminal you are asked. What was
    removed is in `sessionlog ls --pruned`.

    \b
    Example:
      sessionlog prune --dry-run
      sessionlog prune --dir ~/logs --older-than 30d --keep-free 10% --yes
      sessionlog prune --keep 100 --trash ~/old-logs
    """
    from sessionlog_handlers.cli.output import print_json, tell_unreadable
    from sessionlog_handlers.settings.tables import Retention

    if archive is not None and trash is not None:
        raise click.UsageError("a removed session goes to --trash or to --archive; give one of them")
    errors: list[OSError] = []
    pruners = _pruners(directory, Retention(**rules), trash, archive, errors, dry_run=dry_run)
    failed = bool(tell_unreadable(errors))
    if not dry_run:
        for pruner in pruners:
            pruner.check_trash()
        failed |= _finish(pruners)
    chosen = [(pruner, pruner.choose()) for pruner in pruners]
    if not any(ones for _, ones in chosen):
        if not as_json:
            click.echo("Nothing is to go.", err=True)
        return int(failed)
    if not as_json:
        _show(chosen, use_color(color))
    if dry_run:
        if as_json:
            for pruner, ones in chosen:
                for one in ones:
                    trashed = str(pruner.trash) if pruner.trash is not None else None
                    print_json({**_object(one), "removed": False, "trash": trashed})
        return int(failed)
    if not yes and not _is_confirmed(chosen, as_json):
        return int(failed)
    return _remove(chosen, as_json) or int(failed)


def _pruners(
    directory: str | None,
    given: Retention,
    trash: Path | None,
    archive: Hook | None,
    errors: list[OSError],
    *,
    dry_run: bool,
) -> list[Pruner]:
    """What prunes each of the roots, by the rules that were given or else by its own."""
    from sessionlog_handlers.pipeline.pruner import Pruner
    from sessionlog_handlers.reading.pruned import check_own, configured_rules
    from sessionlog_handlers.reading.sessions import find_roots, list_sessions, name_some
    from sessionlog_handlers.settings.values import is_within

    roots = find_roots(directory)
    if given.removes and len(roots) > 1:
        names = name_some([str(root) for root in roots])
        raise SessionLogError(f"rules are for one directory, and there are {names}; --dir names one")
    pruners = []
    for root in roots:
        own = configured_rules(list_sessions([root], errors.append))
        retention = given if given.removes else own.retention
        if retention is None:
            continue
        check_own(root)
        target = trash.expanduser().absolute() if trash is not None else own.trash
        if target is not None and is_within(target, root):
            raise SessionLogError(f"{target} is within {root}, where sessions are; give --trash a directory outside it")
        if own.archive and archive is None and target is None and not dry_run:
            raise SessionLogError(
                f"the app of {root} archives each session before it goes ({own.archive}); "
                "give --archive COMMAND, or --trash DIRECTORY"
            )
        pruners.append(Pruner(str(root), retention, pinned=own.pinned, trash=target, archive=archive))
    if not pruners and not given.removes:
        raise SessionLogError("no app has configured what to keep; give --older-than, --keep, --total or --keep-free")
    return pruners


def _show(chosen: _Plan, in_color: bool) -> None:
    from sessionlog_handlers.cli import output
    from sessionlog_handlers.cli.output import cell, format_table, human_size, human_time

    everyone = [one for _, ones in chosen for one in ones]
    several = len({one.session.root for one in everyone}) > 1
    head = ["ID", "STATE", "END", "SIZE", "WHY", *(["DIRECTORY"] if several else [])]
    rows = [
        [
            cell(one.session.id, output.MAX_ID),
            one.session.state,
            human_time(one.session.over),
            human_size(one.session.size),
            cell(one.reason),
            *([cell(one.session.root, MAX_PATH)] if several else []),
        ]
        for one in everyone
    ]
    lines = format_table(head, rows, right=("SIZE",))
    for number, line in enumerate(lines):
        click.echo(click.style(line, bold=True) if in_color and not number else line, color=True)
    size = human_size(sum(one.session.size for one in everyone))
    click.echo(f"{_sessions(len(everyone))}, {size}, to be {_fates(chosen)}.", err=True)


def _is_confirmed(chosen: _Plan, as_json: bool) -> bool:
    if as_json or sys.stdin is None or not sys.stdin.isatty():
        raise SessionLogError("nobody can be asked here; give --yes to remove them, or --dry-run to only see them")
    number = sum(len(ones) for _, ones in chosen)
    what = "This session is" if number == 1 else f"These {number} sessions are"
    return click.confirm(f"{what} {_fates(chosen)}. Go on?", err=True)


def _fates(chosen: _Plan) -> str:
    """What becomes of these sessions: ``deleted for good``, or ``moved to DIRECTORY``."""
    from sessionlog_handlers.formats.escaping import make_visible

    places = {pruner.trash: None for pruner, ones in chosen if ones}  # each once, in their order
    return " or ".join("deleted for good" if place is None else make_visible(f"moved to {place}") for place in places)


def _finish(pruners: list[Pruner]) -> bool:
    """Finish what was cut short before, and give whether something of it could not be. That was decided long ago."""
    failed = False
    for pruner in pruners:
        with pruner.alone() as alone:
            for step in pruner.finish() if alone else ():
                failed |= _tell(step, None, as_json=False)
    return failed


def _remove(chosen: _Plan, as_json: bool) -> int:
    removed: list[RemovalRecord] = []
    failures = 0
    progress = Progress(sum(len(ones) for _, ones in chosen))
    for pruner, ones in chosen:
        with pruner.alone(LOCK_TIMEOUT) as alone:
            if not alone:
                raise SessionLogError(f"another process is removing sessions of {pruner.root} now; try again")
            for step in pruner.remove(ones):
                progress.advance()
                failures += _tell(step, progress, as_json)
                if step.record is not None:
                    removed.append(step.record)
    progress.clear()
    if not as_json:
        from sessionlog_handlers.cli.output import human_size

        size = human_size(sum(record.bytes for record in removed))
        click.echo(f"Removed: {_sessions(len(removed))}, {size}, {_fates(chosen)}.", err=True)
    return 1 if failures else 0


def _tell(step: Step, progress: Progress | None, as_json: bool) -> bool:
    """Print what became of a session, and give whether it could not be removed."""
    from sessionlog_handlers.cli.output import print_json
    from sessionlog_handlers.formats.escaping import make_visible

    if step.failure:
        if progress is not None:
            progress.clear()
        click.echo(f"sessionlog: {make_visible(step.failure)}", err=True)
    if as_json and step.chosen is not None:
        trash = step.record.trash if step.record is not None else None
        print_json({**_object(step.chosen), "removed": step.record is not None, "trash": trash})
    return bool(step.failure)


def _object(one: Chosen) -> dict[str, Any]:
    from sessionlog_handlers.cli.output import session_object

    return {**session_object(one.session), "rule": one.rule, "why": one.reason}


def _sessions(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"


class Progress:
    """
    Tells a terminal how far it is, if that takes long.

    Args:
        total: The number of sessions.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = False
        self._next = time.monotonic() + PROGRESS_PAUSE
        self._on_terminal = sys.stderr.isatty()

    def advance(self) -> None:
        """
        Another session is done.
        """
        self._done += 1
        if self._on_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_PAUSE
            self._shown = True
            click.echo(f"\r{self._done} of {self._total}", nl=False, err=True)

    def clear(self) -> None:
        """
        Take the line away, for something else to be said.
        """
        if self._shown:
            self._shown = False
            click.echo("\r\x1b[K", nl=False, err=True, color=True)
