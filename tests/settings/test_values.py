"""
Sizes, durations, modes, flags and choices as people write them.
"""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.values import (
    MAX_SIZE,
    did_you_mean,
    format_duration,
    format_size,
    join_path,
    parse_choice,
    parse_duration,
    parse_flag,
    parse_mapping,
    parse_mode,
    parse_path,
    parse_severity,
    parse_share,
    parse_size,
    parse_size_or_share,
    parse_text,
    parse_texts,
    parse_whole,
    show,
)


class TestParseSize:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("5 MB", 5_242_880),
            ("10MiB", 10_485_760),
            ("1.5 GB", 1_610_612_736),
            ("5mb", 5_242_880),
            ("1k", 1024),
            (" 2 KiB ", 2048),
            ("1 TB", 1024**4),
            ("0", 0),
            ("17 bytes", 17),
            ("1 byte", 1),
            ("17 B", 17),
            (5_242_880, 5_242_880),
            (4096.0, 4096),
        ],
    )
    def test_reads_what_people_write(self, text, size):
        """
        A number of bytes may have a unit; units count in 1024s, whatever their case and with or without the i.
        """
        assert parse_size(text) == size

    @pytest.mark.parametrize(
        "given",
        [
            "",
            "MB",
            "5 XB",
            "-5 MB",
            "5 MB 3",
            "1,5 MB",
            "0.5",
            "0.5 B",
            -1,
            1.5,
            True,
            None,
            [],
            math.inf,
            math.nan,
            "٣ MB",
        ],
    )
    def test_refuses_all_else(self, given):
        """
        What is no size, negative or not a whole number of bytes is refused with an example of a size.
        """
        with pytest.raises(ConfigurationError, match="is not a size; write bytes or a number with a unit"):
            parse_size(given)

    def test_refuses_what_no_file_can_hold(self):
        """
        A size beyond the largest offset of a file is a mistake.
        """
        assert parse_size(MAX_SIZE) == MAX_SIZE
        with pytest.raises(ConfigurationError, match="larger than any file"):
            parse_size("9000000 TB")

    @given(st.integers(0, MAX_SIZE))
    def test_size_survives_being_written(self, size):
        """
        Any size that is written is read back as the same number of bytes.
        """
        assert parse_size(format_size(size)) == size

    @given(
        st.integers(0, 10_000),
        st.sampled_from("KMGT"),
        st.sampled_from(["", "B", "iB", "b"]),
        st.sampled_from(["", " "]),
    )
    def test_unit_multiplies(self, number, unit, suffix, space):
        """
        Each unit is 1024 times the one before it, however it is spelled.
        """
        assert parse_size(f"{number}{space}{unit}{suffix}") == number * 1024 ** ("KMGT".index(unit) + 1)

    def test_is_written_with_the_largest_whole_unit(self):
        """
        A size is shown to people as they would have written it.
        """
        assert [format_size(size) for size in (0, 1, 1023, 1024, 5_242_880, 1536 * 1024**2)] == [
            "0 B",
            "1 B",
            "1023 B",
            "1 KB",
            "5 MB",
            "1536 MB",
        ]


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("7d", 604_800.0),
            ("1h30m", 5400.0),
            ("1 h 30 min", 5400.0),
            ("50 ms", 0.05),
            ("250ms", 0.25),
            ("2 weeks", 1_209_600.0),
            ("1.5 hours", 5400.0),
            ("10us", 0.00001),
            ("90", 90.0),
            ("0.05", 0.05),
            (0.05, 0.05),
            (3, 3.0),
            (0, 0.0),
            (timedelta(minutes=2), 120.0),
        ],
    )
    def test_reads_what_people_write(self, text, seconds):
        """
        A time span is seconds, or any sum of numbers with units; m is a minute and ms a millisecond.
        """
        parsed = parse_duration(text)
        assert parsed == seconds
        assert isinstance(parsed, float)

    @pytest.mark.parametrize(
        "given", ["", "d", "7 parsecs", "-1s", "1h30", "1 2", -1, True, None, [], math.inf, math.nan, timedelta(-1)]
    )
    def test_refuses_all_else(self, given):
        """
        What is no time span or negative is refused with examples of time spans.
        """
        with pytest.raises(ConfigurationError, match="is not a time span; write seconds or a number with a unit"):
            parse_duration(given)

    @given(st.integers(0, 10**13).map(lambda micros: micros / 1_000_000))
    def test_duration_survives_being_written(self, seconds):
        """
        Any time span that is written is read back as the same number of seconds.
        """
        assert parse_duration(format_duration(seconds)) == seconds

    @given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhdw")), min_size=1, max_size=5))
    def test_parts_add_up(self, parts):
        """
        A time span of several parts is their sum.
        """
        seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
        text = "".join(f"{number}{unit}" for number, unit in parts)
        assert parse_duration(text) == sum(number * seconds[unit] for number, unit in parts)


