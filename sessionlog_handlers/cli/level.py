"""
``sessionlog level``: how much a session keeps; also changed while its app runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from sessionlog_handlers.cli.options import dir_option, id_argument, json_option
from sessionlog_handlers.exceptions import ConfigurationError, SessionLogError, SessionNotFoundError

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.places import SessionInfo

    _Base = click.ParamType[str]
else:
    _Base = click.ParamType  # which older releases of click can't subscript

TIMEOUT = 3.0  # seconds; a running app looks twice a second
PAUSE = 0.02  # seconds between two looks

SESSION_LEVELS = ("spawns", "signals", "prompts", "full")
SEVERITIES = ("debug", "info", "warning", "error", "off")


class LevelWord(_Base):
    """
    A session level or a severity, in any case.
    """

    name = "level"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from sessionlog_handlers.settings.values import parse_choice

        try:
            return parse_choice(value, (*SESSION_LEVELS, *SEVERITIES))
        except ConfigurationError as error:
            self.fail(error.message, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in (*SESSION_LEVELS, *SEVERITIES) if word.startswith(incomplete)]


@click.command("level")
@id_argument
@click.argument("wanted", metavar="[LEVEL]", required=False, type=LevelWord())
@dir_option
@json_option
def command(session_id: str, wanted: str | None, directory: str | None, as_json: bool) -> None:
    """
    Show a session's level, or set it while it runs.

    LEVEL is a session level, each with more in the log than the one before: spawns, signals, prompts, full. Or it is a
    severity below which lines are left out: debug, info, warning, error, off.

    \b
    Example:
      sessionlog level abc123
      sessionlog level abc123 full
    """
    from sessionlog_handlers.cli.output import level_text, print_json
    from sessionlog_handlers.formats.escaping import make_visible
    from sessionlog_handlers.reading.sessions import find_roots, find_session

    info = find_session(session_id, find_roots(directory))
    if wanted is None:
        if as_json:
            print_json({"id": info.id, "level": info.level, "severity": info.severity or "off", "state": info.state})
        else:
            click.echo(level_text(info))
        return
    before, after = set_level(info, wanted)
    if as_json:
        kind = "level" if wanted in SESSION_LEVELS else "severity"
        print_json({"id": info.id, "changed": kind, "from": before, "to": after})
    else:
        kind = "" if wanted in SESSION_LEVELS else "severity "
        click.echo(f"{make_visible(info.id)}: {kind}{before} -> {after}")


def set_level(info: SessionInfo, word: str, timeout: float = TIMEOUT) -> tuple[str, str]:
    """
    Ask the app that runs a session to change its level, and wait until it has.

    Args:
        info: The session.

        word: A session level or a severity.

        timeout: Seconds to wait.

    Returns:
        What it was, and what it is now.

    Raises:
        SessionNotFoundError: If the session does not run.

        SessionLogError: If another user runs it, or the app did not answer in time.

        OSError: If the request can't be written.
    """
    from sessionlog_handlers.pipeline.control import ControlFile
    from sessionlog_handlers.reading.pruned import check_own

    if info.state != "running":
        raise SessionNotFoundError(_why_not(info), info.id)
    check_own(info.directory)
    before = _level_now(info, word)
    ControlFile(str(info.root)).request(info.id, word)
    deadline = time.monotonic() + timeout
    while True:
        current = _look_again(info)
        if current.state != "running":
            raise SessionNotFoundError(_why_not(current), info.id)
        if _level_now(current, word) == word:
            return before, word
        if time.monotonic() > deadline:
            raise SessionLogError(
                f"session {info.id!r} runs in process {info.pid}, which did not answer within {timeout:g} s; "
                "the request stays for an hour"
            )
        time.sleep(PAUSE)


def _level_now(info: SessionInfo, word: str) -> str:
    return info.level if word in SESSION_LEVELS else info.severity or "off"


def _look_again(info: SessionInfo) -> SessionInfo:
    from sessionlog_handlers.pipeline.places import look_again

    current = look_again(info)
    if current is None:
        raise SessionNotFoundError(f"session {info.id!r} is gone", info.id)
    return current


def _why_not(info: SessionInfo) -> str:
    from sessionlog_handlers.cli.output import human_time

    rule = "only a running session's level can be set"
    if info.state == "ended":
        return f"session {info.id!r} ended at {human_time(info.end)}; {rule}"
    if info.state == "crashed":
        return f"session {info.id!r} crashed: its process is gone; {rule}"
    return f"nobody can tell whether session {info.id!r} runs, it has no metadata; {rule}"
