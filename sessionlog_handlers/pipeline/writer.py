"""
One append-only file: opened safely, checked for being the right one, rotated, and written with one call a batch.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate, islice, takewhile

from concurrent_log_handler import ConcurrentRotatingFileHandler

from sessionlog_handlers.pipeline.files import check_regular, make_directory, open_for_append
from sessionlog_handlers.pipeline.rotation import RotationPolicy, make_room


class Descriptor:
    """
    What concurrent-log-handler wants of a stream, on a bare descriptor: no buffer, so nothing to lose.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def closed(self) -> bool:
        """Whether the descriptor was given back."""
        return self._number < 0

    def fileno(self) -> int:
        """The descriptor's number."""
        return self._number

    def close(self) -> None:
        """Give the descriptor back."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def flush(self) -> None:
        """Nothing is held back here."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the reading position; appending does not depend on it."""
        return os.lseek(self._number, offset, whence)

    def tell(self) -> int:
        """The file's end, where the next write goes, whoever wrote last."""
        return os.lseek(self._number, 0, os.SEEK_END)


class Writer(ConcurrentRotatingFileHandler):
    """
    A log file that several processes append to and rotate.

    It takes its naming and its `namer` and `rotator` hooks from concurrent-log-handler, but is not
    registered with `logging`: the listener makes and closes writers, and must never wait for `logging`'s locks.
    The caller holds the file's lock; a writer has none of its own.

    Args:
        path: The file.

        rotation: When to start a new one.

        file_mode: Permission bits of new files.

        directory_mode: Permission bits of a directory that has to be made again.

        before_rotation: Called with the descriptor of the file that is about to be renamed.
    """

    def __init__(
        self,
        path: str,
        rotation: RotationPolicy,
        *,
        file_mode: int = 0o600,
        directory_mode: int = 0o700,
        before_rotation: Callable[[int], None] | None = None,
    ) -> None:
        self.baseFilename = path
        self._prepare(rotation, file_mode, directory_mode, before_rotation)

    stream: Descriptor | None  # type: ignore[assignment]  # the base class has a text stream

    def _prepare(
        self,
        rotation: RotationPolicy,
        file_mode: int,
        directory_mode: int,
        before_rotation: Callable[[int], None] | None = None,
    ) -> None:
        # What concurrent-log-handler's methods read of its own __init__, which would register the handler.
        self.stream = None
        self.is_posix = os.name == "posix"
        self._actual_keep_log_stream_open = True
        self._debug = False

        self.rotation = rotation
        self.rotated: list[str] = []  # names that this writer gave to full files, until somebody collects them
        self.error: OSError | None = None  # why the last append was cut short
        self.rotation_error: OSError | None = None  # why the last append went on in a file that is full
        self._file_mode = file_mode
        self._directory_mode = directory_mode
        self._before_rotation = before_rotation
        self.is_new = False  # the file was empty when it was opened; reset by whoever syncs its directory
        self.begun = 0  # how often an empty file was opened
        self._end = -1  # the file's size after our last write; another size means that somebody else wrote
        self._identity = (0, 0)  # the device and the inode of the open file
        self._torn = False
        self._devices = False
        self._open_flags = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.baseFilename}>"

    @property
    def descriptor(self) -> int:
        """The open file's descriptor, -1 if it is closed."""
        return self.stream.fileno() if self.stream else -1

    @property
    def inode(self) -> int:
        """The inode of the file that was written to last."""
        return self._identity[1]

    def append(self, lines: Sequence[bytes], *, rotate: bool, locked: bool | None = None, joined: bytes = b"") -> int:
        """
        Append whole lines and give the number of those that are in the file.

        A number below ``len(lines)`` means that *error* holds the reason; the rest was not written, and with the lock
        held no part of it is left behind. Never raises `OSError`.

        Args:
            lines: Each with its line end.

            rotate: Whether a new file may be started; only with the file's lock held.

            locked: Whether the file's lock is held, so that nobody else can write behind us. (default: as *rotate*)

            joined: The lines joined, if somebody has done that already.
        """
        self.error = self.rotation_error = None
        locked = rotate if locked is None else locked
        done = 0
        rotate = rotate and self.rotation.backup_count > 0
        try:
            while done < len(lines):
                found = self.ready()
                size, is_regular = found.st_size, stat.S_ISREG(found.st_mode)
                stop = len(lines)
                if rotate and is_regular:
                    room = self.rotation.room(size)
                    if size and (len(lines[done]) > room or self.rotation.is_over(found.st_mtime)):
                        rotate = self._try_rotation()
                        continue
                    if not joined or len(joined) > room or done:
                        stop = self._fitting(lines, done, room)
                if stop - done < len(lines):
                    done += self._write(lines[done:stop], b"", size, locked)
                else:
                    done += self._write(lines, joined, size, locked)
                if self.rotation.when and is_regular:
                    self._keep_time()
                if done < stop:
                    break
        except OSError as error:
            self.error = error
            self.release_file()
        return done

    def _try_rotation(self) -> bool:
        """Rotate, or go on with the same file: a log that grew too long is better than one that stopped."""
        try:
            self.rotate_file()
        except OSError as error:
            self.rotation_error = error
            return False
        return True

    def _keep_time(self) -> None:
        """
        Give a file that was written to just after a boundary the time at which that was.

        The kernel dates files by a clock that is some milliseconds late, so the line would seem to have come before
        the boundary, and the next one would rotate once more.
        """
        now = self.rotation.clock()
        if self.rotation.has_just_begun(now) and os.utime in os.supports_fd:
            with suppress(OSError):
                os.utime(self.descriptor, (now, now))

    def ready(self) -> os.stat_result:
        """
        Make sure that the right file is open and ends with a line end, and give its state.
        """
        found = self._state_of_file() if self.stream else None
        if found is None:
            found = self._open_file()
        if found.st_size != self._end and stat.S_ISREG(found.st_mode):
            self._torn = found.st_size > 0 and os.pread(self.descriptor, 1, found.st_size - 1) != b"\n"
            self._end = found.st_size
        return found

    def _state_of_file(self) -> os.stat_result | None:
        """
        The state of the open file, if it still has its name; else it is closed, since another process rotated it, say.
        """
        found = None
        with suppress(OSError):
            found = os.fstat(self.descriptor)
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            self.stream = None  # somebody has closed it; if it is another file's now, it is not ours to close
            return None
        with suppress(OSError):
            named = os.stat(self.baseFilename)
            if (named.st_dev, named.st_ino) == self._identity:
                return found
        self.release_file()
        return None

    def _open_file(self) -> os.stat_result:
        def opened() -> tuple[int, os.stat_result]:
            return open_for_append(
                self.baseFilename, self._file_mode, extra_flags=self._open_flags, devices=self._devices
            )

        try:
            number, found = opened()
        except FileNotFoundError:
            make_directory(os.path.dirname(self.baseFilename) or ".", self._directory_mode)
            number, found = opened()
        self._open_flags = 0
        self.stream = Descriptor(number)
        self._identity = found.st_dev, found.st_ino
        self.is_new = found.st_size == 0
        self.begun += self.is_new
        self._end = -1
        return found

    @staticmethod
    def _fitting(lines: Sequence[bytes], start: int, room: int) -> int:
        """The end of the run of lines that fits into *room* bytes; at least one line."""
        if not start and sum(map(len, lines)) <= room:  # most often so
            return len(lines)
        ends = accumulate(map(len, islice(lines, start, None)))
        return start + max(sum(1 for _ in takewhile(lambda end: end <= room, ends)), 1)

    def _write(self, lines: Sequence[bytes], joined: bytes, size: int, locked: bool) -> int:
        """One write for the run. After a failure in its midst, whole lines stay and the part of one is taken back."""
        content = joined or b"".join(lines)
        if self._torn:
            content = b"\n" + content
        descriptor, written = self.descriptor, 0
        try:
            while written < len(content):
                written += os.write(descriptor, content[written:] if written else content)
        except OSError as error:
            self.error = error
            if not written:
                return 0
            return self._keep_whole_lines(lines, size, written, locked)
        self._torn = False
        self._end = size + written
        return len(lines)

    def _keep_whole_lines(self, lines: Sequence[bytes], size: int, written: int, locked: bool) -> int:
        whole = 1 if self._torn else 0  # the line end that came first
        done = 0
        while done < len(lines) and whole + len(lines[done]) <= written:
            whole += len(lines[done])
            done += 1
        self._end = -1  # look at the file's end before the next write
        # Without the lock another process may append between the look and the cut. Then the part stays, and the next
        # append ends its line.
        if whole < written and locked:
            with suppress(OSError):
                if os.fstat(self.descriptor).st_size == size + written:
                    os.ftruncate(self.descriptor, size + whole)
        return done

    def slot_name(self, slot: int) -> str:
        """
        The path of an old file, counted from 1, the youngest.
        """
        name: str = self.rotation_filename(f"{self.baseFilename}.{slot}")
        return name

    def rotate_file(self) -> None:
        """
        Move the file to slot 1 and close it; the next append starts a new one. Only with the file's lock held.

        Raises:
            NotRegularError: If it is anything but a regular file. It is left as it is.

            OSError: If a rename fails. The file is still in its place then.
        """
        if self.rotation.backup_count > 0:
            with suppress(FileNotFoundError):
                check_regular(self.baseFilename)
            make_room(self.slot_name, self.rotation.backup_count)
            if self._before_rotation and self.stream:
                self._before_rotation(self.descriptor)
            self.release_file()  # first: some systems can't rename an open file
            self.rotate(self.baseFilename, self.slot_name(1))
            self.rotated.append(self.slot_name(1))
        self.release_file()

    def release_file(self) -> None:
        """
        Give the descriptor back. The next append opens the file again.

        Not called `release`: that is how `logging.Handler.handle` gives its lock back.
        """
        if self.stream:
            try:  # noqa: SIM105 - with 10,000 sessions this is done for each write, and `suppress` costs as much as it
                self.stream.close()
            except OSError:
                pass  # it is gone, which is all that was wanted
        self.stream = None
