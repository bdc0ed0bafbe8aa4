from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import timestamps

from sessionlog_handlers.formats.timestamps import (
    MAX_MOMENTS,
    _moments,
    format_ms,
    format_ms_bytes,
    format_seconds,
    moment_of,
    parse_timestamp,
)


class TestFormat:
    def test_milliseconds_are_cut(self) -> None:
        """
        The fraction has three digits, cut and not rounded.
        """
        assert format_ms(1767875696.7899) == "2026-01-08T12:34:56.789Z"

    def test_float_noise_is_no_time(self) -> None:
        """
        A time that a float can only hold from below keeps its millisecond.
        """
        assert all(format_ms(1_767_875_696 + n / 1000).endswith(f".{n:03d}Z") for n in range(1000))

    def test_seconds(self) -> None:
        """
        The text format's times have whole seconds, cut.
        """
        assert format_seconds(1758535200.999) == "2025-09-22T10:00:00Z"

    def test_before_the_epoch(self) -> None:
        """
        A negative time is cut towards the past, as any other.
        """
        assert format_ms(-1.5) == "1969-12-31T23:59:58.500Z"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (float("nan"), "1970-01-01T00:00:00.000Z"),
            (float("inf"), "9999-12-31T23:59:59.999Z"),
            (float("-inf"), "0001-01-01T00:00:00.000Z"),
            (1e18, "9999-12-31T23:59:59.999Z"),
            (-1e300, "0001-01-01T00:00:00.000Z"),
        ],
    )
    def test_odd_values_are_held(self, seconds: float, text: str) -> None:
        """
        What no year from 1 to 9999 holds becomes the nearest end, not an exception.
        """
        assert format_ms(seconds) == text

    @given(st.floats())
    def test_never_raises(self, seconds: float) -> None:
        """
        Any float gives a text of the same form, the same one as bytes.
        """
        text = format_ms(seconds)
        assert len(text) == 24
        assert format_ms_bytes(seconds) == text.encode()

    def test_threads_share_the_cache(self) -> None:
        """
        Threads that format different seconds at the same time never get each other's.
        """
        wrong: list[str] = []

        def work(second: int) -> None:
            expected = format_ms(second)
            for _ in range(5000):
                if (text := format_ms(second)) != expected:
                    wrong.append(text)

        threads = [threading.Thread(target=work, args=(second,)) for second in (1_000_000_000, 1_100_000_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestParse:
    @given(timestamps)
    def test_round_trip(self, seconds: float) -> None:
        """
        A time of whole milliseconds comes back as the same float.
        """
        assert parse_timestamp(format_ms(seconds)) == seconds

    @pytest.mark.parametrize(
        "text",
        ["2025-09-22T10:00:00Z", "2025-09-22T12:00:00+02:00", "2025-09-22T10:00:00.000000000Z", "2025-09-22 10:00:00Z"],
    )
    def test_offsets_and_fractions(self, text: str) -> None:
        """
        ``Z`` and offsets, no fraction and nine digits of it, ``T`` and a space are all read.
        """
        assert parse_timestamp(text) == 1758535200.0

    @pytest.mark.parametrize(
        "text", ["", "2025-09-22", "2025-09-22T10:00:00", "2025-W39-1T10:00:00Z", "now", "2025-13-01T00:00:00Z"]
    )
    def test_refuses_the_rest(self, text: str) -> None:
        """
        A date alone, a time without an offset and prose are no timestamps.
        """
        with pytest.raises(ValueError, match=r".+"):
            parse_timestamp(text)


class TestMoments:
    @given(timestamps, st.floats(0.001, 0.999))
    def test_all_of_a_millisecond_are_written_alike(self, seconds: float, share: float) -> None:
        """
        Every time within a millisecond is written as the millisecond is.
        """
        text, first, last = moment_of(seconds)
        assert first <= seconds < last
        other = first + share * (last - first)
        assert format_ms_bytes(other) == text == format_ms_bytes(seconds)

    def test_many(self) -> None:
        """
        No more milliseconds are remembered than the limit.
        """
        for number in range(MAX_MOMENTS + 10):
            format_ms(1_000_000_000 + number / 1000)
        assert len(_moments) <= MAX_MOMENTS
