"""
Which session is current: by context variable, by process, by logger name, and how to carry it into threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, Token
from logging import LogRecord
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class HasId(Protocol):
    """
    Anything with an id that names a session, such as `Session`.
    """

    id: str


_current: ContextVar[HasId | str | None] = ContextVar("sessionlog_session", default=None)
_process_default: HasId | str | None = None

_ORIGIN = "_sessionlog_origin"  # the name of what an exception carries
_notes_origins = False


def id_of(session: HasId | str | None) -> str | None:
    """
    The id of a session that is given as itself or by its id.
    """
    return session if session is None or isinstance(session, str) else session.id


def current() -> HasId | str | None:
    """
    What is current here: the context's session, else the process's default, else None.
    """
    here = _current.get()
    return here if here is not None else _process_default


def current_session_id() -> str | None:
    """
    The id of the session that is current here, or None.
    """
    return id_of(current())


def set_default_session(session: HasId | str | None) -> None:
    """
    Make a session the one that records belong to where nothing else names one, in every thread of the process.

    Args:
        session: A session or its id; None for none.
    """
    global _process_default
    _process_default = session


def enter(session: HasId | str) -> Token[HasId | str | None]:
    """
    Make a session current in this context, until `leave`.
    """
    return _current.set(session)


def leave(token: Token[HasId | str | None]) -> None:
    """
    Make current again what was so before `enter`.

    Where a generator or task is finished in another context than it began in, there is nothing to go back to.
    """
    try:
        _current.reset(token)
    except ValueError:
        _current.set(None)


def note_origins(wanted: bool) -> None:
    """
    Let exceptions tell which session was current where they were raised, when they are out of it.
    """
    global _notes_origins
    _notes_origins = wanted


def note_origin(error: BaseException, session: HasId | str) -> None:
    """
    An exception leaves a block in which a session was current. The innermost such block counts.

    Only the id is noted, as text: an exception may be pickled, and must not keep a session.
    """
    if _notes_origins and not hasattr(error, _ORIGIN):
        with suppress(Exception):  # a class of the app's may refuse other attributes
            setattr(error, _ORIGIN, id_of(session))


def origin_of(error: BaseException) -> str | None:
    """
    The id of the session in whose block an exception was raised that is out of it by now; None if not known.
    """
    origin = getattr(error, _ORIGIN, None)
    return origin if isinstance(origin, str) else None


def current_in(context: Context | None) -> HasId | str | None:
    """
    What is current in another context, by the same rules as here; None stands for one without a session of its own.
    """
    here = context.get(_current) if context is not None else None
    return here if here is not None else _process_default


@contextmanager
def use_session(session: HasId | str) -> Iterator[None]:
    """
    Make a session current for a block, without starting or ending it.

    Args:
        session: A session or its id.
    """
    token = enter(session)
    try:
        yield
    except BaseException as error:
        note_origin(error, session)
        raise
    finally:
        leave(token)


def bind(function: Callable[P, R]) -> Callable[P, R]:
    """
    Give a function back that runs in the session that is current now, whichever thread calls it.

    Plain threads start with an empty context: ``Thread(target=bind(work))``.
    """
    here = current()

    @functools.wraps(function)
    def bound(*args: P.args, **kwargs: P.kwargs) -> R:
        if here is None:
            return function(*args, **kwargs)
        with use_session(here):
            return function(*args, **kwargs)

    return bound


class NoSession(str):
    """
    What stands in a record's ``session_id`` for other handlers' formats though the record has no session.
    """


def find_session_id(record: LogRecord, logger_prefixes: Sequence[str] = ()) -> str | None:
    """
    The session that a record belongs to, in this order: its own ``session_id``, the logger's name behind one of the
    prefixes, the context, the process's default.
    """
    own: Any = record.__dict__.get("session_id")
    if own and not isinstance(own, NoSession):
        return own if isinstance(own, str) else str(own)
    if logger_prefixes:
        for prefix in logger_prefixes:
            if record.name.startswith(prefix) and len(record.name) > len(prefix):
                return record.name[len(prefix) :]
    return current_session_id()
