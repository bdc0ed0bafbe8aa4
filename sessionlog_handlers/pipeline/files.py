"""
How this package opens, makes and replaces files: private to their owner, regular, never through a link.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import uuid
from contextlib import suppress
from typing import TypeVar

import msgspec

T = TypeVar("T")

# O_NOFOLLOW: a link planted in place of a log is refused. O_NONBLOCK: opening a FIFO without a reader fails, not hangs.
_SAFE_FLAGS = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
# ELOOP is what O_NOFOLLOW says of a link, ENXIO what opening a socket says.
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)


class NotRegularError(OSError):
    """
    A log's path is a directory, link, device, FIFO or socket. It is left as it is.
    """


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds if test(mode)), "not a regular file")


def _refuse(path: str, mode: int) -> NotRegularError:
    return NotRegularError(errno.EINVAL, f"{_kind(mode)}, and only a regular file can be a log", path)


def _give_mode(target: int | str, found: int, mode: int) -> None:
    """Give something new the permissions that the umask kept from it. What a directory inherited (setgid) stays."""
    if found & 0o777 != mode:
        with suppress(OSError):  # a file system without modes
            os.chmod(target, found & 0o7000 | mode)


def is_missing(error: OSError) -> bool:
    """
    Whether an error in opening a file says that none of ours is there, and not only that it can't be opened now.
    """
    return isinstance(error, NotRegularError) or error.errno in _MISSING


def check_regular(path: str) -> None:
    """
    Make sure that a file about to be moved is a regular one.

    Raises:
        NotRegularError: If it is not.

        FileNotFoundError: If nothing is there.
    """
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        raise _refuse(path, mode)


def open_for_append(path: str, mode: int, *, extra_flags: int = 0, devices: bool = False) -> tuple[int, os.stat_result]:
    """
    Open a log for appending and for reading its end, create it if it is not there, and give descriptor and state.

    Args:
        path: The file.

        mode: Permission bits of a new file, whatever the process's umask.

        extra_flags: Added to the flags of `os.open`, such as ``os.O_TRUNC``.

        devices: Whether a character device may be written to.

    Raises:
        NotRegularError: If the path is anything but a regular file. It is not even opened then.

        OSError: If it can't be opened.
    """
    flags = os.O_RDWR
    is_new = False
    try:
        found = os.lstat(path).st_mode
    except FileNotFoundError:
        is_new = True
    else:
        if stat.S_ISCHR(found) and devices:
            flags = os.O_WRONLY
        elif not stat.S_ISREG(found):
            raise _refuse(path, found)
    descriptor = os.open(path, flags | os.O_APPEND | os.O_CREAT | _SAFE_FLAGS | extra_flags, mode)
    opened = os.fstat(descriptor)
    if not (stat.S_ISREG(opened.st_mode) or (devices and stat.S_ISCHR(opened.st_mode))):
        os.close(descriptor)
        raise _refuse(path, opened.st_mode)
    if is_new:
        _give_mode(descriptor, opened.st_mode, mode)
    return descriptor, opened


def open_lock_file(path: str, mode: int = 0o600) -> int:
    """
    Open a file that only serves as a lock.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | _SAFE_FLAGS, mode)


def make_directory(path: str, mode: int = 0o700) -> bool:
    """
    Make a directory and its parents with that mode, whatever the umask. Gives True if it was not there before.

    Raises:
        NotRegularError: If the path is there and is a link or no directory.
    """
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        if not os.path.dirname(path):  # the working directory itself was deleted
            raise
        make_directory(os.path.dirname(path), mode)
        return make_directory(path, mode)
    except FileExistsError:
        found = os.lstat(path).st_mode
        if not stat.S_ISDIR(found):
            raise NotRegularError(errno.ENOTDIR, f"{_kind(found)}, and a directory is needed", path) from None
        return False
    _give_mode(path, os.lstat(path).st_mode, mode)
    return True


def make_root(path: str, mode: int = 0o700) -> None:
    """
    Make a root directory. Unlike a session's, a root may be reached through a link: its place is the user's choice.
    """
    if not os.path.isdir(path):
        make_directory(path, mode)


def temporary_name(path: str) -> str:
    """
    A new name beside a file, for what will take its place.
    """
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex[:12]}.tmp")


def replace_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """
    Put *content* in the file's place atomically: a reader sees the old one or the new one, whole.
    """
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE_FLAGS, mode)
    try:
        try:
            write_all(descriptor, content)
            _give_mode(descriptor, os.fstat(descriptor).st_mode, mode)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def open_regular(path: str) -> int:
    """
    Open a regular file for reading. A link is not followed, and a FIFO without a writer does not hang.

    Raises:
        NotRegularError: If it is anything but a regular file.

        OSError: If it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | _SAFE_FLAGS)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _refuse(path, mode)
    return descriptor


def read_private(path: str) -> bytes | None:
    """
    The whole of a small file of ours, or None if it is not there. Nothing but a regular file is read.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as stream:
        return stream.read()


def read_json(path: str, kind: type[T], *, strict: bool = True) -> T | None:
    """
    The content of a small JSON file of ours, or None if it is not there, can't be read or is not what it should be.

    Args:
        path: The file.

        kind: What it should hold, as `msgspec` has it.

        strict: Whether numbers must be numbers.
    """
    try:
        return load_json(path, kind, strict=strict)
    except OSError:
        return None


def load_json(path: str, kind: type[T], *, strict: bool = True) -> T | None:
    """
    As `read_json`, for whoever will replace the file: one that is there and can't be read now is not taken for none.

    Raises:
        OSError: If it can't be read, for want of a descriptor for example.
    """
    try:
        content = read_private(path)
    except OSError as error:
        if is_missing(error):
            return None
        raise
    except ValueError:  # a path that no file can have
        return None
    return None if content is None else decode_json(content, kind, strict=strict)


def decode_json(content: bytes, kind: type[T], *, strict: bool = True) -> T | None:
    """
    What a small JSON file of ours holds, or None if it is not what it should be.
    """
    try:
        try:
            return msgspec.json.decode(content, type=kind, strict=strict)
        except msgspec.DecodeError:  # it refuses an escaped half of a surrogate pair, which an id may well hold
            return msgspec.convert(json.loads(content), kind, strict=strict)
    except (ValueError, RecursionError):  # the last for brackets without end
        return None


def write_all(descriptor: int, content: bytes) -> None:
    """
    Write all of *content*, in as many calls as the system wants.
    """
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def free_space(directory: str) -> tuple[int, int]:
    """
    The bytes that this user may still write to a directory's disk, and all that it has.

    Raises:
        OSError: If that can't be told, as on a file system that says of itself that it has no size.
    """
    if not hasattr(os, "statvfs"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), directory)
    found = os.statvfs(directory)
    if found.f_blocks <= 0:
        raise OSError(errno.ENODATA, "the file system tells no size", directory)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
