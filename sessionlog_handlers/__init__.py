"""
A log per session for any app that uses :mod:`logging`: filters, formatters and handlers, and the API to name a session.

Each public name is loaded on first use, so that an app pays for what it uses. Importing registers the names of the four
session levels with :mod:`logging`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sessionlog_handlers import levels as _levels  # noqa: F401 - for the level names that it registers

if TYPE_CHECKING:
    from sessionlog_handlers.config import configure as configure
    from sessionlog_handlers.config.watching import Watch as Watch
    from sessionlog_handlers.config.watching import watch as watch
    from sessionlog_handlers.context import bind as bind
    from sessionlog_handlers.context import current_session_id as current_session_id
    from sessionlog_handlers.context import set_default_session as set_default_session
    from sessionlog_handlers.context import use_session as use_session
    from sessionlog_handlers.events import EventType as EventType
    from sessionlog_handlers.exceptions import AuditWriteError as AuditWriteError
    from sessionlog_handlers.exceptions import ConfigurationError as ConfigurationError
    from sessionlog_handlers.exceptions import HandlerNotFoundError as HandlerNotFoundError
    from sessionlog_handlers.exceptions import InvalidLineError as InvalidLineError
    from sessionlog_handlers.exceptions import InvalidSessionIdError as InvalidSessionIdError
    from sessionlog_handlers.exceptions import SessionLogError as SessionLogError
    from sessionlog_handlers.exceptions import SessionLogWarning as SessionLogWarning
    from sessionlog_handlers.exceptions import SessionNotFoundError as SessionNotFoundError
    from sessionlog_handlers.executor import SessionExecutor as SessionExecutor
    from sessionlog_handlers.filters import SamplingFilter as SamplingFilter
    from sessionlog_handlers.filters import SessionFilter as SessionFilter
    from sessionlog_handlers.formats.formatters import EventLineFormatter as EventLineFormatter
    from sessionlog_handlers.formats.formatters import FugueFormatter as FugueFormatter
    from sessionlog_handlers.formats.formatters import JsonLinesFormatter as JsonLinesFormatter
    from sessionlog_handlers.formats.formatters import PtyFormatter as PtyFormatter
    from sessionlog_handlers.formats.formatters import TextFormatter as TextFormatter
    from sessionlog_handlers.formats.line import Line as Line
    from sessionlog_handlers.handlers import SessionHandler as SessionHandler
    from sessionlog_handlers.levels import FULL as FULL
    from sessionlog_handlers.levels import PROMPTS as PROMPTS
    from sessionlog_handlers.levels import SIGNALS as SIGNALS
    from sessionlog_handlers.levels import SPAWNS as SPAWNS
    from sessionlog_handlers.levels import SessionLevel as SessionLevel
    from sessionlog_handlers.pipeline.marks import DiskMark as DiskMark
    from sessionlog_handlers.queueing import BatchingQueueListener as BatchingQueueListener
    from sessionlog_handlers.queueing import BoundedQueueHandler as BoundedQueueHandler
    from sessionlog_handlers.reading.exporters import register_exporter as register_exporter
    from sessionlog_handlers.reading.reader import read_path as read_path
    from sessionlog_handlers.reading.sessions import read_session as read_session
    from sessionlog_handlers.rotating import SessionRotatingFileHandler as SessionRotatingFileHandler
    from sessionlog_handlers.session import Session as Session
    from sessionlog_handlers.session import current_session as current_session
    from sessionlog_handlers.session import start_session as start_session

    __version__: str

# The same list for the interpreter. `tests/test_public_api.py` keeps the two equal.
_MODULE_OF = {
    "AuditWriteError": "exceptions",
    "BatchingQueueListener": "queueing",
    "BoundedQueueHandler": "queueing",
    "ConfigurationError": "exceptions",
    "DiskMark": "pipeline.marks",
    "EventLineFormatter": "formats.formatters",
    "EventType": "events",
    "FULL": "levels",
    "FugueFormatter": "formats.formatters",
    "HandlerNotFoundError": "exceptions",
    "InvalidLineError": "exceptions",
    "InvalidSessionIdError": "exceptions",
    "JsonLinesFormatter": "formats.formatters",
    "Line": "formats.line",
    "PROMPTS": "levels",
    "PtyFormatter": "formats.formatters",
    "SIGNALS": "levels",
    "SPAWNS": "levels",
    "SamplingFilter": "filters",
    "Session": "session",
    "SessionExecutor": "executor",
    "SessionFilter": "filters",
    "SessionHandler": "handlers",
    "SessionLevel": "levels",
    "SessionLogError": "exceptions",
    "SessionLogWarning": "exceptions",
    "SessionNotFoundError": "exceptions",
    "SessionRotatingFileHandler": "rotating",
    "TextFormatter": "formats.formatters",
    "Watch": "config.watching",
    "bind": "context",
    "configure": "config",
    "current_session": "session",
    "current_session_id": "context",
    "read_path": "reading.reader",
    "read_session": "reading.sessions",
    "register_exporter": "reading.exporters",
    "set_default_session": "context",
    "start_session": "session",
    "use_session": "context",
    "watch": "config.watching",
}

__all__ = sorted(_MODULE_OF)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if not TYPE_CHECKING:  # a type checker that saw it would take every misspelt name for a public one

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # slower to import than all the rest of this package

            value = version("sessionlog_handlers")
        elif name in _MODULE_OF:
            value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value
