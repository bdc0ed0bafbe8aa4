from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from strategies import lines

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.fugue import FugueFormat
from sessionlog_handlers.formats.line import Head, Line
from sessionlog_handlers.formats.payload import level_of_event

TS = 1767875696.789


class TestFugueFormat:
    def test_example(self) -> None:
        """
        Window and pane stand beside the payload, in the dialect's order.
        """
        data = {"command": "bash", "window_id": "w1", "pane_id": "p1"}
        line = Line(ts=TS, level="info", session="abc123", event="pane_created", data=data)
        assert FugueFormat().format(line) == (
            b'{"timestamp":"2026-01-08T12:34:56.789Z","session_id":"abc123","event_type":"pane_created",'
            b'"window_id":"w1","pane_id":"p1","payload":{"command":"bash"}}\n'
        )
        assert FugueFormat().parse(FugueFormat().format(line)) == line

    def test_empty_keys_are_absent(self) -> None:
        """
        Keys with nothing to say are not written.
        """
        line = Line(ts=TS, level="info", session="", event="session_start", data={"window_id": "", "pane_id": None})
        assert json.loads(FugueFormat().format(line)) == {
            "timestamp": "2026-01-08T12:34:56.789Z",
            "event_type": "session_start",
        }

    def test_ordinary_record(self) -> None:
        """
        An ordinary record's severity, message, logger and fields are in the payload.
        """
        line = Line(ts=TS, level="error", session="a", event="log", data={"n": 1}, msg="hello", logger="app")
        assert json.loads(FugueFormat().format(line))["payload"] == {
            "level": "error",
            "msg": "hello",
            "logger": "app",
            "data": {"n": 1},
        }

    def test_bytes(self) -> None:
        """
        A terminal's bytes are the payload; without content only their number.
        """
        head = Head(TS, "info", "a", "output")
        assert json.loads(FugueFormat().assemble(head, b"hi"))["payload"] == {"bytes": 2, "base64": "aGk="}
        assert json.loads(FugueFormat(content=False).assemble(head, b"hi"))["payload"] == {"bytes": 2}
        line = Line(ts=TS, level="info", session="a", event="output", data={"bytes": 2, "base64": "aGk="})
        assert json.loads(FugueFormat(content=False).format(line))["payload"] == {"bytes": 2}

    @given(lines)
    def test_round_trip(self, line: Line) -> None:
        """
        A line comes back but for what the dialect lacks: number, process, and the severity of named events.
        """
        assume(not {"window_id", "pane_id", "_msg", "_logger", "_exc"} & set(line.data))
        expected = _without(line, seq=None, pid=None)
        if line.event != "log":
            expected = _without(expected, level=level_of_event(line.event))
        raw = FugueFormat(max_record_bytes=0).format(line)
        assert raw.count(b"\n") == 1
        assert FugueFormat().parse(raw) == expected

    def test_foreign_payloads(self) -> None:
        """
        A payload that other writers made for the event ``log`` loses nothing, and odd ids are written as text.
        """
        raw = b'{"timestamp":"2026-01-08T12:34:56Z","event_type":"log","payload":{"msg":5,"data":[1],"x":2}}'
        line = FugueFormat().parse(raw)
        assert (line.msg, line.data) == (None, {"msg": 5, "data": [1], "x": 2})
        odd = Line(ts=TS, level="info", session="a", event="error", data={"window_id": 3, "pane_id": ["x"] * 1000})
        fields = json.loads(FugueFormat().format(odd))
        assert fields["window_id"] == 3
        assert fields["pane_id"].endswith("characters]")

    def test_no_time(self) -> None:
        """
        Without a readable time it is no line.
        """
        with pytest.raises(InvalidLineError):
            FugueFormat().parse(b'{"timestamp":"now","event_type":"log"}')

    def test_cut_anywhere(self) -> None:
        """
        A line that was cut is invalid at every byte.
        """
        raw = FugueFormat().format(Line(ts=TS, level="info", session="a", event="log", msg="hello"))
        for length in range(len(raw) - 1):
            with pytest.raises(InvalidLineError):
                FugueFormat().parse(raw[:length])

    def test_long_records_are_cut(self) -> None:
        """
        A record beyond the limit is cut to about it and tells its original length.
        """
        line = Line(
            ts=TS, level="info", session="a", event="log", msg="x" * 100_000, exc="y" * 100_000, data={"k": "z" * 9000}
        )
        raw = FugueFormat(max_record_bytes=4096).format(line)
        assert len(raw) <= 4096 + 200
        assert b"100000 characters" in raw


def _without(line: Line, **changes: Any) -> Line:
    return Line(**{**{name: getattr(line, name) for name in line.__struct_fields__}, **changes})
