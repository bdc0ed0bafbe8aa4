"""
Many sessions that are open at a time: 20, 1,000 and 10,000 of them, written in turn, an event each.

Events/s are measured until all events are in the files: 500 of each of 1,000 sessions, and as many in all of 10,000.
Ours take locks, and write audit files and metadata. Beside them stands a logger for each session with a handler of its
own: concurrent-log-handler with JSON lines, or the standard library's FileHandler with text. *descriptors* are the most
that were open, less those before; where the system gives no more, there is no figure, and a line that says so.

*10,000 over 1,000* is the cost of an event at 10,000 sessions in multiples of that at 1,000. Rows of their own are the
memory of an idle session, by tracemalloc, and what it takes to start and to end 10,000 sessions, one after the other:
microseconds of each on the caller's thread, and until all are in the files.

Files are in memory, if there is such a file system with room enough. On ext4 making a file takes up to twenty times as
long for minutes after many were removed, so a variant there would pay for the one before. ``--directory`` chooses.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import harness
from calls import percentile
from lines import check_count, check_metadata, check_numbers, json_lines, json_numbers, text_numbers
from ours import OURS, PATIENCE
from peers import STDLIB_JSON, STDLIB_TEXT
from sessionlog_handlers import Session, SessionHandler, start_session
from topic import BenchmarkError, Figure, Options, Run, Size, Topic, Variant
from workload import GIGABYTE, MESSAGE, NAME, TEXT_NUMBER, Builder, Logging, Place, fields_of, nothing, session_names

Item = TypeVar("Item")

# Sessions, and events of each of them in multiples of those at 1,000.
COUNTS = {20: 10.0, 1_000: 1.0, 10_000: 0.1}
SAMPLES = 10  # looks at the open descriptors while events are logged
DESCRIPTORS = Path("/proc/self/fd")

COMPARED = ("logger.info", "session.event full", "session.output")
CLH, FILE = "concurrent-log-handler each", "FileHandler each"


def concurrent_log_handler_each(place: Place) -> Logging:
    """A logger with a concurrent-log-handler for each session, and python-json-logger."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler
    from pythonjsonlogger.json import JsonFormatter

    formatter = JsonFormatter(STDLIB_JSON)

    def make(name: str) -> logging.Handler:
        path = str(place.directory / f"{name}.log")
        handler = ConcurrentRotatingFileHandler(path, maxBytes=GIGABYTE, backupCount=1)
        handler.setFormatter(formatter)
        return handler

    return _handler_each(place, make, lambda: [*json_numbers(place.directory, lambda line: line["pid"])])


def file_handler_each(place: Place) -> Logging:
    """A logger with a FileHandler for each session, and text lines."""
    formatter = logging.Formatter(STDLIB_TEXT)

    def make(name: str) -> logging.Handler:
        handler = logging.FileHandler(place.directory / f"{name}.log", encoding="utf-8")
        handler.setFormatter(formatter)
        return handler

    return _handler_each(place, make, lambda: [*text_numbers(place.directory, TEXT_NUMBER)])


def _handler_each(place: Place, make: Callable[[str], logging.Handler], numbers: Callable[[], list[int]]) -> Logging:
    names = session_names(place.sessions)
    handlers: list[logging.Handler] = []
    calls = []
    for name in names:
        handler = make(name)
        handler.handleError = _raise  # type: ignore[method-assign]  # a line that is lost is no figure
        logger = logging.getLogger(f"{NAME}.{place.sessions}.{name}")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        handlers.append(handler)
        calls.append(logger.info)

    def log(number: int) -> None:
        at = number % len(names)
        calls[at](MESSAGE, extra={"session": names[at], **fields_of(number)})

    def close() -> None:
        for handler in handlers:
            handler.close()

    return Logging(log, nothing, close, numbers)  # both kinds flush after each line


