"""
Signals that mean something else than the end of the program, in peace with whatever else handles them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

set_handler = signal.signal  # the real one, see `keep_before_default`

_calls: dict[int, Callable[[], None]] = {}  # by signal: what it means instead
_below: dict[int, Any] = {}  # by signal: the handler that was there before ours
_kept: dict[int, Callable[[int, Any], None]] = {}  # by signal: what comes before its default
_passing: list[tuple[int, Any]] = []  # signals that are just being passed on to it, and what each interrupted


def redirect(number: int, call: Callable[[], None]) -> None:
    """
    Let a signal mean a call. What handled it before is called after that, unless it would end the program.

    Only possible in the main thread.

    Args:
        number: The signal's.

        call: It runs between any two steps of the main thread, so it must neither wait nor lock.
    """
    _calls[number] = call
    if signal.getsignal(number) is not _on_signal:
        _below[number] = signal.getsignal(number)
        signal.signal(number, _on_signal)


def give_back(number: int) -> None:
    """
    Let a signal mean again what it meant before `redirect`.

    Only the main thread can put the handler back that was there before; until then ours passes the signal on to it.
    """
    if _calls.pop(number, None) is None:
        return
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(number) is _on_signal:
        previous = _below.pop(number)
        signal.signal(number, signal.SIG_DFL if previous is None else previous)


def is_redirected(number: int) -> bool:
    """
    Whether a signal means something else now than what its other handlers take it for.
    """
    return number in _calls


def current_handler(number: int) -> Any:
    """
    What handles a signal, redirected or not, as `signal.getsignal` tells it.
    """
    handler = signal.getsignal(number)
    return _below[number] if handler is _on_signal else handler


def install_handler(number: int, handler: Callable[[int, Any], None]) -> None:
    """
    Handle a signal from now on, below a redirection if there is one. Only possible in the main thread.
    """
    if signal.getsignal(number) is _on_signal:
        _below[number] = handler
    else:
        signal.signal(number, handler)


def keep_before_default(number: int, handler: Callable[[int, Any], None]) -> None:
    """
    Let a handler come before a signal's default, also if somebody else gives the signal its default back.

    uvicorn does that for a signal that it has handled, and then raises the signal once more.
    """
    _kept[number] = handler
    if signal.signal is set_handler:
        signal.signal = _set_unless_default


def give_default_back() -> None:
    """
    From now on the default of a signal is the default again.
    """
    _kept.clear()
    if signal.signal is _set_unless_default:
        signal.signal = set_handler


def _set_unless_default(signalnum: int, handler: Any) -> Any:
    """As `signal.signal`, with its parameters' names, but for the default of what is kept."""
    is_default = isinstance(handler, int) and handler == signal.SIG_DFL  # an app's own object is not to be compared
    kept = _kept.get(signalnum) if is_default else None
    return set_handler(signalnum, kept or handler)


def _on_signal(number: int, frame: Any) -> None:
    call = _calls.get(number)
    if call is not None:
        call()
    previous = _below.get(number)
    if callable(previous):
        # The same frame: it was installed over ours, and passes on what it got from ours. A signal that arrives once
        # more while it runs has interrupted another.
        if any(number == passed and (frame is None or frame is interrupted) for passed, interrupted in _passing):
            return
        _passing.append((number, frame))
        try:
            previous(number, frame)
        finally:
            _passing.pop()
    elif call is None and previous is not signal.SIG_IGN:  # given back, and it was the default's
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
