"""
The harness's side of a logging program: start it, aim a fault at it, tell it to go, see how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import child_environment

from faults import strace
from faults.acks import DONE, READY, Acks

TIMEOUT = 60.0  # seconds that a program may take
PAUSE = 0.0005  # seconds between two looks
ALL = "*"  # every thread that runs when the program is ready

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Fault:
    """
    What is to go wrong in a program.

    Args:
        call: The system call.

        what: ``KILL``, an error's name, ``delay MICROSECONDS``, or ``short``: a part is written, then comes an error.

        when: At which call, counted from 1.

        for_ever: And at each one after it.

        thread: Whose calls are meant, by the name of the thread.
    """

    call: str
    what: str
    when: int = 1
    for_ever: bool = False
    thread: str = "sessionlog-listener"

    @property
    def by_tracer(self) -> bool:
        """Whether the kernel's tracer makes it; else it is made in the program, in whatever thread."""
        return self.what != "short" and strace.is_possible()

    @property
    def method(self) -> str:
        """How it is made, for the table."""
        return "strace" if self.by_tracer else "os functions replaced"


class NotBegunError(RuntimeError):
    """
    A program ended before it could do anything: that says nothing of what it was to try.
    """


class Child:
    """
    A program that runs, or ran.

    Args:
        options: What it is told: at least *program*, *root* and *acks*.

        home: A folder for what it may keep beside its root, and for compiled modules. Several may share it.

        fault: What is to go wrong.

        python: Options of the interpreter.
    """

    def __init__(self, options: dict[str, Any], home: Path, fault: Fault | None = None, python: Sequence[str] = ()):
        self.root = Path(options["root"])
        self.acks = Acks(options["acks"], options.get("base", 0))
        self.fault = fault
        self._name = Path(options["acks"]).name
        self._trace = Path(f"{options['acks']}.trace")
        self._stderr = Path(f"{options['acks']}.stderr")
        self._printed = ""
        self.faults_made = 0  # known when it has ended
        self._stack = contextlib.ExitStack()
        if fault is not None and not fault.by_tracer:
            made = {"kind": "fail", "call": fault.call, "what": fault.what, "when": fault.when}
            options["calls"] = [*options.get("calls", []), {**made, "for_ever": fault.for_ever}]
        with open(self._stderr, "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", *python, "-m", "faults.program", json.dumps(options)],
                env=_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        self._stack.enter_context(self.process)

    @property
    def stderr(self) -> str:
        """What it printed."""
        with contextlib.suppress(FileNotFoundError):  # its place has been judged, and deleted
            self._printed = self._stderr.read_text("utf-8", "replace")
        return self._printed

    def _count_faults(self) -> int:
        """How often the fault was made; a death counts as one."""
        if self.fault is not None and self.fault.by_tracer:
            return int(self.is_killed) if self.fault.what == "KILL" else strace.count_made(self._trace)
        return self.acks["injected"]

    @property
    def is_killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.process.returncode == -signal.SIGKILL

    def wait(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> bool:
        """
        Wait until a condition holds; False if the program ended before.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None:
                return bool(condition())
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._name} took more than {timeout:g} s: {self.tell()}")
            time.sleep(PAUSE)
        return True

    def wait_done(self, step: int) -> None:
        """Wait until the program says that it is done with that step."""
        self.wait(lambda: self.acks["done"] >= step)

    def go(self) -> Child:
        """
        Wait until it is ready, aim the fault, and let it begin.
        """
        if not self.wait(lambda: self.acks["state"] >= READY):
            raise NotBegunError(f"{self._name} did not begin: {self.stderr[-2000:]}")
        if self.fault is not None and self.fault.by_tracer:
            fault, threads = self.fault, self.acks.notes["threads"]
            aimed = list(threads.values()) if fault.thread == ALL else [threads[fault.thread]]
            what = strace.expression(fault.call, fault.what, fault.when, fault.for_ever)
            self._stack.enter_context(strace.attached(self.process.pid, aimed, what, self._trace))
        self.step()
        return self

    def step(self) -> None:
        """Say go once more."""
        self.acks.add("go")

    def end(self, timeout: float = TIMEOUT) -> Child:
        """
        Wait for its end. Who takes longer is asked for the tracebacks of its threads and ended.

        Raises:
            TimeoutError: If it had to be ended.
        """
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            said = self.tell()
            raise TimeoutError(f"{self._name} hangs: {said}") from None
        finally:
            self.close()
        return self

    def tell(self) -> str:
        """End it, and give what it says of its threads."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.process.send_signal(signal.SIGABRT)  # faulthandler answers with all tracebacks
            self.process.wait(2.0)
        self.process.kill()
        return self.stderr[-6000:]

    def kill(self) -> Child:
        """
        Kill it.
        """
        self.process.kill()
        self.process.wait()
        self.close()
        return self

    def close(self) -> None:
        """
        End what still runs of it.
        """
        if self.process.poll() is None:
            self.process.kill()
        self._stack.close()
        self._printed = self.stderr
        self.faults_made = self.faults_made or self._count_faults()

    @property
    def stats(self) -> dict[str, Any]:
        """Its last counters, empty if it did not come to its end."""
        return self.acks.notes.get("stats", {})

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end."""
        return self.acks["state"] == DONE and self.process.returncode == 0


def _environment(home: Path) -> dict[str, str]:
    clean = {name: None for name in os.environ if name.startswith("SESSIONLOG_") or name.endswith("_SESSION_LOG")}
    env = child_environment(
        {**clean, "HOME": str(home), "SESSIONLOG_HOME": str(home / "sessionlog"), "PYTHONDONTWRITEBYTECODE": None}
    )
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), env.get("PYTHONPATH")]))
    env.setdefault("PYTHONPYCACHEPREFIX", str(home / "pycache"))
    return env
