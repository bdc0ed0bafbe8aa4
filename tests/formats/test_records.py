from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from helpers import run_python
from hypothesis import given
from hypothesis import strategies as st
from pythonjsonlogger.core import RESERVED_ATTRS

from sessionlog_handlers.formats.records import (
    MAX_SHAPES,
    STAMPED,
    STANDARD_ATTRIBUTES,
    TAKEN,
    RecordContent,
    _shapes,
    exception_text,
    record_content,
    record_level,
    record_session,
)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


def make_record(msg: object = "hello %s", args: Any = ("you",), **attributes: Any) -> logging.LogRecord:
    """
    A record as a logger makes it, with what came in *extra* as attributes.
    """
    record = logging.LogRecord("app", logging.INFO, __file__, 1, msg, args, None)
    record.__dict__.update(attributes)
    return record


def test_standard_attributes():
    """
    What is no `extra` is what python-json-logger takes for none.
    """
    assert frozenset(RESERVED_ATTRS) == STANDARD_ATTRIBUTES


class TestRecordContent:
    def test_ordinary(self) -> None:
        """
        A plain record is its message and its logger.
        """
        assert record_content(make_record()) == RecordContent("log", {}, "hello you", "app", None)

    def test_extra(self) -> None:
        """
        What came in ``extra`` is the data; the session's id and our own marks are not.
        """
        record = make_record(user="ada", session_id="abc", _private=1, **{TAKEN: ("/logs",), STAMPED: True})
        assert record_content(record).data == {"user": "ada", "_private": 1}

    def test_after_other_formatters(self) -> None:
        """
        What a formatter leaves on a record is no ``extra``, nor is what a pickle brings from another Python.
        """
        record = make_record(taskName="task", user=1)
        logging.Formatter("%(asctime)s %(message)s").format(record)
        copy = pickle.loads(pickle.dumps(record))
        assert record_content(copy) == RecordContent("log", {"user": 1}, "hello you", "app", None)

    def test_factory_that_was_there_first(self) -> None:
        """
        What a record factory of the app's own adds is an ``extra``, also where it was set before this package came.
        """
        program = (
            "import logging\n"
            "def make(*args, **options):\n"
            "    record = logging.LogRecord(*args, **options)\n"
            "    record.request = 'r1'\n"
            "    return record\n"
            "logging.setLogRecordFactory(make)\n"
            "from sessionlog_handlers.formats.records import record_content\n"
            "print(record_content(logging.getLogger().makeRecord('a', 20, '', 1, 'hi', (), None)).data)\n"
        )
        assert run_python(program, check=True).stdout == "{'request': 'r1'}\n"

    def test_event(self) -> None:
        """
        A record that names an event has its data, ``extra`` beside it, and no message that only repeats the name.
        """
        record = make_record("error", None, event="error", event_data={"code": 1}, user="ada")
        assert record_content(record) == RecordContent("error", {"code": 1, "user": "ada"}, None, "app", None)
        record = make_record("it broke", None, event="error")
        assert record_content(record).msg == "it broke"

    def test_event_of_somebody_else(self) -> None:
        """
        An attribute called ``event`` that is no text, and event data that is no mapping, are data.
        """
        content = record_content(make_record(event={"id": 5}, event_data=[1]))
        assert (content.event, content.data) == ("log", {"event": {"id": 5}, "event_data": [1]})

    @pytest.mark.parametrize(
        ("msg", "args", "text"),
        [
            ("%d items", ("x",), "%d items args=('x',) [format error: TypeError]"),
            ("%s %s", ("x",), "%s %s args=('x',) [format error: TypeError]"),
            ("%s", (Unprintable(),), "%s args=<unprintable tuple object> [format error: RuntimeError]"),
            (Unprintable(), None, "<unprintable Unprintable object> [format error: RuntimeError]"),
        ],
    )
    def test_messages_that_fail(self, msg: object, args: Any, text: str) -> None:
        """
        A message that can't be made is replaced by what is known of it.
        """
        assert record_content(make_record(msg, args)).msg == text

    def test_session(self) -> None:
        """
        The session is the record's stamp, if that is a text.
        """
        assert record_session(make_record(session_id="abc")) == "abc"
        assert record_session(make_record(session_id=5)) == ""

    def test_level(self) -> None:
        """
        The severity's word goes by the number; a record without one is info.
        """
        assert record_level(make_record(levelno=26)) == "info"
        assert record_level(make_record(levelno=None)) == "info"
        assert record_level(make_record(levelno=50)) == "critical"

    def test_data_that_fails(self) -> None:
        """
        Event data that can't be read is shown as what it is; a message of a class of its own is the text that it is.
        """

        class Broken(Mapping[str, int]):
            def __getitem__(self, key: str) -> int:
                raise RuntimeError("gone")

            def __iter__(self) -> Iterator[str]:
                raise RuntimeError("gone")

            def __len__(self) -> int:
                return 1

            def __repr__(self) -> str:
                return "Broken"

        class Loud(str):
            def __str__(self) -> str:
                return self

        assert record_content(make_record(event="e", event_data=Broken())).data == {"event_data": "Broken"}
        assert type(record_content(make_record(Loud("quiet"), None)).msg) is str

    def test_names_that_are_no_text(self) -> None:
        """
        A logger's name of another type is shown as what it is.
        """
        assert record_content(make_record(name=5)).logger == "5"


