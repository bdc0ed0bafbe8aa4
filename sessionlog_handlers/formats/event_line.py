"""
Four columns with ``|`` between them, the timeline's format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sessionlog_handlers.events import BYTE_EVENTS
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.encoding import cut_text
from sessionlog_handlers.formats.escaping import escape, escape_field, format_pairs, quote_value, unescape
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, Payload
from sessionlog_handlers.formats.payload import MIB, head_of
from sessionlog_handlers.formats.timestamps import format_ms_bytes, parse_timestamp

MAX_NAME_CHARS = 1024  # of an event's or a source's name in a line


class EventLineFormat(LineFormat):
    """
    ``2024-12-19T14:32:01.123Z|conversation:start|agent_service|session_id=abc123 user_msg_len=45``

    The columns are time, event type, source (`Line.logger`) and message (`Line.msg`). They come back exactly. Named
    fields and tracebacks are written as ``key=value`` at the message's end and come back as part of it;
    `sessionlog_handlers.formats.escaping.parse_pairs` finds them there.

    Args:
        max_record_bytes:
            About the most bytes of a line; longer texts are cut with a marker that tells their length. 0 means no
            limit. (default: 1 MiB)

        content: Taken as by the other formats; an event line never has the bytes of input and output.
    """

    name: ClassVar[str] = "event_line"

    def __init__(self, *, max_record_bytes: int = MIB, content: bool = True) -> None:
        self._max_record_bytes = max_record_bytes

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now."""
        limit = self._max_record_bytes
        if limit:
            # Escapes take up to six bytes for a character, and two more texts may be in the line.
            msg = msg if msg is None or len(msg) * 8 <= limit else cut_text(msg, limit // 8)
            exc = exc if exc is None or len(exc) * 8 <= limit else cut_text(exc, limit // 8)
        words = [msg] if msg else []
        if data:
            if event in BYTE_EVENTS and "base64" in data:
                data = {key: value for key, value in data.items() if key != "base64"}
            words.append(format_pairs(data, limit // 4))
        if exc is not None:
            words.append(f"exc={quote_value(exc)}")
        source = escape_field(cut_text(logger or "", MAX_NAME_CHARS))
        return f"|{escape_field(cut_text(event, MAX_NAME_CHARS))}|{source}|{escape(' '.join(words))}\n".encode(), b""

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included."""
        if isinstance(payload, bytes):
            return format_ms_bytes(head.ts) + self.fields(head.event, {"bytes": len(payload)})[0]
        return format_ms_bytes(head.ts) + payload[0]

    def format(self, line: Line) -> bytes:
        """The whole line for a typed one."""
        return self.assemble(head_of(line), self.fields(line.event, line.data, line.msg, line.logger, line.exc))

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end. The whole message, pairs included, is `Line.msg`.

        The severity is ``error`` for event types that begin with ``error:``, else ``info``.

        Raises:
            InvalidLineError: If it is torn or of another format.
        """
        try:
            columns = raw.decode("utf-8").rstrip("\r\n").split("|", 3)
            if len(columns) < 4:
                raise ValueError("not an event line: fewer than four columns")
            ts = parse_timestamp(columns[0])
        except ValueError as error:
            raise InvalidLineError(str(error), raw, lineno=lineno) from error
        event, source, message = (unescape(column) for column in columns[1:])
        level = "error" if event.startswith("error:") else "info"
        return Line(ts=ts, level=level, session="", event=event, msg=message, logger=source)
