"""
What is logged to a disk that is about to lose its power.
"""

from __future__ import annotations

import logging
import threading

from faults import calls
from faults.program import Job
from faults.programs.full import is_written
from sessionlog_handlers import start_session


def mixed(job: Job) -> None:
    """
    Audited rare events and ordinary records, each from a thread, until the end comes from outside.
    """
    handler = job.make_handler()
    job.ready()
    session = start_session("s")
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    base = job.acks["base"]

    def call(number: int) -> None:
        logger.info("x" * 100, extra={"writer": base + 1, "number": number, "session_id": session.id})

    many = job.get("events", 10)
    threads = [
        threading.Thread(
            target=job.log,
            args=(session, 0, 0, many, lambda number: session.event("error", writer=base, number=number)),
        ),
        threading.Thread(target=job.log, args=(session, 1, 0, many, call)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ordered(job: Job) -> None:
    """
    Events one by one; after each acknowledgement, what is not synced is noted.
    """
    job.make_handler()
    job.ready()
    session = start_session("s")
    session.flush(durable=True)
    found: list[str] = []
    acknowledged = 0
    for number in range(job.get("events", 10)):
        job.log(session, 0, number, number + 1)
        now = job.acks.slot(0).acknowledged
        if now > acknowledged:
            acknowledged = now
            found += calls.unsynced()
            if not is_written(job, session, 0):
                found.append("a record that was not even written")
    job.acks.note(unsynced=sorted(set(found))[:10])
    job.finish()
