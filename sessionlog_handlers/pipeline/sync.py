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

MANY = 64  # files and directories; more are synced by their file system as a whole

_sync_data = getattr(os, "fdatasync", os.fsync)


@functools.cache
def _file_system_sync() -> Callable[[str], bool] | None:
    """Linux's `syncfs`, which Python does not offer; None where there is none."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return None

    def sync(path: str) -> bool:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            return bool(syncfs(descriptor) == 0)
        finally:
            os.close(descriptor)

    return sync


class Syncer:
    """
    Syncs what the router names, at most *interval* seconds later.

    Args:
        interval: Seconds between the first request and the syncing of all that came until then.

        reporter: Where failures are told.
    """

    def __init__(self, interval: float, reporter: Reporter) -> None:
        self.interval = interval
        self._reporter = reporter
        self.syncs = 0
        self._adopted: list[tuple[str, int]] = []
        self.reset()

    def reset(self) -> None:
        """
        Start over without a thread, in a forked child for example.
        """
        self._lock = threading.Lock()
        self._files: dict[str, None] = {}
        self._directories: dict[str, None] = {}
        for _, descriptor in self._adopted:
            with suppress(OSError):
                os.close(descriptor)
        self._adopted = []
        self._barriers: list[Barrier] = []
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.failed: set[str] = set()  # files whose descriptor can't be trusted any more

    def add(self, path: str, *, new: bool = False) -> None:
        """
        Sync that file soon; *new*: its name too, which is its directory's content.
        """
        with self._lock:
            self._files[path] = None
            if new:
                self._directories[os.path.dirname(path)] = None
        self._wake.set()
        self.start()

    def add_directory(self, path: str) -> None:
        """
        Sync a directory soon, because a name in it changed.
        """
        with self._lock:
            self._directories[path] = None
        self._wake.set()

    def adopt(self, path: str, descriptor: int) -> None:
        """
        If lines in that file wait to be synced, keep a copy of its descriptor: its name is about to be another file's.
        """
        with self._lock:
            if path in self._files:
                del self._files[path]
                with suppress(OSError):
                    self._adopted.append((path, os.dup(descriptor)))

    def sync_for(self, barrier: Barrier) -> None:
        """
        Sync now, and let the barrier's owner go on then.
        """
        with self._lock:
            self._barriers.append(barrier)
        self._hurry.set()
        self._wake.set()
        self.start()

    def start(self) -> None:
        """
        Start the thread if it does not run; where there can be none, sync at once.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopping = False
        self._thread = start_thread(self._run, "sessionlog-sync")
        if self._thread is None:
            self._sync_all()

    def stop(self, timeout: float) -> None:
        """
        Sync what waits and end the thread.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stopping = True
            self._hurry.set()
            self._wake.set()
            thread.join(timeout)
            if thread.is_alive():
                return
        self._thread = None
        self._sync_all()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            if not self._stopping:
                self._hurry.wait(self.interval)
            self._hurry.clear()
            self._wake.clear()
            self._sync_all()

    def _sync_all(self) -> None:
        with self._lock:
            files, self._files = self._files, {}
            directories, self._directories = self._directories, {}
            adopted, self._adopted = self._adopted, []
            barriers, self._barriers = self._barriers, []
        failure: OSError | None = None
        for path, descriptor in adopted:
            failure = self._sync(path, descriptor) or failure
        if len(files) + len(directories) > MANY:
            files, directories = self._sync_file_systems(files, directories)
        for path in files:
            failure = self._sync(path) or failure
        for path in directories:
            failure = self._sync(path, directory=True) or failure
        for barrier in barriers:
            barrier.error = barrier.error or failure
            barrier.reached()

    def _sync_file_systems(
        self, files: dict[str, None], directories: dict[str, None]
    ) -> tuple[dict[str, None], dict[str, None]]:
        """
        Sync many files at once with the file systems they are on; gives back what has to be synced one by one.

        Each sync commits the file system's journal, and creating files waits for that: for thousands of new sessions
        one commit takes the place of as many.
        """
        sync_file_system = _file_system_sync()
        if sync_file_system is None:
            return files, directories
        done: dict[int, bool] = {}  # by device
        left: dict[str, None] = {}
        for path in {**files, **directories}:
            try:
                device = os.stat(path).st_dev
            except OSError:
                continue  # deleted meanwhile
            if device not in done:
                done[device] = sync_file_system(path)
                self.syncs += 1
            if not done[device]:
                left[path] = None
        return {path: None for path in files if path in left}, {path: None for path in directories if path in left}

    def _sync(self, path: str, descriptor: int = -1, *, directory: bool = False) -> OSError | None:
        """
        Sync one file. A failure is final for the file's open descriptors: what the kernel could not write it has
        dropped, and a second call would succeed without the data being anywhere (https://lwn.net/Articles/752063/).
        """
        try:
            if descriptor < 0:
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                (os.fsync if directory else _sync_data)(descriptor)
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
