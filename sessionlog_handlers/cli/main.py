"""
The command ``sessionlog``: its commands by name, each loaded when it is called, and which error has which exit code.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from sessionlog_handlers.exceptions import SessionLogError

NAME = "sessionlog"
PACKAGE = "sessionlog_handlers"

EXPECTED = 1  # what was asked for can't be done, and the sentence on stderr says why
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
BROKEN_PIPE = 141  # the same for SIGPIPE
BUG = 3

_COMMANDS = ("completion", "config", "doctor", "level", "ls", "pin", "prune", "show", "status")


class LazyGroup(click.Group):
    """
    A group whose commands are modules beside this one, loaded when they are called.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"{PACKAGE}.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not ctx.resilient_parsing and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from sessionlog_handlers.settings.values import did_you_mean, show

            ctx.fail(f"no such command: {show(args[0])}{did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"{NAME} {installed_version()}")
    ctx.exit()


def installed_version() -> str:
    """
    The package's version, as it was installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PACKAGE)
    except PackageNotFoundError:  # a checkout on the path
        return "(not installed)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """
    See the sessions that apps log, and change how much they log.

    Sessions are found in every directory that an app of yours ever logged to. SESSIONLOG_DIR, or --dir of a command,
    names one directory instead.

    \b
    Example:
      sessionlog ls
      sessionlog show abc123
      sessionlog level abc123 full
    """


def main() -> None:
    """
    Run the command line and exit with its code.
    """
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """
    Run a command. The one place where errors become exit codes.

    Returns:
        0; 1 for what is expected to go wrong, said in one sentence; 2 for wrong usage; 3 for a bug; 130 for Ctrl-C.
    """
    nobody_reads = sys.stdout is None  # closed by the shell: `>&-`
    # With these descriptors free, the next file that is opened would get what is printed by mistake.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (it stays until the interpreter ends)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8
    try:
        code = _run(args)
        sys.stdout.flush()
        return code or (BROKEN_PIPE if nobody_reads else 0)
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (SessionLogError, OSError) as error:
        _complain(_sentence(error))
        return EXPECTED
    except Exception as error:
        return _report_bug(error, args)


def _run(args: Sequence[str]) -> int:
    completing = f"_{NAME.upper()}_COMPLETE" in os.environ
    if completing:
        cli.main(list(args), prog_name=NAME, standalone_mode=False)
        return 0
    # Not `cli.main`, which would make an exit code of its own of a broken pipe.
    try:
        with cli.make_context(NAME, list(args)) as context:
            result: Any = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else 0


def _forget_stdout() -> None:
    """Nobody reads any more: what is still in the buffer must not complain when the interpreter ends."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _complain(sentence: str) -> None:
    from sessionlog_handlers.formats.escaping import make_visible  # it loads what reads and writes lines

    click.echo(f"{NAME}: {make_visible(sentence)}", err=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, SessionLogError):
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _report_bug(error: Exception, args: Sequence[str]) -> int:
    from sessionlog_handlers.cli.bug import write_report

    where = write_report(error, args, installed_version())
    _complain(
        f"this is a bug, not your fault: {type(error).__name__}: {error}; please report it with "
        + (where or "the text above")
    )
    return BUG
