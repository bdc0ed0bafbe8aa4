from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts, json_objects, names, severities, timestamps

from sessionlog_handlers.events import EventType
from sessionlog_handlers.formats.line import Head
from sessionlog_handlers.formats.registry import get_format
from sessionlog_handlers.pipeline.channel import Entry
from sessionlog_handlers.pipeline.routes import Route
from sessionlog_handlers.settings.layouts import LAYOUTS

FORMATS = ("jsonl", "fugue", "text", "event_line", "pty")


def make_route(event: str, level: str) -> Route:
    """
    A route of which only event and level matter.
    """
    return Route(
        event=event,
        type=EventType(event),
        level=level,
        files=(0,),
        formats=(0,),
        priority=0,
        durable=False,
        sampled=1.0,
        flood=None,
        gated=False,
        layout=LAYOUTS["multiplexer"],
        format=None,
        clocked=True,
        quick=0,
        rare=False,
        waits=False,
    )


routes = st.builds(make_route, names, severities)
payloads = st.binary(max_size=20) | st.tuples(json_objects, st.none() | any_texts)
times = timestamps | st.sampled_from([float("nan"), float("inf"), -1.5])


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_many_at_once_are_as_one_by_one(name: str, data: Any) -> None:
    """
    The lines of many entries made together are those that each would have alone, with numbers that go on.
    """
    line_format = get_format(name, max_record_bytes=0, content=True)
    some_routes = data.draw(st.lists(routes, min_size=1, max_size=2))
    entries, expected = [], []
    pid, seq = data.draw(st.sampled_from([0, 77])), data.draw(st.integers(1, 9))
    for number, (payload, created) in enumerate(data.draw(st.lists(st.tuples(payloads, times), max_size=5))):
        route = data.draw(st.sampled_from(some_routes))
        content: Any = payload
        if isinstance(payload, tuple):
            content = line_format.fields(route.event, payload[0], payload[1], "app" if payload[1] else None)
        fields, tail = (content, None) if isinstance(content, bytes) else content
        entries.append(Entry(1, route, created, fields, tail, 0.5))
        head = Head(created, route.level, "abc", route.event, seq + number, pid, 0.5)
        expected.append(line_format.assemble(head, content))
    lines = line_format.assemble_all(entries, "abc", pid, seq)
    assert lines.each == expected
    assert lines.joined == b"".join(expected)


@given(st.lists(st.tuples(json_objects, any_texts), max_size=5))
def test_no_line_acts_on_a_terminal(contents: list[tuple[dict[str, Any], str]]) -> None:
    """
    Whatever texts entries have, their JSON lines have no character that a terminal or pager would act on.
    """
    line_format = get_format("jsonl", max_record_bytes=0, content=True)
    route = make_route("log", "info")
    entries = [Entry(1, route, 1.0, *line_format.fields("log", data, msg, "app\x9b\u202e")) for data, msg in contents]
    lines = line_format.assemble_all(entries, "id\x7f\x85", 0, 1)
    text = lines.joined.decode()
    unsafe = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066"}
    assert not unsafe & set(text.replace("\n", ""))
    assert text.count("\n") == len(contents)
