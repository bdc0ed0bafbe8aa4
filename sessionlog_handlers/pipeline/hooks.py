"""
Calling what an app wants called: a callable in a thread of its own, or a command without a shell, for a limited time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline.threads import start_thread
from sessionlog_handlers.settings.tables import Hook

MAX_TOLD = 200  # characters of what a hook raised

# Callables that were given up and have not come back: they must not be called a second time beside that.
_late: dict[int, threading.Thread] = {}


class HookError(Exception):
    """
    A hook raised, gave an exit code other than 0, could not be run, or took too long. The text is a clause about it.
    """


def run_hook(
    hook: Hook,
    *,
    timeout: float,
    argument: object = None,
    arguments: Sequence[str | os.PathLike[str]] = (),
    environment: Mapping[str, str] | None = None,
    running: set[subprocess.Popen[bytes]] | None = None,
) -> None:
    """
    Call a hook and wait until it is done. No lock should be held meanwhile.

    What a command writes to stderr goes where the app's own does; its standard output goes nowhere, its input is empty.
    A command that takes too long is killed, with all that it started; so it is at Ctrl-C. A callable can't be: it goes
    on in its thread, and until it comes back it is not called again.

    Args:
        hook: A callable, or the words of a command.

        timeout: Seconds that it may take.

        argument: What a callable is given.

        arguments: What is added to a command's words.

        environment: What a command finds in its environment beside that of this process. (default: nothing)

        running: Where a command is as long as it runs, for `kill_command`. (default: nowhere)

    Raises:
        HookError: If it failed or took too long.
    """
    if callable(hook):
        _call(hook, argument, timeout)
    else:
        _run([*hook, *(os.fspath(word) for word in arguments)], environment or {}, timeout, running)


def kill_command(process: subprocess.Popen[bytes]) -> None:
    """
    Kill a command with all that it started, from whichever thread.
    """
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _call(hook: Callable[..., Any], argument: object, timeout: float) -> None:
    late = _late.get(id(hook))
    if late is not None and late.is_alive():
        raise HookError("it has not come back from the last time that it was called")
    outcome: list[BaseException | None] = []

    def work() -> None:
        try:
            hook(argument)
        except BaseException as error:  # SystemExit too: the app is not to end because of its archive
            outcome.append(error)
        else:
            outcome.append(None)

    thread = start_thread(work, "sessionlog-hook")
    if thread is None:
        work()
    else:
        thread.join(timeout)
        if thread.is_alive():
            _late[id(hook)] = thread  # which refers to the hook, so no other object can have its number meanwhile
            raise HookError(f"it took more than {timeout:g} s")
    _late.pop(id(hook), None)
    if outcome[0] is not None:
        raise HookError(f"it raised {safe_repr(outcome[0]):.{MAX_TOLD}}") from outcome[0]


def _run(
    words: list[str],
    environment: Mapping[str, str],
    timeout: float,
    running: set[subprocess.Popen[bytes]] | None,
) -> None:
    running = set() if running is None else running
    try:
        process = subprocess.Popen(
            [_plain(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environb, **{os.fsencode(name): _plain(value) for name, value in environment.items()}}
            if os.supports_bytes_environ
            else {**os.environ, **environment},
            start_new_session=True,  # so that all that it starts can be killed with it, and Ctrl-C is the app's alone
        )
    except (OSError, ValueError) as error:
        raise HookError(f"it can't be run: {getattr(error, 'strerror', None) or error}") from error
    running.add(process)
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise HookError(f"it took more than {timeout:g} s and was killed") from None
    finally:
        # Ctrl-C, too: what is in a session of its own gets none, and would go on without anybody who waits for it.
        if process.returncode is None:
            kill_command(process)
            process.wait()
        running.discard(process)
    if code:
        why = f"signal {-code} ended it" if code < 0 else f"its exit code was {code}"
        raise HookError(why)


def _plain(text: str) -> bytes | str:
    """A text as a program can be given it: an id may hold what no argument can."""
    if not os.supports_bytes_environ:
        return text
    try:
        return os.fsencode(text).replace(b"\0", b"\\x00")
    except UnicodeEncodeError:  # halves of surrogate pairs
        return text.encode("utf-8", "backslashreplace").replace(b"\0", b"\\x00")
