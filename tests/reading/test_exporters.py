from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import BinaryIO

import pytest

from sessionlog_handlers import register_exporter
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.reading import exporters
from sessionlog_handlers.reading.exporters import exporter, exporter_names
from sessionlog_handlers.reading.readable import MAX_CONTENT, readable_line

HOSTILE = "\x1b]0;x\x07\r\n\x9b\u202e"


def export_events(lines: Iterable[Line], stream: BinaryIO) -> None:
    """The names of the events.

    And no more.
    """
    for line in lines:
        stream.write(line.event.encode() + b"\n")


@pytest.fixture(autouse=True)
def _keep_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What a test registers is forgotten after it.
    """
    monkeypatch.setattr(exporters, "_registered", dict(exporters._registered))


def make_line(**values: object) -> Line:
    """
    A line with some values.
    """
    return Line(**{"ts": 0.0, "level": "info", "session": "abc", "event": "completion", **values})  # type: ignore[arg-type]


class TestRegistry:
    def test_builtin(self) -> None:
        """
        JSON Lines and text are there from the beginning.
        """
        assert {"jsonl", "text"} <= set(exporter_names())
        assert all(found.description for found in exporters.exporters())

    def test_register(self) -> None:
        """
        A registered function is found by its name and writes to the stream.
        """
        register_exporter("events", export_events, description="Names.")
        stream = io.BytesIO()
        exporter("events").export([make_line()], stream)
        assert stream.getvalue() == b"completion\n"
        assert "events" in exporter_names()

    def test_unknown(self) -> None:
        """
        An unknown name is an error with the choices and what was probably meant.
        """
        with pytest.raises(ConfigurationError, match="jsonl, text; did you mean 'jsonl'"):
            exporter("json")

    @pytest.mark.parametrize(("name", "function"), [("", print), (None, print), ("x", None)])
    def test_refuses_nonsense(self, name: str, function: object) -> None:
        """
        A name that is empty and a function that is none are refused at once.
        """
        with pytest.raises(ConfigurationError):
            register_exporter(name, function)  # type: ignore[arg-type]  # on purpose

    def test_entry_points(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Packages add theirs by entry point; one that can't be loaded costs nobody else anything.
        """
        points = metadata.EntryPoints(
            metadata.EntryPoint(name, value, exporters.ENTRY_POINTS)
            for name, value in (("names", "helper_exporter:export_events"), ("broken", "no_such_module:x"))
        )
        module = type("Module", (), {"export_events": staticmethod(export_events)})
        monkeypatch.setitem(__import__("sys").modules, "helper_exporter", module)
        monkeypatch.setattr(metadata, "entry_points", lambda **wanted: points.select(**wanted))
        assert {"names", "broken"} <= set(exporter_names())
        assert exporter("names").description == "The names of the events."
        assert [found.name for found in exporters.exporters()] == ["jsonl", "names", "text"]
        with pytest.raises(ConfigurationError, match="no_such_module"):
            exporter("broken")


class TestBuiltin:
    def test_streams(self) -> None:
        """
        Lines are written as they come, not when all are there.
        """
        stream = io.BytesIO()

        def lines() -> Iterator[Line]:
            yield make_line()
            assert stream.getvalue().count(b"\n") == 1
            yield make_line()

        for name in ("jsonl", "text"):
            stream.seek(0)
            stream.truncate()
            exporter(name).export(lines(), stream)

    @pytest.mark.parametrize("name", ["jsonl", "text"])
    def test_nothing_acts_on_a_terminal(self, name: str) -> None:
        """
        Control characters in any field come out as escapes; JSON means what it meant.
        """
        data = {f"key{HOSTILE}": HOSTILE, "nested": {"a": [HOSTILE]}}
        line = make_line(level=HOSTILE, session=HOSTILE, event=HOSTILE, data=data, msg=HOSTILE, logger=HOSTILE)
        stream = io.BytesIO()
        exporter(name).export([line], stream)
        text = stream.getvalue().decode()
        assert not set(text) & set("\x1b\x07\r\x9b\u202e")
        assert text.count("\n") == 1
        if name == "jsonl":
            assert json.loads(text)["data"] == data

    def test_traceback(self) -> None:
        """
        A traceback stands below its line, each line of it safe.
        """
        stream = io.BytesIO()
        exporter("text").export([make_line(exc="Traceback:\n  odd\x1b")], stream)
        assert stream.getvalue().decode().splitlines()[1:] == ["    Traceback:", "      odd\\x1b"]


class TestReadableLine:
    def test_bytes_are_shown_as_text(self) -> None:
        """
        A terminal's bytes are shown as text, cut when they are many; what is no base64 is shown as it is.
        """
        shown = readable_line(make_line(event="output", level="debug", data={"bytes": 3, "base64": "aGkb"}))
        assert shown == "1970-01-01T00:00:00.000Z DEBUG   output bytes=3 | hi\\x1b"
        assert readable_line(make_line(event="input", data={"base64": "?"})).endswith("input base64=?")
        long = make_line(event="output", data={"bytes": 1, "base64": "QUFB" * 10_000})
        assert len(readable_line(long)) < MAX_CONTENT + 200

    def test_ordinary_record(self) -> None:
        """
        An ordinary record is shown by its logger, with its message and fields; JSON values stay readable.
        """
        line = make_line(event="log", level="warning", logger="app", msg="watch out", data={"n": 1, "d": {"a": "b c"}})
        assert readable_line(line) == '1970-01-01T00:00:00.000Z WARNING app: watch out n=1 d={"a":"b c"}'
