"""
What the tests of commands share: running them in this process and in another, and an app that logs meanwhile.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import child_environment, run_python

from sessionlog_handlers.cli.main import run

APP = """
import logging.config, sys
from sessionlog_handlers import start_session
logging.config.dictConfig({
    "version": 1,
    "handlers": {"s": {
        "class": "sessionlog_handlers.SessionHandler",
        "directory": sys.argv[1],
        "session_level": "signals",
        "layout": sys.argv[2],
    }},
    "root": {"level": "DEBUG", "handlers": ["s"]},
})
sessions = [start_session(id) for id in sys.argv[3:]]
for session in sessions:
    session.event("completion", text="ready")
logging.getHandlerByName("s").flush() if hasattr(logging, "getHandlerByName") else logging.root.handlers[0].flush()
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class App:
    """
    An app in another process that keeps sessions open, and runs what it is told.
    """

    def __init__(self, root: Path, *ids: str, layout: str = "multiplexer") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, str(root), layout, *ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
            text=True,
        )
        self._expect("ready")

    def run(self, statement: str) -> None:
        """
        Have the app run a statement; `sessions` are its sessions.
        """
        assert self.process.stdin
        self.process.stdin.write(f"{statement}\n")
        self.process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == f"{word}\n"

    def kill(self) -> None:
        """
        End the app without a chance to say anything.
        """
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        """
        Let the app end as apps do.
        """
        self.process.communicate(timeout=30)


@pytest.fixture
def start_app() -> Iterator[Callable[..., App]]:
    """
    Start apps that are ended after the test.
    """
    apps: list[App] = []

    def start(*args: object, **kwargs: object) -> App:
        apps.append(App(*args, **kwargs))  # type: ignore[arg-type]  # handed through
        return apps[-1]

    yield start
    for app in apps:
        app.kill()


@pytest.fixture
def ended(tmp_path: Path, start_app: Callable[..., App]) -> Path:
    """
    A root with one session that has ended, ``abc123``.
    """
    app = start_app(tmp_path / "logs", "abc123")
    app.run("logging.getLogger('app').warning('watch out', extra={'n': 5, 'session_id': 'abc123'})")
    app.close()
    return tmp_path / "logs"


class Outcome(NamedTuple):
    """
    What a command left behind.
    """

    code: int
    out: str
    err: str


@pytest.fixture
def sessionlog(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """
    Run the command in this process, exit code included.
    """

    def call(*args: str | Path) -> Outcome:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def sessionlog_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """
    Run the command in a process of its own, by the module of the package.
    """

    def call(*args: str | Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return run_python("from sessionlog_handlers.cli.main import main; main()", *args, **kwargs)

    return call


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """
    Make directories unreadable, also for root, whom no mode keeps out.
    """
    refused: set[str] = set()

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".") -> Any:
            if str(path) in refused:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return function(path)

        return call

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    return lambda path: refused.add(str(path))
