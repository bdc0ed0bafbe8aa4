"""
Faults made inside the program, in the functions of `os` and `time`: what no tracer can do, or where none is allowed.

Installed before the package is imported, for it keeps references to some of them.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from typing import Any

from faults.acks import Acks

# The functions behind a system call, as the package and the standard library call them.
FUNCTIONS = {
    "write": ("write",),
    "pwrite64": ("pwrite",),
    "rename": ("rename", "replace"),
    "link": ("link",),
    "unlink": ("unlink", "remove"),
    "openat": ("open",),
    "mkdir": ("mkdir",),
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "ftruncate": ("ftruncate",),
}


def install(faults: list[dict[str, Any]], acks: Acks) -> None:
    """
    Make each of these faults in this process.
    """
    for fault in faults:
        kind = fault.pop("kind")
        _KINDS[kind](acks, **fault)


def _replace(names: tuple[str, ...], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    for name in names:
        if hasattr(os, name):
            setattr(os, name, wrap(getattr(os, name)))


def _fail(acks: Acks, call: str, what: str, when: int, for_ever: bool = False) -> None:
    """Let the n-th call fail: ``KILL`` ends the process, an error's name raises it, ``short`` writes a part only."""
    lock = threading.Lock()
    made = 0
    is_cut = False

    def due() -> bool:
        nonlocal made
        if not acks["go"]:
            return False
        with lock:
            made += 1
            return made == when or (for_ever and made > when)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal is_cut
            if what == "short" and not _is_log(args[0]):
                return function(*args, **options)
            if is_cut:  # the rest of a write that was cut short
                is_cut = False
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if not due():
                return function(*args, **options)
            acks.add("injected")
            if what == "KILL":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "short" and len(args[1]) > 1:
                is_cut = True
                return function(args[0], args[1][: len(args[1]) * 2 // 3])
            number = getattr(errno, "EIO" if what == "short" else what)
            raise OSError(number, os.strerror(number))

        return counted

    _replace(FUNCTIONS[call], wrap)


def _is_log(descriptor: int) -> bool:
    try:
        return ".log" in os.readlink(f"/proc/self/fd/{descriptor}") and stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _slow(acks: Acks, seconds: float, logs_only: bool = True) -> None:
    """Let each write take that long."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*args: Any) -> Any:
            if acks["go"] and (not logs_only or _is_log(args[0])):
                acks.add("injected")
                time.sleep(seconds)
            return function(*args)

        return slowly

    _replace(("write",), wrap)


def _clock(acks: Acks, seconds: float = 0.0) -> None:
    """
    Set the clock forward, and let a file of the harness set it: its seconds are added to the time, also to that of the
    files written.
    """
    real, write, utime = time.time, os.write, os.utime
    path = f"{acks.path}.clock"

    def shift() -> float:
        try:
            with open(path) as file:
                return seconds + float(file.read() or 0)
        except OSError:
            return seconds

    def shifted() -> float:
        return real() + shift()

    def write_dated(descriptor: int, content: Any) -> int:
        number = write(descriptor, content)
        if _is_log(descriptor):
            now = shifted()
            utime(descriptor, (now, now))
        return number

    time.time = shifted
    os.write = write_dated  # type: ignore[assignment]


def _order(acks: Acks) -> None:
    """
    Note which logs and directories were changed and not yet synced, for `unsynced`.
    """
    _DIRTY.clear()

    def wrap_write(function: Callable[..., Any]) -> Callable[..., Any]:
        def write(descriptor: int, content: Any) -> Any:
            number = function(descriptor, content)
            if _is_log(descriptor):
                _DIRTY.add(f"inode {os.fstat(descriptor).st_ino}")
            return number

        return write

    def wrap_sync(function: Callable[..., Any]) -> Callable[..., Any]:
        def sync(descriptor: int) -> None:
            function(descriptor)
            found = os.fstat(descriptor)
            _DIRTY.discard(f"inode {found.st_ino}")
            if stat.S_ISDIR(found.st_mode):
                _DIRTY.discard(f"names of {os.readlink(f'/proc/self/fd/{descriptor}')}")

        return sync

    def wrap_rename(function: Callable[..., Any]) -> Callable[..., Any]:
        def rename(source: str, target: str, *args: Any, **options: Any) -> None:
            function(source, target, *args, **options)
            if ".log" in os.path.basename(target):
                _DIRTY.add(f"names of {os.path.dirname(target)}")

        return rename

    _replace(("write",), wrap_write)
    _replace(("fsync", "fdatasync"), wrap_sync)
    _replace(("rename", "replace"), wrap_rename)


_DIRTY: set[str] = set()


def unsynced() -> list[str]:
    """
    What a power loss could take at the moment, where `order` was installed.
    """
    return sorted(_DIRTY)


_KINDS: dict[str, Callable[..., None]] = {"fail": _fail, "slow": _slow, "clock": _clock, "order": _order}
