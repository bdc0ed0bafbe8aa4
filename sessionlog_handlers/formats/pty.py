"""
A terminal's bytes with their times, one JSON object a line.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec

from sessionlog_handlers.events import BYTE_EVENTS, ORDINARY_RECORD
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.encoding import cut_text, encode_object, encode_text
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, Payload
from sessionlog_handlers.formats.payload import MIB, decode_line, head_of, level_of_event
from sessionlog_handlers.formats.timestamps import format_ms_bytes, parse_timestamp

MAX_LINE_BYTES = 64 * 1024  # of a terminal, in one line
MAX_NAME_BYTES = 1024  # of a session's or an event's name in a line

# An event of such a name would hide a key of the line's own; it gets an underscore behind it.
_KEYS = frozenset({"timestamp", "session_id", "direction", "data", "size", "t"})

_ASIDE = ("msg", "logger", "exc")  # of an event, in its object with an underscore before them


class _PtyLine(msgspec.Struct):
    timestamp: str
    session_id: str
    direction: Literal["input", "output"]
    data: str
    size: int
    t: float | None = None


_decoder = msgspec.json.Decoder(_PtyLine)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


class PtyFormat(LineFormat):
    """
    ``{"timestamp":"…","session_id":"…","direction":"output","data":"SGVsbG8=","size":5,"t":1.234567}``

    ``t`` is seconds since the start on the monotonic clock. Everything but bytes rides on zero-length output lines,
    under its event's name, after ``t``: ``"data":"","size":0,"t":2.000000,"resize":{"cols":80,"rows":24}``. An ordinary
    record is an output line of its text.

    Args:
        max_record_bytes: The most bytes of an event's object or of a record's text. 0 means no limit. (default: 1 MiB)

        content: Whether the bytes are in the lines, or only their number. (default: True)
    """

    name: ClassVar[str] = "pty"
    clocked: ClassVar[bool] = True

    def __init__(self, *, max_record_bytes: int = MIB, content: bool = True) -> None:
        self._max_record_bytes = max_record_bytes
        self._content = content

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now: an event's object, a record's text, or bytes that came in base64."""
        limit = self._max_record_bytes
        if event == ORDINARY_RECORD:
            text = "\n".join(part for part in (msg, exc) if part)
            return (cut_text(text, limit // 4) if limit else text).encode("utf-8", "backslashreplace"), b""
        if event in BYTE_EVENTS and isinstance(data.get("base64"), str):
            return _decode_base64(data["base64"]), b""
        payload = {key: value for key, value in data.items() if key != "t"}
        for key, text_or_none in zip(_ASIDE, (msg, logger, exc), strict=True):
            if text_or_none is not None:
                payload[f"_{key}"] = text_or_none
        key = event + "_" if event.rstrip("_") in _KEYS else event
        return encode_object(payload, limit), b",%b:" % encode_text(key, MAX_NAME_BYTES)

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included; several of them for more than 64 KiB of a terminal's bytes."""
        start = b'{"timestamp":"%b","session_id":%b,"direction":"%b","data":"' % (
            format_ms_bytes(head.ts),
            encode_text(head.session, MAX_NAME_BYTES),
            b"input" if head.event == "input" else b"output",
        )
        try:
            seconds, microseconds = divmod(max(0, round(head.elapsed * 1e6)), 1_000_000)
        except (ValueError, OverflowError):
            seconds, microseconds = 0, 0
        elapsed = b'"t":%d.%06d' % (seconds, microseconds)
        if isinstance(payload, bytes):
            content = payload
        else:
            content, name = payload
            if name:
                return b'%b","size":0,%b%b%b}\n' % (start, elapsed, name, content)
        if len(content) <= MAX_LINE_BYTES:
            return self._assemble_bytes(start, content, elapsed)
        return b"".join(
            self._assemble_bytes(start, content[begin : begin + MAX_LINE_BYTES], elapsed)
            for begin in range(0, len(content), MAX_LINE_BYTES)
        )

    def _assemble_bytes(self, start: bytes, content: bytes, elapsed: bytes) -> bytes:
        encoded = b64encode(content) if self._content else b""
        return b'%b%b","size":%d,%b}\n' % (start, encoded, len(content), elapsed)

    def format(self, line: Line) -> bytes:
        """The whole line for a typed one."""
        return self.assemble(head_of(line), self.fields(line.event, line.data, line.msg, line.logger, line.exc))

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end. ``t``, where the line has it, is in the data.

        Raises:
            InvalidLineError: If it is torn or of another format.
        """
        line = decode_line(_decoder, raw, lineno)
        try:
            ts = parse_timestamp(line.timestamp)
        except ValueError as error:
            raise InvalidLineError(str(error), raw, lineno=lineno) from error
        event: str = line.direction
        data: dict[str, Any] = {"bytes": line.size, "base64": line.data}
        texts: dict[str, str] = {}
        if not line.size:
            named = _named_event(decode_line(_object_decoder, raw, lineno))
            if named:
                event, data = named
                texts = {key: data.pop(f"_{key}") for key in _ASIDE if isinstance(data.get(f"_{key}"), str)}
        if line.t is not None:
            data["t"] = line.t
        return Line(
            ts=ts,
            level=level_of_event(event),
            session=line.session_id,
            event=event,
            data=data,
            msg=texts.get("msg"),
            logger=texts.get("logger"),
            exc=texts.get("exc"),
        )


def _named_event(fields: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The event that rides on a zero-length line."""
    for key, value in fields.items():
        if key not in _KEYS and isinstance(value, dict):
            return (key[:-1] if key.endswith("_") and key.rstrip("_") in _KEYS else key), value
    return None


def _decode_base64(text: str) -> bytes:
    try:
        return b64decode(text)
    except ValueError:
        return text.encode("utf-8", "backslashreplace")
