"""
Locks between processes that also hold between threads, and never for ever: a stuck holder costs a delay, not the log.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sessionlog_handlers.pipeline.files import make_directory, open_lock_file

try:
    import fcntl
except ImportError:  # Windows: portalocker, which concurrent-log-handler brings along, locks there
    import portalocker

    def _try_lock(descriptor: int) -> bool:
        try:
            portalocker.lock(descriptor, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        portalocker.unlock(descriptor)

else:
    # The same call that portalocker makes on POSIX, so that both kinds of process exclude each other.
    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


LOCK_TIMEOUT = 2.0  # seconds; then appending goes on without the lock, since O_APPEND keeps lines whole
STRIPES = 64  # lock files of a root; all its processes must agree on the number
FIRST_PAUSE = 0.0002  # seconds between tries, doubled up to the longest
LONGEST_PAUSE = 0.01


class FileLock:
    """
    An exclusive lock on a file, held by one thread of one process at a time.

    `flock` locks belong to the open file, so two threads with one descriptor would both hold it; the mutex is for them.

    Args:
        path: The lock file. It is created when first needed and never deleted.

        keep_open: Whether the descriptor stays open between uses.
    """

    __slots__ = ("_descriptor", "_mutex", "error", "keep_open", "path")

    def __init__(self, path: str, *, keep_open: bool = True) -> None:
        self.path = path
        self.keep_open = keep_open
        self.error: OSError | None = None  # why the last call of `acquire` failed, if nobody holds the lock
        self._descriptor = -1
        self._mutex = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether a descriptor is held at the moment."""
        return self._descriptor >= 0

    def acquire(self, timeout: float = LOCK_TIMEOUT) -> bool:
        """
        Take the lock, waiting at most *timeout* seconds; False if that was not enough or the file can't be opened.
        """
        start = time.monotonic()
        self.error = None
        if not self._mutex.acquire(False) and not self._mutex.acquire(timeout=max(timeout, 0.0)):
            return False
        try:
            if self._descriptor < 0:
                self._descriptor = self._open()
            pause = FIRST_PAUSE
            while not _try_lock(self._descriptor):
                if time.monotonic() - start >= timeout:
                    if not self.keep_open:
                        self._close()
                    self._mutex.release()
                    return False
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        except OSError as error:
            self.error = error
            self._mutex.release()
            return False
        except BaseException:
            self._mutex.release()
            raise
        return True

    def _open(self) -> int:
        try:
            return open_lock_file(self.path)
        except FileNotFoundError:
            make_directory(os.path.dirname(self.path))
            return open_lock_file(self.path)

    def release(self) -> None:
        """
        Give the lock back. Only after an `acquire` that gave True.
        """
        try:
            with suppress(OSError):
                _unlock(self._descriptor)
            if not self.keep_open:
                self._close()
        finally:
            self._mutex.release()

    @contextmanager
    def hold(self, timeout: float = LOCK_TIMEOUT) -> Iterator[bool]:
        """
        Hold the lock for a block; the value tells whether it was had in time.
        """
        locked = self.acquire(timeout)
        try:
            yield locked
        finally:
            if locked:
                self.release()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)

    def close(self) -> None:
        """
        Give the descriptor back, unless somebody holds the lock right now.
        """
        if self._mutex.acquire(timeout=LOCK_TIMEOUT):
            try:
                self._close()
            finally:
                self._mutex.release()

    def forget(self) -> None:
        """
        In a forked child: close the inherited descriptor, which shares the parent's lock, and start with a free mutex.
        """
        self._close()
        self._mutex = threading.Lock()


class StripedLocks:
    """
    A root's lock files. All sessions share them by a hash of their id, so that 10,000 sessions need 64 descriptors.

    Args:
        directory: The folder of the lock files.

        keep_open: How many of them may stay open between uses.
    """

    def __init__(self, directory: str, *, keep_open: int = STRIPES) -> None:
        self._locks = tuple(FileLock(os.path.join(directory, f"{stripe:02x}")) for stripe in range(STRIPES))
        self.keep_open(keep_open)

    def keep_open(self, number: int) -> None:
        """
        Let so many of them stay open between uses from now on. The locks stay the same: jobs of before may hold them.
        """
        for stripe, lock in enumerate(self._locks):
            lock.keep_open = stripe < number

    def for_session(self, session_id: str) -> FileLock:
        """
        The lock that a session's files, metadata and clean-up share.

        Ids that differ in case only share a lock, since on some file systems they would share a directory.
        """
        return self._locks[zlib.crc32(session_id.casefold().encode("utf-8", "surrogatepass")) % STRIPES]

    @property
    def open_count(self) -> int:
        """How many descriptors are held."""
        return sum(lock.is_open for lock in self._locks)

    def close(self) -> None:
        """
        Give all descriptors back.
        """
        for lock in self._locks:
            lock.close()

    def forget(self) -> None:
        """
        In a forked child: drop what was inherited.
        """
        for lock in self._locks:
            lock.forget()
