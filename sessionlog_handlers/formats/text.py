"""
One readable line per record, the recorder's format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sessionlog_handlers.events import BUILTIN_EVENTS, BYTE_EVENTS, EVENT_LOGGER, ORDINARY_RECORD
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.encoding import cut_text
from sessionlog_handlers.formats.escaping import escape, format_pairs, quote_value, split_pairs, unescape
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, Payload
from sessionlog_handlers.formats.payload import MIB, head_of
from sessionlog_handlers.formats.timestamps import format_seconds, parse_timestamp

MAX_NAME_CHARS = 256  # of a logger's name in a line

_LINE = re.compile(r"(\S{20,40}) (DEBUG|INFO|WARNING|ERROR|CRITICAL) ([^:]*):(?: (.*))?", re.DOTALL)
_WORDS = {"debug": b"DEBUG", "info": b"INFO", "warning": b"WARNING", "error": b"ERROR", "critical": b"ERROR"}

# The recorder's own documents call it so.
_WRITTEN_EVENTS = {"session_end": "session_stop"}
_READ_EVENTS = {written: event for event, written in _WRITTEN_EVENTS.items()}
_KNOWN_EVENTS = frozenset({event_type.name for event_type in BUILTIN_EVENTS} | set(_READ_EVENTS))


class TextFormat(LineFormat):
    """
    ``2025-09-22T10:00:00Z INFO logger: message key=value …``

    An event's name is the first word of the message, after the logger *event_logger*. Neither the session nor a number
    is in the line, and of input and output only the number of bytes.

    Args:
        max_record_bytes:
            About the most bytes of a line; longer texts are cut with a marker that tells their length. 0 means no
            limit. (default: 1 MiB)

        content: Taken as by the other formats; a text line never has the bytes of input and output.

        event_logger: The logger's name in the lines of events that came through none. (default: ``sessionlog.session``)
    """

    name: ClassVar[str] = "text"

    def __init__(self, *, max_record_bytes: int = MIB, content: bool = True, event_logger: str = EVENT_LOGGER) -> None:
        self._max_record_bytes = max_record_bytes
        self._event_logger = _clean_logger(event_logger)

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now."""
        name = self._event_logger if logger is None else _clean_logger(logger)
        limit = self._max_record_bytes
        if limit:
            # Escapes take up to six bytes for a character, and two more texts may be in the line.
            msg = msg if msg is None or len(msg) * 8 <= limit else cut_text(msg, limit // 8)
            exc = exc if exc is None or len(exc) * 8 <= limit else cut_text(exc, limit // 8)
        words = []
        if event != ORDINARY_RECORD:
            words.append(escape(_WRITTEN_EVENTS.get(event, event)))
        if msg:
            words.append(escape(msg))
        if data:
            if event in BYTE_EVENTS and "base64" in data:
                data = {key: value for key, value in data.items() if key != "base64"}
            words.append(format_pairs(data, limit // 4))
        if exc is not None:
            words.append(f"exc={quote_value(exc)}")
        return f"{name}: {' '.join(words)}".encode(), b""

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included."""
        if isinstance(payload, bytes):
            text = f"{self._event_logger}: {escape(head.event)} bytes={len(payload)}".encode()
        else:
            text = payload[0]
        return b"%b %b %b\n" % (format_seconds(head.ts).encode(), _WORDS.get(head.level, b"INFO"), text)

    def format(self, line: Line) -> bytes:
        """The whole line for a typed one."""
        return self.assemble(head_of(line), self.fields(line.event, line.data, line.msg, line.logger, line.exc))

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end. Values are texts.

        Raises:
            InvalidLineError: If it is torn or of another format.
        """
        try:
            match = _LINE.fullmatch(raw.decode("utf-8").rstrip("\r\n"))
            if match is None:
                raise ValueError("not a text line")
            ts = parse_timestamp(match[1])
        except ValueError as error:
            raise InvalidLineError(str(error), raw, lineno=lineno) from error
        logger: str | None = unescape(match[3])
        text, pairs = split_pairs(match[4] or "")
        exc = pairs.pop()[1] if pairs and pairs[-1][0] == "exc" else None
        event, msg = self._split_event(logger, text)
        return Line(
            ts=ts,
            level="critical" if match[2] == "CRITICAL" else match[2].lower(),
            session="",
            event=event,
            data=dict(pairs),
            msg=msg,
            logger=None if logger == self._event_logger and event != ORDINARY_RECORD else logger,
            exc=exc,
        )

    def _split_event(self, logger: str | None, text: str) -> tuple[str, str | None]:
        """The event's name and the message; every word is an event after our logger, elsewhere only a known one."""
        word, _, rest = text.partition(" ")
        if word and logger is not None:
            known = word in _KNOWN_EVENTS and ("_" in word or logger.endswith(".session"))
            if known or logger == self._event_logger:
                return _READ_EVENTS.get(word, unescape(word)), unescape(rest) or None
        return ORDINARY_RECORD, unescape(text)


def _clean_logger(name: str) -> str:
    """A logger's name without the colon that ends it in the line."""
    return escape(cut_text(name, MAX_NAME_CHARS)).replace(":", ".")
