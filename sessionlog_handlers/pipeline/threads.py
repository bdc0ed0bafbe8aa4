"""
Starting the package's threads, and the one rule about it: none after the interpreter has begun to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_forbidden = False


class _OurThread(threading.Thread):
    """A thread of this package."""


def start_thread(target: Callable[[], None], name: str) -> threading.Thread | None:
    """
    Start a daemon thread; None if there can be none any more, and its work must be done by whoever asks for it.

    At the interpreter's end a daemon thread is stopped wherever it is, so what it was given would be lost.
    """
    if _forbidden:
        return None
    thread = _OurThread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def are_forbidden() -> bool:
    """
    Whether the interpreter is about to end, so that nothing should be begun that takes long.
    """
    return _forbidden


def forbid_threads() -> None:
    """
    From now on there are no new threads. Called at the interpreter's end.
    """
    global _forbidden
    _forbidden = True


def is_ours() -> bool:
    """
    Whether this is a thread of the package. A finalizer of the app's may run in any thread, so in one of ours too.
    """
    return isinstance(threading.current_thread(), _OurThread)
