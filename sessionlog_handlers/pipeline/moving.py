"""
Moving a directory as a whole, also to another file system.
"""

from __future__ import annotations

import errno
import os
import shutil

from sessionlog_handlers.pipeline.files import make_directory


def move_tree(source: str, target: str) -> None:
    """
    Move a directory, also to another file system: copied beside its new name, renamed, then deleted.

    Where an earlier call was cut short, this one goes on: *target* is there only if it is whole.

    Raises:
        OSError: If it can't be moved. The source is whole then.
    """
    if not os.path.lexists(target):
        make_directory(os.path.dirname(target))
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_beside(source, target)
    if os.path.lexists(source):
        shutil.rmtree(source)


def _copy_beside(source: str, target: str) -> None:
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.tmp")
    if os.path.lexists(temporary):
        shutil.rmtree(temporary)  # of a move that was cut short
    try:
        shutil.copytree(source, temporary, symlinks=True)
        for directory, _, names in os.walk(temporary):
            for name in (*names, ""):
                sync_path(os.path.join(directory, name))  # before the source goes, the copy must survive a power loss
        os.rename(temporary, target)
        sync_path(os.path.dirname(target))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync_path(path: str) -> None:
    """
    Wait until what a file or directory holds is on the disk.

    Raises:
        OSError: If it can't be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
