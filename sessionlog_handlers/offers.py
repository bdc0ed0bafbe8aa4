"""
The rare events of sessions for all other handlers: as records on one logger, made only if one of them would take it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from sessionlog_handlers.events import EVENT_LOGGER, EventType
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.formats.records import TAKEN
from sessionlog_handlers.levels import severity_name

BY_ALL = ("*",)  # what `TAKEN` says in a record that no handler of ours shall take
MAX_VALUE_CHARS = 200  # of each field in the message

_logger = logging.getLogger(EVENT_LOGGER)
_templates: dict[EventType, dict[str, Any]] = {}  # what all records of an event have in common
MAX_TEMPLATES = 1024  # events; a template is the process's, so one that renames itself keeps its first name
# When `logging` was loaded. Not by `makeLogRecord`: a record factory of the app's own may not expect it.
_started = time.time() - logging.LogRecord("", 0, "", 0, "", (), None).relativeCreated / 1000


class TakesEvents:
    """
    A handler that gets the events by a way of its own, so that none need be made a record for it.
    """


class EventText:
    """
    A record's message, worked out when somebody wants to read it: ``prompt_change text=hello``.

    Args:
        name: The event's name.

        data: Its named fields.
    """

    __slots__ = ("_data", "_name")

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self._name = name
        self._data = data

    def __str__(self) -> str:
        fields = (f"{name}={text_of(value):.{MAX_VALUE_CHARS}}" for name, value in self._data.items())
        return " ".join((self._name, *fields))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def offer(kind: EventType, session_id: str, data: Mapping[str, Any]) -> None:
    """
    Hand an event to every other handler that takes records of its severity.

    Raises:
        Exception: Whatever a record factory or a filter of the app's own raises.
    """
    severity = kind.severity
    if not _logger.isEnabledFor(severity) or not _has_taker(severity):
        return
    data = dict(data)
    text = EventText(kind.name, data)
    factory = logging.getLogRecordFactory()
    if factory is logging.LogRecord:
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__.update(_templates.get(kind) or _make_template(kind))
        own = record.__dict__
        own["created"] = now = time.time()
        own["msecs"] = int((now - int(now)) * 1000) + 0.0
        own["relativeCreated"] = (now - _started) * 1000
        own["thread"] = threading.get_ident()
        own["threadName"] = threading.current_thread().name
        own["msg"] = text
        if "taskName" in own:
            own["taskName"] = _task_name()
    else:
        record = factory(EVENT_LOGGER, severity, __file__, 0, text, (), None, kind.name)
        record.levelname = severity_name(severity).upper()
        own = record.__dict__
    own["session_id"] = session_id
    own["event"] = kind.name
    own["event_data"] = data
    own[TAKEN] = BY_ALL
    _logger.handle(record)


def _has_taker(severity: int) -> bool:
    """Whether a handler that is not ours would take a record of that severity."""
    logger: logging.Logger | None = _logger
    while logger is not None:
        for handler in logger.handlers:
            if severity >= handler.level and not isinstance(handler, TakesEvents):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _make_template(kind: EventType) -> dict[str, Any]:
    """What all records of an event have in common; `logging` finds it out anew for each of its own."""
    record = logging.LogRecord(EVENT_LOGGER, kind.severity, __file__, 0, "", (), None, kind.name)
    record.levelname = severity_name(kind.severity).upper()  # a word that all formats understand
    if len(_templates) < MAX_TEMPLATES:
        _templates[kind] = record.__dict__
    return record.__dict__


def _task_name() -> str | None:
    """The name of the asyncio task that runs here, as records have it from Python 3.12 on."""
    asyncio: Any = sys.modules.get("asyncio.tasks")
    try:
        return str(asyncio.current_task().get_name())
    except Exception:  # no loop runs here, or nobody has loaded asyncio
        return None


def text_of(value: object) -> str:
    """
    A value's text, whatever happens when it is asked for.
    """
    try:
        return str(value)
    except Exception:
        return safe_repr(value)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_templates.clear)  # they name the process
