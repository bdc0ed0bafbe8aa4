"""
The four session levels, their numbers on the standard library's scale, and how an ordinary record is classed.
"""

from __future__ import annotations

import enum
import logging

from sessionlog_handlers.exceptions import ConfigurationError

# The numbers keep clear of those that other packages register (5, 15, 25).
SPAWNS = 26
SIGNALS = 23
PROMPTS = 16
FULL = 6

SEVERITIES = ("debug", "info", "warning", "error", "critical")
SEVERITY_NUMBERS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


class SessionLevel(enum.Enum):
    """
    How much of a session is kept: each level holds all that the one before it holds.

    Levels compare by how much they contain: ``SPAWNS < SIGNALS < PROMPTS < FULL``.
    """

    SPAWNS = "spawns"
    SIGNALS = "signals"
    PROMPTS = "prompts"
    FULL = "full"

    rank: int  # 0 (spawns) to 3 (full): a session at rank r takes the classes of rank <= r
    number: int  # the level's number for stdlib loggers and handlers

    def __lt__(self, other: SessionLevel) -> bool:
        return self.rank < other.rank

    def __le__(self, other: SessionLevel) -> bool:
        return self.rank <= other.rank

    def __gt__(self, other: SessionLevel) -> bool:
        return self.rank > other.rank

    def __ge__(self, other: SessionLevel) -> bool:
        return self.rank >= other.rank

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def parse(cls, value: object) -> SessionLevel:
        """
        Read a level from its name, in any case, or give a level back as it is.

        Raises:
            ConfigurationError: If it is none of the four; the text lists them.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            for level in cls:
                if level.value == value.strip().lower():
                    return level
        choices = ", ".join(level.value for level in cls)
        raise ConfigurationError(f"{value!r} is not a session level; choose one of {choices}")


for _rank, (_level, _number) in enumerate(zip(SessionLevel, (SPAWNS, SIGNALS, PROMPTS, FULL), strict=True)):
    _level.rank = _rank
    _level.number = _number
    logging.addLevelName(_number, _level.name)

LEVELS_BY_RANK = tuple(SessionLevel)
_RANK_OF_NUMBER = {level.number: level.rank for level in SessionLevel}


def rank_of_record(levelno: int) -> int:
    """
    The class of an ordinary record, as a rank: exactly one of the four numbers, else by its severity.
    """
    rank = _RANK_OF_NUMBER.get(levelno)
    if rank is not None:
        return rank
    if levelno >= logging.WARNING:
        return SessionLevel.SIGNALS.rank
    return SessionLevel.PROMPTS.rank if levelno >= logging.INFO else SessionLevel.FULL.rank


def threshold_name(number: int) -> str:
    """
    The word of a severity threshold; empty for none.
    """
    return next((name for name, known in SEVERITY_NUMBERS.items() if known == number), str(number or ""))


def severity_name(levelno: int) -> str:
    """
    The severity's word as lines carry it: 16 to 29 is info, below 16 debug.
    """
    if levelno >= logging.WARNING:
        if levelno >= logging.CRITICAL:
            return "critical"
        return "error" if levelno >= logging.ERROR else "warning"
    return "info" if levelno >= PROMPTS else "debug"
