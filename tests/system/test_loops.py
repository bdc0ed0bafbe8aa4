"""
Event loops under load: tasks that log and are cancelled at any moment, loops that are closed with work left.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time

from helpers import read_lines

from sessionlog_handlers import SessionHandler, start_session

TASKS = 100
ROUNDS = 5
HELD_UP = 0.005  # seconds that a call may take in a loop
SCHEDULED_AWAY = 0.05  # seconds; a machine that is busy with something else may take the processor away for less


class _Accepted:
    """What was logged, by the task that logged it, and how long each call took."""

    def __init__(self):
        self.numbers = {}
        self.seconds = []

    def log(self, session, task):
        number = self.numbers.get(task, 0)
        begin = time.perf_counter()
        session.event("completion", task=task, number=number, text="x" * 200)
        self.seconds.append(time.perf_counter() - begin)
        self.numbers[task] = number + 1


async def _work(session, accepted, task, cancelled):
    try:
        while True:
            accepted.log(session, task)
            await asyncio.sleep(0)
            if task % 3 == 0:
                await session.aevent("state_change", task=task)
    except asyncio.CancelledError:
        cancelled.add(task)
        raise


async def _cancel_some(session, accepted, rng):
    """Let tasks log, cancel them in any order, and give those that were cancelled as they should."""
    cancelled = set()
    async with session:
        tasks = [asyncio.create_task(_work(session, accepted, task, cancelled)) for task in range(TASKS)]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in rng.sample(tasks, TASKS):
            task.cancel()
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    return cancelled


def _found(root, name):
    lines = read_lines(root / name / "session.log")
    found = {}
    for line in lines:
        if line["event"] == "completion":
            assert line["data"]["number"] == found.get(line["data"]["task"], 0)
            found[line["data"]["task"]] = line["data"]["number"] + 1
    return found, lines


class TestCancelled:
    def test_nothing_is_lost_and_nothing_swallowed(self, tmp_path):
        """
        Of 100 tasks that log and are cancelled at random, every event is there, and every cancellation arrives.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        for turn in range(ROUNDS):
            accepted = _Accepted()
            cancelled = asyncio.run(_cancel_some(start_session(f"s{turn}"), accepted, random.Random(turn)))
            assert cancelled == accepted.numbers.keys()
            handler.flush()
            found, lines = _found(tmp_path, f"s{turn}")
            assert found == accepted.numbers
            assert lines[-1]["event"] == "session_end"
        handler.close()
        assert (handler.stats()["dropped"], handler.stats()["pending"]) == ({}, 0)

    def test_loop_is_not_held_up(self, tmp_path):
        """
        A call in a running loop takes no time to speak of, also while the disk is busy and the queue is full.
        """
        handler = SessionHandler(tmp_path, overflow="wait", queue_size=100, session_level="full")
        worst, over = [], 0
        for turn in range(ROUNDS):
            accepted = _Accepted()
            asyncio.run(_cancel_some(start_session(f"s{turn}"), accepted, random.Random(turn)))
            worst.append(max(accepted.seconds))
            over += sum(seconds > SCHEDULED_AWAY for seconds in accepted.seconds)
        handler.close()
        assert statistics.median(worst) < HELD_UP * 4
        assert over <= 1


class TestClosedLoops:
    def test_pending_tasks(self, tmp_path):
        """
        What tasks had logged that never came to their end, because their loop was closed, is there.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        accepted = _Accepted()
        for turn in range(ROUNDS):
            session = start_session(f"s{turn}")
            loop = asyncio.new_event_loop()
            tasks = [loop.create_task(_work(session, accepted, turn * TASKS + task, set())) for task in range(TASKS)]
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False  # asyncio complains of such tasks: they are meant to be here
            del tasks, task
            session.event("completion", task="after", number=0)
            session.end()
        handler.close()
        assert handler.stats()["dropped"] == {}
        for turn in range(ROUNDS):
            found, lines = _found(tmp_path, f"s{turn}")
            assert found.pop("after") == 1
            assert found == {task: number for task, number in accepted.numbers.items() if task // TASKS == turn}
            assert lines[-1]["event"] == "session_end"
