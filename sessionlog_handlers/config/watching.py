"""
A configuration file in force as it is: applied, watched, and applied again when it changes.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from queue import Empty, SimpleQueue
from types import TracebackType

from sessionlog_handlers.config.applying import Ledger
from sessionlog_handlers.config.configure import apply_checked, path_of
from sessionlog_handlers.config.loading import load_text, read_file
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.signals import give_back, redirect
from sessionlog_handlers.pipeline.threads import start_thread
from sessionlog_handlers.settings.values import parse_duration, parse_within, show

LEAST_INTERVAL = 0.01  # seconds
SAME_LOOKS = 2  # in a row that see the same, until a file counts as whole
MISSING_LOOKS = 5  # in a row that see no file, until that counts as an error: some editors remove it and write it anew
YOUNG = 2.0  # seconds in which a file may change and keep its time, on a coarse file system
STOP_TIMEOUT = 2.0  # seconds that `stop` waits for a configuration that is just being applied
FORK_TIMEOUT = 1.0  # seconds that a fork waits for one

_State = tuple[int, ...] | None

_watches: dict[str, Watch] = {}  # by path
_registry = threading.RLock()  # for watches that come and go
_held: dict[int, list[threading.RLock]] = {}  # by forking thread: what it holds meanwhile


def watch(path: str | os.PathLike[str], *, interval: float | str = 1.0, sighup: bool = False) -> Watch:
    """
    Apply a configuration file, and apply it again whenever it changes, as a whole or not at all.

    A file that is broken changes nothing and is told of on stderr, once. The levels of open sessions follow it, unless
    they were asked for. A forked child goes on watching for itself. A second watch of the same path takes the place of
    the first.

    Args:
        path: Of the YAML file. A relative one is resolved now.

        interval: Time between two looks at the file, in seconds or as text such as ``500 ms``. (default: 1)

        sighup: Whether SIGHUP, too, applies the file, at once and also if it has not changed. (default: False)

    Returns:
        The watch, to be stopped by `Watch.stop`, or at the end of the process.

    Raises:
        ConfigurationError: If the file is wrong now, *interval* is none, or *sighup* is not possible here.

    .. versionadded:: 0.1.0
    """
    place = os.path.abspath(path_of(path))
    seconds = parse_within("interval", parse_duration, interval)
    if seconds < LEAST_INTERVAL:
        raise ConfigurationError(f"{show(interval)} is too short; the least is {LEAST_INTERVAL:g} seconds", "interval")
    if sighup and not hasattr(signal, "SIGHUP"):
        raise ConfigurationError("this system has no SIGHUP", "sighup")
    if sighup and threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("signals can only be handled by the main thread; call it there", "sighup")
    with _registry:
        before = _watches.get(place)
        new = Watch(place, seconds, sighup=sighup, ledger=before._ledger if before else {})
        new._begin()
        _watches[place] = new
        if sighup:
            redirect(signal.SIGHUP, _reload_all)
        if before is not None:
            before.stop()
    return new


class Watch:
    """
    A configuration file that is watched. Get one from `watch`; as a context manager it is stopped with its block.

    Args:
        path: The file.

        interval: Seconds between two looks.

        sighup: Whether SIGHUP applies it.

        ledger: What the version in force made of the loggers.

    Attributes:
        reloads: How many times the file was applied, the first time left out.

        errors: How many times it could not be.

        last_error: Why, the last time; None if it always could.

    .. versionadded:: 0.1.0
    """

    def __init__(self, path: str, interval: float, *, sighup: bool = False, ledger: Ledger | None = None) -> None:
        self.path = path
        self.interval = interval
        self.sighup = sighup
        self.reloads = 0
        self.errors = 0
        self.last_error: str | None = None
        self._ledger: Ledger = {} if ledger is None else ledger
        self._file = _File(path)
        self._reporter = Reporter()
        self._read = ""  # the text that was read last, or why there was none
        self._applied = ""  # the text in force
        self._stopped = False
        self._reset()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}{' (stopped)' if self._stopped else ''}>"

    def reload(self) -> None:
        """
        Apply the file now, in this thread, changed or not.

        Raises:
            ConfigurationError: If it is wrong. Logging is then as it was before.
        """
        with self._lock:
            try:
                self._apply_now()
            except ConfigurationError as error:
                self._count(error)
                raise
            self.reloads += 1

    def stop(self) -> None:
        """
        Watch no more, and let SIGHUP mean what it meant before. What is configured stays. Idempotent.
        """
        self._halt()
        with _registry:
            if _watches.get(self.path) is self:
                del _watches[self.path]
            if self.sighup and not any(one.sighup for one in _watches.values()):
                give_back(signal.SIGHUP)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- life --------------------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._lock = threading.RLock()  # one version at a time
        self._inbox: SimpleQueue[bool] = SimpleQueue()  # True: apply the file; False: end
        self._thread: threading.Thread | None = None

    def _begin(self) -> None:
        with self._lock:
            self._apply_now()
            self._start()

    def _start(self) -> None:
        self._thread = start_thread(self._run, "sessionlog-watch")
        if self._thread is None:
            self._reporter.report("thread", f"{self.path} is not watched: no thread can be started")

    def _halt(self) -> None:
        self._stopped = True
        self._inbox.put(False)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT)

    def _wake(self) -> None:
        """Have the file applied by the thread. A signal handler may call this."""
        self._inbox.put(True)

    def _hold(self) -> threading.RLock | None:
        """Keep the file from being applied, for a fork. Gives the lock that is held then, None if it took too long."""
        return self._lock if self._lock.acquire(timeout=FORK_TIMEOUT) else None

    def _after_fork_in_child(self) -> None:
        """Go on in a forked child, where there is no thread, and where another one may have held the lock."""
        self._reset()
        if not self._stopped:
            self._start()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        inbox = self._inbox
        while True:
            try:
                try:
                    if not inbox.get(timeout=self.interval):
                        return
                except Empty:
                    self._look()
                else:
                    self.reload()
            except ConfigurationError as error:
                self._tell(str(error))
            except (
                BaseException
            ) as error:  # a factory of the app's may ask for the end, which is not a thread's to give
                self._count(error)
                self._tell(f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        """
        Apply the file if it has come to rest as another one.

        Raises:
            ConfigurationError: If that is wrong, for the first time.
        """
        with self._lock:
            if not self._file.is_new():
                return
            before = self._read
            try:
                text = self._read_now()
                if self._file.has_changed():
                    self._read = before  # what was read may be of two versions
                elif text not in (before, self._applied):
                    self._apply(text)
                    self.reloads += 1
            except ConfigurationError as error:
                if self._read != before:
                    self._count(error)
                    raise

    def _apply_now(self) -> None:
        self._file.note()
        self._apply(self._read_now())

    def _read_now(self) -> str:
        try:
            self._read = read_file(self.path)
        except ConfigurationError as error:
            self._read = str(error)
            raise
        return self._read

    def _apply(self, text: str) -> None:
        apply_checked(load_text(text, self.path), self._ledger)
        self._applied = text

    def _count(self, error: BaseException) -> None:
        self.errors += 1
        self.last_error = str(error) or type(error).__name__

    def _tell(self, reason: str) -> None:
        where = "" if reason.startswith(self.path) else f"{self.path}: "
        self._reporter.report(f"error {self.errors}", f"{where}{reason} (the configuration before it stays in force)")


class _File:
    """
    When a file has come to rest in another state than before.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._last: _State = None  # what the last look saw
        self._looks = 0  # in a row that saw it
        self._known: _State = None  # what was read

    def note(self) -> None:
        """
        It is read now, at rest or not.
        """
        self._known = self._last = self._see()
        self._looks = SAME_LOOKS

    def is_new(self) -> bool:
        """
        Look, and tell whether the file is worth reading.
        """
        state = self._see()
        self._looks = self._looks + 1 if state == self._last else 1
        self._last = state
        if self._looks < (SAME_LOOKS if state else MISSING_LOOKS):
            return False
        is_new = state != self._known
        self._known = state
        return is_new or self._is_young(state)

    def has_changed(self) -> bool:
        """
        Whether it is another one now than at the last look, so that what was read may be of both.
        """
        return self._see() != self._last

    def _see(self) -> _State:
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return (error.errno or 0,)
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev

    @staticmethod
    def _is_young(state: _State) -> bool:
        return state is not None and abs(time.time() - state[0] / 1e9) < YOUNG


def _reload_all() -> None:
    for one in [*_watches.values()]:
        if one.sighup:
            one._wake()


def _halt_all() -> None:
    for one in [*_watches.values()]:
        one._halt()


def _before_fork() -> None:
    locks = (one._hold() for one in [*_watches.values()])
    _held[threading.get_ident()] = [lock for lock in locks if lock is not None]


def _after_fork_in_parent() -> None:
    for lock in _held.pop(threading.get_ident(), ()):
        lock.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.RLock()
    _held.clear()
    for one in [*_watches.values()]:
        one._after_fork_in_child()


atexit.register(_halt_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
