"""
Changing how loggers stand while other threads log, without a moment in which a record reaches no handler.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

PASSING = 0.5  # seconds that records on their way through the loggers are waited for; a slow handler may take longer
LOOK = 0.0005  # seconds between two looks for them


@dataclass(slots=True)
class LoggerState:
    """
    How a logger stands, or is to stand: what a configuration may say of it.
    """

    level: int
    handlers: list[logging.Handler]
    filters: list[Any]
    propagate: bool
    disabled: bool

    @classmethod
    def of(cls, logger: logging.Logger) -> LoggerState:
        """
        How it stands now.
        """
        return cls(logger.level, [*logger.handlers], [*logger.filters], logger.propagate, logger.disabled)


def change_over(plan: Mapping[logging.Logger, LoggerState]) -> None:
    """
    Let loggers stand as planned. `logging`'s module lock is held.

    Each list is replaced by one assignment, so a record finds the old handlers or the new ones. Where handlers come to
    other loggers than before, a record that is on its way from logger to logger could find neither: there, loggers have
    both for the moment that such records need. A handler of another package may then get a record twice.

    Levels are judged by what loggers remember, and whoever has to work it out waits for the lock: so each record is
    judged by the old levels or by the new ones.
    """
    before = {logger: LoggerState.of(logger) for logger in plan}
    if any(_moves(before[logger], after) for logger, after in plan.items()):
        for logger, after in plan.items():
            logger.handlers = [*after.handlers, *_going(before[logger], after)]
            logger.propagate = before[logger].propagate or after.propagate
        let_pass()
    for logger, after in plan.items():
        logger.level = after.level
        logger.filters = after.filters
        logger.handlers = after.handlers
        logger.propagate = after.propagate
        logger.disabled = after.disabled
    logging.root.setLevel(logging.root.level)  # which lets all loggers forget what they remember of levels


def let_pass() -> None:
    """
    Wait until the records that are on their way to handlers now have passed, for a moment at most.
    """
    deadline = time.monotonic() + PASSING
    on_their_way = [*_calls()]
    while on_their_way and time.monotonic() < deadline:
        time.sleep(LOOK)
        still = {id(frame) for frame in _calls()}
        on_their_way = [frame for frame in on_their_way if id(frame) in still]


def _calls() -> Iterator[FrameType]:
    """Where other threads go from logger to logger with a record."""
    own = threading.get_ident()
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = None if thread == own else top
        while frame is not None:
            if frame.f_code.co_name == "callHandlers":
                yield frame
            frame = frame.f_back


def _kind(handler: logging.Handler) -> tuple[type, str | None]:
    """What makes a handler another's successor: it may be at the same place under the same name."""
    return type(handler), handler.name


def _going(before: LoggerState, after: LoggerState) -> list[logging.Handler]:
    """The handlers that a logger loses, and that have no successor there."""
    kinds = [_kind(handler) for handler in after.handlers]
    return [one for one in before.handlers if one not in after.handlers and (not one.name or _kind(one) not in kinds)]


def _moves(before: LoggerState, after: LoggerState) -> bool:
    """Whether records find other handlers on their way than before, not only newer ones."""
    return bool(_going(before, after) or _going(after, before)) or before.propagate != after.propagate
