"""
The multiplexer's own dialect of JSON Lines, the format of `system.jsonl` and `audit.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from sessionlog_handlers.events import BYTE_EVENTS, ORDINARY_RECORD
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.encoding import encode_object, encode_text, safe_repr
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, Payload
from sessionlog_handlers.formats.payload import MIB, decode_line, encode_bytes, head_of, level_of_event
from sessionlog_handlers.formats.timestamps import format_ms_bytes, parse_timestamp

MAX_NAME_BYTES = 1024  # of a session's or an event's name in a line

# Where the message, logger and traceback of a *named* event go, beside its fields.
_ASIDE = (("msg", "_msg"), ("logger", "_logger"), ("exc", "_exc"))


class _FugueLine(msgspec.Struct):
    timestamp: str
    event_type: str
    session_id: str = ""
    window_id: Any = None
    pane_id: Any = None
    payload: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_FugueLine)


class FugueFormat(LineFormat):
    """
    ``{"timestamp":"…","session_id":"abc123","event_type":"pane_created","window_id":"w1","pane_id":"p1","payload":{…}}``

    Keys with nothing to say are absent. An ordinary record has the event type ``log`` and
    ``{"level":…,"msg":…,"logger":…,"data":{…},"exc":…}`` as its payload.

    Args:
        max_record_bytes:
            The most bytes of a line's variable parts together; longer ones are cut with a marker that tells their
            length. 0 means no limit. (default: 1 MiB)

        content: Whether the bytes of input and output are in the lines, or only their number. (default: True)
    """

    name: ClassVar[str] = "fugue"

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
        """Encode the values as they are now: *data* is the payload, *tail* the window's and the pane's id."""
        limit = self._max_record_bytes
        rest = dict(data)
        tail = b""
        for key in ("window_id", "pane_id"):
            value = rest.pop(key, None)
            if value is not None and value != "":
                tail += b',"%b":%b' % (key.encode(), _encode_value(value))
        if event in BYTE_EVENTS and not self._content:
            rest.pop("base64", None)
        texts = {"msg": msg, "logger": logger, "exc": exc}
        if event == ORDINARY_RECORD:
            payload: dict[str, Any] = {key: text for key, text in texts.items() if text is not None}
            if rest:
                payload["data"] = rest
        else:
            payload = {**rest, **{aside: texts[key] for key, aside in _ASIDE if texts[key] is not None}}
        return encode_object(payload, limit), tail

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included."""
        if isinstance(payload, bytes):
            data, tail = encode_bytes(payload, content=self._content, max_bytes=self._max_record_bytes), b""
        else:
            data, tail = payload
        if head.event == ORDINARY_RECORD:
            # The severity of every other event is known by its name.
            data = b'{"level":%b%b' % (encode_text(head.level), b"}" if data == b"{}" else b"," + data[1:])
        session = b',"session_id":' + encode_text(head.session, MAX_NAME_BYTES) if head.session else b""
        return b'{"timestamp":"%b"%b,"event_type":%b%b%b}\n' % (
            format_ms_bytes(head.ts),
            session,
            encode_text(head.event, MAX_NAME_BYTES),
            tail,
            b"" if data == b"{}" else b',"payload":' + data,
        )

    def format(self, line: Line) -> bytes:
        """The whole line for a typed one."""
        return self.assemble(head_of(line), self.fields(line.event, line.data, line.msg, line.logger, line.exc))

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end.

        Raises:
            InvalidLineError: If it is torn or of another format.
        """
        line = decode_line(_decoder, raw, lineno)
        payload = line.payload
        try:
            ts = parse_timestamp(line.timestamp)
        except ValueError as error:
            raise InvalidLineError(str(error), raw, lineno=lineno) from error
        if line.event_type == ORDINARY_RECORD:
            level = _take_text(payload, "level") or "info"
            texts = {key: _take_text(payload, key) for key, _ in _ASIDE}
            nested = payload.pop("data", {})
            data = {**payload, **nested} if isinstance(nested, dict) else {**payload, "data": nested}
        else:
            level = level_of_event(line.event_type)
            texts = {key: _take_text(payload, aside) for key, aside in _ASIDE}
            data = payload
        if line.window_id is not None:
            data["window_id"] = line.window_id
        if line.pane_id is not None:
            data["pane_id"] = line.pane_id
        return Line(
            ts=ts,
            level=level,
            session=line.session_id,
            event=line.event_type,
            data=data,
            msg=texts["msg"],
            logger=texts["logger"],
            exc=texts["exc"],
        )


def _encode_value(value: object) -> bytes:
    if isinstance(value, str):
        return encode_text(value, MAX_NAME_BYTES)
    encoded = encode_object({"": value})
    if encoded.startswith(b'{"":') and len(encoded) <= MAX_NAME_BYTES:
        return encoded[4:-1]
    return encode_text(safe_repr(value), MAX_NAME_BYTES)


def _take_text(payload: dict[str, Any], key: str) -> str | None:
    """Take a text out of a payload; anything else of that name stays in it."""
    return payload.pop(key) if isinstance(payload.get(key), str) else None
