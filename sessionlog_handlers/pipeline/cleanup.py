"""
What becomes of a log's old files, and of a session's files when it is over. Never under a writer's lock for long.
"""

from __future__ import annotations

import os
from functools import partial

from sessionlog_handlers.pipeline.belongings import delete_belongings, find_belongings, owns
from sessionlog_handlers.pipeline.compression import compress_file
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY, SessionPaths
from sessionlog_handlers.pipeline.leases import has_living_kin
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata
from sessionlog_handlers.pipeline.recovery import is_begun_anew
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.values import matches_any


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
    """
    metadata = read_metadata(paths.metadata)
    return metadata is not None and metadata.state == "ended" and not is_written(paths.root, metadata)


def is_written(root: str, metadata: Metadata) -> bool:
    """
    Whether a process writes the session, or will end it, or was forked from one that did and may write it yet.

    A writer that was killed stays in the metadata, and is nobody any more.
    """
    leases = os.path.join(root, LEASES_DIRECTORY)
    names = metadata.writers if metadata.state == "ended" else {metadata.owner, *metadata.writers}
    return any(has_living_kin(leases, name) for name in names)


def wish_at_end(session_id: str, settings: Settings) -> str:
    """
    What is to become of a session's files at its end, by the settings alone: those that they pin are never deleted.
    """
    pinned = settings.on_end == "delete" and matches_any(session_id, settings.pinned)
    return "keep" if pinned else settings.on_end


def clean_up(paths: SessionPaths, lock: FileLock, settings: Settings) -> None:
    """
    Compress or delete the files of a session that has ended, as the settings say.
    """
    if settings.on_end == "compress":
        for path in (os.path.join(paths.root, name) for name in _all_files(paths)):
            compress_slots(path, lock, settings)
            compress_file(path, lock, mode=settings.file_mode, allowed=partial(_may_be_compressed, paths, path))
    elif settings.on_end == "delete":
        with lock.hold() as locked:
            if locked and is_over(paths) and not _is_kept(paths, settings):
                metadata_file = os.path.relpath(paths.metadata, paths.root)
                delete_belongings(paths.root, find_belongings(paths.root, metadata_file, _all_files(paths)))


def _all_files(paths: SessionPaths) -> list[str]:
    """The session's files below the root, those of layouts that it had before included."""
    own, metadata = paths.relative_files(), read_metadata(paths.metadata)
    # Whoever could write the metadata must not lead us to another session's files.
    earlier = [name for name in metadata.files if owns(paths.root, name, paths.name)] if metadata else []
    return [*dict.fromkeys((*own, *earlier))]


def _may_be_compressed(paths: SessionPaths, path: str) -> bool:
    # A log of before, which nobody could move out of the way, must not be replaced.
    return is_over(paths) and not (os.path.lexists(path + GZIP_SUFFIX) and is_begun_anew(path))


def _is_kept(paths: SessionPaths, settings: Settings) -> bool:
    metadata = read_metadata(paths.metadata)
    return metadata is not None and (metadata.pinned or wish_at_end(metadata.session, settings) == "keep")
