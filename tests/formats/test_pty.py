from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts, json_objects, names, timestamps

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Head, Line
from sessionlog_handlers.formats.payload import level_of_event
from sessionlog_handlers.formats.pty import PtyFormat

TS = 1770488132.123


def head(event: str, elapsed: float = 1.5) -> Head:
    """
    The head of a line of that event.
    """
    return Head(TS, "info", "a1b2", event, elapsed=elapsed)


class TestWriting:
    def test_example(self) -> None:
        """
        A line has the document's five keys in their order, then the time since the start in microseconds.
        """
        assert PtyFormat().assemble(head("output", 1.2345678), b"Hello, world!") == (
            b'{"timestamp":"2026-02-07T18:15:32.123Z","session_id":"a1b2","direction":"output",'
            b'"data":"SGVsbG8sIHdvcmxkIQ==","size":13,"t":1.234568}\n'
        )

    def test_events_ride_on_empty_output(self) -> None:
        """
        An event that is no bytes is an output line of zero bytes, with the event's object after ``t``.
        """
        line_format = PtyFormat()
        fields = line_format.fields("resize", {"cols": 80, "rows": 24})
        assert line_format.assemble(head("resize"), fields) == (
            b'{"timestamp":"2026-02-07T18:15:32.123Z","session_id":"a1b2","direction":"output",'
            b'"data":"","size":0,"t":1.500000,"resize":{"cols":80,"rows":24}}\n'
        )

    def test_ordinary_record_is_output(self) -> None:
        """
        An ordinary record is an output line of its text and traceback.
        """
        line_format = PtyFormat()
        raw = line_format.assemble(head("log"), line_format.fields("log", {"user": 1}, "héllo", "app", "Traceback"))
        fields = json.loads(raw)
        assert fields["direction"] == "output"
        assert base64.b64decode(fields["data"]).decode() == "héllo\nTraceback"

    @given(st.integers(0, 3), st.integers(-1, 1))
    def test_long_payloads_take_several_lines(self, blocks: int, more: int) -> None:
        """
        No line holds more than 64 KiB, and the lines together hold every byte.
        """
        payload = bytes(max(0, blocks * 65536 + more))
        raw = PtyFormat().assemble(head("input"), payload)
        parsed = [json.loads(line) for line in raw.splitlines()]
        assert all(line["size"] <= 65536 and line["direction"] == "input" for line in parsed)
        assert b"".join(base64.b64decode(line["data"]) for line in parsed) == payload

    @pytest.mark.parametrize("elapsed", [-1.0, float("nan"), float("inf")])
    def test_odd_clocks(self, elapsed: float) -> None:
        """
        A time before the start, or none at all, is the start.
        """
        assert json.loads(PtyFormat().assemble(head("output", elapsed), b"x"))["t"] == 0

    def test_without_content(self) -> None:
        """
        Without content the size is all that is kept.
        """
        fields = json.loads(PtyFormat(content=False).assemble(head("input"), b"secret"))
        assert (fields["data"], fields["size"]) == ("", 6)

    def test_long_records_are_cut(self) -> None:
        """
        An event's object beyond the limit is cut and tells its original length.
        """
        line = Line(ts=TS, level="info", session="a", event="header", data={"env": "x" * 100_000})
        raw = PtyFormat(max_record_bytes=4096).format(line)
        assert len(raw) <= 4096 + 200
        assert b"[truncated, 100000 characters]" in raw


class TestReading:
    @given(timestamps, st.sampled_from(["input", "output"]), st.binary(max_size=100), st.integers(0, 10**10))
    def test_bytes_round_trip(self, ts: float, event: str, payload: bytes, microseconds: int) -> None:
        """
        A terminal's bytes come back with their times, to the microsecond.
        """
        data = {"bytes": len(payload), "base64": base64.b64encode(payload).decode(), "t": microseconds / 1e6}
        line = Line(ts=ts, level=level_of_event(event), session="a", event=event, data=data)
        assert PtyFormat().parse(PtyFormat().format(line)) == line

    @given(
        names | st.sampled_from(["header", "resize", "exit", "gap", "data", "t", "size_", "session_start"]),
        json_objects.filter(lambda data: not {"_msg", "_logger", "_exc", "t"} & set(data)),
        st.none() | any_texts,
    )
    def test_event_round_trip(self, event: str, data: dict[str, Any], msg: str | None) -> None:
        """
        Any other event comes back under its own name, also one that is called like a key of the line.
        """
        if event in ("log", "input", "output"):
            return
        line = Line(
            ts=TS, level=level_of_event(event), session="a", event=event, data={**data, "t": 2.5}, msg=msg, exc=msg
        )
        assert PtyFormat(max_record_bytes=0).parse(PtyFormat(max_record_bytes=0).format(line)) == line

    def test_lines_of_the_document(self) -> None:
        """
        A line as the document shows it, without ``t``, is read.
        """
        raw = (
            b'{"timestamp":"2026-02-07T18:15:35.456Z","session_id":"a1b2c3d4","direction":"input",'
            b'"data":"Y2xhdWRlIGhlbHA=","size":11}'
        )
        line = PtyFormat().parse(raw)
        assert (line.event, line.data) == ("input", {"bytes": 11, "base64": "Y2xhdWRlIGhlbHA="})

    def test_odd_lines(self) -> None:
        """
        Without a readable time it is no line; bytes that are no base64 are kept as they are.
        """
        with pytest.raises(InvalidLineError):
            PtyFormat().parse(b'{"timestamp":"now","session_id":"","direction":"input","data":"","size":0}')
        line = Line(ts=TS, level="info", session="a", event="output", data={"base64": "?é"})
        assert PtyFormat().parse(PtyFormat().format(line)).data["bytes"] == 3

    def test_cut_anywhere(self) -> None:
        """
        A line that was cut is invalid at every byte.
        """
        raw = PtyFormat().assemble(head("output"), b"Hello")
        for length in range(len(raw) - 1):
            with pytest.raises(InvalidLineError):
                PtyFormat().parse(raw[:length])