class TestExceptionText:
    def test_traceback_and_stack(self) -> None:
        """
        The traceback's text comes first, then the stack's.
        """
        record = make_record(stack_info="Stack (most recent call last):")
        try:
            raise ValueError("why")
        except ValueError:
            record.exc_info = sys.exc_info()
        text = exception_text(record)
        assert text is not None
        assert text.startswith("Traceback")
        assert text.endswith("ValueError: why\nStack (most recent call last):")

    def test_true_means_the_current_one(self) -> None:
        """
        A record with ``exc_info=True``, as `makeLogRecord` may give it, has the exception that is being handled.
        """
        record = make_record(exc_info=True)
        assert exception_text(record) is None
        try:
            raise ValueError("why")
        except ValueError:
            assert (exception_text(record) or "").endswith("ValueError: why")

    def test_an_exception_object(self) -> None:
        """
        An exception in place of the usual triple is as good.
        """
        assert exception_text(make_record(exc_info=ValueError("why"))) == "ValueError: why"

    def test_failure(self) -> None:
        """
        A traceback that can't be made is named as such.
        """
        assert exception_text(make_record(exc_info=(1, 2, 3))) == "[traceback failed: AttributeError]"


class TestShapes:
    """
    What records of one call have as ``extra`` is remembered by the call's line; a record is never misread by that.
    """

    @given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "session_id", "event", "message"]), st.integers())))
    def test_same_line_other_extra(self, extras: list[dict[str, int]]) -> None:
        """
        Whatever the calls on a line with that number had before, each record gives its own ``extra``, in its order.
        """
        for extra in extras:
            record = make_record(**extra)
            expected = {name: value for name, value in extra.items() if name not in ("session_id", "message")}
            found = record_content(record).data
            assert found == expected

    def test_another_factory(self) -> None:
        """
        A record that has as many attributes as the last one on its line, but others, is looked at anew.
        """
        record_content(make_record(a=1, b=2))
        record = make_record(a=1)
        record.__dict__ = {"from_factory": 3, **record.__dict__}
        assert record_content(record).data == {"from_factory": 3, "a": 1}

    def test_line_that_is_no_number(self) -> None:
        """
        A record whose line number is none is taken apart like any other.
        """
        record = make_record(a=1, b=2)
        record.__dict__["lineno"] = ["x"]
        assert record_content(record).data == {"a": 1, "b": 2}

    def test_many_lines(self) -> None:
        """
        No more lines are remembered than the limit.
        """
        for number in range(MAX_SHAPES + 10):
            record = make_record(a=number, b=2)
            record.lineno = number + 1_000_000
            assert record_content(record).data == {"a": number, "b": 2}
        assert len(_shapes) <= MAX_SHAPES
