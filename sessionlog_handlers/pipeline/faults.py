"""
What `faulthandler` writes when the process dies in native code: one file of the process, linked into each session's
directory while the session is open.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress

from sessionlog_handlers.pipeline.files import make_directory, open_lock_file, read_private, replace_file
from sessionlog_handlers.pipeline.layout import FAULTS_DIRECTORY, FAULTS_FILE, SessionPaths
from sessionlog_handlers.pipeline.leases import fcntl, is_alive
from sessionlog_handlers.pipeline.report import Reporter

MOST_NAMES = 100  # faults.txt, faults.txt.1, …: one for each process that has the session open, and for old crashes
MTIME_SLACK = 1.0  # seconds between the clock of the lines and that of the file system

_NAME = re.compile(rf"{re.escape(FAULTS_FILE)}(\.[0-9]+)?")

_lock = threading.RLock()
_wanted = False
_descriptor = -1
_identity = (0, 0)  # device and inode of what was opened: the app may close a descriptor, and have its number again
_path = ""
_pid = 0  # who opened it: a forked child still has its parent's
_was_enabled = False


def want_faults() -> None:
    """
    From now on sessions get what `faulthandler` writes. It is switched on with the first of them.
    """
    global _wanted
    _wanted = True


def link_faults(paths: SessionPaths, lease: str, reporter: Reporter) -> str:
    """
    Link the process's file into a session's directory and give the link's path; empty if there can be none. Never
    raises.

    Args:
        paths: Where the session's files are.

        lease: The name that metadata knows this process by.

        reporter: Where it is told that this file system has no links, for example.
    """
    with _lock:
        if not _wanted:
            return ""
        try:
            _provide(os.path.join(paths.root, FAULTS_DIRECTORY), lease)
            return _link(paths)
        except OSError as error:
            reporter.report("faults", f"{paths.directory}: {FAULTS_FILE} can't be put there: {error}")
            return ""


def unlink_faults(link: str) -> None:
    """
    A session ends here: take the link away again, unless something has been written by now.
    """
    with suppress(OSError):
        if link and not os.lstat(link).st_size:
            os.unlink(link)


def release_faults() -> None:
    """
    Give `faulthandler` back as far as it can be: to stderr, if it was switched on before.
    """
    global _wanted
    with _lock:
        _wanted = False
        if _descriptor < 0:
            return
        try:
            if _was_enabled:
                faulthandler.enable(sys.__stderr__ or 2)
            else:
                faulthandler.disable()
        except (OSError, ValueError, RuntimeError):  # no stderr
            faulthandler.disable()
        _close()


def forget_faults() -> None:
    """
    In a forked child: what it writes goes to its parent's file until its first session is open.
    """
    global _lock
    _lock = threading.RLock()


def find_faults(paths: SessionPaths, leases: Iterable[str], since: float) -> str:
    """
    The name of the file in a crashed session's directory that tells of its crash, or nothing. Empty ones are removed.

    Args:
        paths: Where the session's files are.

        leases: Those of the processes that are gone.

        since: The time of the session's last line; what is older tells of an earlier crash.
    """
    found: dict[str, float] = {}
    if f"{paths.directory}/{FAULTS_FILE}" in paths.files():
        return ""
    for name in filter(_NAME.fullmatch, os.listdir(paths.directory)):
        path = f"{paths.directory}/{name}"
        with suppress(OSError):
            status = os.lstat(path)
            if not status.st_size:
                os.unlink(path)
            elif status.st_mtime + MTIME_SLACK >= since:
                found[name] = status.st_mtime
    if found:
        return max(found, key=lambda name: found[name])
    return FAULTS_FILE if any(_copy(paths, lease) for lease in leases) else ""


def _copy(paths: SessionPaths, lease: str) -> bool:
    """On a file system without links: copy what a dead process left."""
    target = f"{paths.directory}/{FAULTS_FILE}"
    with suppress(OSError, ValueError):  # the last for a lease that no file can be called by
        if lease and not os.path.lexists(target):
            content = read_private(os.path.join(paths.root, FAULTS_DIRECTORY, os.path.basename(lease)))
            if content:
                replace_file(target, content)
                return True
    return False


# -- the process's file ----------------------------------------------------------------------------------------------


def _provide(directory: str, lease: str) -> None:
    """See to it that this process has a file, and that it is called as the process is known by."""
    global _path
    path = os.path.join(directory, lease)
    if _pid != os.getpid() or not _is_open():
        _open(directory, path)
    elif _path != path and os.path.dirname(_path) == directory:
        os.rename(_path, path)  # the lease was given back and taken again
        _path = path


def _open(directory: str, path: str) -> None:
    """
    Open a file of this process and let `faulthandler` write to it.

    It is locked before it gets its name: one without a lock is a dead process's.
    """
    global _descriptor, _identity, _path, _pid, _was_enabled
    make_directory(directory)
    _sweep(directory)
    temporary = os.path.join(directory, f".{uuid.uuid4().hex}.tmp")
    descriptor = open_lock_file(temporary)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(temporary, path)
        if _descriptor < 0:
            _was_enabled = faulthandler.is_enabled()
        faulthandler.enable(descriptor, all_threads=True)
        status = os.fstat(descriptor)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if _is_open():  # inherited
        os.close(_descriptor)
    _descriptor, _identity, _path, _pid = descriptor, (status.st_dev, status.st_ino), path, os.getpid()


def _is_open() -> bool:
    """Whether the descriptor is still that of the file: a daemon closes all that it inherits, and opens its own."""
    with suppress(OSError):
        status = os.fstat(_descriptor)
        return (status.st_dev, status.st_ino) == _identity
    return False


def _close() -> None:
    global _descriptor
    with suppress(OSError):
        if _pid == os.getpid() and not os.stat(_path, follow_symlinks=False).st_size:
            os.unlink(_path)
    if _is_open():
        os.close(_descriptor)
    _descriptor = -1


def _link(paths: SessionPaths) -> str:
    first = f"{paths.directory}/{FAULTS_FILE}"
    if first in paths.files():
        return ""  # a log of the session's own, which may have old files by the other names
    for number in range(MOST_NAMES):
        target = f"{first}.{number}" if number else first
        try:
            os.link(_path, target, follow_symlinks=False)
        except FileExistsError:
            found = os.lstat(target)
            if (found.st_dev, found.st_ino) != _identity:
                continue
        return target
    return ""


def _sweep(directory: str) -> None:
    """Remove the files of dead processes, as far as nothing is in them or sessions have it."""
    with suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            with suppress(OSError):
                status = os.lstat(path)
                has_use = status.st_size and status.st_nlink == 1
                if not has_use and not name.startswith(".") and not is_alive(directory, name):
                    os.unlink(path)
