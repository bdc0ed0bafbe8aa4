"""
What becomes of a log's old files, and of a session's files when it is over. Never under a writer's lock for long.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sessionlog_handlers.pipeline.compression import compress_file
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, SessionPaths
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.leftovers import remove_leftovers
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.metadata import read_metadata
from sessionlog_handlers.pipeline.recovery import kept_aside
from sessionlog_handlers.pipeline.rotation import empty_slot
from sessionlog_handlers.settings.model import Settings


def slot_names(path: str, backup_count: int) -> list[str]:
    """
    The names of a log's old files, the youngest first.
    """
    return [f"{path}.{slot}" for slot in range(1, backup_count + 1)]


def compress_slots(path: str, lock: FileLock, settings: Settings) -> None:
    """
    Compress every old file of a log that is not compressed yet.
    """
    names = slot_names(path, settings.backup_count)
    for name in names:
        if os.path.lexists(name):
            compress_file(name, lock, mode=settings.file_mode, names=names)


def is_over(paths: SessionPaths) -> bool:
    """
    Whether the session has ended and nobody writes it: it may have been started again since it ended.

    A writer that was killed stays in the metadata, and is nobody any more.
    """
    metadata = read_metadata(paths.metadata)
    if metadata is None or metadata.state != "ended":
        return False
    leases = os.path.join(paths.root, LEASES_DIRECTORY)
    return not any(is_alive(leases, name) for name in metadata.writers)


def clean_up(paths: SessionPaths, lock: FileLock, settings: Settings) -> None:
    """
    Compress or delete the files of a session that has ended, as the settings say.
    """
    logs = paths.files()
    if settings.on_end == "compress":
        for path in logs:
            compress_slots(path, lock, settings)
            compress_file(path, lock, mode=settings.file_mode, allowed=lambda: is_over(paths))
    elif settings.on_end == "delete":
        with lock.hold() as locked:
            if locked and is_over(paths):
                _delete(paths, logs, settings)


def _delete(paths: SessionPaths, logs: list[str], settings: Settings) -> None:
    for path in logs:
        for name in (path, *slot_names(path, settings.backup_count)):
            empty_slot(name)
    for name in (paths.metadata, *kept_aside(paths.metadata)):
        with suppress(FileNotFoundError):
            os.unlink(name)
    names = [os.path.basename(name) for name in (*logs, paths.metadata)]
    remove_leftovers(paths.directory, names, orphans=False)
    for directory in sorted(paths.directories(), key=lambda path: path.count(os.sep), reverse=True):
        with suppress(OSError):  # holds something that is not ours
            os.rmdir(directory)
