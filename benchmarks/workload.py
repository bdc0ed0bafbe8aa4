"""
What every logger of a comparison is asked to do, and the interface that makes them comparable.

A record has a message, a session and five fields, of which ``pid`` is its number: by it each line is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from topic import Kind, Run, Variant

MESSAGE = "command done"
COMMAND = "ls -la"
NAME = "bench.app"  # of the logger, one level below the root, as in an app

# For loggers whose lines are text: all that the JSON of the others holds.
TEXT_FIELDS = "session={session} command={command} pid={pid} status={status} code={code} ratio={ratio}"
TEXT_NUMBER = r" pid=(\d+) "

GIGABYTE = 10**9  # bytes; nothing rotates where rotation is not what is measured


def fields_of(number: int) -> dict[str, Any]:
    """
    The five fields of a record.
    """
    return {
        "command": COMMAND,
        "pid": number,
        "status": "running" if number & 1 else "waiting",
        "code": number & 3,
        "ratio": number * 0.5,
    }


# Bursts in the three ways that loggers are called. Written out, so that as little as can be is between two calls.


def burst_by_names(calls: Sequence[Callable[..., object]], first: str) -> Callable[[int], None]:
    """
    Many calls in turn, with the fields as named arguments.
    """

    def burst(records: int) -> None:
        count = len(calls)
        for number in range(records):
            calls[number % count](
                first,
                command=COMMAND,
                pid=number,
                status="running" if number & 1 else "waiting",
                code=number & 3,
                ratio=number * 0.5,
            )

    return burst


def burst_by_extra(call: Callable[..., object], key: str, names: Sequence[str]) -> Callable[[int], None]:
    """
    Many calls of one logger, with the fields, and under *key* the session's id, in ``extra``.
    """

    def burst(records: int) -> None:
        count = len(names)
        for number in range(records):
            call(
                MESSAGE,
                extra={
                    key: names[number % count],
                    "command": COMMAND,
                    "pid": number,
                    "status": "running" if number & 1 else "waiting",
                    "code": number & 3,
                    "ratio": number * 0.5,
                },
            )

    return burst


def burst_by_item(calls: Sequence[Callable[..., object]], items: Sequence[object]) -> Callable[[int], None]:
    """
    Many calls in turn, with one thing each that is there already.
    """

    def burst(records: int) -> None:
        count = len(calls)
        for number in range(records):
            calls[number % count](items[number])

    return burst


def session_names(sessions: int) -> list[str]:
    """
    The sessions' ids.
    """
    return [f"s{number}" for number in range(sessions)]


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a logger writes, and how much will come.

    Args:
        directory: Empty, and its own.

        sessions: Records come from so many sessions, in turn.

        records: How many will be logged, numbered from 0; for what has to be prepared before time is taken.
    """

    directory: Path
    sessions: int
    records: int


@dataclass(frozen=True, slots=True)
class Logging:
    """
    A logger that is set up and can be measured.

    Args:
        log: Logs the record of that number: one call of the logger's own API.

        finish: Waits until all of it is in the files. Part of the time.

        close: Gives everything back; nothing of it is measured.

        numbers: The numbers of the records that are in the files, for who wants to see whether all are.

        call: The logger's own method, of the first session where each has a logger of its own, for who times the bare
            call. None where there is no such method.

        style: How *call* is written: ``extra`` is ``call(first, extra=item)``, ``names`` ``call(first, command=…, …)``
            with the item's five values, ``argument`` ``call(first, item)`` and ``item`` ``call(item)``.
            (default: ``extra``)

        first: The first argument of *call*. (default: the message)

        item: What *call* is given for the record of a number. (default: the five fields)

        drain: As *finish*, but more can be logged afterwards. (default: *finish*)

        dropped: How many records were refused, of a logger that may refuse some. (default: none)

        burst: Logs that many records from 0 on, as fast as it can. (default: `log` in a loop)
    """

    log: Callable[[int], object]
    finish: Callable[[], object]
    close: Callable[[], object]
    numbers: Callable[[], Iterable[int]]
    call: Callable[..., object] | None = None
    style: Literal["extra", "names", "argument", "item"] = "extra"
    first: str = MESSAGE
    item: Callable[[int], Any] = fields_of
    drain: Callable[[], object] | None = None
    dropped: Callable[[], int] = lambda: 0
    burst: Callable[[int], object] | None = None

    def log_all(self, records: int) -> None:
        """
        Log that many records in a burst.
        """
        if self.burst is not None:
            self.burst(records)
            return
        log = self.log
        for number in range(records):
            log(number)


@dataclass(frozen=True, slots=True)
class Builder:
    """
    How to set up one logger.

    Args:
        name: What it is called in tables.

        build: Sets it up.

        kind: Ours, a peer, or a floor.

        needs: Modules that it needs.

        is_slow: Whether it takes more than 10 µs a record, so that fewer of them fill a second.

        expected: Part of a line on stderr that is as it should be.
    """

    name: str
    build: Callable[[Place], Logging]
    kind: Kind
    needs: tuple[str, ...] = ()
    is_slow: bool = False
    expected: str | None = None

    def variant(self, run: Run) -> Variant:
        """
        The variant of a topic that measures this logger by that function.
        """
        description = (self.build.__doc__ or self.name).strip()
        return Variant(self.name, run, self.kind, self.needs, description, self.expected)


def nothing() -> None:
    """
    For what has nothing to wait for, or nothing to give back.
    """
