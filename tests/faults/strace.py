"""
Faults made by the kernel's tracer: an error, a delay or the death of the process at the n-th system call of a thread.

`strace` counts the calls of each thread by itself, so a fault is aimed at one of the program's threads.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ATTACH_TIMEOUT = 10.0  # seconds
INJECTED = "(INJECTED"
DELAYED = "(DELAYED)"


@functools.cache
def is_possible() -> bool:
    """
    Whether strace is there and may trace a child of ours.
    """
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            with attached(child.pid, [child.pid], "trace=write", Path("/dev/null")):
                return True
        except OSError:
            return False
        finally:
            child.kill()


def expression(call: str, what: str, when: int = 1, for_ever: bool = False) -> str:
    """
    What strace is told of a fault.

    Args:
        call: The system call.

        what: ``KILL``, an error's name, or ``delay MICROSECONDS``.

        when: At which call of a thread, counted from 1.

        for_ever: And at each one after it.
    """
    if what == "KILL":
        effect = "signal=KILL"
    elif what.startswith("delay "):
        effect = f"delay_enter={what.split()[1]}"
    else:
        effect = f"error={what}"
    return f"inject={call}:{effect}:when={when}{'+' if for_ever else ''}"


@contextlib.contextmanager
def attached(pid: int, threads: Iterable[int], what: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    Trace these threads of a process for a block.

    Raises:
        OSError: If it can't be traced.
    """
    threads = list(threads)
    command = ["strace", "-f" if len(threads) > 1 else "-qq", "-qq", "-o", str(output), "-e", what]
    for thread in threads:
        command += ["-p", str(thread)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        try:
            deadline = time.monotonic() + ATTACH_TIMEOUT
            while not all(_is_traced(pid, thread) for thread in threads):
                if tracer.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"strace can't be attached to process {pid}")
                time.sleep(0.0005)
            yield tracer
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                tracer.wait(0.5)  # it ends with what it traces
            tracer.terminate()


def _is_traced(pid: int, thread: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    except OSError:
        return True  # it is gone already
    return "TracerPid:\t0\n" not in status


def count_made(output: Path) -> int:
    """
    How many faults a trace tells of.
    """
    try:
        text = output.read_text("utf-8", "replace")
    except OSError:
        return 0
    return text.count(INJECTED) + text.count(DELAYED)
