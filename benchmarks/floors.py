"""
The floors: what some step of logging costs by itself, in plain Python and without any logger.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import Any

import msgspec

from lines import json_numbers
from peers import call_with_extra, extra_of, through
from workload import COMMAND, MESSAGE, NAME, Builder, Logging, Place, fields_of, nothing, session_names

BATCH = 1000  # lines


class Data(msgspec.Struct):
    """
    The five fields.
    """

    command: str
    pid: int
    status: str
    code: int
    ratio: float


class Line(msgspec.Struct):
    """
    A line with all that a session's log has in it.
    """

    ts: str
    level: str
    session: str
    event: str
    data: Data
    seq: int
    msg: str
    logger: str


class NothingHandler(logging.Handler):
    """
    A handler that does nothing; all that is left is what `logging` does for every record.
    """

    def emit(self, record: logging.LogRecord) -> None:
        pass


class Empty:
    """
    Methods that do nothing, with the arguments of a session's.
    """

    def output(self, content: bytes) -> None:
        """Take bytes."""

    def event(self, name: str, /, **data: Any) -> None:
        """Take a name and fields."""


def handler_that_does_nothing(place: Place) -> Logging:
    """A logging call into a handler whose ``emit`` is empty."""
    logger = through(NothingHandler())
    return Logging(call_with_extra(logger, place.sessions), nothing, nothing, tuple, logger.info, item=extra_of)


def deque_append(place: Place) -> Logging:
    """``collections.deque.append`` of ready bytes: handing something over to another thread."""
    waiting: deque[bytes] = deque()
    append = waiting.append
    line = _ready_lines(Place(place.directory, 1, 1))[0]
    return Logging(lambda number: append(line), nothing, waiting.clear, tuple, append, "item", item=lambda number: line)


def empty_output(place: Place) -> Logging:
    """An empty method that takes some bytes."""
    output = Empty().output
    content = COMMAND.encode()
    return Logging(lambda number: output(content), nothing, nothing, tuple, output, "item", item=lambda number: content)


def empty_event(place: Place) -> Logging:
    """An empty method that takes a name and five fields."""
    event = Empty().event
    return Logging(lambda number: event(NAME, **fields_of(number)), nothing, nothing, tuple, event, "names")


def write_one(place: Place) -> Logging:
    """``os.write`` of ready lines, one at a time."""
    return _write(place, 1)


def write_many(place: Place) -> Logging:
    """``os.write`` of ready lines, 1,000 at a time."""
    return _write(place, BATCH)


def _write(place: Place, batch: int) -> Logging:
    lines = _ready_lines(place)
    file = _open(place)

    def burst(records: int) -> None:
        if batch == 1:
            for line in lines[:records]:
                os.write(file, line)
        else:
            for start in range(0, records, batch):
                os.write(file, b"".join(lines[start : min(start + batch, records)]))

    return Logging(
        lambda number: os.write(file, lines[number]),
        nothing,
        lambda: os.close(file),
        lambda: _numbers(place),
        burst=burst,
    )


def encode_lines(place: Place) -> Logging:
    """A struct for each record, ``msgspec``'s ``encode_lines`` and one ``os.write`` for 1,000 of them."""
    encoder = msgspec.json.Encoder()
    file = _open(place)
    names = session_names(place.sessions)

    def burst(records: int) -> None:
        sessions = len(names)
        for start in range(0, records, BATCH):
            ts = _now()
            batch = [
                Line(
                    ts,
                    "info",
                    names[number % sessions],
                    "log",
                    Data("ls -la", number, "running" if number & 1 else "waiting", number & 3, number * 0.5),
                    number,
                    MESSAGE,
                    NAME,
                )
                for number in range(start, min(start + BATCH, records))
            ]
            os.write(file, encoder.encode_lines(batch))

    return Logging(
        lambda number: os.write(file, encoder.encode_lines([_line(names, number)])),
        nothing,
        lambda: os.close(file),
        lambda: _numbers(place),
        burst=burst,
    )


def _open(place: Place) -> int:
    return os.open(place.directory / "app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _numbers(place: Place) -> list[int]:
    return [*json_numbers(place.directory, lambda line: line["data"]["pid"])]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def _line(names: list[str], number: int) -> Line:
    return Line(_now(), "info", names[number % len(names)], "log", Data(**fields_of(number)), number, MESSAGE, NAME)


def _ready_lines(place: Place) -> list[bytes]:
    names = session_names(place.sessions)
    return [ready_line(names, number) for number in range(place.records)]


def ready_line(names: list[str], number: int) -> bytes:
    """
    A line as it stands in a file, of one of these sessions.
    """
    return msgspec.json.encode(_line(names, number)) + b"\n"


FLOORS: tuple[Builder, ...] = (
    Builder("os.write 1", write_one, "floor"),
    Builder("os.write 1000", write_many, "floor"),
    Builder("encode_lines", encode_lines, "floor"),
)

# Of the caller's side alone: nothing is written.
CALL_FLOORS: tuple[Builder, ...] = (
    Builder("handler that does nothing", handler_that_does_nothing, "floor"),
    Builder("deque.append", deque_append, "floor"),
    Builder("empty method, bytes", empty_output, "floor"),
    Builder("empty method, fields", empty_event, "floor"),
)
