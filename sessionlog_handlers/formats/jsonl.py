"""
JSON Lines, the format of `session.log` and of the audit files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from sessionlog_handlers.events import BYTE_EVENTS
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.encoding import (
    FEW_BYTES,
    encode_fast,
    encode_object,
    encode_text,
    escape_unsafe,
    is_whole,
)
from sessionlog_handlers.formats.line import Fields, Head, Line, LineFormat, LineParts, Lines, Payload
from sessionlog_handlers.formats.payload import MIB, decode_line, encode_bytes, head_of
from sessionlog_handlers.formats.timestamps import format_ms_bytes, moment_of, parse_timestamp

MAX_CACHED = 4096  # different kinds of line, and loggers' names
MOST_ESCAPED = 6  # bytes of an escape; fields that many times smaller than the limit need not be cut
MAX_NAME_BYTES = 1024  # of a session's, an event's or a logger's name in a line


class _JsonLine(msgspec.Struct):
    ts: str
    level: str
    session: str
    event: str
    data: dict[str, Any]
    seq: int | None = None
    pid: int | None = None
    msg: str | None = None
    logger: str | None = None
    exc: str | None = None


_decoder = msgspec.json.Decoder(_JsonLine)


class JsonLinesFormat(LineFormat):
    """
    ``{"ts":"…","level":"info","session":"abc123","event":"session_start","data":{…},"seq":1}``

    ``seq``, ``pid``, ``msg``, ``logger`` and ``exc`` follow, in this order, when there is something to say.

    Args:
        max_record_bytes:
            The most bytes of a line's variable parts together; longer ones are cut with a marker that tells their
            length. 0 means no limit. (default: 1 MiB)

        content: Whether the bytes of input and output are in the lines, or only their number. (default: True)
    """

    name: ClassVar[str] = "jsonl"

    def __init__(self, *, max_record_bytes: int = MIB, content: bool = True) -> None:
        self._max_record_bytes = max_record_bytes
        self._content = content
        self._simple_bytes = (max_record_bytes or MIB) // MOST_ESCAPED
        self._kinds: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self._loggers: dict[str, bytes] = {}

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now. What is not safe to show is escaped when the line is made."""
        if (
            exc is None
            and (msg is None or len(msg) <= self._simple_bytes)
            and (self._content or event not in BYTE_EVENTS)
        ):
            try:
                encoded = encode_fast(data)
                tail = b"" if msg is None else b',"msg":' + encode_fast(msg)
            except Exception:
                return self._encode(event, data, msg, logger, exc)
            if logger is not None:
                tail += self._loggers.get(logger) or self._cache_logger(logger)
            if len(encoded) + len(tail) <= self._simple_bytes and (
                # As `is_whole`, without the call for the most.
                encoded.rfind(b"null") < 0 if len(encoded) <= FEW_BYTES else is_whole(encoded)
            ):
                return encoded, tail
            del encoded, tail  # which may be large
        return self._encode(event, data, msg, logger, exc)

    def simple_bytes(self, event: str) -> int:
        """See `LineFormat.simple_bytes`."""
        return 0 if event in BYTE_EVENTS else self._simple_bytes

    def _encode(
        self, event: str, data: Mapping[str, Any], msg: str | None, logger: str | None, exc: str | None
    ) -> Fields:
        """The same for whatever is not that simple."""
        if event in BYTE_EVENTS and not self._content:
            data = {key: value for key, value in data.items() if key != "base64"}
        limit = self._max_record_bytes
        fields = self._encode_within(data, msg, logger, exc, limit)
        if limit and len(fields[0]) + len(fields[1]) > limit:
            parts = 1 + (msg is not None) + (exc is not None)
            return self._encode_within(data, msg, logger, exc, max(1, (limit - MAX_NAME_BYTES) // parts))
        return fields

    def _encode_within(
        self, data: Mapping[str, Any], msg: str | None, logger: str | None, exc: str | None, limit: int
    ) -> Fields:
        tail = b""
        if msg is not None:
            tail = b',"msg":' + encode_text(msg, limit)
        if logger is not None:
            tail += self._loggers.get(logger) or self._cache_logger(logger)
        if exc is not None:
            tail += b',"exc":' + encode_text(exc, limit)
        return encode_object(data, limit) if data else b"{}", tail

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included."""
        ts, level, session, event, seq, pid, _ = head
        start = self._start_of(level, session, event)
        if isinstance(payload, bytes):
            data, tail = encode_bytes(payload, content=self._content, max_bytes=self._max_record_bytes), b""
        else:
            data, tail = payload
        if pid:
            tail = b',"pid":%d%b' % (pid, tail)
        number = b',"seq":%d' % seq if seq else b""
        return escape_unsafe(b'{"ts":"%b%b%b%b%b}\n' % (format_ms_bytes(ts), start, data, number, tail))

    def assemble_all(self, entries: Sequence[LineParts], session: str, pid: int, seq: int) -> Lines:
        """The lines of one session's entries."""
        writer = b',"pid":%d' % pid if pid else b""
        lines: list[bytes] = []
        add = lines.append
        kind, start, lead, first, last = None, b"", b"", 1.0, 0.0
        for entry in entries:
            # In a burst, many lines share their kind and their millisecond, and so all that is before their fields.
            if entry.route is not kind:
                kind = entry.route
                start = self._start_of(kind.level, session, kind.event)
                last = first
            created = entry.created
            if not first <= created < last:
                moment, first, last = moment_of(created)
                lead = b'{"ts":"' + moment + start
            data, tail = entry.data, entry.tail
            if tail is None:
                data, tail = encode_bytes(data, content=self._content, max_bytes=self._max_record_bytes), writer
            elif writer:
                tail = writer + tail
            add(b'%b%b,"seq":%d%b}\n' % (lead, data, seq, tail))
            seq += 1
        # All at once: nearly always there is nothing to escape.
        joined = b"".join(lines)
        if escape_unsafe(joined) is not joined:
            lines = [*map(escape_unsafe, lines)]
            joined = b"".join(lines)
        return Lines(lines, joined)

    def _cache_logger(self, name: str) -> bytes:
        encoded = b',"logger":' + encode_text(name, MAX_NAME_BYTES)
        if len(self._loggers) >= MAX_CACHED:
            self._loggers.clear()
        self._loggers[name] = encoded
        return encoded

    def _start_of(self, level: str, session: str, event: str) -> bytes:
        """What lines of a kind have between their time and their fields."""
        known = self._kinds.get((level, event))
        if known is None:
            known = (
                b'","level":%b,"session":' % encode_text(level),
                b',"event":%b,"data":' % encode_text(event, MAX_NAME_BYTES),
            )
            if len(self._kinds) >= MAX_CACHED:
                # Seldom, and cheaper than keeping an order: those still in use come back with their next line.
                self._kinds.clear()
            self._kinds[level, event] = known
        return known[0] + encode_text(session, MAX_NAME_BYTES) + known[1]

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
        try:
            ts = parse_timestamp(line.ts)
        except ValueError as error:
            raise InvalidLineError(str(error), raw, lineno=lineno) from error
        return Line(
            ts=ts,
            level=line.level,
            session=line.session,
            event=line.event,
            data=line.data,
            seq=line.seq,
            pid=line.pid,
            msg=line.msg,
            logger=line.logger,
            exc=line.exc,
        )
