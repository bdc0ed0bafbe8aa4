"""
One of several processes that write one log: it sets its logger up, waits for a word, logs, and says what that took.

    python benchmarks/worker.py WAY DIRECTORY PROCESS RECORDS MAX_BYTES

It says ``ready``, begins when it reads a line, answers with a JSON object when all of its records are in the files, and
closes its logger when it reads another line: a session is ended by who began it, and not before all have written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workload import COMMAND, MESSAGE, NAME, fields_of, nothing

SESSION = "shared"
BACKUPS = 1_000  # rotated files, more than there will be, so that none is deleted
SAMPLED = 16  # of so many calls one is timed; reading the clock each time would slow the fast ones down
BATCH = 1_000  # lines of one write
PATIENCE = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    """
    What one process has to do.

    Args:
        directory: Where all of them write.

        first: The number of its first record.

        records: How many it logs.

        max_bytes: Size at which a new file is started.
    """

    directory: Path
    first: int
    records: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Task:
    """
    A logger that is set up.

    Args:
        log: Logs the record of that number.

        finish: Waits until all is in the files.

        close: Gives everything back.

        burst: Logs all, where that is not done by calls of *log*. (default: it is)
    """

    log: Callable[[int], object]
    finish: Callable[[], object]
    close: Callable[[], object]
    burst: Callable[[], object] | None = None


def logger_info(job: Job) -> Task:
    """``logger.info`` through a SessionHandler."""
    ours = _Ours(job)
    logging.getLogger().addHandler(ours.handler)
    logging.getLogger().setLevel(logging.INFO)
    info = logging.getLogger(NAME).info

    def log(number: int) -> None:
        info(MESSAGE, extra={"session_id": SESSION, **fields_of(number)})

    return Task(log, ours.finish, ours.close)


def full_event(job: Job) -> Task:
    """``session.event`` of class full with five fields, audited."""
    from ours import FULL_EVENT

    ours = _Ours(job)
    event = ours.session.event

    def log(number: int) -> None:
        # As it is written in an app: making a dictionary first would cost a third of the call.
        event(
            FULL_EVENT,
            command=COMMAND,
            pid=number,
            status="running" if number & 1 else "waiting",
            code=number & 3,
            ratio=number * 0.5,
        )

    return Task(log, ours.finish, ours.close)


def session_output(job: Job) -> Task:
    """``session.output`` with some bytes of a terminal."""
    from ours import output_of

    ours = _Ours(job)
    output = ours.session.output
    first, contents = job.first, [output_of(number) for number in range(job.first, job.first + job.records)]
    return Task(lambda number: output(contents[number - first]), ours.finish, ours.close)


class _Ours:
    """The one session, which the first process begins and the others join."""

    def __init__(self, job: Job) -> None:
        from sessionlog_handlers import SessionHandler, start_session

        self.handler = SessionHandler(
            job.directory, session_level="full", overflow="wait", max_bytes=job.max_bytes, backup_count=BACKUPS
        )
        self.session = start_session(SESSION, handler=self.handler)
        self.finish()

    def finish(self) -> None:
        if not self.handler.root.flush(PATIENCE):
            raise TimeoutError(f"not all was written within {PATIENCE:g} s: {self.handler.stats()}")

    def close(self) -> None:
        self.session.end()
        self.handler.close()
        if dropped := self.handler.stats()["dropped"]:
            raise RuntimeError(f"records were dropped: {dropped}")


def concurrent_log_handler(job: Job) -> Task:
    """concurrent-log-handler as it comes, in the caller's thread, with python-json-logger."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler
    from pythonjsonlogger.json import JsonFormatter

    from peers import STDLIB_JSON, through

    path = str(job.directory / "app.log")
    handler = ConcurrentRotatingFileHandler(path, maxBytes=job.max_bytes, backupCount=BACKUPS)
    handler.setFormatter(JsonFormatter(STDLIB_JSON))
    info = through(handler).info

    def log(number: int) -> None:
        info(MESSAGE, extra={"session": SESSION, **fields_of(number)})

    return Task(log, handler.flush, handler.close)


def locked_writes(job: Job) -> Task:
    """``os.write`` of ready lines, 1,000 at a time, each under a lock of the file; nothing rotates."""
    from floors import ready_line

    batches = [
        b"".join(ready_line([SESSION], number) for number in range(start, min(start + BATCH, job.first + job.records)))
        for start in range(job.first, job.first + job.records, BATCH)
    ]
    file = os.open(job.directory / "app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    lock = os.open(job.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def write(batch: bytes) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(file, batch)
        fcntl.flock(lock, fcntl.LOCK_UN)

    def burst() -> None:
        for batch in batches:
            write(batch)

    return Task(nothing_of, nothing, nothing, burst)


def nothing_of(number: int) -> None:
    """For what is not logged one by one."""


WAYS: dict[str, Callable[[Job], Task]] = {
    "logger.info": logger_info,
    "session.event full": full_event,
    "session.output": session_output,
    "concurrent-log-handler": concurrent_log_handler,
    "os.write 1000, locked": locked_writes,
}


def perform(task: Task, job: Job) -> dict[str, object]:
    """
    Do it all, and give when it began and ended and what a call took now and then, in nanoseconds.
    """
    took = array("q", bytes(8 * len(range(0, job.records, SAMPLED)))) if task.burst is None else array("q")
    start = time.perf_counter()
    if task.burst is not None:
        task.burst()
    else:
        _log_all(task.log, job, took)
    task.finish()
    return {"start": start, "end": time.perf_counter(), "took": took.tolist()}


def _log_all(log: Callable[[int], object], job: Job, took: array[int]) -> None:
    clock = time.perf_counter_ns
    last = job.first + job.records
    for at, sampled in enumerate(range(job.first, last, SAMPLED)):
        start = clock()
        log(sampled)
        took[at] = clock() - start
        for number in range(sampled + 1, min(sampled + SAMPLED, last)):
            log(number)


def main() -> None:
    """
    Talk to the process that measures.
    """
    way, directory, process, records, max_bytes = sys.argv[1:]
    job = Job(Path(directory), int(process) * int(records), int(records), int(max_bytes))
    task = WAYS[way](job)
    print("ready", flush=True)
    if sys.stdin.readline():  # else who measures is gone
        print(json.dumps(perform(task, job)), flush=True)
        sys.stdin.readline()
    task.close()


if __name__ == "__main__":
    main()