def _raise(record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    raise error or BenchmarkError(f"a record was lost: {record.getMessage()}")


def open_descriptors() -> int:
    """
    How many descriptors this process has open. Looking needs one more, which is not counted.
    """
    return len(os.listdir(DESCRIPTORS)) - 1


def measure(builder: Builder) -> Run:
    """
    A round of that logger with each number of sessions.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        _allow_descriptors()
        figures: dict[str, float] = {}
        costs: dict[int, float] = {}
        for sessions in (number for number in COUNTS if number <= options["sessions"]):
            place = directory / str(sessions)
            place.mkdir()
            events = max(round(options["events"] * COUNTS[sessions]), 1) * sessions
            try:
                seconds, most = _log_in_turn(builder, Place(place, sessions, events))
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                print(f"{sessions:,} sessions: {error.strerror}", file=sys.stderr)
                break
            costs[sessions] = seconds / events
            figures |= {
                f"{sessions:,} sessions, events/s": events / seconds,
                f"{sessions:,} sessions, descriptors": most,
            }
        if {1_000, 10_000} <= costs.keys():
            figures["10,000 over 1,000"] = costs[10_000] / costs[1_000]
        return figures

    run.__doc__ = builder.build.__doc__
    return run


def _log_in_turn(builder: Builder, place: Place) -> tuple[float, int]:
    """Seconds until all is in the files, and the most descriptors that were open meanwhile."""
    before = open_descriptors()
    gc.collect()
    built = builder.build(place)
    most = 0
    part = -(-place.records // SAMPLES)
    start = time.perf_counter()
    for first in range(0, place.records, part):
        for number in range(first, min(first + part, place.records)):
            built.log(number)
        most = max(most, open_descriptors() - before)
    built.finish()
    seconds = time.perf_counter() - start
    most = max(most, open_descriptors() - before)
    built.close()
    if builder.kind == "ours":
        logging.getLogger().handlers.clear()
    check_numbers(built.numbers(), place.records)
    return seconds, most


def _allow_descriptors() -> None:
    """As many as the system lets us have, for those that need two for each session."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def idle_sessions(directory: Path, options: Options) -> Mapping[str, float]:
    """Memory of a session that is open and logs nothing: its start is written, and nothing is queued."""
    names = session_names(options["sessions"])
    tracemalloc.start()
    handler = SessionHandler(directory)
    opened = [start_session("first", handler=handler)]
    before = _memory(handler)
    opened += [start_session(name, handler=handler) for name in names]
    used = _memory(handler) - before
    tracemalloc.stop()
    _end_all(opened, handler)
    check_metadata(directory, len(opened))
    return {"idle session": used / len(names) / 1024}


def _memory(handler: SessionHandler) -> int:
    """Bytes in use when all is written and synced."""
    _finish(handler, durable=True)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _finish(handler: SessionHandler, *, durable: bool = False) -> None:
    if not handler.root.flush(PATIENCE, durable=durable):
        raise BenchmarkError(f"not all was written within {PATIENCE:g} s: {handler.stats()}")


def start_and_end(directory: Path, options: Options) -> Mapping[str, float]:
    """The start and the end of each of all sessions, one after the other."""
    names = session_names(options["sessions"])
    handler = SessionHandler(directory)
    _end_all([start_session("first", handler=handler)], handler)
    opened: list[Session] = []
    started = _time_each(handler, "start", names, lambda name: opened.append(start_session(name, handler=handler)))
    ended = _time_each(handler, "end", opened, lambda session: session.end())
    handler.close()
    ends = sum(line["event"] == "session_end" for line in json_lines(directory, "*/session.log"))
    check_count(ends, 1 + len(names), "ends of sessions")
    check_metadata(directory, 1 + len(names))
    return {**started, **ended}


def _time_each(
    handler: SessionHandler, what: str, items: Sequence[Item], step: Callable[[Item], object]
) -> dict[str, float]:
    clock = time.perf_counter
    took = []
    begin = clock()
    for item in items:
        start = clock()
        step(item)
        took.append(clock() - start)
    _finish(handler)
    whole = clock() - begin
    took.sort()
    return {
        f"{what}, mean": sum(took) / len(took) * 1e6,
        f"{what}, p50": percentile(took, 0.5) * 1e6,
        f"{what}, p99": percentile(took, 0.99) * 1e6,
        f"{what}, in the files": whole / len(took) * 1e6,
    }


def _end_all(opened: list[Session], handler: SessionHandler) -> None:
    for session in opened:
        session.end()
    _finish(handler)  # closing does not wait that long
    handler.close()


def _figures() -> list[Figure]:
    rates = [Figure(f"{count:,} sessions, events/s", "events/s", "higher") for count in COUNTS]
    open_at_most = [
        Figure(f"{count:,} sessions, descriptors", "open", "lower", against=(), in_chart=False) for count in COUNTS
    ]
    steps = [
        Figure(f"{what}, {name}", "µs", "lower", ",.1f", against=(), in_chart=False)
        for what in ("start", "end")
        for name in ("mean", "p50", "p99", "in the files")
    ]
    return [
        *rates,
        Figure("10,000 over 1,000", "×", "lower", ",.2f", against=(), in_chart=False),
        *open_at_most,
        Figure("idle session", "KiB", "lower", ",.2f", against=(), in_chart=False),
        *steps,
    ]


TOPIC = Topic(
    "sessions",
    __doc__,
    (
        *(Variant(each.name, measure(each), "ours", each.needs) for each in OURS if each.name in COMPARED),
        Variant("idle sessions", idle_sessions, "ours"),
        Variant("start and end", start_and_end, "ours"),
        Variant(CLH, measure(Builder(CLH, concurrent_log_handler_each, "peer")), "peer"),
        Variant(FILE, measure(Builder(FILE, file_handler_each, "peer")), "peer"),
    ),
    tuple(_figures()),
    bases={CLH: "concurrent-log-handler", FILE: "FileHandler"},
    sizes={
        "sessions": Size(10_000, 20, "sessions at most"),
        "events": Size(500, 2, "events of each of 1,000 sessions"),
    },
    rounds=3,
    in_memory=True,
)

if __name__ == "__main__":
    harness.main(TOPIC)
