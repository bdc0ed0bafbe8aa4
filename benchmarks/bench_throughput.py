"""
Records per second until all of them are in files: the standard library, the usual stack, and a log per session.

Every variant logs the same records with a field each, in turn, for several rounds, and every line is counted and parsed
before a figure is printed. Ratios hold for one run on one machine; the absolute figures say little elsewhere.

    python benchmarks/bench_throughput.py [--records N] [--rounds N] [--sessions N]
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.handlers
import platform
import queue
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler
from pythonjsonlogger.json import JsonFormatter

from sessionlog_handlers import SessionHandler, start_session

MANY = 10**9  # bytes: the usual stack writes one file, without rotation
PATIENCE = 300.0  # seconds


def usual_stack(directory: Path, records: int, sessions: int) -> float:
    """QueueHandler, QueueListener, concurrent-log-handler and python-json-logger, into one file."""
    sink = ConcurrentRotatingFileHandler(directory / "usual.log", maxBytes=MANY, backupCount=1)
    sink.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, sink)
    logger = logging.Logger("bench")
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    start = time.perf_counter()
    listener.start()
    for number in range(records):
        logger.info("record", extra={"number": number, "session": number % sessions})
    listener.stop()
    took = time.perf_counter() - start
    sink.close()
    return took


def standard_library(directory: Path, records: int, sessions: int) -> float:
    """A FileHandler with a plain text format, synchronous, into one file."""
    sink = logging.FileHandler(directory / "plain.log")
    sink.setFormatter(logging.Formatter('{"ts":"%(asctime)s","msg":"%(message)s","number":%(number)d}'))
    logger = logging.Logger("bench")
    logger.addHandler(sink)
    start = time.perf_counter()
    for number in range(records):
        logger.info("record", extra={"number": number})
    took = time.perf_counter() - start
    sink.close()
    return took


def ordinary_records(directory: Path, records: int, sessions: int) -> float:
    """Ordinary records through a SessionHandler, with audit files and metadata, into a log per session."""
    handler = SessionHandler(directory, session_level="full", overflow="wait", max_bytes="1 GB")
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    ids = [f"s{number}" for number in range(sessions)]
    start = time.perf_counter()
    for number in range(records):
        logger.info("record", extra={"number": number, "session_id": ids[number % sessions]})
    handler.root.flush(PATIENCE)
    took = time.perf_counter() - start
    handler.close()
    return took


def session_events(directory: Path, records: int, sessions: int) -> float:
    """Events of the API's own, of class full, into a log per session."""
    handler = SessionHandler(directory, overflow="wait", max_bytes="1 GB")
    opened = [start_session(f"s{number}", level="full", handler=handler) for number in range(sessions)]
    start = time.perf_counter()
    for number in range(records):
        opened[number % sessions].event("state_change", number=number)
    handler.root.flush(PATIENCE)
    took = time.perf_counter() - start
    for session in opened:
        session.end()
    handler.root.flush(PATIENCE)
    handler.close()
    return took


VARIANTS: dict[str, Callable[[Path, int, int], float]] = {
    "standard library, one text file": standard_library,
    "usual stack, one JSON file": usual_stack,
    "logger.info, a log per session": ordinary_records,
    "session.event, a log per session": session_events,
}


def lines_with_number(directory: Path) -> int:
    """How many of the records landed; a line that is not whole JSON ends the run."""
    found = 0
    for log in directory.rglob("*.log"):
        if log.name.startswith("audit"):
            continue
        for line in log.read_bytes().splitlines():
            content = json.loads(line)
            found += "number" in content or "number" in content.get("data", {})
    return found


def run(records: int, rounds: int, sessions: int) -> None:
    """
    Time every variant in turn, and print a table of medians.
    """
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            directory = Path(tempfile.mkdtemp())
            rate = records / variant(directory, records, sessions)
            landed = lines_with_number(directory)
            if landed != records:
                sys.exit(f"{name}: {landed} of {records} records landed")
            rates[name].append(rate)
            shutil.rmtree(directory)
    base = statistics.median(rates["usual stack, one JSON file"])
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}; ", end="")
    print(f"{records:,} records, {sessions} sessions, {rounds} rounds")
    print(f"{'variant':36} {'median/s':>10} {'min/s':>10} {'max/s':>10} {'ratio':>6}")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"{name:36} {median:>10,.0f} {min(found):>10,.0f} {max(found):>10,.0f} {median / base:>6.2f}")


def main() -> None:
    """
    Read the arguments and run.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=20)
    arguments = parser.parse_args()
    run(arguments.records, arguments.rounds, arguments.sessions)


if __name__ == "__main__":
    main()
