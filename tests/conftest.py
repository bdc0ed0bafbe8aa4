"""
What holds for every test: logging as it was, an empty home folder, no variable of ours, nothing left running or open.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helpers
import pytest
from helpers import FOLDER_VARIABLES, OUR_PREFIX, OUR_VARIABLES, PACKAGE_DIRECTORY
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

THREAD_PREFIX = "sessionlog"  # every thread of this package is called so
END_OF_THREADS = 3.0  # seconds that our threads have to end after a test

# How long an example takes says nothing on a busy machine.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

_missing_programs = pytest.StashKey[dict[str, list[str]]]()


def known_programs() -> dict[str, str]:
    """
    Program → Debian package, as `programs.txt` has them.
    """
    lines = Path(__file__).with_name("programs.txt").read_text("utf-8").splitlines()
    return dict(line.split() for line in lines if line.strip() and not line.startswith("#"))


def pytest_configure(config: pytest.Config) -> None:
    """
    Runs while pytest captures nothing: what the watchdog has to say must reach the terminal.
    """
    config.stash[_missing_programs] = {}
    helpers.watchdog_output = os.dup(2)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Skip a test by what it names and the machine lacks; in CI, fail it.
    """
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root's rights")
    names = [name for marker in item.iter_markers("needs_program") for name in marker.args]
    known = known_programs()
    for name in names:
        if name not in known:
            pytest.fail(f"{name} is not in tests/programs.txt: add it with its package", pytrace=False)
    absent = [name for name in names if shutil.which(name) is None]
    if absent:
        for name in absent:
            item.config.stash[_missing_programs].setdefault(name, []).append(item.nodeid)
        reason = f"needs {', '.join(absent)}, which is not installed"
        if IN_CI:
            pytest.fail(f"{reason}; in CI it has to be", pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """
    Which programs were missing, for which tests, and the line that cures it.
    """
    missing = config.stash[_missing_programs]
    if not missing:
        return
    known = known_programs()
    terminalreporter.section("programs that were not there")
    for name in sorted(missing):
        terminalreporter.write_line(f"{name} is needed by:")
        for nodeid in sorted(missing[name]):
            terminalreporter.write_line(f"    {nodeid}")
    packages = sorted({known[name] for name in missing})
    terminalreporter.write_line(f"To run them too: apt-get install {' '.join(packages)}")


def _our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)}


def _open_files_below(directory: Path) -> set[tuple[str, str]]:
    """
    (descriptor, path) of every file of *directory* that this process holds open. Empty where there is no /proc.
    """
    result = set()
    prefix = f"{directory}{os.sep}"
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith(prefix):
            result.add((name, target))
    return result


@pytest.fixture(autouse=True)
def _no_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    After all other fixtures of the test: none of our threads runs, no file of the test is open.
    """
    base = tmp_path_factory.getbasetemp().resolve()
    threads, files = _our_threads(), _open_files_below(base)
    yield
    deadline = time.monotonic() + END_OF_THREADS
    while (left := _our_threads() - threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"threads left running: {sorted(thread.name for thread in left)}"
    if _open_files_below(base) - files:
        with warnings.catch_warnings():
            # What only a cycle kept open is reported below by its path, not by an unraisable ResourceWarning.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        open_files = _open_files_below(base) - files
        assert not open_files, f"files left open: {sorted(path for _, path in open_files)}"


@pytest.fixture(autouse=True)
def home(_no_leaks: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    An empty home folder for the test and its children; no variable of ours but the one that points into it.
    """
    for name in list(os.environ):
        if name.startswith(OUR_PREFIX) or name in OUR_VARIABLES or name in FOLDER_VARIABLES:
            monkeypatch.delenv(name)
    directory = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setenv("SESSIONLOG_HOME", str(directory / ".sessionlog"))
    return directory


@dataclass
class _LoggerState:
    """
    What a test may change about one logger.
    """

    level: int = logging.NOTSET
    propagate: bool = True
    disabled: bool = False
    handlers: list[logging.Handler] = field(default_factory=list)
    filters: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, logger: logging.Logger) -> _LoggerState:
        return cls(logger.level, logger.propagate, logger.disabled, logger.handlers[:], logger.filters[:])

    def restore(self, logger: logging.Logger) -> list[logging.Handler]:
        """
        Put the state back and give the handlers that were not there before.
        """
        added = [handler for handler in logger.handlers if handler not in self.handlers]
        logger.handlers[:] = self.handlers
        logger.filters[:] = self.filters
        logger.propagate, logger.disabled = self.propagate, self.disabled
        if logger.level != self.level:
            logger.setLevel(self.level)
        return added


def _loggers() -> dict[str, logging.Logger]:
    existing = logging.Logger.manager.loggerDict.items()
    return {"": logging.root, **{name: logger for name, logger in existing if isinstance(logger, logging.Logger)}}


def _live_handlers() -> list[logging.Handler]:
    references = list(logging._handlerList)  # the list that logging.shutdown goes through
    return [handler for reference in references if (handler := reference()) is not None]


def _is_ours(handler: logging.Handler) -> bool:
    return any(cls.__module__.startswith("sessionlog_handlers.") for cls in type(handler).__mro__)


def _close_our_state() -> None:
    """
    End what the package keeps for the whole process. Only modules that the test has loaded can have kept anything.
    """
    root = sys.modules.get("sessionlog_handlers.pipeline.lifecycle")
    if close_all := getattr(root, "close_all", None):
        close_all()
    if context := sys.modules.get("sessionlog_handlers.context"):
        context.set_default_session(None)
        context._current.set(None)


@pytest.fixture(autouse=True)
def _restore_logging(home: Path) -> Iterator[None]:
    """
    Root logger, every other logger and logging's switches are after the test what they were before it.

    Handlers that the test attached, and all of ours that it made, are closed.
    """
    before = {name: _LoggerState.of(logger) for name, logger in _loggers().items()}
    handlers = {id(handler) for handler in _live_handlers()}
    names = dict(logging._levelToName), dict(logging._nameToLevel)
    disabled, raises = logging.root.manager.disable, logging.raiseExceptions
    factory, logger_class, last_resort = logging.getLogRecordFactory(), logging.getLoggerClass(), logging.lastResort
    yield
    new = [handler for handler in _live_handlers() if id(handler) not in handlers and _is_ours(handler)]
    for name, logger in _loggers().items():
        new += before.get(name, _LoggerState()).restore(logger)
    for handler in {id(handler): handler for handler in new}.values():
        handler.close()
    del new
    _close_our_state()
    logging.captureWarnings(False)
    logging.disable(disabled)
    logging.raiseExceptions, logging.lastResort = raises, last_resort
    logging.setLogRecordFactory(factory)
    logging.setLoggerClass(logger_class)
    for table, saved in zip((logging._levelToName, logging._nameToLevel), names, strict=True):
        table.clear()
        table.update(saved)


@pytest.fixture
def package_directory() -> Path:
    """
    Where the package under test is: in the checkout, or installed.
    """
    return PACKAGE_DIRECTORY
