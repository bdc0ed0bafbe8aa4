"""
Logging to where nothing can be written for a while.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
import time

from faults.program import Job
from faults.programs.plain import open_sessions
from sessionlog_handlers import Session

ROOM = 50_000  # bytes that each log may grow by until the disk is full
NEARLY = 40_000  # bytes that may be left of a full disk: those that no whole line or page fits into
SETTLE = 15.0  # seconds that what waits may take once there is room


def rounds(job: Job) -> None:
    """
    In each round two threads log until the disk is full and go on; when there is room again, they log some more.

    Without a disk of its own, the program limits the size of its files.
    """
    handler = job.make_handler()
    limited = not os.path.ismount(os.path.dirname(job.root))
    job.ready()
    sessions = open_sessions(job)
    handler.flush()
    size = job.get("events", 100)
    again = True
    for step in range(job.get("rounds", 1)):
        if limited:
            _limit(_longest(sessions) + ROOM)
        _in_threads(job, sessions, 2 * step * size, (2 * step + 1) * size)
        handler.flush()
        job.acks["injected"] += _is_full(job, sessions, limited)
        _done(job)
        job.wait_for(2 * step + 2)
        if limited:
            _limit(resource.RLIM_INFINITY)
        settle(job)
        _in_threads(job, sessions, (2 * step + 1) * size, (2 * step + 2) * size)
        again &= settle(job) and all(is_written(job, session, index) for index, session in enumerate(sessions))
        _done(job)
        job.wait_for(2 * step + 3)
    job.acks.note(again=again)
    job.finish()


def waiting(job: Job) -> None:
    """
    Log, tell that it was tried, and go on when there is a place to write to.
    """
    job.make_handler()
    job.ready()
    sessions = open_sessions(job)
    size = job.get("events", 10)
    job.log(sessions[0], 0, 0, size)
    sessions[0].flush(0.5)
    _done(job)
    job.wait_for(2)
    job.log(sessions[0], 0, size, 2 * size)
    job.acks.note(again=settle(job))
    job.finish()


def marked(job: Job) -> None:
    """
    Log events of several classes until the last mark is in force and some more, and again when there is room.
    """
    told: list[tuple[str, bool]] = []
    handler = job.make_handler(on_mark=lambda mark: told.append((mark.name, mark.passed)))
    job.ready()
    session = open_sessions(job)[0]
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    base, text = job.acks["base"], "x" * job.get("size", 60)

    for slot in range(3):
        job.acks.bind(slot, session.id)

    def log(number: int) -> None:
        for index, event in enumerate(("state_change", "log", "client_attached")):
            fields = {"writer": base + index, "number": number, "text": text}
            job.acks.attempt(index, number + 1)
            if event == "log":
                logger.info("x", extra={**fields, "session_id": session.id})
            else:
                session.event(event, **fields)
            job.acks.accept(index, number + 1)

    number = 0
    more = job.get("events", 100)
    end = time.monotonic() + SETTLE
    while more and time.monotonic() < end:
        log(number)
        number += 1
        more -= handler.stats()["mark"] == "suspend" if number % 10 == 0 else 0
        time.sleep(0.0001)
    _done(job)
    job.wait_for(2)
    end = time.monotonic() + SETTLE
    while handler.stats()["mark"] is not None and time.monotonic() < end:
        time.sleep(0.01)
    session.flush()  # of what came below the last mark, some may still wait
    before = handler.stats()["written"]
    for _ in range(10):
        log(number)
        number += 1
    session.flush()
    job.acks.note(again=handler.stats()["written"] - before)
    while len(told) < 6 and time.monotonic() < end:
        time.sleep(0.01)
    job.acks.note(told=told)
    job.finish()


def _done(job: Job) -> None:
    job.acks.add("done")


def _in_threads(job: Job, sessions: list[Session], first: int, last: int) -> None:
    threads = [
        threading.Thread(target=job.log, args=(session, index, first, last)) for index, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def settle(job: Job) -> bool:
    """Wait until everything is written that was kept."""
    assert job.handler is not None
    deadline = time.monotonic() + SETTLE
    while not job.handler.root.flush(0.5):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_written(job: Job, session: Session, index: int) -> bool:
    """Whether a writer's last record is in the log, or in the file that was the log until now."""
    last = f'"number":{job.acks.slot(index).accepted - 1},'.encode()
    logs = (session.log_path, session.log_path.with_name(f"{session.log_path.name}.1"))
    return any(last in log.read_bytes() for log in logs if log.exists())


def _longest(sessions: list[Session]) -> int:
    return max((session.log_path.stat().st_size for session in sessions), default=0)


def _is_full(job: Job, sessions: list[Session], limited: bool) -> bool:
    """Whether the end was met, by what the system says: a broken handler may not know."""
    if limited:
        return _longest(sessions) > resource.getrlimit(resource.RLIMIT_FSIZE)[0] - NEARLY
    left = os.statvfs(job.root)
    return left.f_bavail * left.f_frsize < NEARLY


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
