"""
What a `LogRecord` has to say: event, named fields, message, logger and traceback, whatever state the record is in.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple

from sessionlog_handlers.events import ORDINARY_RECORD
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.levels import severity_name

# What is ours, by name or by this beginning, is no `extra` of the app.
SESSION_ID = "session_id"
EVENT = "event"
EVENT_DATA = "event_data"
PRIVATE_PREFIX = "_sessionlog"
TAKEN = PRIVATE_PREFIX  # says which roots have the record already
STAMPED = f"{PRIVATE_PREFIX}_stamped"  # says that a filter has put a `Stamp` on it

# What every record has. Not by `makeLogRecord`: a record factory of the app's own may add what is an `extra` to us.
_PLAIN = tuple(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
_PLAIN_ATTRIBUTES = len(_PLAIN)
_LAST_ATTRIBUTE = _PLAIN[-1]
# What a record has or gets from a formatter: python-json-logger's own list, without importing it.
STANDARD_ATTRIBUTES = frozenset({*_PLAIN, "asctime", "message"})
# `taskName` is there from Python 3.12 on, also in records that were pickled by one.
_RESERVED = STANDARD_ATTRIBUTES | {"taskName", SESSION_ID, EVENT, EVENT_DATA}
_KNOWN = (_RESERVED | {TAKEN, STAMPED}) - {SESSION_ID}
MAX_SHAPES = 4096  # line numbers

_get_message = logging.LogRecord.getMessage  # an app may put another one in its place
_formatter = logging.Formatter()


class Stamp(str):
    """
    What a filter of ours has put on a record: to be shown by other handlers' formats, and no `extra` of the app.
    """

    __slots__ = ()


class RecordContent(NamedTuple):
    """
    A record, taken apart.

    Args:
        event: The event's name; ``log`` for an ordinary record.

        data: The event's data and what came in ``extra``.

        msg: The message. None when an event's record says no more than the event's name.

        logger: The logger's name.

        exc: The traceback's text, then the stack's; None without either.
    """

    event: str
    data: dict[str, Any]
    msg: str | None
    logger: str
    exc: str | None


def record_content(record: logging.LogRecord) -> RecordContent:
    """
    Take a record apart. Never raises: what can't be had is replaced by a text that says so.
    """
    return RecordContent(*take_apart(record))


def take_apart(record: logging.LogRecord) -> tuple[str, dict[str, Any], str | None, str, str | None]:
    """
    The same as `record_content`, as a plain tuple, which takes less time to make.
    """
    try:
        if record.msg.__class__ is str and record.__class__.getMessage is _get_message:
            msg: str | None = record.msg % record.args if record.args else record.msg  # what `getMessage` does
        else:
            msg = record.getMessage()
        if msg.__class__ is not str:
            msg = str.__str__(msg)
    except Exception as error:
        msg = _describe_message(record, error)
    exc = None
    if record.exc_info or record.exc_text or record.stack_info:
        exc = exception_text(record)
    logger: Any = record.name
    if logger.__class__ is not str:
        logger = safe_repr(logger)
    attributes = record.__dict__
    try:
        size, names, has_session = _shapes[record.lineno]
        if size == len(attributes) and has_session == (SESSION_ID in attributes):
            known: dict[str, Any] = {}
            for name in names:
                known[name] = attributes[name]
            return ORDINARY_RECORD, known, msg, logger, exc
    except (KeyError, TypeError):
        pass  # a first call, or another one in a line of that number
    # `extra` comes last, behind what every record has.
    rest = islice(attributes.items(), _PLAIN_ATTRIBUTES - 1, None)
    if next(rest, ("",))[0] != _LAST_ATTRIBUTE:  # a record factory of the app's own has put something before
        return _take_apart_event(attributes, msg, logger, exc)
    data = dict(rest)
    if not _KNOWN.isdisjoint(data):
        return _take_apart_event(attributes, msg, logger, exc)
    _remember_shape(record, data)
    data.pop(SESSION_ID, None)
    return ORDINARY_RECORD, data, msg, logger, exc


# What records of one call in the app's code have as `extra`, by the call's line number: how many attributes a record
# has, the names of those that came in `extra`, and whether the session's id is one more. Which file the line is in does
# not matter: a record with that many attributes that has all of these, and all that `logging` gave it, has no others.
_shapes: dict[int, tuple[int, tuple[str, ...], bool]] = {}


def _remember_shape(record: logging.LogRecord, extra: dict[str, Any]) -> None:
    """The names in a record's extra, so that the next one from there need not be searched through."""
    if type(record.lineno) is int and (len(_shapes) < MAX_SHAPES or record.lineno in _shapes):
        names = tuple(name for name in extra if name != SESSION_ID)
        _shapes[record.lineno] = len(record.__dict__), names, SESSION_ID in extra


def _take_apart_event(
    attributes: dict[str, Any], msg: str | None, logger: str, exc: str | None
) -> tuple[str, dict[str, Any], str | None, str, str | None]:
    """The same for a record that has attributes of ours, or of `logging`'s, among its own."""
    data = _extra(attributes)
    event = attributes.get(EVENT)
    event_data = attributes.get(EVENT_DATA)
    if event_data is not None:
        data = _with_event_data(event_data, data)
    if event.__class__ is not str:
        # Somebody else's attribute of that name. Only a text is an event's name.
        if event is not None:
            data[EVENT] = event
        return ORDINARY_RECORD, data, msg, logger, exc
    return event or ORDINARY_RECORD, data, None if msg == event else msg, logger, exc


def exception_text(record: logging.LogRecord) -> str | None:
    """
    The text of a record's traceback and stack, None without either. Never raises.
    """
    try:
        text = record.exc_text or ""
        exc_info: Any = record.exc_info
        if exc_info and not text:
            if isinstance(exc_info, BaseException):
                exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
            elif not isinstance(exc_info, tuple):
                exc_info = sys.exc_info()
            text = _formatter.formatException(exc_info) if exc_info[0] is not None else ""
        if record.stack_info:
            text = f"{text}\n{record.stack_info}" if text else str(record.stack_info)
        return str(text) or None
    except Exception as error:
        return f"[traceback failed: {type(error).__name__}]"


def record_session(record: logging.LogRecord) -> str:
    """
    The session that a record was stamped with, empty without one.
    """
    session = record.__dict__.get(SESSION_ID)
    return session if isinstance(session, str) else ""


def record_level(record: logging.LogRecord) -> str:
    """
    The severity's word, ``info`` for a record that was made without a number.
    """
    levelno: Any = record.levelno
    return severity_name(levelno) if isinstance(levelno, int) else "info"


def _extra(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in attributes.items()
        if key not in _RESERVED
        and value.__class__ is not Stamp
        and not (key.__class__ is str and key.startswith(PRIVATE_PREFIX))
    }


def _with_event_data(event_data: Any, extra: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**event_data, **extra} if isinstance(event_data, Mapping) else {EVENT_DATA: event_data, **extra}
    except Exception:
        return {EVENT_DATA: safe_repr(event_data), **extra}


def _describe_message(record: logging.LogRecord, error: Exception) -> str:
    """What is known of a message whose arguments don't fit it, or whose text can't be made."""
    msg: Any = record.msg
    text = msg if isinstance(msg, str) else safe_repr(msg)
    args = f" args={safe_repr(record.args)}" if record.args else ""
    return f"{text}{args} [format error: {type(error).__name__}]"
