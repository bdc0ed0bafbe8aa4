"""
An open session comes to another layout: a file whose format changes starts anew, and the metadata takes its new place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from sessionlog_handlers.pipeline.files import check_regular, make_directory
from sessionlog_handlers.pipeline.layout import SessionPaths, directory_name
from sessionlog_handlers.pipeline.metadata import load_metadata, write_metadata
from sessionlog_handlers.pipeline.rotation import make_room
from sessionlog_handlers.settings.model import Settings


def change_layout(session_id: str, before: SessionPaths, after: SessionPaths, settings: Settings) -> Iterator[str]:
    """
    Bring a session to its new layout, and give each file that was started anew. The session's lock is held.

    Each step leaves a whole session, so what was cut short is done again. Of several processes of a session, the first
    one does it.

    Args:
        session_id: The session's id.

        before: Its place until now.

        after: Its new place. Another session's is not taken: then this one gets another name.

        settings: The new settings.

    Raises:
        OSError: If a file can't be moved. It is where it was then.
    """
    mine, there = load_metadata(before.metadata), load_metadata(after.metadata)
    if there is not None and there.session not in ("", session_id):
        after.name = directory_name(session_id, distinct=True)
        there = load_metadata(after.metadata)
    for directory in after.directories():
        make_directory(directory, settings.directory_mode)
    is_other = before.metadata != after.metadata
    is_first = not is_other or there is None or (mine is not None and mine.owner != there.owner)
    if is_first:
        yield from _start_anew(before, after, max(settings.backup_count, 1))
    if not is_other or mine is None:
        return
    if there is None:
        os.replace(before.metadata, after.metadata)
        return
    if is_first:  # what an earlier session of that id has left there
        mine.files += [path for path in there.files if path not in mine.files]
        write_metadata(after.metadata, mine, settings.file_mode)
    os.unlink(before.metadata)


def _start_anew(before: SessionPaths, after: SessionPaths, backup_count: int) -> Iterator[str]:
    """Make old files of those that may hold lines of another format: no file has two."""
    formats = before.formats()
    for path, name in after.formats().items():
        with suppress(FileNotFoundError):
            if formats.get(path) == name or not os.lstat(path).st_size:
                continue
            check_regular(path)
            make_room(lambda slot, path=path: f"{path}.{slot}", backup_count)  # type: ignore[misc]  # of this round
            os.replace(path, f"{path}.1")
            yield path
