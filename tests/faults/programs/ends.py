"""
All the ways in which a program ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any

from faults.program import Job
from sessionlog_handlers import AuditWriteError, Session, start_session

HOLD_UP = 20.0  # seconds after which a program that nobody ends does so


def end(job: Job) -> None:
    """
    Log and end in the way that the option *how* names. Nothing is flushed before; the package has to do that.
    """
    how = job.options["how"]
    if how.startswith("own handler"):
        signal.signal(signal.SIGTERM, _leave_by_itself)
    job.make_handler(capture_signals="capture" in how)
    job.ready()
    if how.startswith("with"):
        with start_session("s") as session:
            _log(job, session)
            _leave(job, how.removeprefix("with "))
    else:
        session = start_session("s")
        if how == "atexit":
            atexit.register(lambda: job.log(session, 1, 0, 50))
        if how == "daemon threads":
            _begin_daemons(job, session)
        _log(job, session)
        _leave(job, how)


def _log(job: Job, session: Session) -> None:
    job.log(session, 0, 0, job.get("events", 100))
    job.acks["done"] = 1


def _leave(job: Job, how: str) -> None:
    if how == "exception":
        raise ValueError("the program's own")
    if how.startswith("exit"):
        sys.exit(int(how.split()[1]))
    if how == "os._exit":
        os._exit(0)
    if "signal" in how:
        end = time.monotonic() + HOLD_UP
        while time.monotonic() < end:  # in short steps: a signal that comes just before a long one would wait for it
            time.sleep(0.005)


def _leave_by_itself(number: int, frame: Any) -> None:
    """A handler of the app's own."""
    sys.exit(40)


def _begin_daemons(job: Job, session: Session) -> None:
    over = threading.Event()

    def work(index: int) -> None:
        number = 0
        while not over.is_set():
            job.log(session, index, number, number + 1)
            number += 1
            time.sleep(0.0002)

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in (1, 2)]
    for thread in threads:
        thread.start()
    # They go on until the very end; then, for the counts to be of one moment, they stop.
    job.at_last += [over.set, *(thread.join for thread in threads)]
    time.sleep(0.02)


def loop(job: Job) -> None:
    """
    Tasks of an asyncio loop log; some are cancelled in the midst of it, also while they wait for the disk; then the
    loop is closed, and another logs on.
    """
    job.make_handler()
    job.ready()
    session = start_session("s")
    tasks = job.get("tasks", 20)
    calls: list[float] = []
    over: list[bool] = []

    async def wait_for_disk(index: int, number: int) -> None:
        slot = tasks + 1 + index
        job.acks.attempt(slot, number + 1)
        try:
            with contextlib.suppress(AuditWriteError):
                await session.aevent("error", writer=job.acks["base"] + slot, number=number)
        finally:
            job.acks.accept(slot, number + 1)  # who is cancelled while it waits has logged all the same

    for slot in range(2 * tasks + 1):
        job.acks.bind(slot, session.id)

    async def work(index: int) -> None:
        number = 0
        while not over:
            job.acks.attempt(index, number + 1)
            start = time.perf_counter()
            session.event("state_change", writer=job.acks["base"] + index, number=number)
            calls.append(time.perf_counter() - start)
            job.acks.accept(index, number + 1)
            number += 1
            if number % 10 == 0:
                await wait_for_disk(index, number // 10 - 1)
            await asyncio.sleep(0)

    async def main() -> int:
        running = [asyncio.create_task(work(index)) for index in range(tasks)]
        stopped = 0
        for task in running:
            await asyncio.sleep(job.get("pause", 0.01))
            task.cancel()
            await asyncio.wait([task], timeout=2.0)
            stopped += task.cancelled()
        over.append(True)
        return stopped

    job.acks.note(cancelled=asyncio.run(main()))

    closed = asyncio.new_event_loop()
    closed.close()
    asyncio.set_event_loop(closed)
    job.log(session, tasks, 0, 100)
    calls.sort()
    job.acks.note(calls=len(calls), p99=calls[int(len(calls) * 0.99)], most=calls[-1])
    job.acks.note(slow=sum(took > job.get("limit", 0.005) for took in calls))
    job.finish()
