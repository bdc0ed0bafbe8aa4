from __future__ import annotations

import io
import json
import logging
import logging.config
from typing import Any

import pytest

from sessionlog_handlers.formats.formatters import (
    EventLineFormatter,
    FugueFormatter,
    JsonLinesFormatter,
    PtyFormatter,
    TextFormatter,
)

ALL = [JsonLinesFormatter, FugueFormatter, TextFormatter, EventLineFormatter, PtyFormatter]


def make_record(msg: object = "hello", args: Any = None, **attributes: Any) -> logging.LogRecord:
    """
    A record of a fixed time, with what came in *extra* as attributes.
    """
    record = logging.LogRecord("app", logging.WARNING, __file__, 1, msg, args, None)
    record.created = 1767875696.789
    record.__dict__.update(attributes)
    return record


class TestJsonLinesFormatter:
    def test_ordinary_record(self) -> None:
        """
        A record becomes a line of ``session.log`` without a number.
        """
        assert JsonLinesFormatter().format(make_record(user="ada", session_id="abc")) == (
            '{"ts":"2026-01-08T12:34:56.789Z","level":"warning","session":"abc","event":"log",'
            '"data":{"user":"ada"},"msg":"hello","logger":"app"}'
        )

    def test_extra_forges_nothing(self) -> None:
        """
        Whatever came in ``extra`` stays inside ``data``.
        """
        fields = json.loads(
            JsonLinesFormatter().format(make_record(ts="never", level="none", data=1, seq=5, logger="x"))
        )
        assert list(fields) == ["ts", "level", "session", "event", "data", "msg", "logger"]
        assert fields["data"] == {"ts": "never", "level": "none", "data": 1, "seq": 5, "logger": "x"}

    def test_hooks_of_the_base_class(self) -> None:
        """
        Renaming, static fields, defaults, a prefix, a format string's fields and a subclass's last word count.
        """

        class Mine(JsonLinesFormatter):
            def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
                return {**log_data, "last": True}

        formatter = Mine(
            "%(asctime)s %(levelno)s %(funcName)s %(message)s",
            rename_fields={"msg": "text"},
            static_fields={"app": "x"},
            defaults={"user": "nobody"},
            prefix="@cee:",
        )
        line = formatter.format(make_record(user="ada", funcName="main"))
        assert line.startswith("@cee:")
        fields = json.loads(line.removeprefix("@cee:"))
        assert fields["text"] == "hello"
        assert fields["data"] == {"user": "ada", "app": "x", "funcName": "main"}
        assert fields["last"] is True

    def test_unserialisable(self) -> None:
        """
        What JSON lacks is written as text.
        """
        fields = json.loads(JsonLinesFormatter().format(make_record(obj=ValueError("x"), nan=float("nan"))))
        assert fields["data"] == {"obj": "ValueError('x')", "nan": "NaN"}

    def test_long_records_are_cut(self) -> None:
        """
        Of a record that is too long the fields give way, and the line keeps its time and message.
        """
        record = make_record(**{f"k{number}": number for number in range(5000)})
        line = JsonLinesFormatter(max_record_bytes=2000).format(record)
        assert len(line) <= 2000
        fields = json.loads(line)
        assert (fields["msg"], list(fields["data"])) == ("hello", ["truncated"])

    def test_failing_hook(self) -> None:
        """
        What a subclass's hook raises is its own: it goes to the handler, which tells of it, and not into the app.
        """

        class Failing(JsonLinesFormatter):
            def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
                raise KeyError("hook")

        record = logging.LogRecord("app", logging.INFO, __file__, 1, "hello", (), None)
        with pytest.raises(KeyError, match="hook"):
            Failing().format(record)
        failed: list[logging.LogRecord] = []
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(Failing())
        handler.handleError = failed.append  # type: ignore[method-assign]
        handler.handle(record)
        assert failed == [record]


class TestAll:
    @pytest.mark.parametrize("formatter", ALL)
    @pytest.mark.parametrize(
        "record",
        [
            make_record("%d", ("x",)),
            make_record("two\nlines\x1b[0m"),
            make_record("\ud800"),
            make_record("e", event="error", event_data={"a": 10**5000}, session_id="s"),
            make_record(exc_info=(ValueError, ValueError("why"), None), stack_info="Stack"),
        ],
        ids=["args", "controls", "surrogate", "event", "exception"],
    )
    def test_one_line_for_any_record(self, formatter: type[logging.Formatter], record: logging.LogRecord) -> None:
        """
        Every formatter makes one line without an end of any record, and leaves the record as it was.
        """
        before = dict(record.__dict__)
        line = formatter().format(record)
        assert line.splitlines() == [line]
        assert "\x1b" not in line
        assert line.encode("utf-8")
        assert record.__dict__ == before

    @pytest.mark.parametrize("formatter", ALL)
    def test_dict_config(self, formatter: type[logging.Formatter]) -> None:
        """
        Every formatter can be named in a configuration, with a format string that it does not need.
        """
        stream = io.StringIO()
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {
                    "ours": {"class": f"{formatter.__module__}.{formatter.__name__}", "format": "%(message)s"}
                },
                "handlers": {"h": {"class": "logging.StreamHandler", "stream": stream, "formatter": "ours"}},
                "loggers": {"formatters.test": {"handlers": ["h"], "level": "INFO"}},
            }
        )
        logging.getLogger("formatters.test").info("hello")
        assert stream.getvalue().count("\n") == 1

    def test_examples(self) -> None:
        """
        The other formats say what their documents show.
        """
        event = {"event": "session_end", "event_data": {"reason": "user_request"}, "session_id": "abc"}
        record = make_record("session_end", **event)
        assert TextFormatter().format(record) == "2026-01-08T12:34:56Z WARNING app: session_stop reason=user_request"
        assert EventLineFormatter().format(record) == "2026-01-08T12:34:56.789Z|session_end|app|reason=user_request"
        assert json.loads(FugueFormatter().format(record))["session_id"] == "abc"
        assert json.loads(PtyFormatter().format(make_record()))["data"] == "aGVsbG8="
