from __future__ import annotations

import pytest
from hypothesis import given
from strategies import UNSAFE, any_texts, lines, timestamps

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.escaping import parse_pairs
from sessionlog_handlers.formats.event_line import EventLineFormat
from sessionlog_handlers.formats.line import Head, Line

TS = 1734618721.123
EXAMPLE = b"2024-12-19T14:32:01.123Z|conversation:start|agent_service|session_id=abc123 user_msg_len=45"


class TestWriting:
    def test_example(self) -> None:
        """
        Fields are written behind the message as the timeline's document has them.
        """
        data = {"session_id": "abc123", "user_msg_len": 45}
        line = Line(ts=TS, level="info", session="", event="conversation:start", logger="agent_service", data=data)
        assert EventLineFormat().format(line) == EXAMPLE + b"\n"

    def test_escapes(self) -> None:
        """
        Line ends and backslashes are escaped everywhere, ``|`` in type and source only.
        """
        line = Line(ts=TS, level="info", session="", event="a|b", logger="c\\d", msg="e|f\n")
        assert EventLineFormat().format(line) == rb"2024-12-19T14:32:01.123Z|a\pb|c\\d|e|f\n" + b"\n"

    def test_bytes(self) -> None:
        """
        Of a terminal's bytes the number is given.
        """
        raw = EventLineFormat().assemble(Head(TS, "info", "a", "output"), b"12345")
        assert raw == b"2024-12-19T14:32:01.123Z|output||bytes=5\n"

    def test_traceback(self) -> None:
        """
        A traceback is the message's last pair; base64 of a terminal's bytes is left out.
        """
        line = Line(ts=TS, level="info", session="", event="output", data={"bytes": 1, "base64": "eA=="}, exc="a\nb")
        raw = EventLineFormat().format(line)
        assert parse_pairs(EventLineFormat().parse(raw).msg or "") == {"bytes": "1", "exc": "a\nb"}

    @given(lines)
    def test_one_safe_line(self, line: Line) -> None:
        """
        Whatever an event says, it is one line of valid UTF-8 that a terminal only shows.
        """
        raw = EventLineFormat().format(line)
        assert raw.endswith(b"\n")
        assert UNSAFE.search(raw[:-1].decode("utf-8")) is None
        assert raw.count(b"|") >= 3

    def test_long_records_are_cut(self) -> None:
        """
        A message beyond the limit is cut and tells its original length.
        """
        line = Line(ts=TS, level="info", session="", event="a", msg="\x00" * 100_000)
        raw = EventLineFormat(max_record_bytes=4096).format(line)
        assert len(raw) <= 4096 + 200
        assert b"[truncated, 100000 characters]" in raw


class TestReading:
    @given(timestamps, any_texts, any_texts, any_texts)
    def test_round_trip(self, ts: float, event: str, source: str, message: str) -> None:
        """
        Time, type, source and message come back exactly, whatever characters they have.
        """
        level = "error" if event.startswith("error:") else "info"
        line = Line(ts=ts, level=level, session="", event=event, logger=source, msg=message)
        assert EventLineFormat().parse(EventLineFormat().format(line)) == line

    def test_fields_are_in_the_message(self) -> None:
        """
        Named fields come back as part of the message, and can be found there.
        """
        line = EventLineFormat().parse(EXAMPLE)
        assert (line.msg, line.data) == ("session_id=abc123 user_msg_len=45", {})
        assert parse_pairs(line.msg or "") == {"session_id": "abc123", "user_msg_len": "45"}

    def test_values_survive_both_layers(self) -> None:
        """
        A value with quotes, backslashes and line ends is found in the message as it was.
        """
        data = {"path": "C:\\new dir\\", "said": 'x="y"\n|'}
        raw = EventLineFormat().format(Line(ts=TS, level="info", session="", event="a", data=data))
        assert parse_pairs(EventLineFormat().parse(raw).msg or "") == data

    def test_unknown_escapes_stay(self) -> None:
        """
        A backslash that escapes nothing, as other writers leave it, is read as it stands.
        """
        assert EventLineFormat().parse(rb"2024-12-19T14:32:01.123Z|a|b|C:\dir \d+").msg == r"C:\dir \d+"

    def test_errors_by_their_type(self) -> None:
        """
        The severity follows from the type.
        """
        assert EventLineFormat().parse(b"2024-12-19T14:32:01.123Z|error:io|b|c").level == "error"

    @pytest.mark.parametrize(
        "raw", [b"", b"2024-12-19T14:32:01.123Z|a|b", b"yesterday|a|b|c", b"2024-12-19T14:32:01.123Z|\xff||"]
    )
    def test_refuses_the_rest(self, raw: bytes) -> None:
        """
        Fewer than three bars, or no time before them, is no event line.
        """
        with pytest.raises(InvalidLineError):
            EventLineFormat().parse(raw)