class TestFormatDuration:
    def test_uses_the_largest_whole_unit(self):
        """
        A time span is shown to people as they would have written it.
        """
        spans = [0.0, 0.05, 1.5, 90.0, 5400.0, 604_800.0, 1e-9]
        assert [format_duration(span) for span in spans] == ["0s", "50ms", "1500ms", "90s", "90m", "1w", "1e-09s"]


class TestParseMapping:
    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"": 1}, "there is no name before a ':'"),
            ({None: 1}, "there is no name before a ':'; if it is called null or ~, put it in quotes"),
            ({1: 1}, "1 is not a name; put it in quotes"),
        ],
    )
    def test_names_are_texts(self, given, sentence):
        """
        A name that is empty or no text is refused.
        """
        with pytest.raises(ConfigurationError, match=sentence):
            parse_mapping(given, "{a: 1}")

    def test_shape_is_shown(self):
        """
        Whoever gives no mapping is shown one.
        """
        with pytest.raises(ConfigurationError, match=r"5 is not a mapping; write it like \{a: 1\}"):
            parse_mapping(5, "{a: 1}")


class TestParseMode:
    @pytest.mark.parametrize("given", ["0600", "600", "0o600", 0o600, 600])
    def test_all_spellings_of_one_mode(self, given):
        """
        Octal digits in quotes, Python's octal number, and what YAML makes of 0600 and of 600 are one mode.
        """
        assert parse_mode(given) == 0o600

    @pytest.mark.parametrize(
        "mode", [0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o700, 0o750, 0o755, 0o770, 0o775, 0o777]
    )
    def test_usual_modes_as_yaml_numbers(self, mode):
        """
        Each usual mode is what was meant whether YAML read its digits as octal or as decimal.
        """
        assert parse_mode(mode) == mode
        assert parse_mode(int(f"{mode:o}")) == mode
        assert parse_mode(f"{mode:04o}") == mode

    @pytest.mark.parametrize("given", [400, 440, 444, 500, "0400", "0000", 0, "0200", "0077"])
    def test_refuses_what_locks_the_owner_out(self, given):
        """
        A log that its owner can't read and write is refused, also where the decimal digits happen to be another mode.
        """
        with pytest.raises(ConfigurationError, match="does not let the owner read and write it"):
            parse_mode(given)

    @pytest.mark.parametrize("given", ["01600", "7777", 0o4755, 1600])
    def test_refuses_more_than_permissions(self, given):
        """
        Bits beyond 0777 have no meaning for a log.
        """
        with pytest.raises(ConfigurationError, match="more than permission bits"):
            parse_mode(given)

    @pytest.mark.parametrize("given", ["", "rw-------", "u=rw", "0800", True, None, 6.0, -1, [6]])
    def test_refuses_what_is_no_mode(self, given):
        """
        Anything but octal digits is refused with an example.
        """
        with pytest.raises(ConfigurationError, match="is not a permission mode"):
            parse_mode(given)

    def test_directory_must_be_enterable(self):
        """
        The owner of a directory needs the right to enter it as well.
        """
        assert parse_mode("0700", directory=True) == 0o700
        with pytest.raises(ConfigurationError, match="read, write and enter it; the least is '0700'"):
            parse_mode("0600", directory=True)


class TestParseFlag:
    @pytest.mark.parametrize(
        ("given", "flag"), [(True, True), (False, False), ("yes", True), ("OFF", False), ("On", True)]
    )
    def test_reads_booleans_and_their_words(self, given, flag):
        """
        YAML's booleans and the quoted words for them are flags.
        """
        assert parse_flag(given) is flag

    @pytest.mark.parametrize("given", [1, 0, None, "", "maybe", []])
    def test_refuses_all_else(self, given):
        """
        A number or any other word is no flag.
        """
        with pytest.raises(ConfigurationError, match="neither true nor false"):
            parse_flag(given)


