"""
``sessionlog pin``: keep a session from being removed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sessionlog_handlers.cli.options import dir_option, id_argument, json_option
from sessionlog_handlers.exceptions import SessionLogError

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.places import SessionInfo


@click.command("pin")
@id_argument
@click.option("--off", is_flag=True, help="Let it be removed again.")
@dir_option
@json_option
def command(session_id: str, off: bool, directory: str | None, as_json: bool) -> None:
    """
    Keep a session from being removed.

    Neither retention nor prune removes it, however old it gets. It stays pinned if it is begun again. ID may be the
    beginning of an id if only one session has it.

    \b
    Example:
      sessionlog pin abc123
      sessionlog pin --off abc123
      sessionlog ls --json | jq -r 'select(.pinned) | .id'
    """
    from sessionlog_handlers.cli.output import print_json
    from sessionlog_handlers.formats.escaping import make_visible
    from sessionlog_handlers.reading.pruned import configured_rules
    from sessionlog_handlers.reading.sessions import find_roots, find_session, list_sessions
    from sessionlog_handlers.settings.values import matches_any

    info = find_session(session_id, find_roots(directory))
    set_pinned(info, not off)
    held = off and matches_any(info.id, configured_rules(list_sessions([info.root])).pinned)
    if as_json:
        print_json({"id": info.id, "pinned": not off or held})
    else:
        result = "still pinned, by a pattern of its app" if held else "not pinned any more" if off else "pinned"
        click.echo(f"{make_visible(info.id)}: {result}")


def set_pinned(info: SessionInfo, pinned: bool) -> None:
    """
    Note in a session's metadata whether it is pinned.

    Raises:
        SessionLogError: If it has none, or its lock can't be had.

        OSError: If the metadata can't be written.
    """
    from sessionlog_handlers.pipeline.layout import LOCKS_DIRECTORY
    from sessionlog_handlers.pipeline.locks import StripedLocks
    from sessionlog_handlers.pipeline.metadata import load_metadata, write_metadata
    from sessionlog_handlers.pipeline.places import METADATA_NAMES
    from sessionlog_handlers.reading.pruned import check_own

    check_own(info.root)
    locks = StripedLocks(os.path.join(info.root, LOCKS_DIRECTORY), keep_open=0)
    with locks.for_session(info.id).hold() as locked:
        if not locked:
            raise SessionLogError(f"session {info.id!r} is busy; try again")
        for name in METADATA_NAMES:
            path = info.directory / name
            metadata = load_metadata(str(path))
            if metadata is not None and metadata.session == info.id:
                if metadata.pinned is not pinned:
                    metadata.pinned = pinned
                    write_metadata(str(path), metadata, path.stat().st_mode & 0o777)
                return
    raise SessionLogError(f"session {info.id!r} has no metadata, so it is never removed and can't be pinned")
