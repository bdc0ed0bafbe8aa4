from __future__ import annotations

import itertools
import logging

import pytest

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.levels import (
    FULL,
    LEVELS_BY_RANK,
    PROMPTS,
    SIGNALS,
    SPAWNS,
    SessionLevel,
    rank_of_record,
    severity_name,
)


class TestSessionLevel:
    def test_order(self):
        """
        Levels compare by how much they contain, with every operator.
        """
        spawns, signals, prompts, full = LEVELS_BY_RANK
        assert [str(level) for level in LEVELS_BY_RANK] == ["spawns", "signals", "prompts", "full"]
        assert spawns < signals < prompts < full
        for (low, lower), (high, higher) in itertools.product(enumerate(LEVELS_BY_RANK), repeat=2):
            assert (lower < higher, lower <= higher) == (low < high, low <= high)
            assert (lower > higher, lower >= higher) == (low > high, low >= high)

    @pytest.mark.parametrize(
        ("name", "constant", "number"),
        [("SPAWNS", SPAWNS, 26), ("SIGNALS", SIGNALS, 23), ("PROMPTS", PROMPTS, 16), ("FULL", FULL, 6)],
    )
    def test_numbers_are_registered(self, name, constant, number):
        """
        Each level has its number, and `logging` knows both name and number.
        """
        assert constant == number == SessionLevel[name].number
        assert logging.getLevelName(number) == name
        assert logging.getLevelNamesMapping()[name] == number

    @pytest.mark.parametrize("text", ["full", "FULL", " Full\n", SessionLevel.FULL])
    def test_parses_in_any_case(self, text):
        """
        A level is read from its name in any case, or from itself.
        """
        assert SessionLevel.parse(text) is SessionLevel.FULL

    @pytest.mark.parametrize("value", ["verbose", "", "spawn", 6, None, True, b"full"])
    def test_unknown_level_lists_the_choices(self, value):
        """
        What is no level is an error that shows it and names the four.
        """
        with pytest.raises(ConfigurationError) as caught:
            SessionLevel.parse(value)
        assert repr(value) in str(caught.value)
        assert "spawns, signals, prompts, full" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (26, "spawns"),
        (23, "signals"),
        (16, "prompts"),
        (6, "full"),
        (logging.CRITICAL, "signals"),
        (logging.ERROR, "signals"),
        (logging.WARNING, "signals"),
        (29, "prompts"),
        (25, "prompts"),
        (logging.INFO, "prompts"),
        (19, "full"),
        (15, "full"),
        (logging.DEBUG, "full"),
        (5, "full"),
        (1, "full"),
        (0, "full"),
        (10**6, "signals"),
    ],
)
def test_class_of_ordinary_records(number, level):
    """
    A record's class is that of one of the four numbers exactly, else it follows from its severity.
    """
    assert LEVELS_BY_RANK[rank_of_record(number)].value == level


@pytest.mark.parametrize(
    ("lowest", "highest", "word"),
    [(0, 15, "debug"), (16, 29, "info"), (30, 39, "warning"), (40, 49, "error"), (50, 1000, "critical")],
)
def test_severity_words(lowest, highest, word):
    """
    Lines name a severity by its range: 16 to 29 is info, below 16 debug.
    """
    assert {severity_name(number) for number in range(lowest, highest + 1)} == {word}
