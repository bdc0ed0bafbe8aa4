"""
Moving a directory as a whole, also to another file system, and back into a place that others may be using again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator

from sessionlog_handlers.pipeline.files import make_directory, make_root

_SLOT = re.compile(r"(?:\.[1-9][0-9]{0,8})?(\.gz)?\Z")  # what an old file's name ends with


def move_tree(source: str, target: str) -> None:
    """
    Move a directory, also to another file system: copied beside its new name, renamed, then deleted.

    Where an earlier call was cut short, this one goes on: *target* is there only if it is whole.

    Raises:
        OSError: If it can't be moved. The source is whole then.
    """
    if not os.path.lexists(target):
        make_root(os.path.dirname(target))
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


def files_below(directory: str) -> Iterator[str]:
    """
    The paths of everything below a directory that is none itself, links included; none if it is not there.

    Raises:
        OSError: If any of it can't be read: what nobody could look at is not taken for empty.
    """
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path)
            else:
                yield entry.path


def move_back(source: str, target: str) -> None:
    """
    Move a file or directory back to where it was. Nothing that is there meanwhile is replaced: beside a file of the
    same name, it becomes an old one.

    Raises:
        OSError: If something can't be moved. It is where it was, and a later call goes on.
    """
    if not _is_taken(target):
        make_directory(os.path.dirname(target))
        os.rename(source, target)
    elif _is_directory(source) and _is_directory(target):
        for name in sorted(os.listdir(source)):
            move_back(os.path.join(source, name), os.path.join(target, name))
        os.rmdir(source)
    else:
        os.rename(source, _free_slot(target))


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _is_taken(path: str) -> bool:
    """Whether a name is in use, compressed or not: the next compression would replace one of the two."""
    plain = path.removesuffix(".gz")
    return os.path.lexists(plain) or os.path.lexists(f"{plain}.gz")


def _free_slot(path: str) -> str:
    slot = _SLOT.search(path)
    log, suffix = (path[: slot.start()], slot[1] or "") if slot is not None else (path, "")
    number = 1
    while _is_taken(f"{log}.{number}"):
        number += 1
    return f"{log}.{number}{suffix}"


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
