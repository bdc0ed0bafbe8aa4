"""
What nobody caught, as events of the session in whose context it was raised (``capture_errors: true``).
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sessionlog_handlers import context
from sessionlog_handlers.events import EVENT_LOGGER
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.formats.records import TAKEN
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.late import never_mind, when_loaded
from sessionlog_handlers.pipeline.threads import is_ours

if TYPE_CHECKING:
    from sessionlog_handlers.context import HasId
    from sessionlog_handlers.pipeline.root import SessionRoot
    from sessionlog_handlers.session import Session

LOOPS = "asyncio.base_events"  # where asyncio's event loops are
MAX_TEXT = 200  # characters of what an unraisable exception was raised in

MOST_TOLD = 8  # sessions that an exception carries: one that is kept and raised for ever must not grow

_TOLD = "_sessionlog_told"  # what an exception carries: the sessions that have it, and whether it ended a thread there
_OURS = "_sessionlog_hook"  # what a hook of ours carries
# Of each thread: an exception that is raised while one is logged is not logged (`now`), and which one asyncio's own
# handlers are called for, with the place of the root that has it (`told`).
_busy = threading.local()
_lock = threading.RLock()  # while the hooks are placed, or given back
_active = False
_placed: list[tuple[Any, str, Any, Any]] = []  # owner of a hook, its name, ours, the one before


def is_error(error: object) -> bool:
    """
    Whether an exception is an error: not one that ends a program, a task or a generator as somebody wished.
    """
    if not isinstance(error, BaseException) or isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return False
    cancelled = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", None)
    return cancelled is None or not isinstance(error, cancelled)


def tell(session: Session, error: BaseException, where: str, **data: Any) -> bool:
    """
    Log an exception to a session whose handler wants that, and once only. Never raises.

    One that has ended a thread, and ends a thread once more, was raised anew, and is logged anew.

    Args:
        session: The session.

        error: The exception.

        where: What it came out of: ``block``, ``main``, ``thread``, ``task``, ``callback``, ``process`` or
            ``unraisable``.

        data: More named fields.

    Returns:
        Whether the session has it, from now on or from before.
    """
    if not session.root.settings.capture_errors or not is_error(error):
        return False
    known = os.getpid(), session.number  # an exception may come from another process
    told: tuple[tuple[int, int, bool], ...] = getattr(error, _TOLD, ())
    ended = {entry[2] for entry in told if entry[:2] == known}
    is_end = where == "thread"
    if ended and not is_end:
        return True
    with suppress(Exception):  # a class of the app's may refuse other attributes
        others = [entry for entry in told if entry[:2] != known]
        setattr(error, _TOLD, (*others[1 - MOST_TOLD :], (*known, is_end)))
    if ended == {False}:
        return True
    with suppress(Exception):  # `AuditWriteError`: the app has an error already
        session.error(error, **data, unhandled=where)
        return True
    return False


def tell_current(error: BaseException, where: str, here: HasId | str | None, **data: Any) -> SessionRoot | None:
    """
    Log an exception to the session it belongs to: in whose context it was raised. Without one it is counted as
    unrouted.

    Args:
        error: The exception.

        where: As for `tell`.

        here: What is current where it arrived; it may know better.

        data: More named fields.

    Returns:
        The root of the session that has it.
    """
    wanting = [root for root in reversed(lifecycle.all_roots()) if root.settings.capture_errors]
    if not wanting or not is_error(error):
        return None
    session = _find(wanting, context.origin_of(error) or here, error)
    if session is not None and tell(session, error, where, **data):
        root: SessionRoot = session.root
        return root
    return None


def _find(wanting: list[SessionRoot], here: HasId | str | None, error: BaseException) -> Any:
    """The session that is meant, if its handler wants errors: by itself, by its id, or the handler's own default."""
    root = getattr(here, "root", None)
    if root is not None:
        if root in wanting and here.closed:  # type: ignore[union-attr]  # what has a root is a session
            root.unrouted += not hasattr(error, _TOLD)
        return here if root in wanting and not here.closed else None  # type: ignore[union-attr]  # likewise
    for root in wanting:
        session = root.sessions.get(here) if isinstance(here, str) else None
        if session is not None and not session.closed:
            return session
    if isinstance(here, str) and hasattr(error, _TOLD):
        return None  # it was logged when it left its session's block, which has ended with it
    # As the first record of a session would be, but without asking this context: it may be anybody's.
    record = logging.LogRecord(EVENT_LOGGER, logging.ERROR, "", 0, "", (), None)
    if here is not None:
        record.session_id = here
    return Context().run(wanting[0].find, record)


