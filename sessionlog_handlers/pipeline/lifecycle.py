"""
The roots of this process: which handler serves which, and what happens to them at a fork, a signal and the end.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from sessionlog_handlers.exceptions import HandlerNotFoundError
from sessionlog_handlers.pipeline.reasons import ends_by_signal, exit_reason, forget_reasons
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.signals import (
    current_handler,
    give_default_back,
    install_handler,
    is_redirected,
    keep_before_default,
    set_handler,
)
from sessionlog_handlers.pipeline.threads import forbid_threads

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.channel import Channel
    from sessionlog_handlers.pipeline.parking import Parking
    from sessionlog_handlers.pipeline.root import SessionRoot
    from sessionlog_handlers.pipeline.routes import Plan
    from sessionlog_handlers.settings.model import Settings

CAPTURED = ("SIGTERM", "SIGHUP")  # SIGINT already arrives as KeyboardInterrupt

_lock = threading.RLock()
_roots: dict[str, SessionRoot] = {}
_handlers: list[tuple[weakref.ref[logging.Handler], SessionRoot]] = []  # in the order of their making
# The newest handler of each root. One that no logger has any more would be collected, and its sessions left waiting.
_kept: dict[str, Any] = {}
_parking: Parking | None = None
_trial: Trial | None = None
_previous: dict[int, Any] = {}
_at_end: list[Callable[[], None]] = []
_in_child: list[Callable[[], None]] = []
_when_changed: list[Callable[[], None]] = []


class _Service(NamedTuple):
    """
    A handler that is to serve a root by its settings.
    """

    handler: logging.Handler
    root: SessionRoot
    place: str
    settings: Settings
    plan: Plan


def root_for(settings: Settings, handler: logging.Handler, channel_type: type[Channel]) -> SessionRoot:
    """
    The root that a new handler serves: one for each directory, which the newest handler's settings rule.

    Args:
        settings: The handler's settings.

        handler: The handler, of which only its life and its ``name`` count.

        channel_type: What a session is on the callers' side.
    """
    # All that writes is loaded with the first handler, and before the lock is taken.
    load_writing()
    from sessionlog_handlers.pipeline.marks import load_hooks
    from sessionlog_handlers.pipeline.root import SessionRoot, load_upkeep
    from sessionlog_handlers.pipeline.routes import Plan

    if settings.retention is not None and settings.retention.removes:
        load_upkeep()
    if settings.on_mark is not None:
        load_hooks()
    plan = Plan(settings)  # what may fail comes first: no handler rules its root unless all of a trial's do
    place = place_of(settings)
    with _lock:
        root = _roots.get(place)
        if root is None:
            root = _roots[place] = SessionRoot(os.path.abspath(settings.directory), settings, channel_type)
        service = _Service(handler, root, place, settings, plan)
        if _trial is not None and _trial.takes(service):
            return root
        _begin(service)
    _settle([root])
    if settings.capture_signals:
        capture_signals()
    return root


def load_writing() -> None:
    """
    Load all that every root needs, if that was not done before. Some of it makes loggers while it is loaded.
    """
    from sessionlog_handlers.pipeline import root  # noqa: F401  # it brings the rest along
    from sessionlog_handlers.pipeline.open_files import load_writer

    load_writer()


def _begin(service: _Service) -> None:
    """The handler rules its root from now on. The lock is held."""
    handler, root, place, settings, plan = service
    root.use(settings, plan)
    _handlers[:] = [(known, served) for known, served in _handlers if known() is not None]
    _handlers.append((weakref.ref(handler), root))
    _kept[place] = handler
    if _parking is not None:
        _parking.move_to(root)


def _settle(roots: Iterable[SessionRoot]) -> None:
    """Do what follows from other settings, when our lock is not held."""
    for root in roots:
        root.settle()
    for call in [*_when_changed]:
        call()


class Trial:
    """
    For its block, handlers that this thread makes change nothing, until `accept`. Without it they are forgotten.

    One at a time: whoever makes a configuration's handlers holds `logging`'s module lock.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._services: list[_Service] = []

    def takes(self, service: _Service) -> bool:
        """
        Whether that handler is part of the trial. The lock is held.
        """
        is_ours = threading.get_ident() == self._thread
        if is_ours:
            self._services.append(service)
        return is_ours

    def accept(self) -> None:
        """
        Let all of the handlers rule their roots, in the order of their making. What may fail has been done before.
        """
        with _lock:
            for service in self._services:
                _begin(service)
        if any(service.settings.capture_signals for service in self._services):
            capture_signals()

    def settle(self) -> None:
        """
        After `accept`, when `logging`'s lock is not held any more: do what follows, write what no thread can for one.
        """
        _settle([service.root for service in self._services])

    def __enter__(self) -> Trial:
        global _trial
        with _lock:
            _trial = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _trial
        with _lock:
            _trial = None
            served = {root for _, root in _handlers}
            for _, root, place, *_ in self._services:
                if root not in served and _roots.get(place) is root:
                    del _roots[place]  # made for the trial: no thread of it runs, no file of it is open


def place_of(settings: Settings) -> str:
    """
    What tells roots apart: the absolute path of the directory, or of the one file that takes its place.
    """
    return os.path.abspath(settings.single_file or settings.directory)


