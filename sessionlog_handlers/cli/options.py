"""
Options and arguments that several commands share.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

# What a shell can be given without quotes. Others have to be typed, or shown by the name of their directory.
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")


class GivenPath(click.Path):
    """
    A path that is not empty: that of a variable which is not set must not mean the current directory.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("'' is no path; name a directory, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


dir_option = click.option(
    "--dir",
    "directory",
    metavar="DIRECTORY",
    type=GivenPath(readable=False),  # what can't be read is no wrong usage
    help="The directory whose sessions are meant, with a place for each below it. [default: SESSIONLOG_DIR, or every "
    "directory that was ever logged to]",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line, for other programs.")

color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="When to use colour. [default: auto, on a terminal and without NO_COLOR]",
)


def complete_id(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """
    Ids of sessions that a shell can complete.
    """
    from sessionlog_handlers.exceptions import SessionLogError
    from sessionlog_handlers.reading.sessions import find_roots, list_sessions

    try:
        sessions = list(list_sessions(find_roots(context.params.get("directory"))))
    except (SessionLogError, OSError):
        return []
    found = [(info.id, info.state) for info in sessions]
    return [
        CompletionItem(id, help=state)
        for id, state in sorted(found)
        if id.startswith(incomplete) and _PLAIN_ID.fullmatch(id)
    ]


id_argument = click.argument("session_id", metavar="ID", shell_complete=complete_id)


def use_color(choice: str) -> bool:
    """
    Whether what goes to stdout is to be in colour. https://no-color.org
    """
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
