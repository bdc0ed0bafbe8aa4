from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.registry import FORMATS, detect_format, get_format

LINE = Line(ts=1767875696.0, level="error", session="abc", event="error", data={"code": 1})


class TestGetFormat:
    @pytest.mark.parametrize("name", FORMATS)
    def test_by_name(self, name: str) -> None:
        """
        Each name gives a format of that name, with the options that all of them take.
        """
        assert get_format(name, max_record_bytes=1000, content=False).name == name

    @pytest.mark.parametrize(
        ("name", "options", "text"),
        [
            ("josnl", {}, "unknown line format 'josnl'; did you mean 'jsonl'?"),
            ("xml", {}, "choose one of jsonl, fugue"),
            ("text", {"colour": True}, "unexpected keyword argument 'colour'"),
        ],
    )
    def test_unknown(self, name: str, options: dict[str, Any], text: str) -> None:
        """
        An unknown name or option is an error that helps.
        """
        with pytest.raises(ConfigurationError) as caught:
            get_format(name, **options)
        assert text in str(caught.value)


class TestDetectFormat:
    @pytest.mark.parametrize("name", ["jsonl", "fugue", "pty", "text", "event_line"])
    def test_own_formats(self, name: str) -> None:
        """
        A file of each format is known by its lines, a torn one among them.
        """
        raw = get_format(name).format(LINE)
        found = detect_format(raw[5:] + raw * 3 + raw[:9])
        assert found is not None
        assert found.name == name

    @pytest.mark.parametrize("sample", [b"", b"\n\n", b"hello\nworld\n", b"\x00" * 100, b"[1]\n", b'"x"\n'])
    def test_none(self, sample: bytes) -> None:
        """
        Prose, garbage and JSON that is no object have no format.
        """
        assert detect_format(sample) is None

    def test_one_line_without_its_end(self) -> None:
        """
        A single line counts also without its end.
        """
        found = detect_format(get_format("text").format(LINE).rstrip())
        assert found is not None
        assert found.name == "text"

    @given(st.binary(max_size=200))
    def test_any_bytes(self, sample: bytes) -> None:
        """
        Whatever a file begins with, looking at it raises nothing.
        """
        found = detect_format(sample)
        assert found is None or found.name in FORMATS


class TestForeignJson:
    @pytest.mark.parametrize(
        ("raw", "ts", "level", "msg"),
        [
            (b'{"time":"2025-09-22T10:00:00Z","level":"WARN","msg":"hi"}', 1758535200.0, "warning", "hi"),
            (b'{"timestamp":1758535200,"levelname":"INFO","message":"hi"}', 1758535200.0, "info", "hi"),
            (b'{"time":1758535200500,"level":50,"msg":"hi"}', 1758535200.5, "critical", "hi"),
            (b'{"asctime":"2025-09-22 10:00:00,500","severity":"ERROR","event":"hi"}', 1758535200.5, "error", "hi"),
            (b'{"ts":true,"time":"2025-09-22T10:00:00Z","level":true}', 1758535200.0, "info", None),
            (b'{"@timestamp":"soon","level":"loud"}', 0.0, "info", None),
        ],
    )
    def test_usual_keys(self, raw: bytes, ts: float, level: str, msg: str | None) -> None:
        """
        JSON Lines of other programs are read with the best guess at their keys, and keep all of them.
        """
        found = detect_format(raw + b"\n")
        assert found is not None
        assert found.name == "json"
        line = found.parse(raw)
        assert (line.ts, line.level, line.msg, line.event) == (ts, level, msg, "log")
        assert len(line.data) >= 2

    def test_ours_among_them(self) -> None:
        """
        A line of our own among foreign ones is read as what it is.
        """
        raw = get_format("jsonl").format(LINE)
        found = detect_format(b'{"a":1}\n' * 3 + raw)
        assert found is not None
        assert found.parse(raw) == LINE
