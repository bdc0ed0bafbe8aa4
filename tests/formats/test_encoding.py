from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import re
import sys
import tracemalloc
import uuid
from collections import UserDict, deque
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts, json_objects

from sessionlog_handlers.formats.encoding import encode_object, encode_text, freeze

TERMINAL_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float = float("nan")


class Whole(int):
    pass


class Share(float):
    pass


class Word(str):
    pass


class Pair(msgspec.Struct):
    a: int


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


def load(encoded: bytes) -> Any:
    """
    Read strict JSON, and see that it is one line of safe, valid UTF-8.
    """
    text = encoded.decode("utf-8")
    assert TERMINAL_UNSAFE.search(text) is None
    return json.loads(text, parse_constant=_refuse)


def cycle() -> list[Any]:
    """
    A list that holds itself.
    """
    result: list[Any] = []
    result.append(result)
    return result


def nested(depth: int) -> dict[str, Any]:
    """
    A mapping in a mapping, so many times.
    """
    result: dict[str, Any] = {}
    for _ in range(depth):
        result = {"in": result}
    return result


class TestEncodeObject:
    @given(json_objects)
    def test_round_trip(self, fields: dict[str, Any]) -> None:
        """
        What JSON can hold comes back as it was, as one safe line.
        """
        assert load(encode_object(fields)) == fields

    @given(st.dictionaries(st.text(), st.text()))
    def test_any_text(self, fields: dict[str, str]) -> None:
        """
        Any text comes back, lone surrogates included, wherever JSON can tell them from a pair.
        """
        expected = json.loads(json.dumps(fields))
        assert load(encode_object(fields)) == expected

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (float("nan"), "NaN"),
            (float("inf"), "Infinity"),
            (float("-inf"), "-Infinity"),
            ([None, float("nan")], [None, "NaN"]),
            (Point(), {"x": "NaN"}),
            (b"\xff\x00", "/wA="),
            (PurePosixPath("/tmp/x"), "/tmp/x"),
            (uuid.UUID(int=3), "00000000-0000-0000-0000-000000000003"),
            (datetime.datetime(2026, 1, 8, 12, 30), "2026-01-08T12:30:00"),
            (datetime.timedelta(seconds=1), "PT1S"),
            (Colour.RED, "red"),
            ({3}, [3]),
            ((1, 2), [1, 2]),
            (range(2), [0, 1]),
            (range(10**30), f"range(0, {10**30})"),
            ([float("nan"), range(1001)], ["NaN", "range(0, 1001)"]),
            (MappingProxyType({"a": 1}), {"a": 1}),
            ({2: "a", None: "b", True: "c", (1, 2): "d"}, {"2": "a", "null": "b", "true": "c", "(1, 2)": "d"}),
            (10**5000, hex(10**5000)),
            (ValueError("why"), "ValueError('why')"),
            (Unprintable(), "<unprintable Unprintable object>"),
            (cycle(), ["<cycle: list>"]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_values_that_json_lacks(self, value: object, text: object) -> None:
        """
        A value that JSON has no form for is written as a text that says what it was.
        """
        assert load(encode_object({"value": value, "beside": 1})) == {"value": text, "beside": 1}

    @pytest.mark.parametrize("beside", ["fast", "safe \ud800"])
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (Whole(7), 7),
            (Share(0.5), 0.5),
            (Share("nan"), "NaN"),
            (Word("w"), "w"),
            (Pair(a=1), {"a": 1}),
            (Point, "its repr"),
            (PurePosixPath("/x"), "/x"),
            (deque([{"a": None}]), [{"a": None}]),
            ({Word("k"): [None, (1.5, b"")]}, {"k": [None, [1.5, ""]]}),
            (MappingProxyType({"a": [None]}), {"a": [None]}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_classes_of_their_own(self, value: object, text: object, beside: str) -> None:
        """
        A subclass of a type that JSON has is written as that type, on every rung.
        """
        if isinstance(value, type):
            text = repr(value)
        assert load(encode_object({"value": value, "none": None, "beside": beside}))["value"] == text

    @pytest.mark.parametrize("container", [list, tuple, deque])
    def test_depth_of_other_containers(self, container: Any) -> None:
        """
        Depth is counted through lists, tuples and other sequences too.
        """
        value: Any = "bottom"
        for _ in range(100):
            value = container([value])
        assert "nested too deeply" in str(load(encode_object({"value": value})))

    def test_the_same_on_every_rung(self) -> None:
        """
        A value looks the same whether or not another one needed the safe encoder.
        """
        fields = {"at": datetime.datetime(2026, 1, 8, tzinfo=datetime.UTC), "raw": b"abc", "who": Colour.RED, "n": 1.5}
        plain = load(encode_object(fields))
        assert load(encode_object({**fields, "odd": "\ud800"})) == {**plain, "odd": "\ud800"}

    @pytest.mark.parametrize("depth", [60, 200, 20_000])
    def test_depth(self, depth: int) -> None:
        """
        Nested containers of any depth are written, no deeper than other readers follow.
        """
        encoded = encode_object(nested(depth))
        assert isinstance(load(encoded), dict)
        assert encoded.count(b"{") <= 66

    def test_near_the_end_of_the_stack(self) -> None:
        """
        With hardly any stack left the result is still JSON.
        """

        def dive(room: int) -> bytes:
            return dive(room - 1) if room else encode_object({"a": "\ud800", "b": [Unprintable()]})

        depth = sys.getrecursionlimit() - 60
        frame: Any = sys._getframe()
        while frame:
            depth, frame = depth - 1, frame.f_back
        results = []
        for room in range(depth, depth + 60):
            try:
                results.append(dive(room))
            except RecursionError:
                break
        assert results
        assert all(isinstance(load(encoded), dict) for encoded in results)

    def test_not_a_mapping(self) -> None:
        """
        A mapping that fails when it is read costs its fields, not the record.
        """

        class Broken(UserDict[str, Any]):
            def __iter__(self) -> Any:
                raise RuntimeError("gone")

        assert "format_error" in load(encode_object(Broken(a=1), 1000))


class TestMaxBytes:
    def test_a_long_text_is_cut(self) -> None:
        """
        A long text is cut to its head, with its original length behind it, and what stands beside it stays.
        """
        encoded = encode_object({"text": "x" * 5000, "beside": 1}, 1000)
        fields = load(encoded)
        assert len(encoded) <= 1000
        assert fields["beside"] == 1
        assert fields["text"].startswith("xxx")
        assert fields["text"].endswith("...[truncated, 5000 characters]")

    def test_many_small_ones_become_a_marker(self) -> None:
        """
        An object that is long without a long text becomes its head, with the original number of bytes.
        """
        fields = {str(number): number for number in range(5000)}
        whole = encode_object(fields)
        encoded = encode_object(fields, 1000)
        marker = load(encoded)["truncated"]
        assert len(encoded) <= 1000
        assert marker["bytes"] == len(whole)
        assert marker["head"].startswith('{"0":0')

    def test_very_many_values(self) -> None:
        """
        A long list becomes a marker without a look at each of its items, also beside a long text.
        """
        items = list(range(100_000))
        for fields in ({"items": items}, {"items": items, "text": "x" * 20_000}):
            marker = load(encode_object(fields, 10_000))["truncated"]
            assert marker["bytes"] == len(encode_object(fields))

    def test_long_text_within(self) -> None:
        """
        A long text is cut also inside of other fields.
        """
        assert load(encode_object({"a": {"b": ["x" * 5000, b"y" * 5000]}}, 1000))["a"]["b"][0].endswith("characters]")

    @given(json_objects, st.integers(64, 400))
    def test_never_above(self, fields: dict[str, Any], max_bytes: int) -> None:
        """
        Whatever the fields, the result is JSON of at most the given size.
        """
        encoded = encode_object(fields, max_bytes)
        assert len(encoded) <= max_bytes
        assert isinstance(load(encoded), dict)

    def test_memory(self) -> None:
        """
        Cutting a text of 50 MB takes a small part of its own memory.
        """
        fields = {"text": "é" * 50_000_000}
        tracemalloc.start()
        try:
            encode_object(fields, 1024 * 1024)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20_000_000


class TestFreeze:
    @given(json_objects)
    def test_plain_stays(self, fields: dict[str, Any]) -> None:
        """
        What is plain already stays as it is, in containers of its own.
        """
        assert freeze(fields) == fields

    def test_is_what_is_written(self) -> None:
        """
        Everything else becomes what its line says.
        """
        values = [1]
        frozen = freeze({"a": values, "b": float("inf"), "c": Unprintable(), "d": "\ud800", 5: Colour.RED})
        values.append(2)
        assert frozen == {
            "a": [1],
            "b": "Infinity",
            "c": "<unprintable Unprintable object>",
            "d": "\ud800",
            "5": "red",
        }

    def test_never_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where not even that is possible, what went wrong stands in the place of the fields.
        """
        monkeypatch.setattr("sessionlog_handlers.formats.encoding.encode_object", lambda fields: b"no JSON")
        assert [*freeze({"a": 1})] == ["format_error"]


class TestEncodeText:
    @given(any_texts)
    def test_round_trip(self, text: str) -> None:
        """
        Any text comes back from one safe line.
        """
        assert load(encode_text(text)) == text

    def test_lone_surrogate(self) -> None:
        """
        Half a character, as file names may have it, is escaped and comes back.
        """
        encoded = encode_text("a\udcffb")
        assert encoded == b'"a\\udcffb"'
        assert load(encoded) == "a\udcffb"

    def test_text_of_a_subclass(self) -> None:
        """
        A text whose class makes something else of itself is written as the text that it is.
        """

        class Loud(str):
            def __str__(self) -> str:
                raise RuntimeError

        assert load(encode_text(Loud("quiet"))) == "quiet"

    @given(any_texts.map(lambda text: text * 20), st.integers(100, 200))
    def test_never_above(self, text: str, max_bytes: int) -> None:
        """
        A cut text has at most the given number of bytes, escapes included.
        """
        encoded = encode_text(text, max_bytes)
        assert len(encoded) <= max_bytes
        assert load(encoded) == text or load(encoded).endswith(f"...[truncated, {len(text)} characters]")
