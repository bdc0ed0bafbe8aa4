"""
Threads that log numbered records to sessions, as fast as they can or at a rate.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from faults.program import Job
from sessionlog_handlers import Session, start_session


def events(job: Job) -> None:
    """
    Each thread logs its events, then all sessions end.
    """
    job.make_handler()
    job.ready()
    sessions = open_sessions(job)
    run_threads(job, lambda index: job.log(sessions[index % len(sessions)], index, 0, job.get("events", 10)))
    job.finish()


def records(job: Job) -> None:
    """
    The same with records of a logger.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    sessions = open_sessions(job)
    text, levels = "x" * job.get("size", 60), job.get("levels", [logging.INFO])

    def work(index: int) -> None:
        session = sessions[index % len(sessions)]

        def call(number: int) -> None:
            extra = {"writer": job.acks["base"] + index, "number": number, "session_id": session.id}
            logger.log(levels[number % len(levels)], text, extra=extra)

        job.log(session, index, 0, job.get("events", 10), call)

    run_threads(job, work)
    job.finish()


def rounds(job: Job) -> None:
    """
    So many records for each word of the harness, all in their files when the round is done.
    """
    job.make_handler()
    job.ready()
    sessions = open_sessions(job)
    size = job.get("events", 10)
    for step in range(job.get("rounds", 1)):
        job.wait_for(step + 1)
        for index, session in enumerate(sessions):
            job.log(session, index, step * size, (step + 1) * size)
        flushed = [session.flush() for session in sessions]
        if all(flushed):
            for index in range(len(sessions)):
                job.acks.acknowledge(index, (step + 1) * size)
        job.acks["done"] = step + 1
    job.wait_for(job.get("rounds", 1) + 1)
    job.finish()


def open_sessions(job: Job) -> list[Session]:
    """
    The job's sessions.
    """
    return [start_session(name) for name in job.get("sessions", ["s"])]


def run_threads(job: Job, work: Callable[[int], None]) -> None:
    """
    Run each writer in a thread of its own; one alone runs in the main thread.
    """
    number = job.get("threads", 1)
    if number == 1:
        work(0)
        return
    threads = [threading.Thread(target=work, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
