"""
The line formats as `logging.Formatter` classes, for any handler of the standard library.

The session is the record's ``session_id``, the event its ``event`` with its ``event_data``; a line has no ``seq``.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from pythonjsonlogger.core import BaseJsonFormatter

from sessionlog_handlers.formats.encoding import encode_object
from sessionlog_handlers.formats.event_line import EventLineFormat
from sessionlog_handlers.formats.fugue import FugueFormat
from sessionlog_handlers.formats.line import Head, LineFormat
from sessionlog_handlers.formats.payload import MIB
from sessionlog_handlers.formats.pty import PtyFormat
from sessionlog_handlers.formats.records import record_content, record_level, record_session
from sessionlog_handlers.formats.text import TextFormat
from sessionlog_handlers.formats.timestamps import format_ms

# A format string's fields that have their own place in our lines.
_PLACED_FIELDS = frozenset({"asctime", "created", "levelname", "levelno", "message", "msg", "msecs", "name"})


class JsonLinesFormatter(BaseJsonFormatter):
    """
    Format a record as a line of ``session.log``, without ``seq``.

    What came in ``extra`` is in ``data`` only, so that nothing can forge a field. So are *defaults*, *static_fields*
    and what a format string names beyond that (``%(threadName)s``). *rename_fields* renames the line's own keys;
    `process_log_record` may change the line before it is encoded.

    Args:
        max_record_bytes: The most bytes of a line; longer ones are cut with a marker, 0 means never. (default: 1 MiB)

        fmt, datefmt, style, validate, options: As python-json-logger's base class has them.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,
        *,
        max_record_bytes: int = MIB,
        **options: Any,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate, **options)
        self._max_record_bytes = max_record_bytes
        self._named_fields = tuple(field for field in self._required_fields if field not in _PLACED_FIELDS)

    def format(self, record: logging.LogRecord) -> str:
        """
        The line, without a line end. Leaves the record as it is, and never raises for what it contains.

        What `process_log_record` of a subclass raises goes out, to the `handleError` of the handler.
        """
        log_data: dict[str, Any] = {}
        self.add_fields(log_data, record, {})
        return self.serialize_log_record(self.process_log_record(log_data))

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill in the line's keys, in their order."""
        content = record_content(record)
        data = {**self.defaults, **self.static_fields, **message_dict}
        for field in self._named_fields:
            data[field] = record.__dict__.get(field)
        data.update(content.data)
        fields = {
            "ts": format_ms(record.created),
            "level": record_level(record),
            "session": record_session(record),
            "event": content.event,
            "data": data,
            "msg": content.msg,
            "logger": content.logger,
            "exc": content.exc,
        }
        for key, value in fields.items():
            if value is not None:
                log_data[self._get_rename(key)] = value

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Encode with the ladder that can't fail."""
        encoded = encode_object(log_data, self._max_record_bytes)
        data = self._get_rename("data")
        if encoded.startswith(b'{"truncated":') and "truncated" not in log_data and data in log_data:
            # Cutting long texts was not enough. The fields give way, not the time and the message.
            size = len(encode_object({"": log_data[data]})) - len(b'{"":}')
            encoded = encode_object({**log_data, data: {"truncated": {"bytes": size}}}, self._max_record_bytes)
        return encoded.decode("utf-8")


class _LineFormatter(logging.Formatter):
    """
    Format a record with a line format.

    Args:
        fmt, datefmt, style, validate, defaults: Taken because `dictConfig` passes them; a line has a form of its own.

        options: Those of the line format.
    """

    _factory: ClassVar[type[Any]]

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,
        *,
        defaults: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._line_format: LineFormat = self._factory(**options)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end. Never raises for what a record contains, and leaves the record as it is."""
        content = record_content(record)
        fields = self._line_format.fields(content.event, content.data, content.msg, content.logger, content.exc)
        head = Head(
            record.created,
            record_level(record),
            record_session(record),
            content.event,
            elapsed=record.relativeCreated / 1000,
        )
        return self._line_format.assemble(head, fields).decode("utf-8").removesuffix("\n")


class FugueFormatter(_LineFormatter):
    """
    Format a record as a line of ``system.jsonl`` or ``audit.jsonl``; options as `FugueFormat` has them.
    """

    _factory = FugueFormat


class TextFormatter(_LineFormatter):
    """
    Format a record as a readable line; options as `TextFormat` has them.
    """

    _factory = TextFormat


class EventLineFormatter(_LineFormatter):
    """
    Format a record as an event line, with its event as the type (``log`` without one) and its logger as the source.
    """

    _factory = EventLineFormat


class PtyFormatter(_LineFormatter):
    """
    Format a record as an output line of a recording; options as `PtyFormat` has them.

    ``t`` counts from the start of the process' logging.
    """

    _factory = PtyFormat
