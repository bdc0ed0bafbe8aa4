"""
``sessionlog config``: the ready profiles, and whether a configuration is right.
"""

from __future__ import annotations

import sys
import warnings

import click
from click.shell_completion import CompletionItem

from sessionlog_handlers.exceptions import ConfigurationError


def _complete_profile(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from sessionlog_handlers.config.profiles import profile_names

    return [CompletionItem(name) for name in profile_names() if name.startswith(incomplete)]


@click.group("config")
def command() -> None:
    """
    Print ready configurations, and check your own.

    \b
    Example:
      sessionlog config show multiplexer > logging.yaml
      sessionlog config check logging.yaml
    """


@command.command("list")
def list_profiles() -> None:
    """
    List the profiles that `config show` prints.

    \b
    Example:
      sessionlog config list
    """
    from sessionlog_handlers.config.profiles import profile_names

    for name in profile_names():
        click.echo(name)


@command.command("show")
@click.argument("name", metavar="NAME", shell_complete=_complete_profile)
def show(name: str) -> None:
    """
    Print a profile: a complete configuration to copy and change.

    \b
    Example:
      sessionlog config show recorder > logging.yaml
    """
    from sessionlog_handlers.config.profiles import profile_text

    click.echo(profile_text(name), nl=False)


@command.command("check")
@click.argument("file", metavar="FILE", type=click.Path(readable=False))
def check(file: str) -> int:
    """
    Check a configuration without applying it. Every problem is a line on stderr, and the exit code is 1. FILE is a
    regular file, or - for stdin.

    \b
    Example:
      sessionlog config check logging.yaml
    """
    from sessionlog_handlers.config.configure import check_file, check_text
    from sessionlog_handlers.formats.escaping import make_visible

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if file == "-":
            file = "stdin"
            problems = check_text(_read_stdin(), file)
        else:
            problems = check_file(file)
    for warning in caught:
        click.echo(f"{make_visible(file)}: warning: {make_visible(str(warning.message))}", err=True)
    for problem in problems:
        # A file that can't be read is named by the sentence itself.
        text = problem if problem.startswith(file) else f"{file}: {problem}"
        click.echo(make_visible(text), err=True)
    if not problems:
        click.echo(f"{make_visible(file)}: ok")
    return 1 if problems else 0


def _read_stdin() -> str:
    if sys.stdin is None:  # closed by the shell
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError("stdin can't be read: it is not UTF-8") from error
