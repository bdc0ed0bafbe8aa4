"""
Leases: a file per process and root, locked for the process's life. Across containers a process id says nothing.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import suppress
from typing import Any

import msgspec

from sessionlog_handlers.pipeline.files import make_directory, open_lock_file, open_regular, read_json, write_all

try:
    import fcntl as locking
except ImportError:  # Windows has no shared locks without pywin32; there a process id has to do
    locking = None  # type: ignore[assignment]  # the module is replaced by its absence
fcntl: Any = locking


class Lease:
    """
    This process's lease in one root.

    Args:
        directory: The root's folder of leases.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.name = ""
        self._descriptor = -1
        self._content: dict[str, Any] = {}  # written last

    @property
    def is_held(self) -> bool:
        """Whether the lease is taken."""
        return self._descriptor >= 0

    def take(self) -> str:
        """
        Take the lease, if it is not taken yet, and give its name.

        The file is locked before it gets its name: a lease without a lock is a dead process's.

        Raises:
            OSError: If the directory can't be made or written.
        """
        if self._descriptor >= 0:
            return self.name
        make_directory(self.directory)
        name = uuid.uuid4().hex
        temporary = os.path.join(self.directory, f".{name}.tmp")
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
        self.name, self._descriptor = name, descriptor
        return name

    def write(self, content: dict[str, Any]) -> None:
        """
        Put what other processes may know of this one into the lease: its counters.
        """
        if self._descriptor < 0 or content == self._content:
            return
        self._content = content
        encoded = msgspec.json.encode({"pid": os.getpid(), "host": socket.gethostname(), **content})
        with suppress(OSError):
            os.pwrite(self._descriptor, encoded, 0)
            os.ftruncate(self._descriptor, len(encoded))

    def give_back(self) -> None:
        """
        Remove the lease and its descriptor.
        """
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.unlink(os.path.join(self.directory, self.name))
        self.forget()

    def forget(self) -> None:
        """
        In a forked child: close the inherited descriptor, so that the parent's lease ends with the parent.
        """
        descriptor, self._descriptor, self.name = self._descriptor, -1, ""
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def is_alive(directory: str, name: str) -> bool:
    """
    Whether the process of that lease still lives.
    """
    if not name or os.path.basename(name) != name:
        return False
    path = os.path.join(directory, name)
    try:
        descriptor = open_regular(path)
    except (OSError, ValueError):  # the latter for a name that no file can have
        return False
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


def read_lease(directory: str, name: str) -> dict[str, Any]:
    """
    What a process says of itself in its lease; empty if it can't be read.
    """
    return read_json(os.path.join(directory, name), dict[str, Any]) or {}


def _process_exists(content: dict[str, Any]) -> bool:
    import psutil

    pid = content.get("pid")
    return isinstance(pid, int) and psutil.pid_exists(pid)


def sweep(directory: str) -> int:
    """
    Remove the leases of dead processes and give their number.
    """
    removed = 0
    with suppress(OSError):
        for name in os.listdir(directory):
            if not name.startswith(".") and not is_alive(directory, name):
                with suppress(OSError):
                    os.unlink(os.path.join(directory, name))
                    removed += 1
    return removed
