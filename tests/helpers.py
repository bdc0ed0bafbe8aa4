"""
What several tests need: children with a clean environment, waiting with a limit, reading JSON Lines, a watchdog.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import sessionlog_handlers

CHILD_TIMEOUT = 60.0  # seconds

# Variables that change what the package does. A child or a test sees them only when it sets them itself.
OUR_VARIABLES = ("FUGUE_SESSION_LOG", "CCMUX_SESSION_LOG")
OUR_PREFIX = "SESSIONLOG_"
FOLDER_VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")

watchdog_output = 2  # the descriptor; conftest puts the terminal's here

PACKAGE_DIRECTORY = Path(sessionlog_handlers.__file__).parent


def child_environment(env: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """
    This process's environment with *env* on top; a value of None takes a variable away.
    """
    result = dict(os.environ)
    if PACKAGE_DIRECTORY.parent != Path(sysconfig.get_path("purelib")):
        # The tests run on a checkout that may not be installed.
        result["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE_DIRECTORY.parent), result.get("PYTHONPATH")]))
    for name, value in (env or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def _answer_signals() -> None:
    """Under nohup, or in a shell's background, children would inherit that signals are ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def run_python(
    program: str | Path,
    *args: str | Path,
    env: Mapping[str, str | None] | None = None,
    cwd: str | Path | None = None,
    input: str | None = None,
    options: Sequence[str] = (),
    timeout: float = CHILD_TIMEOUT,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """
    Run a program in a child under the same interpreter and give back its output as text.

    Args:
        program: Source text, or the path of a file with it.

        args: Its arguments.

        env: Variables to set, or with None to take away.

        cwd: The child's working directory.

        input: Text for its standard input; by default that is empty.

        options: Options of the interpreter, such as ``-W`` and ``error``.

        timeout: Seconds after which the child has to print every thread's traceback and is ended.

        check: Fail the test, with the child's output, unless it exits with 0.
    """
    start = ["-c", program] if isinstance(program, str) else [str(program)]
    command = [sys.executable, "-X", "faulthandler", *options, *start, *map(str, args)]
    with subprocess.Popen(
        command,
        preexec_fn=_answer_signals,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(env),
        cwd=cwd,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    ) as child:
        try:
            out, err = child.communicate(input or "", timeout)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)  # faulthandler answers it with all tracebacks
            try:
                out, err = child.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
            pytest.fail(f"the child took more than {timeout:g} s\n--- stdout\n{out}\n--- stderr\n{err}", pytrace=False)
    if check and child.returncode:
        pytest.fail(f"the child exited with {child.returncode}\n--- stdout\n{out}\n--- stderr\n{err}", pytrace=False)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def wait_until(predicate: Callable[[], Any], timeout: float = 10.0, *, interval: float = 0.01) -> Any:
    """
    Call *predicate* every *interval* seconds until its answer is true, and give that; fail after *timeout* seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain for {getattr(predicate, '__name__', predicate)}")
        time.sleep(interval)
    return result


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """
    All lines of a JSON Lines file, gzipped or not. A line that is not whole, or not an object, fails the test.
    """
    path = Path(path)
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert not content or content.endswith(b"\n"), f"{path}: the last line is torn: {content[-80:]!r}"
    lines = [json.loads(line) for line in content.splitlines()]
    assert all(isinstance(line, dict) for line in lines), f"{path}: not every line is an object"
    return lines


def registered() -> int:
    """
    How many handlers `logging` knows of, garbage left out.
    """
    gc.collect()
    return len([reference for reference in logging._handlerList if reference() is not None])


@contextlib.contextmanager
def watchdog(seconds: float = 30.0) -> Iterator[None]:
    """
    Print every thread's traceback and end the run if the block, or the decorated function, takes more than *seconds*.

    For code that may deadlock with the interpreter's own locks held, where pytest-timeout's exception never arrives.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=watchdog_output)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
