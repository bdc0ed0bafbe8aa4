"""
Durable within a second: a thread that syncs files and directories in groups, outside every lock.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.threads import start_thread

SEARCHES = 4  # for a file that is renamed again and again while it is looked for
MANY = 64  # files and directories; more are synced by their file system as a whole
MOST_NOTED = 1024  # files with lines that need not be durable; of more, who waits has the file system synced

_sync_data = getattr(os, "fdatasync", os.fsync)


_O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


@functools.cache
def _file_system_sync() -> Callable[[str], bool] | None:
    """Linux's `syncfs`, which Python does not offer; None where there is none."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None

    def sync(path: str) -> bool:
        descriptor = os.open(path, os.O_RDONLY | _O_CLOEXEC)
        try:
            return bool(syncfs(descriptor) == 0)
        finally:
            os.close(descriptor)

    return sync


class Syncer:
    """
    Syncs what the router names, at most *interval* seconds later.

    A file is known by its path and its inode: whoever rotates it, this process or another, what was named is synced.

    Args:
        interval: Seconds between the first request and the syncing of all that came until then.

        reporter: Where failures are told.
    """

    def __init__(self, interval: float, reporter: Reporter) -> None:
        self.interval = interval
        self._reporter = reporter
        self.syncs = 0
        self.reset()

    def reset(self) -> None:
        """
        Start over without a thread, in a forked child for example.
        """
        self._lock = threading.Lock()
        self._files: dict[tuple[str, int], None] = {}  # path and inode
        self._directories: dict[str, None] = {}
        self._noted: dict[str, dict[int, bool]] = {}  # path → inode → whether its name is new
        self._noted_count = 0
        self._forgotten = ""  # a directory in which files were noted that were too many to remember
        self._expected = ""  # where durable lines are being written at the moment
        self._barriers: list[tuple[Barrier, bool]] = []  # each with whether it asks for all that was ever written
        self._untold: Exception | None = None  # of a sync that nobody waited for: the next one who asks is told
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.failed: set[str] = set()  # files whose descriptor can't be trusted any more

    def expect(self, path: str) -> None:
        """
        Durable lines are about to be written to that file: one that is full meanwhile holds some of them.
        """
        self._expected = path

    def add(self, path: str, inode: int = 0, *, new: bool = False) -> None:
        """
        Sync the file of that path and inode soon; *new*: its name too, which is its directory's content.
        """
        self._expected = ""
        if not inode:
            try:
                inode = os.stat(path).st_ino
            except OSError:
                return  # deleted meanwhile
        with self._lock:
            if path in self._noted:
                self._recall(path)  # what came before a durable line must not be lost where that one survives
            self._files[path, inode] = None
            if new:
                self._directories[os.path.dirname(path)] = None
        if self._thread is None or self._stopping or not self._wake.is_set():
            self._wake.set()
            self.start()

    def note(self, path: str, inode: int, *, new: bool = False) -> None:
        """
        Lines that need not be durable were written to that file: it is synced for who waits, and with the next durable
        line of that path.
        """
        with self._lock:
            inodes = self._noted.setdefault(path, {})
            if inode not in inodes:
                self._noted_count += 1
            inodes[inode] = new or inodes.get(inode, False)
            while self._noted_count > MOST_NOTED:
                oldest = next(iter(self._noted))
                self._noted_count -= len(self._noted.pop(oldest))
                self._forgotten = os.path.dirname(oldest)

    def _recall(self, path: str) -> None:
        """Sync soon what was noted of that path. The lock is held."""
        inodes = self._noted.pop(path)
        self._noted_count -= len(inodes)
        for inode, new in inodes.items():
            self._files[path, inode] = None
            if new:
                self._directories[os.path.dirname(path)] = None

    def add_directory(self, path: str) -> None:
        """
        Sync a directory soon, because a name in it changed.
        """
        with self._lock:
            self._directories[path] = None
        self._wake.set()
        self.start()

    def adopt(self, path: str, descriptor: int) -> None:
        """
        That file's name is about to be another one's. If durable lines are being written to it, sync it soon.
        """
        inode = os.fstat(descriptor).st_ino
        if path == self._expected:
            with self._lock:
                self._files[path, inode] = None
        else:
            self.note(path, inode)

    def sync_for(self, barrier: Barrier, *, asks_for_all: bool = True) -> None:
        """
        Sync now, and let the barrier's owner go on then, with what failed as its *error*.

        Args:
            barrier: Of whoever waits.

            asks_for_all: Whether what failed earlier, while nobody waited, is a failure for this one too. Whoever waits
                for a line of its own has it in a file that was opened since. (default: True)
        """
        with self._lock:
            self._barriers.append((barrier, asks_for_all))
        self._hurry.set()
        self._wake.set()
        self.start()

    def start(self) -> None:
        """
        Start the thread if it does not run; where there can be none, sync at once.
        """
        with self._starting:
            self._stopping = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = start_thread(self._run, "sessionlog-sync")
            threadless = self._thread is None
        if threadless:
            self._sync_all()

    def stop(self, timeout: float) -> None:
        """
        Sync what waits and end the thread.
        """
        with self._starting:
            thread = self._thread
            if thread is threading.current_thread():
                return
            self._stopping = thread is not None
        if thread is not None:
            self._hurry.set()
            self._wake.set()
            thread.join(timeout)
            if thread.is_alive():
                return
        self._sync_all()

    def _goes_on(self) -> bool:
        with self._starting:
            if self._stopping:
                self._thread = None  # from here on `start` has to start another one
            return not self._stopping

    def _run(self) -> None:
        while self._goes_on():
            self._wake.wait()
            if not self._stopping:
                self._hurry.wait(self.interval)
            self._hurry.clear()
            self._wake.clear()
            self._sync_all()

    def _sync_all(self) -> None:
        forgotten = ""
        with self._lock:
            barriers, self._barriers = self._barriers, []
            if barriers:
                for path in [*self._noted]:
                    self._recall(path)
                forgotten, self._forgotten = self._forgotten, ""
            files, self._files = self._files, {}
            directories, self._directories = self._directories, {}
        failure: Exception | None = None
        try:
            if forgotten:
                failure = self._sync_forgotten(forgotten)
            failure = self._sync_each(files, directories, relied_on=bool(barriers)) or failure
        except Exception as error:  # a bug must not leave anybody waiting
            failure = error
            self._reporter.report("sync", f"syncing failed: {error!r}")
        self._untold = failure or self._untold
        for barrier, asks_for_all in barriers:
            barrier.error = barrier.error or (self._untold if asks_for_all else failure)
        if any(asks_for_all for _, asks_for_all in barriers):
            self._untold = None
        for barrier, _ in barriers:
            barrier.reached()

    def _sync_each(
        self, files: dict[tuple[str, int], None], directories: dict[str, None], *, relied_on: bool
    ) -> OSError | None:
        failure: OSError | None = None
        # Who waits relies on the answer, and before Linux 5.8 `syncfs` does not tell of data that could not be written.
        if len(files) + len(directories) > MANY and not relied_on:
            files, directories = self._sync_file_systems(files, directories)
        for path, inode in files:
            failure = self._sync(path, inode) or failure
        for path in directories:
            failure = self._sync(path) or failure
        return failure

    def _sync_forgotten(self, directory: str) -> OSError | None:
        """Sync the file system of files that were too many to remember."""
        sync_file_system = _file_system_sync()
        self.syncs += 1
        try:
            if sync_file_system is None:
                os.sync()
            elif not sync_file_system(directory):
                raise OSError(f"the file system of {directory} could not be synced")
        except FileNotFoundError:
            os.sync()  # the directory was deleted, and its files with it; others may have been beside it
        except OSError as error:
            self._reporter.report(f"sync {directory}", f"{directory}: could not be synced to the disk: {error}")
            return error
        return None

    def _sync_file_systems(
        self, files: dict[tuple[str, int], None], directories: dict[str, None]
    ) -> tuple[dict[tuple[str, int], None], dict[str, None]]:
        """
        Sync many files at once with the file systems they are on; gives back what has to be synced one by one.

        Each sync commits the file system's journal, and creating files waits for that: for thousands of new sessions
        one commit takes the place of as many.
        """
        sync_file_system = _file_system_sync()
        if sync_file_system is None:
            return files, directories
        done: dict[int, bool] = {}  # by device
        left: set[str] = set()
        for directory in dict.fromkeys([*map(os.path.dirname, (path for path, _ in files)), *directories]):
            try:
                device = os.stat(directory).st_dev
                if device not in done:
                    done[device] = sync_file_system(directory)
                    self.syncs += 1
            except OSError:
                continue  # deleted meanwhile
            if not done[device]:
                left.add(directory)
        return (
            {named: None for named in files if os.path.dirname(named[0]) in left},
            {path: None for path in directories if path in left},
        )

    def _sync(self, path: str, inode: int | None = None) -> OSError | None:
        """
        Sync one file, or without an inode a directory. A failure is final for the file's open descriptors: what the
        kernel could not write it has dropped, and a second call would succeed without the data being anywhere
        (https://lwn.net/Articles/752063/).
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | _O_CLOEXEC) if inode is None else _open_inode(path, inode)
            try:
                (os.fsync if inode is None else _sync_data)(descriptor)
                self.syncs += 1
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None  # deleted meanwhile: there is nothing left to lose
        except OSError as error:
            self.failed.add(path)
            self._reporter.report(f"sync {path}", f"{path}: could not be synced to the disk: {error.strerror or error}")
            return error
        return None


def _open_inode(path: str, inode: int) -> int:
    """
    Open a file that is under its path or, since it was rotated, under a name that begins like it.

    Raises:
        FileNotFoundError: If it is not there any more.

        OSError: If that can't be told.
    """
    names = [path]
    for _ in range(SEARCHES):
        for name in names:
            with suppress(FileNotFoundError):
                if os.lstat(name).st_ino == inode:
                    descriptor = os.open(name, os.O_RDONLY | _O_CLOEXEC)
                    if os.fstat(descriptor).st_ino == inode:
                        return descriptor
                    os.close(descriptor)
        names = [path, *_rotated(path)]
    raise FileNotFoundError(path)


def _rotated(path: str) -> list[str]:
    """What is beside a file under a name that begins like it. For `glob`, a directory that can't be read is empty."""
    directory, name = os.path.split(path)
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries if entry.name.startswith(f"{name}.")]
