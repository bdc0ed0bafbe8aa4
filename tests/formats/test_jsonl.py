from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import lines

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.jsonl import MAX_CACHED, JsonLinesFormat
from sessionlog_handlers.formats.line import Head, Line

TS = 1767875696.789
LINE = (
    b'{"ts":"2026-01-08T12:34:56.789Z","level":"info","session":"abc123","event":"log",'
    b'"data":{"user":"ada"},"seq":7,"pid":42,"msg":"hello","logger":"app","exc":"Traceback"}\n'
)


def make_line(**changes: Any) -> Line:
    """
    A line with the given fields in place of ordinary ones.
    """
    fields: dict[str, Any] = {"ts": TS, "level": "info", "session": "abc123", "event": "session_start"}
    return Line(**{**fields, **changes})


class TestWriting:
    def test_example(self) -> None:
        """
        An event's line has the five keys that are always there, then ``seq``.
        """
        line_format = JsonLinesFormat()
        head = Head(TS, "info", "abc123", "session_start", seq=1)
        assert line_format.assemble(head, line_format.fields("session_start", {})) == (
            b'{"ts":"2026-01-08T12:34:56.789Z","level":"info","session":"abc123","event":"session_start","data":{},"seq":1}\n'
        )

    def test_all_keys(self) -> None:
        """
        The optional keys follow in their order.
        """
        line_format = JsonLinesFormat()
        fields = line_format.fields("log", {"user": "ada"}, "hello", "app", "Traceback")
        assert line_format.assemble(Head(TS, "info", "abc123", "log", 7, 42), fields) == LINE

    def test_values_are_frozen(self) -> None:
        """
        A change of the caller's object after the call does not reach the line.
        """
        line_format = JsonLinesFormat()
        data = {"items": [1]}
        fields = line_format.fields("error", data)
        data["items"].append(2)
        assert fields == (b'{"items":[1]}', b"")

    def test_bytes(self) -> None:
        """
        A terminal's bytes are given by their number and in base64.
        """
        raw = JsonLinesFormat().assemble(Head(TS, "info", "a", "output", 1), b"\x1b[0m\xff")
        assert json.loads(raw)["data"] == {"bytes": 5, "base64": base64.b64encode(b"\x1b[0m\xff").decode()}

    def test_bytes_without_content(self) -> None:
        """
        Without content the number of bytes is all that is kept of them, whichever way they came.
        """
        line_format = JsonLinesFormat(content=False)
        raw = line_format.assemble(Head(TS, "info", "a", "input", 1), b"secret")
        assert json.loads(raw)["data"] == {"bytes": 6}
        given_line = make_line(event="input", data={"bytes": 6, "base64": "c2VjcmV0"})
        assert json.loads(line_format.format(given_line))["data"] == {"bytes": 6}

    def test_nothing_forges_a_key(self) -> None:
        """
        Fields with the names of the line's own keys stay inside ``data``.
        """
        forged = {"ts": "never", "level": "critical", "session": "other", "event": "session_end", "seq": 99}
        line = make_line(data=forged, seq=1)
        parsed = JsonLinesFormat().parse(JsonLinesFormat().format(line))
        assert parsed == line

    @pytest.mark.parametrize("where", ["data", "msg", "exc", "bytes", "all"])
    def test_long_records_are_cut(self, where: str) -> None:
        """
        A record beyond the limit is cut to it and tells its original length.
        """
        line_format = JsonLinesFormat(max_record_bytes=4096)
        text = "x" * 100_000
        head = Head(TS, "info", "a", "log", 1)
        if where == "bytes":
            raw = line_format.assemble(head, text.encode())
        else:
            texts = {key: text for key in ("msg", "exc") if where in (key, "all")}
            data = {"text": text} if where in ("data", "all") else {}
            raw = line_format.assemble(head, line_format.fields("log", data, **texts))
        assert len(raw) <= 4096 + 200
        assert b"100000" in raw
        assert JsonLinesFormat().parse(raw).session == "a"

    def test_many_sessions(self) -> None:
        """
        Going through more sessions than are remembered gives each line its own.
        """
        line_format = JsonLinesFormat()
        fields = line_format.fields("error", {})
        for number in range(MAX_CACHED + 10):
            raw = line_format.assemble(Head(TS, "info", f"s{number}", "error"), fields)
            assert f'"session":"s{number}"'.encode() in raw


class TestReading:
    @given(lines)
    def test_round_trip(self, line: Line) -> None:
        """
        Any line comes back as it was.
        """
        line_format = JsonLinesFormat(max_record_bytes=0)
        raw = line_format.format(line)
        assert raw.count(b"\n") == 1
        assert line_format.parse(raw) == line

    def test_cut_anywhere(self) -> None:
        """
        A line that was cut is invalid at every byte, and never anything else.
        """
        line_format = JsonLinesFormat()
        for length in range(len(LINE) - 1):
            with pytest.raises(InvalidLineError):
                line_format.parse(LINE[:length])
        assert line_format.parse(LINE[:-1]) == line_format.parse(LINE)

    @given(st.binary() | st.integers(0, len(LINE) * 8 - 1))
    def test_garbage(self, damage: bytes | int) -> None:
        """
        Random bytes and flipped bits give a line or `InvalidLineError`, nothing else.
        """
        raw = damage if isinstance(damage, bytes) else _flip(LINE, damage)
        result: Line | InvalidLineError
        try:
            result = JsonLinesFormat().parse(raw, lineno=3)
        except InvalidLineError as error:
            result = error
        assert isinstance(result, Line) or (result.line, result.lineno) == (raw, 3)

    def test_lone_surrogate(self) -> None:
        """
        Half a character in a message comes back.
        """
        line = make_line(msg="a\udcff", data={"x": "\ud800"})
        assert JsonLinesFormat().parse(JsonLinesFormat().format(line)) == line

    def test_no_time(self) -> None:
        """
        Without a readable time it is no line.
        """
        with pytest.raises(InvalidLineError):
            JsonLinesFormat().parse(LINE.replace(b"2026-01-08T", b"2026-01-08 at "))

    def test_time_as_datetime(self) -> None:
        """
        A line's time is also an aware datetime.
        """
        assert make_line().time.isoformat() == "2026-01-08T12:34:56.789000+00:00"

    def test_unknown_keys(self) -> None:
        """
        Keys of a later version don't make a line unreadable.
        """
        assert JsonLinesFormat().parse(LINE.replace(b'"seq":7', b'"new":[1],"seq":7')).seq == 7


def _flip(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
