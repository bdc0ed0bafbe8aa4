"""
The files that are open at the moment: a bounded number, the one used longest ago giving way.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.settings.model import Settings

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.writer import Writer

MOST_OPEN_FILES = 256  # descriptors, unless the settings say otherwise


class OpenFiles:
    """
    Writers by their paths.

    Args:
        settings: Rotation, modes and the time after which an unused file is closed.

        most: How many are open at a time.

        syncer: Keeps what must be durable of a file that is about to be renamed.
    """

    def __init__(self, settings: Settings, most: int, syncer: Syncer) -> None:
        self._settings = settings
        self._most = most
        self._syncer = syncer
        self._writers: OrderedDict[str, tuple[Writer, float]] = OrderedDict()
        self._rotation = RotationPolicy(
            max_bytes=0 if settings.rotation == "off" else settings.max_bytes,
            backup_count=settings.backup_count,
            when=settings.when if settings.rotation == "time" else "",
            interval=settings.interval,
            utc=settings.utc,
        )

    def __len__(self) -> int:
        # Callers ask while the listener opens and closes files; copying is one step.
        return sum(writer.descriptor >= 0 for writer, _ in self._writers.copy().values())

    def writer(self, path: str) -> Writer:
        """
        The writer of a file. It may be closed when the next one is asked for.
        """
        found = self._writers.pop(path, None)
        writer = found[0] if found else self._new_writer(path)
        if path in self._syncer.failed:  # a failed sync is final for the descriptor
            self._syncer.failed.discard(path)
            writer.release_file()
        self._writers[path] = (writer, time.monotonic())
        if len(self._writers) > self._most:
            self.close(keep=self._most)
        return writer

    def _new_writer(self, path: str) -> Writer:
        def before_rotation(descriptor: int) -> None:
            self._syncer.adopt(path, descriptor)

        return load_writer()(
            path,
            self._rotation,
            file_mode=self._settings.file_mode,
            directory_mode=self._settings.directory_mode,
            before_rotation=before_rotation,
        )

    def release(self, path: str) -> None:
        """
        Close a file, if it is open.
        """
        found = self._writers.pop(path, None)
        if found:
            found[0].release_file()

    def close(self, keep: int = 0) -> None:
        """
        Close all files but the *keep* that were used last.
        """
        while len(self._writers) > keep:
            _, (writer, _) = self._writers.popitem(last=False)
            writer.release_file()

    def close_half(self) -> None:
        """
        Close every other file, those used longest ago, because descriptors are short.
        """
        self.close(keep=len(self._writers) // 2)

    def close_idle(self, now: float) -> None:
        """
        Close what was not used for the settings' ``idle_close``.
        """
        while self._writers and self.next_idle() <= now:
            self.close(keep=len(self._writers) - 1)

    def next_idle(self) -> float:
        """
        When the next file will have been idle for too long, on the monotonic clock; infinity without an open file.
        """
        if not self._writers:
            return float("inf")
        return next(iter(self._writers.values()))[1] + self._settings.idle_close


def load_writer() -> type[Writer]:
    """
    The class of open files. A root calls this when it is made, and its listener finds the class loaded.

    For concurrent-log-handler, its base, makes loggers while it is loaded. That takes the lock of `logging`, for which
    the listener must never wait.
    """
    from sessionlog_handlers.pipeline.writer import Writer

    return Writer


def default_max_open_files() -> int:
    """
    At most 256 descriptors, and at most a quarter of what the process may have.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_OPEN_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if soft == resource.RLIM_INFINITY else max(min(MOST_OPEN_FILES, soft // 4), 8)
