from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import UNSAFE, any_texts, json_objects, names

from sessionlog_handlers.formats.escaping import (
    escape,
    escape_field,
    escape_json,
    format_pairs,
    make_visible,
    parse_pairs,
    quote_value,
    split_pairs,
    unescape,
    unquote_value,
)


class TestEscape:
    @given(any_texts | st.text())
    def test_round_trip(self, text: str) -> None:
        """
        Any text comes back from its escaped form, which is one line, valid UTF-8 and without effect on a terminal.
        """
        escaped = escape(text)
        assert unescape(escaped) == text
        assert UNSAFE.search(escaped) is None
        assert escaped.encode("utf-8").decode("utf-8") == escaped

    @given(any_texts | st.text())
    def test_field_has_no_bar(self, text: str) -> None:
        """
        A column of an event line comes back and holds no ``|``.
        """
        assert unescape(escape_field(text)) == text
        assert "|" not in escape_field(text)

    @pytest.mark.parametrize("text", [r"C:\dir", r"\d+\s", "\\", r"\xzz", r"\u12"])
    def test_unknown_sequences_stay(self, text: str) -> None:
        """
        A backslash of a file that escapes nothing is read as it stands.
        """
        assert unescape(text) == text


class TestMakeVisible:
    @given(any_texts | st.text())
    def test_does_nothing_to_a_terminal(self, text: str) -> None:
        """
        Any text is one line without effect on a terminal, and what is harmless stays as it is.
        """
        shown = make_visible(text)
        assert UNSAFE.search(shown) is None
        assert shown.encode("utf-8").decode("utf-8") == shown
        if UNSAFE.search(text) is None:
            assert shown == text


class TestEscapeJson:
    @given(json_objects)
    def test_means_the_same(self, value: dict[str, Any]) -> None:
        """
        JSON means what it meant, and does nothing to a terminal.
        """
        escaped = escape_json(json.dumps(value, ensure_ascii=False))
        assert json.loads(escaped) == json.loads(json.dumps(value))
        assert UNSAFE.search(escaped) is None


class TestPairs:
    @given(any_texts)
    def test_value_round_trip(self, text: str) -> None:
        """
        Any text comes back from a pair's value.
        """
        assert unquote_value(quote_value(text)) == text

    @given(st.dictionaries(names, any_texts, min_size=1))
    def test_round_trip(self, fields: dict[str, str]) -> None:
        """
        Named texts come back from a message that holds nothing else.
        """
        message = format_pairs(fields)
        assert parse_pairs(message) == fields
        assert split_pairs(message) == ("", list(fields.items()))

    @given(json_objects)
    def test_any_fields(self, fields: dict[str, object]) -> None:
        """
        Fields of any kind are one safe line.
        """
        assert UNSAFE.search(format_pairs(fields)) is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("a b", '"a b"'),
            ("", '""'),
            ("a=b", '"a=b"'),
            ('"', r'"\""'),
            ("a\n", r'"a\n"'),
            (None, "null"),
            (True, "true"),
            (1.5, "1.5"),
        ],
    )
    def test_quotes_where_needed(self, value: object, text: str) -> None:
        """
        A value is quoted when it is empty or holds white space, quotes, ``=`` or control characters, else bare.
        """
        assert format_pairs({"k": value}) == f"k={text}"

    def test_pairs_amid_prose(self) -> None:
        """
        A pair counts as a word of its own; only the unbroken run at the end belongs to the line's fields.
        """
        message = 'saw x=1 and then y=2 z="3 4"'
        assert parse_pairs(message) == {"x": "1", "y": "2", "z": "3 4"}
        assert split_pairs(message) == ("saw x=1 and then", [("y", "2"), ("z", "3 4")])

    def test_limit(self) -> None:
        """
        Beyond the limit long values are cut and the last fields left out, with their number in their place.
        """
        fields = {"long": "x" * 5000, "items": list(range(5000)), **{f"k{number}": number for number in range(1000)}}
        pairs = format_pairs(fields, 1000)
        assert len(pairs) <= 1100
        parsed = parse_pairs(pairs)
        assert parsed["long"].endswith("...[truncated, 5000 characters]")
        assert '"truncated":' in parsed["items"]
        assert int(parsed["truncated"]) + len(parsed) - 1 == len(fields)

    def test_fields_that_fail(self) -> None:
        """
        A mapping that fails when it is read is named as such.
        """

        class Broken(dict[str, int]):
            def items(self) -> Any:
                raise RuntimeError("gone")

        assert format_pairs(Broken(a=1)) == "format_error=RuntimeError('gone')"

    def test_keys_are_cleaned(self) -> None:
        """
        A key can't break the pair it begins.
        """
        assert format_pairs({"a b=c\n": 1, "": 2}) == "a_b_c_=1 _=2"
