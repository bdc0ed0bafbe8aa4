"""
Forks while threads log, many processes on one session, levels that change meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings

from faults.program import Job
from faults.programs.plain import run_threads
from sessionlog_handlers import start_session

FIRST_CHILD = 16  # writers of the forked children come after those of the threads


def forks(job: Job) -> None:
    """
    Threads log while the main thread forks children, each of which logs with threads of its own and ends.
    """
    warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: of fork with threads, the point here
    job.make_handler()
    job.ready()
    session = start_session("s")
    number_of_threads, size = job.get("threads", 3), job.get("events", 10)
    over = threading.Event()

    def work(index: int) -> None:
        number = 0
        while not over.is_set():
            job.log(session, index, number, number + 1)
            number += 1
            time.sleep(0.0005)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(number_of_threads)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(job.get("forks", 4)):
        child = os.fork()
        if not child:
            _child(job, session, FIRST_CHILD + number * number_of_threads, number_of_threads, size)
        children.append(child)
        job.acks.add("injected")
        time.sleep(0.002)
    hung = [child for child in children if not _ended(child, job.get("patience", 20.0))]
    over.set()
    for thread in threads:
        thread.join()
    job.acks.note(hung=len(hung))
    job.finish()


def _child(job: Job, session: object, first: int, threads: int, size: int) -> None:
    """What a forked child does: it logs at once, without a call that would tell the package of the fork."""
    code = 1
    try:
        workers = [threading.Thread(target=job.log, args=(session, first + index, 0, size)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert job.handler is not None
        code = 0 if job.handler.root.flush(10.0) else 2
        job.handler.close()
    finally:
        os._exit(code)


def _ended(child: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def levels(job: Job) -> None:
    """
    Threads log while one thread changes the session's level; it logs, too, and knows which of its records count.

    A record of the others may have been judged by either level; an ordinary one is told by what `stats` counts.
    """
    handler = job.make_handler()
    job.ready()
    session = start_session("s", level="full")
    over = threading.Event()
    flips = job.get("flips", 100)
    writers = job.get("threads", 16)
    everybody = threading.Barrier(writers)

    def work(index: int) -> None:
        everybody.wait()
        if index == 0:
            for flip in range(flips):
                session.set_level("signals" if flip % 2 == 0 else "full")
                session.event("state_change", flip=flip)
                time.sleep(0.0002)
            over.set()
            return
        number = 0
        while not over.is_set():
            session.event("state_change", writer=index, number=number)
            number += 1
            job.acks.attempt(index, number)
            time.sleep(0)

    run_threads(job, work)
    handler.flush()
    job.finish()


def loggers(job: Job) -> None:
    """
    Records of a logger, by the session's id alone: the session begins by the first of them.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    base = job.acks["base"]
    job.acks.bind(0, "s")
    for number in range(job.get("events", 10)):
        job.acks.attempt(0, number + 1)
        logger.info("x" * job.get("size", 60), extra={"writer": base, "number": number, "session_id": "s"})
        job.acks.accept(0, number + 1)
    job.finish()