class TestParseChoice:
    def test_ignores_case_and_spaces(self):
        """
        A choice is found whatever its case, and given back as it is known.
        """
        assert parse_choice(" MIDNIGHT ", ("S", "midnight")) == "midnight"
        assert parse_choice("s", ("S", "midnight")) == "S"

    def test_undoes_what_yaml_makes_of_off_and_none(self):
        """
        An unquoted off is false to YAML, and an empty value is nothing; both are the words where these are choices.
        """
        assert parse_choice(False, ("size", "off")) == "off"
        assert parse_choice(None, ("none", "sync")) == "none"

    @pytest.mark.parametrize("given", [True, None, "", 1, "of"])
    def test_refuses_with_choices(self, given):
        """
        Anything else is refused, and the choices are listed.
        """
        with pytest.raises(ConfigurationError, match="is none of size, time, off"):
            parse_choice(given, ("size", "time", "off"))

    def test_suggests_the_closest(self):
        """
        A slip of the pen is answered with the word that was probably meant.
        """
        with pytest.raises(ConfigurationError, match="did you mean 'interval'"):
            parse_choice("intervall", ("none", "interval", "sync"))


class TestParseSeverity:
    @pytest.mark.parametrize(
        ("given", "number"), [("debug", 10), ("INFO", 20), ("warning", 30), ("error", 40), (False, 0)]
    )
    def test_gives_the_number(self, given, number):
        """
        A severity is its number in logging; off lets everything through.
        """
        assert parse_severity(given) == number

    @pytest.mark.parametrize("given", ["critical", "full", 20, True])
    def test_refuses_all_else(self, given):
        """
        Session levels, numbers and a threshold above error are no severities.
        """
        with pytest.raises(ConfigurationError, match="is none of debug, info, warning, error, off"):
            parse_severity(given)


class TestParseShare:
    @pytest.mark.parametrize(
        ("given", "share"), [(0.1, 0.1), ("10%", 0.1), (1, 1.0), (0, 0.0), ("12.5 %", 0.125), ("0.25", 0.25)]
    )
    def test_reads_numbers_and_percents(self, given, share):
        """
        A share is a number from 0 to 1, or percents.
        """
        assert parse_share(given) == share

    @pytest.mark.parametrize("given", [10, "101%", -0.1, "-1%", True, None, "x", math.nan])
    def test_refuses_all_else(self, given):
        """
        More than all, less than nothing and what is no number are refused.
        """
        with pytest.raises(ConfigurationError, match="is not a share"):
            parse_share(given)

    def test_free_space_is_a_size_or_a_share(self):
        """
        Free space is told in bytes (an int) or in percents of the disk (a float).
        """
        size, share = parse_size_or_share("1 GB"), parse_size_or_share("5%")
        assert (size, type(size)) == (1024**3, int)
        assert (share, type(share)) == (0.05, float)


class TestParseWhole:
    def test_reads_numbers_in_range(self):
        """
        A whole number may be quoted.
        """
        assert parse_whole(5) == parse_whole("5") == 5

    @pytest.mark.parametrize("given", [0, 11, True, 1.0, "x", None, "-1", ""])
    def test_refuses_all_else(self, given):
        """
        Numbers out of range, fractions and flags are refused with the range.
        """
        with pytest.raises(ConfigurationError, match="is not a whole number from 1 to 10"):
            parse_whole(given, least=1, most=10)


class TestParseTexts:
    def test_one_text_is_a_list_of_one(self):
        """
        Whoever has one name need not write a list.
        """
        assert parse_texts("app") == ("app",)
        assert parse_texts(["app", "web"]) == ("app", "web")

    @pytest.mark.parametrize("given", ["", ["a", ""], [1], None, {"a": 1}, 5])
    def test_refuses_all_else(self, given):
        """
        Empty texts and what is no list of texts are refused.
        """
        with pytest.raises(ConfigurationError):
            parse_texts(given)


