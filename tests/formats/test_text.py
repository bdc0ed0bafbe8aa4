from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import UNSAFE, any_texts, lines, names, timestamps

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.escaping import escape, split_pairs
from sessionlog_handlers.formats.line import Head, Line
from sessionlog_handlers.formats.text import TextFormat

TS = 1758535200.0


def make_line(**changes: Any) -> Line:
    """
    A line with the given fields in place of ordinary ones.
    """
    fields: dict[str, Any] = {"ts": TS, "level": "info", "session": "", "event": "log", "msg": "hello", "logger": "app"}
    return Line(**{**fields, **changes})


class TestWriting:
    def test_example(self) -> None:
        """
        The recorder's last line reads as its document has it.
        """
        line = make_line(event="session_end", msg=None, logger=None, data={"reason": "user_request"})
        assert TextFormat(event_logger="echolog.session").format(line) == (
            b"2025-09-22T10:00:00Z INFO echolog.session: session_stop reason=user_request\n"
        )

    @pytest.mark.parametrize(
        ("level", "word"),
        [("debug", b"DEBUG"), ("info", b"INFO"), ("warning", b"WARNING"), ("error", b"ERROR"), ("critical", b"ERROR")],
    )
    def test_four_severities(self, level: str, word: bytes) -> None:
        """
        There are four words for the severity; critical is an error.
        """
        assert TextFormat().format(make_line(level=level)).split()[1] == word

    def test_colon_in_the_logger(self) -> None:
        """
        A colon in a logger's name can't end it early.
        """
        assert TextFormat().format(make_line(logger="a:b: c")) == b"2025-09-22T10:00:00Z INFO a.b. c: hello\n"

    def test_values_are_quoted_where_needed(self) -> None:
        """
        Values with spaces or quotes, and empty ones, are quoted as in logfmt.
        """
        raw = TextFormat().format(make_line(data={"device": "USB mic", "rate": 44100, "note": "", "said": 'a "b"'}))
        assert (
            raw == rb'2025-09-22T10:00:00Z INFO app: hello device="USB mic" rate=44100 note="" said="a \"b\""' + b"\n"
        )

    def test_traceback(self) -> None:
        """
        A traceback is on the record's line, as its last field.
        """
        raw = TextFormat().format(make_line(exc="Traceback:\n  x\nValueError: y"))
        assert raw == rb'2025-09-22T10:00:00Z INFO app: hello exc="Traceback:\n  x\nValueError: y"' + b"\n"

    def test_bytes(self) -> None:
        """
        Of a terminal's bytes the number is given, whichever way they came.
        """
        raw = TextFormat().assemble(Head(TS, "info", "a", "output"), b"\x1b[31m")
        assert raw == b"2025-09-22T10:00:00Z INFO sessionlog.session: output bytes=5\n"
        line = make_line(event="output", msg=None, logger=None, data={"bytes": 5, "base64": "G1szMW0="})
        assert TextFormat().format(line) == raw

    @given(lines)
    def test_safe_on_a_terminal(self, line: Line) -> None:
        """
        Whatever a record says, it is one line of valid UTF-8 that a terminal only shows.
        """
        raw = TextFormat().format(line)
        assert raw.endswith(b"\n")
        assert UNSAFE.search(raw[:-1].decode("utf-8")) is None

    def test_long_records_are_cut(self) -> None:
        """
        A record beyond the limit is cut to about it and tells its original length.
        """
        raw = TextFormat(max_record_bytes=4096).format(make_line(msg="\x00" * 100_000, exc="x" * 100_000))
        assert len(raw) <= 4096 + 200
        assert b"[truncated, 100000 characters]" in raw


class TestReading:
    @given(
        st.builds(
            make_line,
            ts=timestamps.map(int).map(float),
            level=st.sampled_from(["debug", "info", "warning", "error"]),
            msg=any_texts,
            logger=any_texts,
            data=st.dictionaries(names, any_texts),
            exc=st.none() | any_texts,
        )
    )
    def test_record_round_trip(self, line: Line) -> None:
        """
        An ordinary record comes back, if its message does not end like fields and its logger has no colon.
        """
        assert line.msg is not None
        assume(line.logger is not None and ":" not in line.logger and "exc" not in line.data)
        assume(split_pairs(escape(line.msg))[1] == [] and not line.msg.endswith(" "))
        assert TextFormat().parse(TextFormat().format(line)) == line

    @given(names, st.dictionaries(names, any_texts), st.none() | st.just("said so"))
    def test_event_round_trip(self, event: str, data: dict[str, str], msg: str | None) -> None:
        """
        An event comes back with its name, its fields as texts and its message.
        """
        assume("exc" not in data)
        line = make_line(event=event, data=data, msg=msg, logger=None)
        assert TextFormat().parse(TextFormat().format(line)) == line

    def test_session_stop(self) -> None:
        """
        The recorder's word for a session's end is read as ours, whichever logger wrote it.
        """
        raw = b"2025-09-22T10:00:00Z INFO echolog.session: session_stop reason=user_request"
        line = TextFormat().parse(raw)
        assert (line.event, line.logger, line.data, line.msg) == (
            "session_end",
            "echolog.session",
            {"reason": "user_request"},
            None,
        )

    def test_prose_is_no_event(self) -> None:
        """
        A message that begins with an event's name in passing stays a message.
        """
        line = TextFormat().parse(b"2025-09-22T10:00:00Z ERROR app: error opening file")
        assert (line.event, line.msg) == ("log", "error opening file")

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"hello",
            b"2025-09-22T10:00:00Z NOTICE a: b",
            b"2025-09-22 INFO a: b",
            b"2025-09-22T10:00:00Z INFO a",
            b"\xff",
        ],
    )
    def test_refuses_the_rest(self, raw: bytes) -> None:
        """
        What does not begin with time, severity and logger is no text line.
        """
        with pytest.raises(InvalidLineError):
            TextFormat().parse(raw)
