"""
Why something ends: a session's block, a child process, the program.
"""

from __future__ import annotations

import sys
import time

SIGNAL_MEMORY = 30.0  # seconds; an app that lives on for longer after a signal does not end because of it

_signal: tuple[str, float] | None = None  # the signal of which the process is about to end, and since when
_error = ""  # what a child of `multiprocessing` is about to end with


def reason_of(error: BaseException | None) -> str:
    """
    What an end is called that an exception brings about; None stands for none.
    """
    if error is None or isinstance(error, GeneratorExit):
        return "return"
    if isinstance(error, SystemExit):
        return f"exit {error.code if isinstance(error.code, int) else int(error.code is not None)}"
    return "signal SIGINT" if isinstance(error, KeyboardInterrupt) else f"exception {type(error).__name__}"


def ends_with(error: BaseException) -> None:
    """
    An exception is about to end this process, one that runs no exit functions and calls no hook.
    """
    global _error
    _error = reason_of(error)


def ends_by_signal(reason: str) -> None:
    """
    A signal is probably about to end this process.
    """
    global _signal
    _signal = reason, time.monotonic()


def forget_reasons() -> None:
    """
    In a forked child: what is about to end the parent does not end this process.
    """
    global _signal, _error
    _signal, _error = None, ""


def exit_reason() -> str:
    """
    Why the process ends, as far as can be known at its end. Python tells nobody there of `sys.exit` and its code.
    """
    if _signal and time.monotonic() - _signal[1] < SIGNAL_MEMORY:
        return _signal[0]
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return _error or (reason_of(error) if error is not None else "exit")
