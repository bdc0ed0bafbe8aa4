"""
Logging without descriptors.
"""

from __future__ import annotations

import os
import resource

from faults.program import Job
from faults.programs.full import settle
from faults.programs.plain import open_sessions


def starved(job: Job) -> None:
    """
    Log with so many free descriptors, then give some back and log on.
    """
    handler = job.make_handler()
    job.ready()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for _ in range(min(job.get("free", 0), len(held))):
        os.close(held.pop())
    sessions = open_sessions(job)
    size = job.get("events", 10)
    for index, session in enumerate(sessions):
        job.log(session, index, 0, size)
    handler.flush()
    job.acks.note(errors=handler.stats()["errors"])
    for number in held:
        os.close(number)
    settle(job)
    for index, session in enumerate(sessions):
        job.log(session, index, size, 2 * size)
    job.acks.note(again=settle(job))
    job.finish()
