"""
``sessionlog completion``: the script that lets a shell complete commands, options and session ids.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """
    Print the script for a shell's completion.

    With it the shell completes commands, options and the ids of sessions.

    \b
    Example:
      eval "$(sessionlog completion bash)"     in ~/.bashrc
      eval "$(sessionlog completion zsh)"      in ~/.zshrc
      sessionlog completion fish | source      in ~/.config/fish/config.fish
    """
    from sessionlog_handlers.cli.main import NAME, cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    click.echo(kind(cli, {}, NAME, f"_{NAME.upper()}_COMPLETE").source())