class TestParsePath:
    def test_fills_in_home_and_variables(self, home, monkeypatch):
        """
        ~ is the home directory and $NAME a variable of the environment.
        """
        monkeypatch.setenv("PLACE", "logs")
        assert parse_path("~/$PLACE/${PLACE}") == home / "logs" / "logs"

    def test_relative_path_counts_from_here(self, tmp_path, monkeypatch):
        """
        A relative path stays where it was when the program changes its directory later.
        """
        monkeypatch.chdir(tmp_path)
        assert parse_path("logs") == tmp_path / "logs"
        assert parse_path(Path("logs")) == tmp_path / "logs"

    def test_relative_path_in_a_directory_that_is_gone(self, tmp_path, monkeypatch):
        """
        Where the current directory was deleted, a relative path is an error in words; an absolute one still works.
        """
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(ConfigurationError, match="'logs' is relative, and the current directory can't be told"):
            parse_path("logs")
        assert parse_path(tmp_path) == tmp_path

    def test_refuses_a_variable_that_is_not_set(self, monkeypatch):
        """
        A variable that is not set would make a directory of that name; it is refused by name.
        """
        monkeypatch.delenv("PLACE", raising=False)
        with pytest.raises(ConfigurationError, match=r"names \$PLACE, which is not set"):
            parse_path("/var/$PLACE/logs")

    @pytest.mark.parametrize("given", ["", " ", None, 5, b"logs", "a\0b", "~nobody-of-that-name/logs"])
    def test_refuses_all_else(self, given):
        """
        What is no path, or begins in a home that nobody has, is refused.
        """
        with pytest.raises(ConfigurationError):
            parse_path(given)

    def test_a_list_is_told_to_be_none(self):
        """
        What is no text gets a hint of how a path looks.
        """
        with pytest.raises(ConfigurationError, match=r"\['a'\] is not a path; write one text, such as '~/logs'"):
            parse_path(["a"])


class TestDidYouMean:
    def test_names_the_closest(self):
        """
        The closest known word is offered, as it is known; dashes and case don't count.
        """
        assert did_you_mean("MAX-BYTES", ["maxBytes", "max_bytes"]) == "; did you mean 'max_bytes'?"

    def test_says_nothing_without_a_close_one(self):
        """
        A far guess would lead astray.
        """
        assert did_you_mean("zzz", ["max_bytes"]) == ""


class TestShow:
    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("x", "'x'"),
            (5, "5"),
            (None, "None"),
            ([1, "a"], "[1, 'a']"),
            ((1,), "(1,)"),
            ({"a": [1]}, "{'a': [1]}"),
            ({}, "{}"),
            ("a\n\x1b", "'a\\n\\x1b'"),
            ([[[[1]]]], "[[[[…]]]]"),
            (range, "<class 'range'>"),
        ],
    )
    def test_short_values_are_as_python_writes_them(self, given, shown):
        """
        A value is quoted on one line, and what is deep inside it is left out.
        """
        assert show(given) == shown

    @pytest.mark.parametrize(
        "given", ["x" * 5000, ["x" * 5000] * 5000, 10**5000, {str(n): n for n in range(5000)}], ids=range(4)
    )
    def test_long_values_are_cut(self, given):
        """
        Nobody's terminal is filled with one value.
        """
        assert len(show(given)) <= 90

    def test_aliases_of_aliases(self):
        """
        What would be endless when it is written out is quoted at once.
        """
        value = ["x"]
        for _ in range(100):
            value = [value] * 9
        value.append(value)
        assert show(value).endswith("…")

    def test_path_is_visible(self):
        """
        Names in a path can't act on a terminal, break the line or go on for ever.
        """
        assert join_path("a\nb", "", "\x1b[2J") == "a\\nb.\\x1b[2J"
        assert len(join_path("x" * 5000, "y")) <= 160


class TestParseText:
    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (5, "5 is not a text; put it in quotes"),
            (None, "None is not a text"),
            (["a"], "['a'] is not a text; write one text"),
            (" ", "' ' is empty; write at least one character"),
            ("a\0b", "'a\\x00b' has a NUL character, which nothing can be called"),
        ],
    )
    def test_hint_fits(self, given, sentence):
        """
        The sentence names what is wrong with this value, and no other mistake.
        """
        with pytest.raises(ConfigurationError) as caught:
            parse_text(given)
        assert str(caught.value) == sentence
