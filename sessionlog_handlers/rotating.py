"""
`SessionRotatingFileHandler`: the pipeline's writer as a handler for one file.
"""

from __future__ import annotations

import locale
import logging
import os
import stat
from contextlib import suppress
from logging.handlers import BaseRotatingHandler, RotatingFileHandler

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.rotation import RotationPolicy, is_when
from sessionlog_handlers.pipeline.writer import Writer
from sessionlog_handlers.settings.values import parse_size


class SessionRotatingFileHandler(Writer, RotatingFileHandler):
    """
    A drop-in for `logging.handlers.RotatingFileHandler`, for one file that several processes may write.

    Synchronous: the record is in the file when the call returns. It shares concurrent-log-handler's lock file, so both
    kinds of process can write one log. Like the standard library's, it never rotates while *backupCount* is 0.

    Args:
        filename: The log. A leading ``~`` is the home directory. Unlike in the standard library, missing directories
            are made.

        mode: ``a``, ``w`` (empty it at the start; not with *maxBytes*) or ``x`` (it must not exist).

        maxBytes: Size at which a new file is started, in bytes or as text such as ``5 MB``. (default: 0, never)

        backupCount: How many old files are kept. (default: 0)

        encoding: Of the text; a byte order mark stands only at a file's beginning. ``locale`` is the system's own.
            (default: UTF-8)

        delay: Whether to open the file with the first record only. (default: False)

        errors: What to do with text that *encoding* lacks. (default: ``backslashreplace``)

        when: Start a new file at time boundaries: S, M, H, D, midnight, W0 to W6. (default: not)

        interval: Units of *when* between two boundaries. (default: 1)

        utc: Whether days begin at midnight UTC. (default: False, local time)

        file_mode: Permission bits of new files. (default: 0600)

    Raises:
        ConfigurationError: If *maxBytes* is no size or *when* no time unit.

        LookupError: If *encoding* is not known.

        OSError: If the file can't be opened, unless *delay*.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        maxBytes: int | str = 0,
        backupCount: int = 0,
        encoding: str | None = None,
        delay: bool = False,
        errors: str | None = None,
        *,
        when: str = "",
        interval: int = 1,
        utc: bool = False,
        file_mode: int = 0o600,
    ) -> None:
        max_bytes = parse_size(maxBytes)
        if when and not is_when(when):
            raise ConfigurationError(f"{when!r} is no time unit; choose S, M, H, D, midnight or W0 to W6", "when")
        mode = "a" if max_bytes > 0 else mode
        filename = os.path.expanduser(filename)
        encoding = locale.getencoding() if encoding == "locale" else encoding or "utf-8"
        mark, line_end = _marks_of(encoding)
        BaseRotatingHandler.__init__(self, filename, mode, encoding=encoding, delay=True, errors=errors)
        self._prepare(
            RotationPolicy(max_bytes=max_bytes, backup_count=backupCount, when=when, interval=interval, utc=utc),
            file_mode,
            0o700,
        )
        self.maxBytes = max_bytes
        self.backupCount = backupCount
        self.terminator = "\n"
        self._mark = mark
        self._formatted: tuple[logging.LogRecord, str] | None = None  # what `emit` is about to write
        self._ends_lines_as_ascii = line_end == b"\n"
        self._devices = True
        self._open_flags = {"w": os.O_TRUNC, "x": os.O_EXCL}.get(mode[:1], 0)
        self._file_lock = FileLock(self.getLockFilename(None))
        if not delay:
            self.ready()

    def _at_fork_reinit(self) -> None:
        """In a forked child: fresh locks, and a descriptor of our own."""
        logging.Handler._at_fork_reinit(self)  # type: ignore[attr-defined]  # private; not in typeshed
        self._file_lock.forget()
        self.release_file()

    def ready(self) -> os.stat_result:
        """
        Make sure that the right file is open, and give its state.
        """
        found = super().ready()
        if not self._ends_lines_as_ascii:
            self._torn = False  # a single byte would not end a line, but shift all that follow
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """
        Append the record, starting a new file before it if it is time.
        """
        try:
            text = self.format(record)
            line = (text + self.terminator).encode(self.encoding or "utf-8", self.errors or "backslashreplace")
            with self._file_lock.hold() as locked:
                self.ready()
                self._formatted = record, text
                if locked and self.shouldRollover(record):
                    self.doRollover()
                if self._mark and not self._is_at_start():
                    line = line.removeprefix(self._mark)
                self.append([line], rotate=False, locked=locked)
            if self.error:
                raise self.error
        except Exception:
            self.handleError(record)
        finally:
            self._formatted = None

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """
        Whether a new file is due before the record, by the standard library's own rule for its size.
        """
        found = self.ready()
        if not stat.S_ISREG(found.st_mode):
            return False
        if self.rotation.backup_count > 0 and found.st_size and self.rotation.is_over(found.st_mtime):
            return True
        if self.maxBytes <= 0:
            return False
        known = self._formatted
        text = known[1] if known is not None and known[0] is record else None
        if not found.st_size and (text is None or len(text) + 1 >= self.maxBytes):
            # Whether a record that is longer than a file may be makes an empty one old depends on the Python.
            return bool(RotatingFileHandler.shouldRollover(self, record))
        size = len(self.format(record) if text is None else text) + 1
        return found.st_size + size >= self.maxBytes

    def _is_at_start(self) -> bool:
        found = self.ready()
        return stat.S_ISREG(found.st_mode) and not found.st_size

    def doRollover(self) -> None:
        """
        Start a new file, if old ones are kept at all. What is no regular file, such as a device, stays as it is.
        """
        with suppress(NotRegularError):
            self.rotate_file()
        self.rotated.clear()
        self.ready()

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """
        Give the descriptors back. The next record opens the file again.
        """
        self.release_file()
        self._file_lock.close()
        logging.Handler.close(self)


def _marks_of(encoding: str) -> tuple[bytes, bytes]:
    """The byte order mark that an encoder begins with, and a line end without it."""
    once, twice = "\n".encode(encoding), "\n\n".encode(encoding)
    size = 2 * len(once) - len(twice)
    return once[:size], once[size:]
