"""
What several formats share: bytes as a JSON object, a line's head, an event's usual severity, and the reading of JSON.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, TypeVar

import msgspec

from sessionlog_handlers.events import BUILTIN_EVENTS
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Head, Line

MIB = 1024 * 1024

_LEVELS = {event_type.name: event_type.level for event_type in BUILTIN_EVENTS}

T = TypeVar("T")


def encode_bytes(payload: bytes, *, content: bool, max_bytes: int) -> bytes:
    """
    ``{"bytes":n,"base64":"…"}``; without *content* only the number.

    Of a payload whose base64 would be longer than *max_bytes* only the head is kept; ``bytes`` tells the original
    number.
    """
    if not content:
        return b'{"bytes":%d}' % len(payload)
    kept = payload if not max_bytes or len(payload) * 4 <= max_bytes * 3 else payload[: max_bytes * 3 // 4]
    return b'{"bytes":%d,"base64":"%b"}' % (len(payload), b64encode(kept))


def head_of(line: Line) -> Head:
    """
    The head that a typed line is written with.
    """
    elapsed = line.data.get("t", 0.0)
    return Head(
        line.ts,
        line.level,
        line.session,
        line.event,
        line.seq or 0,
        line.pid or 0,
        elapsed if isinstance(elapsed, (int, float)) else 0.0,
    )


def level_of_event(event: str) -> str:
    """
    The severity's word for an event of the catalogue, ``info`` for any other.
    """
    return _LEVELS.get(event, "info")


def decode_line(decoder: msgspec.json.Decoder[T], raw: bytes, lineno: int) -> T:
    """
    Read a line's JSON into a type.

    Raises:
        InvalidLineError: If it is torn or of another type.
    """
    try:
        return decoder.decode(raw)
    except Exception as error:
        try:
            # The fast decoder refuses lone surrogates, which JSON's grammar allows and terminals' users produce.
            value: Any = json.loads(raw.decode("utf-8"))
            return msgspec.convert(value, decoder.type)
        except Exception:
            raise InvalidLineError(f"not a line of this format: {error}", raw, lineno=lineno) from None
