"""
What a configuration names: `SessionHandler`, a log per session; `SessionRotatingFileHandler`, its writer for one file.
"""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import suppress
from logging.handlers import BaseRotatingHandler, RotatingFileHandler
from typing import Any, Unpack

from sessionlog_handlers.exceptions import ConfigurationError, SessionLogWarning
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.files import NotRegularError, make_root
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.rotation import RotationPolicy, is_when
from sessionlog_handlers.pipeline.writer import Writer
from sessionlog_handlers.session import BY_ALL, TAKEN, Session
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.options import SettingsOptions
from sessionlog_handlers.settings.values import parse_size

FLUSH_TIMEOUT = 5.0  # seconds


class SessionHandler(logging.Handler):
    """
    Write each record to the log of the session it belongs to.

    A plain handler that owns its queue, its thread and its files, so that `logging.config.dictConfig` treats it alike
    on every Python. `emit` never raises and never waits for a disk. `close` writes what is queued and gives everything
    back; the next record brings the handler to life again.

    Args:
        directory: The root, with one directory per session. Created on first write, readable by its owner only.
            (default: ``~/.sessionlog/logs``)

        options: Every other setting, by name: see ``docs/configuration.md``.

    Raises:
        ConfigurationError: If a setting is unknown, of the wrong type, out of range, or contradicts another.

        OSError: With ``on_error: raise`` only, if the root can't be made.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, **options: Unpack[SettingsOptions]) -> None:
        given: dict[str, Any] = {**options}
        if directory is not None:
            given["directory"] = directory
        settings = Settings.from_options(given)
        if settings.on_error == "raise" and settings.enabled:
            make_root(str(settings.directory), settings.directory_mode)
        self.settings = settings
        self.root = lifecycle.root_for(settings, self, Session)
        super().__init__()  # last: what could not be made must not be registered with `logging`

    def createLock(self) -> None:
        """Do without the lock of the base class: nothing here needs one."""
        self.lock = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.root.directory} ({logging.getLevelName(self.level)})>"

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """
        Ignore a formatter, and say so: the settings ``layout`` or ``files`` name the line format.
        """
        if fmt is not None:
            warnings.warn(
                f"{type(self).__name__} writes the line format of its layout; remove 'formatter:' "
                f"({type(fmt).__name__}), or choose a format with 'layout:' or 'files:'",
                SessionLogWarning,
                stacklevel=2,
            )

    def handle(self, record: logging.LogRecord) -> bool:
        """
        Pass the record through the handler's filters and take it.
        """
        try:
            passed: Any = self.filter(record)
        except Exception as error:  # a filter of the app's own
            self.root.reporter.report(f"filter {type(error).__name__}", f"a filter failed: {safe_repr(error):.200}")
            return False
        if isinstance(passed, logging.LogRecord):  # from Python 3.12 on, a filter may give another one
            record = passed
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """
        Take a record into its session's log. Never raises.
        """
        try:
            taken = record.__dict__.get(TAKEN)
            root = self.root
            if taken == BY_ALL or taken == root.directory or not self.settings.enabled:
                return
            channel = root.find(record)
            if channel is not None:
                channel.accept_record(record)
                record.__dict__.setdefault("session_id", channel.id)  # for the handlers that come after
            # A handler on two loggers, or an older one of the same root, sees the record again.
            record.__dict__[TAKEN] = root.directory
        except Exception as error:
            self._failed(record, error)

    def _failed(self, record: logging.LogRecord, error: Exception) -> None:
        try:
            self.root.losses.count(None, "error")
            self.root.reporter.report(
                f"emit {type(error).__name__}",
                f"a record of logger {record.name} was not taken: {safe_repr(error):.200}",
            )
        except Exception:
            return  # the stack or the memory is at its end; the app matters more than its log

    def flush(self) -> None:
        """
        Wait until everything logged before is in its files, for at most five seconds.
        """
        self.root.flush(FLUSH_TIMEOUT)

    def close(self) -> None:
        """
        Write what is queued, stop the threads and give every descriptor back. Idempotent; sessions stay open.

        The next record starts all of it again: another library's configuration closes handlers that stay attached.
        """
        super().close()
        if lifecycle.is_newest(self, self.root):
            self.root.close()

    def stats(self) -> dict[str, Any]:
        """
        Counters of the root since the process began: ``accepted = written + dropped + pending``.
        """
        return self.root.stats()


class SessionRotatingFileHandler(Writer, RotatingFileHandler):
    """
    A drop-in for `logging.handlers.RotatingFileHandler`, for one file that several processes may write.

    Synchronous: the record is in the file when the call returns. It shares concurrent-log-handler's lock file, so both
    kinds of process can write one log. Like the standard library's, it never rotates while *backupCount* is 0.

    Args:
        filename: The log. A leading ``~`` is the home directory.

        mode: ``a``, ``w`` (empty it at the start; not with *maxBytes*) or ``x`` (it must not exist).

        maxBytes: Size at which a new file is started, in bytes or as text such as ``5 MB``. (default: 0, never)

        backupCount: How many old files are kept. (default: 0)

        encoding: Of the text. (default: UTF-8)

        delay: Whether to open the file with the first record only. (default: False)

        errors: What to do with text that *encoding* lacks. (default: ``backslashreplace``)

        when: Start a new file at time boundaries: S, M, H, D, midnight, W0 to W6. (default: not)

        interval: Units of *when* between two boundaries. (default: 1)

        utc: Whether days begin at midnight UTC. (default: False, local time)

        file_mode: Permission bits of new files. (default: 0600)

    Raises:
        ConfigurationError: If *maxBytes* is no size or *when* no time unit.

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
        BaseRotatingHandler.__init__(self, filename, mode, encoding=encoding or "utf-8", delay=True, errors=errors)
        self._prepare(
            RotationPolicy(max_bytes=max_bytes, backup_count=backupCount, when=when, interval=interval, utc=utc),
            file_mode,
            0o700,
        )
        self.maxBytes = max_bytes
        self.backupCount = backupCount
        self.terminator = "\n"
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

    def format_bytes(self, record: logging.LogRecord) -> bytes:
        """
        The record's line as it will be in the file.
        """
        text = self.format(record) + self.terminator
        return text.encode(self.encoding or "utf-8", self.errors or "backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """
        Append the record, starting a new file before it if it is time.
        """
        try:
            line = self.format_bytes(record)
            with self._file_lock.hold() as locked:
                self.ready()
                if locked and self.shouldRollover(record):
                    self.doRollover()
                self.append([line], rotate=False)
            if self.error:
                raise self.error
        except Exception:
            self.handleError(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """
        Whether a new file is due before the record, by the standard library's own rule for its size.
        """
        found = self.ready()
        if self.rotation.backup_count > 0 and found.st_size and self.rotation.is_over(found.st_mtime):
            return True
        return bool(RotatingFileHandler.shouldRollover(self, record))

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
