"""
Leases: a file per process and root, locked for the process's life. Across containers a process id says nothing.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import uuid
from collections.abc import Container, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from sessionlog_handlers.pipeline.files import (
    is_missing,
    make_directory,
    open_lock_file,
    open_regular,
    read_json,
    write_all,
)

try:
    import fcntl as locking
except ImportError:  # Windows has no shared locks without pywin32; there a process id has to do
    locking = None  # type: ignore[assignment]  # the module is replaced by its absence
fcntl: Any = locking

_KIN = ".kin"  # ends the names of the files that forked children keep locked with their parent
MOST_SWEPT = 1000  # leases looked at when one is taken: some 20 ms


class Lease:
    """
    This process's lease in one root.

    Args:
        directory: The root's folder of leases.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.has_kin = False  # whether it is to be known, too, that forked children live which have no lease yet
        self._kin = -1
        self.name = ""
        self._descriptor = -1
        self._written: object = None  # what was worth being written last
        self._swept = False
        # The keeper's thread writes while the listener's gives the lease back, and the number is somebody else's then.
        self._lock = threading.RLock()

    @property
    def is_held(self) -> bool:
        """Whether the lease is taken."""
        return self._descriptor >= 0

    @property
    def open_count(self) -> int:
        """How many descriptors are held."""
        return self.is_held + (self._kin >= 0)

    def take(self) -> str:
        """
        Take the lease, if it is not taken yet, and give its name. The first time, those of dead processes go.

        The file is locked before it gets its name: a lease without a lock is a dead process's.

        Raises:
            OSError: If the directory can't be made or written.
        """
        with self._lock:
            if self._descriptor < 0:
                self._take()
            return self.name

    def _take(self) -> None:
        make_directory(self.directory)
        if not self._swept:
            self._swept = True
            sweep(self.directory, MOST_SWEPT)
        name = uuid.uuid4().hex
        self._descriptor, self._written = self._make(name), None
        self.name = name
        if self.has_kin and fcntl is not None and hasattr(os, "fork"):
            with suppress(OSError):
                self._kin = self._make(_kin_name(name))

    def _make(self, name: str) -> int:
        temporary = os.path.join(self.directory, f".{name.lstrip('.')}.tmp")
        descriptor = open_lock_file(temporary)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            write_all(descriptor, msgspec.json.encode(content))
            os.rename(temporary, os.path.join(self.directory, name))
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return descriptor

    def write(self, content: dict[str, Any], news: object = None) -> None:
        """
        Put what other processes may know of this one into the lease: its counters.

        Args:
            content: All of it.

            news: What of it is worth being written, and is not if that was written last. (default: all)
        """
        encoded = msgspec.json.encode({"pid": os.getpid(), "host": socket.gethostname(), **content})
        news = content if news is None else news
        with self._lock:
            if self._descriptor < 0 or news == self._written:
                return
            self._written = news
            with suppress(OSError):
                os.pwrite(self._descriptor, encoded, 0)
                os.ftruncate(self._descriptor, len(encoded))

    def give_back(self) -> None:
        """
        Remove the lease and its descriptor.
        """
        with self._lock:
            if self._descriptor < 0:
                return
            for name in (self.name, *([_kin_name(self.name)] if self._kin >= 0 else [])):
                with suppress(OSError):
                    os.unlink(os.path.join(self.directory, name))
            if self._kin >= 0:
                kin, self._kin = self._kin, -1
                with suppress(OSError):
                    os.close(kin)
            self._close()

    def forget(self) -> None:
        """
        In a forked child: close the inherited descriptor, so that the parent's lease ends with the parent.
        """
        self._lock = threading.RLock()  # a thread that the child does not have may have held it
        self._kin = -1  # stays open, and locked until the last of the family is gone
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor, self.name = self._descriptor, -1, ""
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _kin_name(name: str) -> str:
    return f".{name}{_KIN}"


def has_living_kin(directory: str, name: str) -> bool:
    """
    Whether the process of that lease still lives, or one that was forked from it: that may have inherited its
    sessions, and is nobody's writer until it has something to say.
    """
    return is_alive(directory, name) or (bool(name) and is_alive(directory, _kin_name(name)))


def is_alive(directory: str, name: str) -> bool:
    """
    Whether the process of that lease still lives.
    """
    if not name or os.path.basename(name) != name:
        return False
    path = os.path.join(directory, name)
    try:
        descriptor = open_regular(path)
    except ValueError:  # a name that no file can have
        return False
    except OSError as error:
        return not is_missing(error)  # where descriptors are short, for example, nothing is known of the process
    try:
        if fcntl is None:
            return _process_exists(read_lease(directory, name))
        # Shared, so that two who look at the same time don't take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True  # a file system without locks: better a session too many called running than one deleted
    finally:
        os.close(descriptor)
    return False


def living(directory: str, but: Container[str] = ()) -> Iterator[str]:
    """
    The names of living processes' leases; none if the folder can't be read.

    Args:
        directory: A root's folder of leases.

        but: Names that are left out.
    """
    with suppress(OSError):
        for name in os.listdir(directory):
            if name not in but and not name.startswith(".") and is_alive(directory, name):
                yield name


def read_lease(directory: str, name: str) -> dict[str, Any]:
    """
    What a process says of itself in its lease; empty if it can't be read.
    """
    return read_json(os.path.join(directory, name), dict[str, Any]) or {}


def _process_exists(content: dict[str, Any]) -> bool:
    import psutil

    pid = content.get("pid")
    return isinstance(pid, int) and psutil.pid_exists(pid)


def sweep(directory: str, most: int | None = None) -> int:
    """
    Remove the leases of dead processes and give their number.

    Args:
        directory: A root's folder of leases.

        most: How many leases are looked at; None for all.
    """
    with suppress(OSError), os.scandir(directory) as entries:
        names = [entry.name for entry in itertools.islice(entries, most)]
        for name in names:
            if name.startswith(".") and name.endswith(_KIN):
                _remove(directory, name)
        return sum(_remove(directory, name) for name in names if not name.startswith("."))
    return 0


def _remove(directory: str, name: str) -> bool:
    """Remove a lease if its process is dead."""
    if is_alive(directory, name):
        return False
    try:
        os.unlink(os.path.join(directory, name))
    except OSError:
        return False
    return True
