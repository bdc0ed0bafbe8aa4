"""
Queues that are full, sinks that are slow, parts that fail, records that are huge.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

from faults.program import Job
from faults.programs import KINDS_MIXED
from faults.programs.plain import run_threads
from sessionlog_handlers import BoundedQueueHandler, start_session

POISON = "poison"
ERRORS: dict[str, BaseException] = {
    "ValueError": ValueError("broken"),
    "SystemExit": SystemExit(1),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "GeneratorExit": GeneratorExit(),
}


def failing_format(job: Job) -> None:
    """
    The line format raises for each tenth record.
    """
    from sessionlog_handlers.formats.jsonl import JsonLinesFormat

    error, real = ERRORS[job.options["error"]], JsonLinesFormat.assemble_all

    def assemble_all(self: JsonLinesFormat, entries: Any, *others: Any) -> Any:
        if any(POISON.encode() in entry.data for entry in entries if type(entry.data) is bytes):
            job.acks.add("injected")
            raise error
        return real(self, entries, *others)

    JsonLinesFormat.assemble_all = assemble_all  # type: ignore[method-assign]
    job.make_handler()
    job.ready()
    session = start_session("s")

    def call(number: int) -> None:
        what = POISON if number % 10 == 0 else "fine"
        session.event("state_change", writer=job.acks["base"], number=number, what=what)

    job.log(session, 0, 0, job.get("events", 10), call)
    job.finish()


def failing_handler(job: Job) -> None:
    """
    A queue feeds a handler that raises, one whose filter raises, one whose formatter raises, and ours, which must get
    every record.
    """
    error = ERRORS[job.options["error"]]

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            job.acks.add("injected")
            raise error

    class FailingFilter(logging.Handler):
        def filter(self, record: logging.LogRecord) -> bool:
            job.acks.add("injected")
            raise error

    handler = job.make_handler()
    front = BoundedQueueHandler([Failing(), FailingFilter(), handler, Failing()], linger=0)
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(front)

    def call(number: int) -> None:
        logger.info("x", extra={"writer": job.acks["base"], "number": number, "session_id": "s"})

    session = start_session("s")
    job.log(session, 0, 0, job.get("events", 10), call)
    front.close()
    job.finish()


def dead_listener(job: Job) -> None:
    """
    The listener's thread dies again and again, where nothing of ours can catch it.
    """
    threading.excepthook = lambda arguments: None
    handler = job.make_handler()
    job.ready()
    session = start_session("s")
    listener, size = handler.root.listener, 5

    def die() -> float:
        raise SystemExit

    for step in range(job.get("deaths", 3)):
        session.flush()
        due, worker = listener._due, listener._worker
        listener._due = die
        job.log(session, 0, step * size, step * size + 1)
        while worker is not None and worker.is_alive():
            time.sleep(0.001)
        listener._due = due
        job.acks.add("injected")
        job.log(session, 0, step * size + 1, (step + 1) * size)
    job.finish()


def mixed(job: Job) -> None:
    """
    Threads log records and events of several classes in turn, as fast as they can.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    sessions = [start_session(f"s{number}") for number in range(job.get("threads", 4))]
    severities = {"info": logging.INFO, "debug": logging.DEBUG}

    def work(index: int) -> None:
        session = sessions[index]
        for number in range(job.get("events", 10)):
            for place, kind in enumerate(KINDS_MIXED):
                slot = index * len(KINDS_MIXED) + place
                job.acks.bind(slot, session.id)
                fields = {"writer": job.acks["base"] + slot, "number": number}
                job.acks.attempt(slot, number + 1)
                if kind in severities:
                    logger.log(severities[kind], "x", extra={**fields, "session_id": session.id})
                else:
                    session.event(kind, **fields)
                job.acks.accept(slot, number + 1)

    run_threads(job, work)
    job.finish()


def slow(job: Job) -> None:
    """
    Records and events at a steady rate; how long each call took is noted.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    session = start_session("s")
    took = []

    def call(number: int) -> None:
        if number % 2:
            session.event("state_change", writer=job.acks["base"], number=number)
        else:
            logger.info("x", extra={"writer": job.acks["base"], "number": number, "session_id": "s"})

    job.acks.bind(0, session.id)
    pause = 1 / job.get("rate", 1000)
    following = time.perf_counter()
    end = time.monotonic() + 2 * pause * job.get("events", 1000) + 1.0  # whoever waits in each call is known by then
    for number in range(job.get("events", 1000)):
        if time.monotonic() > end:
            break
        job.acks.attempt(0, number + 1)
        start = time.perf_counter()
        call(number)
        took.append(time.perf_counter() - start)
        job.acks.accept(0, number + 1)
        following += pause
        time.sleep(max(following - time.perf_counter(), 0))
    took.sort()
    job.acks.note(p50=took[len(took) // 2], p99=took[int(len(took) * 0.99)], most=took[-1])
    job.finish()


def huge(job: Job) -> None:
    """
    One record of many bytes between two small ones: as a message, an extra, a field, or a terminal's bytes.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    session = start_session("s")
    session.flush()
    size, how = job.get("bytes", 1000), job.options["how"]
    text = "x" * size
    fields = {"writer": job.acks["base"], "session_id": "s"}
    _reset_peak()
    before = _memory("VmRSS")
    start = time.perf_counter()

    def call(number: int) -> None:
        if how == "output" and number:
            session.flush()  # bytes are the first to be refused where something else is queued
            session.output(text.encode())
        if number != 1 or how == "output":
            logger.info("small", extra={**fields, "number": number})
        elif how == "message":
            logger.info(text, extra={**fields, "number": number})
        elif how == "extra":
            logger.info("huge", extra={**fields, "number": number, "text": text})
        else:
            session.event("state_change", writer=fields["writer"], number=number, text=text)

    job.log(session, 0, 0, 2 if how == "output" else 3, call)  # bytes have no number
    session.flush(30.0)
    job.acks.note(seconds=time.perf_counter() - start, peak=_memory("VmHWM") - before)
    job.finish()


def _memory(name: str) -> int:
    """Bytes, from the process's state."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")
