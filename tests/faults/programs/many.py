"""
Very many sessions at once.
"""

from __future__ import annotations

import os
import threading

from faults.program import Job
from sessionlog_handlers import start_session


def sessions(job: Job) -> None:
    """
    Open many sessions, log to each of them twice, end all.
    """
    before = _descriptors()
    handler = job.make_handler()
    job.ready()
    number = job.get("sessions", 100)
    opened = []
    for index in range(number):
        opened.append(start_session(f"session-{index}"))
    most = 0
    for turn in range(2):
        for index, session in enumerate(opened):
            count = turn * number + index
            job.acks.attempt(0, count + 1)
            session.event("state_change", writer=job.acks["base"], number=count)
            job.acks.accept(0, count + 1)
        handler.root.flush(60.0)
        most = max(most, _descriptors())
    threads = threading.active_count()
    for session in opened:
        session.end()
    handler.root.flush(60.0)
    stats = handler.stats()
    handler.close()
    job.acks.note(
        before=before, most=most, after=_descriptors(), threads=threads, threads_after=threading.active_count()
    )
    job.acks.note(cap=job.get("cap", 256), unlocked=stats["unlocked"])
    job.finish()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1  # one is the listing's own
