"""
``sessionlog doctor``: what crashes and others left behind, and its repair.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from sessionlog_handlers.cli.options import color_option, complete_id, dir_option, json_option, use_color

if TYPE_CHECKING:
    from pathlib import Path

    from sessionlog_handlers.care.doctor import Checkup
    from sessionlog_handlers.pipeline.recovery import Finding

MAX_PATH = 1000  # characters shown of a path; one that is cut leads nowhere
MAX_TEXT = 500  # characters shown of what is wrong
PAUSE = 0.1  # seconds between two words on the progress

_COLORS = {"found": "red", "left": "red", "mended": "green", "note": "bright_black"}


@click.command("doctor")
@click.argument("session_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_id)
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@dir_option
@color_option
@json_option
def command(session_ids: tuple[str, ...], repair: bool, directory: str | None, color: str, as_json: bool) -> int:
    """
    Find what crashes left behind, and mend it.

    Every line of every session is read; with ID, only those sessions are looked at. Without --repair nothing is
    changed. With it nothing is ever cut or edited: what is broken is kept under another name. Sessions that run are
    left alone. The exit code is 1 if something is wrong, or could not be mended.

    \b
    Example:
      sessionlog doctor
      sessionlog doctor --repair abc123
      sessionlog doctor --json | jq -r 'select(.outcome == "found") | .path'
    """
    from sessionlog_handlers.care.doctor import mend
    from sessionlog_handlers.cli.output import print_json, tell_unreadable
    from sessionlog_handlers.formats.escaping import make_visible
    from sessionlog_handlers.reading.pruned import check_own
    from sessionlog_handlers.reading.sessions import find_roots

    roots = find_roots(directory)
    for root in roots if repair else ():
        check_own(root)
    errors: list[OSError] = []
    count, progress = _Count(), _Progress()
    for checkup in _checkups(roots, session_ids, errors):
        done = mend(checkup) if repair else checkup
        count.add(done)
        progress.tell(count.sessions)
        if done.findings or done.mended or done.failed:
            progress.clear()
        for error in done.failed:
            click.echo(f"sessionlog: {make_visible(f'{error.filename}: {error.strerror}')}", err=True)
        if as_json:
            for outcome, finding in _outcomes(done, repair):
                print_json(_object(done, outcome, finding))
        else:
            for line in _lines(done, repair, use_color(color)):
                click.echo(line, color=True)
    progress.clear()
    if not as_json:
        click.echo(count.sentence(roots, repair))
    return tell_unreadable(errors) or int(count.wrong + count.failed > 0)


def _checkups(roots: list[Path], session_ids: tuple[str, ...], errors: list[OSError]) -> Iterator[Checkup]:
    from sessionlog_handlers.care.doctor import examine, examine_session
    from sessionlog_handlers.reading.sessions import find_session

    if not session_ids:
        yield from examine(roots, errors.append)
        return
    for info in [find_session(session_id, roots) for session_id in session_ids]:
        yield examine_session(info)


def _outcomes(checkup: Checkup, repair: bool) -> Iterator[tuple[str, Finding]]:
    for finding in checkup.mended:
        yield "mended", finding
    for finding in checkup.findings:
        yield ("note" if finding.harmless else "left" if repair else "found"), finding


def _object(checkup: Checkup, outcome: str, finding: Finding) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "kind": finding.kind,
        "session": finding.session or None,
        "root": str(checkup.root),
        "path": finding.path,
        "wrong": finding.wrong,
        "remedy": finding.remedy,
        "mendable": finding.mend is not None,
    }


def _lines(checkup: Checkup, repair: bool, in_color: bool) -> Iterator[str]:
    from sessionlog_handlers.cli.output import cell

    def paint(text: str, **style: Any) -> str:
        return click.style(text, **style) if in_color else text

    outcomes = [*_outcomes(checkup, repair)]
    if not outcomes:
        return
    title = f"session {cell(checkup.session.id)}" if checkup.session else "all sessions"
    yield f"{paint(title, bold=True)} in {cell(checkup.root, MAX_PATH)}"
    for outcome, finding in outcomes:
        path = cell(os.path.relpath(finding.path, checkup.root), MAX_PATH)
        yield f"  {paint(finding.kind, fg=_COLORS[outcome])} {path}: {cell(finding.wrong, MAX_TEXT)}"
        prefix = "mended: " if outcome == "mended" else "with --repair: " if finding.mend and not repair else ""
        yield f"    {prefix}{cell(finding.remedy, MAX_TEXT)}"


class _Count:
    """
    What the last line says.
    """

    def __init__(self) -> None:
        self.sessions = self.mended = self.wrong = self.mendable = self.notes = self.failed = 0

    def add(self, checkup: Checkup) -> None:
        """
        Count what was found in one place.
        """
        self.sessions += checkup.session is not None
        self.mended += len(checkup.mended)
        self.wrong += len(checkup.wrong)
        self.mendable += sum(finding.mend is not None for finding in checkup.wrong)
        self.failed += len(checkup.failed)
        self.notes += len(checkup.findings) - len(checkup.wrong)

    def sentence(self, roots: list[Path], repair: bool) -> str:
        """
        All of it in a sentence.
        """
        words = []
        if self.mended:
            words.append(f"{_number(self.mended, 'thing')} mended")
        if self.wrong:
            words.append(f"{_number(self.wrong, 'thing')} {'left' if repair else 'wrong'}")
        if self.mendable and not repair:
            words.append(f"--repair mends {self.mendable} of them")
        if not words:
            words.append("nothing is wrong")
        if self.notes:
            words.append(_number(self.notes, "note"))
        return f"{_number(self.sessions, 'session')} in {_number(len(roots), 'directory')}: {', '.join(words)}."


def _number(count: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


class _Progress:
    """
    A word on stderr now and then of how far it is, if somebody looks at it.
    """

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._stands = False

    def tell(self, sessions: int) -> None:
        """
        So many sessions were looked at.
        """
        if sys.stderr.isatty() and time.monotonic() - self._shown > PAUSE:
            self._shown, self._stands = time.monotonic(), True
            click.echo(f"\r\x1b[K{_number(sessions, 'session')} looked at …", nl=False, err=True, color=True)

    def clear(self) -> None:
        """
        Take the word away, so that something else can be said.
        """
        if self._stands:
            self._stands = False
            click.echo("\r\x1b[K", nl=False, err=True, color=True)