def live_handlers() -> list[Any]:
    """
    Every handler that serves a root, in the order of their making.
    """
    with _lock:
        return [handler for reference, _ in _handlers if (handler := reference()) is not None]


def is_newest(handler: logging.Handler, root: SessionRoot) -> bool:
    """
    Whether no later handler serves the same root.
    """
    with _lock:
        newest = next(
            (known() for known, served in reversed(_handlers) if served is root and known() is not None), None
        )
    return newest is handler


def find_root(handler: logging.Handler | str | None, channel_type: type[Channel]) -> SessionRoot:
    """
    The root in which a session starts that the app begins.

    Args:
        handler: A handler or its name; None for the newest. Where there is none yet, the session waits for the first.

        channel_type: What a session is on the callers' side.

    Raises:
        HandlerNotFoundError: If no handler has that name.
    """
    global _parking
    with _lock:
        root = _known_root(handler)
    if root is None:
        from sessionlog_handlers.pipeline.parking import Parking  # likewise; not under our lock, it takes its time

        with _lock:
            root = _known_root(handler)  # a handler may have come meanwhile
            if root is None:
                root = _parking = Parking(channel_type)
    return root


def _known_root(handler: logging.Handler | str | None) -> SessionRoot | None:
    """The root in which a session starts, None if it has to be made. The lock is held."""
    live = [(known, root) for reference, root in _handlers if (known := reference()) is not None]
    for known, root in reversed(live):
        if handler is None or handler is known or handler == known.name:
            return root
    if handler is not None:
        names = sorted(known.name for known, _ in live if known.name)
        raise HandlerNotFoundError(
            f"no SessionHandler is called {handler!r}; there is {', '.join(names) or 'none yet'}"
        )
    return _parking


def all_roots() -> list[SessionRoot]:
    """
    Every root of this process.
    """
    return [*_roots.values()]


def close_all() -> None:
    """
    End every session and forget every root, as at the end of the process.
    """
    global _parking
    with _lock:
        for root in _roots.values():
            root.finish("exit")
        _roots.clear()
        _handlers.clear()
        _kept.clear()
        _parking = None
    _call_at_end()


def at_end(call: Callable[[], None]) -> None:
    """
    Call something once, after the sessions have ended with the process.
    """
    if call not in _at_end:
        _at_end.append(call)


def in_child(call: Callable[[], None]) -> None:
    """
    Call something in each forked child, after the roots have begun anew there.
    """
    if call not in _in_child:
        _in_child.append(call)


def when_changed(call: Callable[[], None]) -> None:
    """
    Call something whenever other settings have come into force.
    """
    if call not in _when_changed:
        _when_changed.append(call)


def _call_at_end() -> None:
    while _at_end:
        call = _at_end.pop()
        try:
            call()
        except Exception as error:  # the calls that come after it count as much
            Reporter().report("at_end", f"something at the end of the process failed: {error!r}")


def at_exit() -> None:
    """
    The process ends: end its sessions and write what can be written.
    """
    if _has_children():
        for root in all_roots():
            root.flush()
        return  # `multiprocessing` waits for them at its own exit, and then calls this again
    forbid_threads()
    reason = exit_reason()
    for root in all_roots():
        root.finish(reason)
    if _parking is not None:
        _parking.tell_unwritten()
    _call_at_end()


def _has_children() -> bool:
    """
    Whether children of `multiprocessing` still run that it will wait for: they may write to sessions of ours.
    """
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is None or not _roots or getattr(util, "_exiting", True):
        return False
    try:
        # In a fork of the process that started them, they are not ours to wait for.
        return any(not child.daemon and child._parent_pid == os.getpid() for child in process.active_children())
    except Exception:
        return False


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    forget_reasons()
    for root in all_roots():
        root.after_fork_in_child()
    for call in _in_child:
        call()
    if _parking is not None:
        _parking.after_fork_in_child()


def _before_fork() -> None:
    for root in all_roots():
        root.before_fork()


def capture_signals() -> None:
    """
    Let SIGTERM and SIGHUP end the open sessions with their name as the reason, then do what they did before.

    Only possible in the main thread; elsewhere nothing happens. What is redirected means the end again when given back.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in CAPTURED:
        number = getattr(signal, name, None)
        if number is None or number in _previous:
            continue
        previous = current_handler(number)
        if previous in (None, signal.SIG_IGN):
            continue  # ignored on purpose (nohup), or not Python's to handle
        _previous[number] = previous
        install_handler(number, _on_signal)
        keep_before_default(number, _on_default)
        at_end(give_default_back)


def _on_default(number: int, frame: Any) -> None:
    _previous[number] = signal.SIG_DFL
    _on_signal(number, frame)


def _on_signal(number: int, frame: Any) -> None:
    previous = _previous.get(number, signal.SIG_DFL)
    if is_redirected(number):
        if callable(previous):
            previous(number, frame)
        return
    reason = f"signal {signal.Signals(number).name}"
    ends_by_signal(reason)
    if callable(previous):
        previous(number, frame)
        return
    for root in all_roots():
        root.finish(reason)
    set_handler(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


atexit.register(at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