# -- hooks -----------------------------------------------------------------------------------------------------------


def capture() -> None:
    """
    Stand before the hooks for what nobody caught. Each of them is called as before. Doing it twice does nothing.
    """
    global _active
    with _lock, suppress(Exception):
        from sessionlog_handlers.pipeline import faults  # who wants none pays nothing

        _place(sys, "excepthook", _see_main)
        _place(threading, "excepthook", _see_thread)
        _place(sys, "unraisablehook", _see_unraisable)
        when_loaded(LOOPS, _watch_loops)
        context.note_origins(True)
        faults.want_faults()
        lifecycle.in_child(faults.forget_faults)
        lifecycle.in_child(_renew_lock)
        lifecycle.when_changed(_release_unwanted)
        if not _active:
            lifecycle.at_end(release)
            lifecycle.at_end(faults.release_faults)
        _active = True


def release() -> None:
    """
    Put back the hooks that were there before. Where somebody has put another one on top, ours only passes on.
    """
    global _active
    _active = False
    context.note_origins(False)
    never_mind(LOOPS)
    if (loops := sys.modules.get(LOOPS)) is not None:
        loops.logger.removeFilter(_pass_over)
    while _placed:
        owner, name, ours, before = _placed.pop()
        if getattr(owner, name, None) is ours:
            setattr(owner, name, before)


def _release_unwanted() -> None:
    """Other settings have come into force: give everything back, if no handler wants errors any more."""
    with _lock:
        if _active and not any(root.settings.capture_errors for root in lifecycle.all_roots()):
            from sessionlog_handlers.pipeline import faults

            release()
            faults.release_faults()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


def _watch_loops(module: ModuleType) -> None:
    def see(loop: Any, context: dict[str, Any]) -> None:  # the parameters' names are asyncio's
        _see_loop(context)

    _place(module.BaseEventLoop, "call_exception_handler", see)
    module.logger.addFilter(_pass_over)


def _pass_over(record: logging.LogRecord) -> bool:
    """What asyncio logs of an error that a session has by now is for other handlers, and not for that session's."""
    error, place = getattr(_busy, "told", None) or (None, "")
    if error is not None and record.exc_info and record.exc_info[1] is error:
        record.__dict__[TAKEN] = (*record.__dict__.get(TAKEN, ()), place)
    return True


def _place(owner: Any, name: str, see: Callable[..., None]) -> None:
    """Put a hook of ours on top, unless it is there. Each is a new one, so that two never call each other in turns."""
    before = getattr(owner, name)
    if getattr(before, _OURS, False):
        return

    def hook(*args: Any, **named: Any) -> Any:
        try:
            if _active and not getattr(_busy, "now", False):
                _busy.now = True
                try:
                    see(*args, **named)
                except Exception:
                    pass  # the hook before is called, whatever happens here
                finally:
                    _busy.now = False
        finally:
            try:
                result = before(*args, **named)
            finally:
                _busy.told = None
        return result

    setattr(hook, _OURS, True)
    setattr(owner, name, hook)
    _placed.append((owner, name, hook, before))


def _see_main(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if error is not None:
        tell_current(error, "main", context.current())


def _see_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread is not None else None
        tell_current(args.exc_value, "thread", context.current(), thread=name)


def _see_unraisable(args: sys.UnraisableHookArgs) -> None:
    # In a thread of ours nothing is current, and it must not wait for who may be waiting for it.
    if args.exc_value is not None and not is_ours():
        what = f"{args.err_msg or 'Exception ignored in'}: {safe_repr(args.object):.{MAX_TEXT}}"
        tell_current(args.exc_value, "unraisable", context.current(), message=what)


def _see_loop(happened: dict[str, Any]) -> None:
    error = happened.get("exception")
    if error is None or is_ours():
        return
    task: Any = happened.get("task") or happened.get("future")
    is_task = hasattr(task, "get_coro")
    here = context.current_in(_context_of(task if is_task else happened.get("handle")))
    where: dict[str, Any] = {"task": task.get_name()} if is_task else {}
    root = tell_current(error, "task" if is_task else "callback", here, message=str(happened.get("message")), **where)
    if root is not None:
        _busy.told = error, lifecycle.place_of(root.settings)


def _context_of(thing: Any) -> Context | None:
    """The context of a task or a handle. Before Python 3.12 there is no call for it."""
    if thing is None:
        return None
    get = getattr(thing, "get_context", None)
    found = get() if get is not None else getattr(thing, "_context", None)
    if found is None:  # a task's own comes first among what it refers to
        found = next((seen for seen in gc.get_referents(thing) if isinstance(seen, Context)), None)
    return found if isinstance(found, Context) else None
