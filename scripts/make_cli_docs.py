"""
Write docs/cli.md from what the commands say of themselves: `python scripts/make_cli_docs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from sessionlog_handlers.cli.main import NAME, cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 80  # columns, whatever the terminal has

HEAD = """\
# Command line

What each command says when it is called with `--help`.
This page is made by `python scripts/make_cli_docs.py`; a test fails when it is out of date.

| exit code | when |
| --- | --- |
| 0 | all went well |
| 1 | what was asked for can't be done; one sentence on stderr says why |
| 2 | wrong usage |
| 3 | a bug of the command; a file for the report is named on stderr |
| 130 | Ctrl-C |
| 141 | nobody reads stdout: the reader of a pipe went away, as after `\\| head`, or it is closed |

Whatever a session is called or has logged, nothing of it acts on the terminal: control characters are shown as escapes.
Sessions are found in every directory that an app of yours ever logged to; `~/.sessionlog/roots.json` remembers them.
`SESSIONLOG_HOME` names another place for that file.
`SESSIONLOG_DIR`, or `--dir` of a command, names one directory instead.
An id that is in two of them is an error that lists both.
"""


def iter_commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from iter_commands(inner, click.Context(inner, parent=context, info_name=name))


def top_context() -> click.Context:
    return click.Context(
        cli, info_name=NAME, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=["-h", "--help"]
    )


def render() -> str:
    """
    The page's text.
    """
    parts = [HEAD]
    for command, context in iter_commands(cli, top_context()):
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## {context.command_path}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
