from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest
from helpers import wait_until, watchdog

from sessionlog_handlers.pipeline.listener import BatchingQueueListener
from sessionlog_handlers.pipeline.queue import PATIENCE, RESERVE, BoundedQueue, in_running_loop
from sessionlog_handlers.pipeline.routes import SHED_DEBUG, SHED_FULL, SHED_LAST, SHED_PROMPTS, SHED_SIGNALS


def _fill(queue: BoundedQueue[object], priority: int, size: int = 1) -> int:
    """Put items until one is refused, and give the number of those that were taken."""
    taken = 0
    while queue.put(object(), priority, size):
        taken += 1
    return taken


def _in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(10)
    return results[0]


def _take(queue: BoundedQueue[Any], most: int) -> list[Any]:
    """
    Take items, and be done with them at once.
    """
    taken = queue.take(most)
    queue.done()
    return taken


class TestMarks:
    @pytest.mark.parametrize(
        ("priority", "most"),
        [(SHED_FULL, 80), (SHED_DEBUG, 90), (SHED_PROMPTS, 95), (SHED_SIGNALS, 100), (SHED_LAST, 200)],
    )
    def test_each_class_has_its_mark(self, priority, most):
        """
        Each class is refused from its own share of the queue on; the last has a reserve beyond it.
        """
        assert _fill(BoundedQueue(100), priority) == most

    def test_less_important_first(self):
        """
        What is full for one class has room for the next.
        """
        queue: BoundedQueue[object] = BoundedQueue(100)
        filled = [_fill(queue, priority) for priority in (SHED_FULL, SHED_DEBUG, SHED_PROMPTS, SHED_SIGNALS, SHED_LAST)]
        assert filled == [80, 10, 5, 5, 100]
        assert len(queue) == 200

    def test_reserve(self):
        """
        The reserve is 8,192 entries, or as many as the queue has.
        """
        assert _fill(BoundedQueue(20_000, 1 << 40), SHED_LAST) == 20_000 + RESERVE
        assert _fill(BoundedQueue(16), SHED_LAST) == 32

    def test_room_again(self):
        """
        What is taken out makes room for as much.
        """
        queue: BoundedQueue[object] = BoundedQueue(100)
        _fill(queue, SHED_FULL)
        assert len(_take(queue, 30)) == 30
        assert _fill(queue, SHED_FULL) == 30

    def test_order(self):
        """
        Items come out in the order in which they went in, whatever their class.
        """
        queue: BoundedQueue[int] = BoundedQueue(100)
        for number in range(50):
            queue.put(number, number % 5, 1)
        assert _take(queue, 20) + _take(queue, 1000) == [*range(50)]
        assert _take(queue, 5) == []


class TestBytes:
    def test_large_items_take_several_slots(self):
        """
        An item beyond the size of a slot takes as many slots as it needs, and gives all of them back.
        """
        queue: BoundedQueue[object] = BoundedQueue(100, 100 * 10)  # 10 bytes a slot
        assert queue.slot_bytes == 10
        assert _fill(queue, SHED_LAST, 95) == 200 // 10
        _take(queue, 1000)
        assert _fill(queue, SHED_FULL, 10) == 80
        _take(queue, 1000)
        assert _fill(queue, SHED_FULL, 19) == 40

    def test_small_after_large(self):
        """
        Slots that a large item holds are not there for small ones.
        """
        queue: BoundedQueue[object] = BoundedQueue(100, 1000)
        assert queue.put(object(), SHED_FULL, 500)
        assert _fill(queue, SHED_FULL) == 80 - 51
        _take(queue, 1)
        assert _fill(queue, SHED_FULL) == 51

    @pytest.mark.parametrize("priority", range(5))
    @pytest.mark.parametrize("capacity", [4, 16, 100])
    def test_one_always_fits(self, capacity, priority):
        """
        However large, one item fits into an empty queue, and then no second one of that size.
        """
        queue: BoundedQueue[object] = BoundedQueue(capacity, 1000)
        assert queue.put(object(), priority, 10**9)
        if priority != SHED_LAST:
            assert not queue.put(object(), priority, 10**9)
        _take(queue, 10)
        assert queue.put(object(), priority, 10**9)

    def test_bytes_are_bounded(self):
        """
        Never are more bytes held than the limit and its reserve, for items of any one size above a slot.
        """
        for size in (11, 19, 20, 55, 100, 333):
            queue: BoundedQueue[object] = BoundedQueue(100, 1000)
            assert _fill(queue, SHED_SIGNALS, size) * size <= 2 * 1000

    def test_commands_always_fit(self):
        """
        A command is taken whatever the queue holds.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        taken = _fill(queue, SHED_LAST)
        queue.put_always("command")
        assert _take(queue, 1000)[taken:] == ["command"]


class TestWaiting:
    def test_signals_wait_a_little(self):
        """
        A signal waits for room for a moment, then it is refused.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        _fill(queue, SHED_SIGNALS)
        start = time.monotonic()
        assert not queue.put(object(), SHED_SIGNALS, 1)
        assert PATIENCE <= time.monotonic() - start < 1

    @pytest.mark.parametrize("priority", [SHED_FULL, SHED_DEBUG, SHED_PROMPTS, SHED_LAST])
    def test_others_do_not(self, priority):
        """
        Every other class is refused at once.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        _fill(queue, priority)
        start = time.monotonic()
        for _ in range(100):
            assert not queue.put(object(), priority, 1)
        assert time.monotonic() - start < PATIENCE

    def test_signal_gets_room_in_time(self):
        """
        A signal that waits is taken as soon as there is room.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        _fill(queue, SHED_SIGNALS)
        timer = threading.Timer(0.01, _take, [queue, 4])
        timer.start()
        assert queue.put(object(), SHED_SIGNALS, 1)
        timer.join()

    @pytest.mark.parametrize("priority", range(5))
    def test_large_item_waits_for_an_empty_queue_at_most(self, priority):
        """
        With ``wait``, an item that takes nearly all of the queue is taken once the queue is empty.
        """
        queue: BoundedQueue[object] = BoundedQueue(100, 100 * 512, "wait")
        queue.put("small", priority, 1)
        timer = threading.Timer(0.02, _take, [queue, 10])
        timer.start()
        with watchdog(30):
            assert queue.put("large", priority, 100 * 512)
        timer.join()

    @pytest.mark.parametrize("priority", range(5))
    def test_wait(self, priority):
        """
        With ``wait``, every class waits until there is room.
        """
        queue: BoundedQueue[object] = BoundedQueue(16, overflow="wait")
        done = []

        def produce() -> None:
            for number in range(200):
                done.append(queue.put(number, priority, 1))

        with watchdog(30):
            thread = threading.Thread(target=produce)
            thread.start()
            taken = []
            while len(taken) < 200:
                taken += _take(queue, 3)
                time.sleep(0)
            thread.join()
        assert taken == [*range(200)]
        assert done == [True] * 200

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    def test_never_in_a_running_loop(self, overflow):
        """
        A coroutine's call never waits: it would hold up the whole loop.
        """
        queue: BoundedQueue[object] = BoundedQueue(16, overflow=overflow)

        async def main() -> tuple[bool, float]:
            assert in_running_loop()
            while len(queue) < 16:
                queue.put(object(), SHED_SIGNALS, 1)
            start = time.monotonic()
            return queue.put(object(), SHED_SIGNALS, 1), time.monotonic() - start

        with watchdog(30):
            taken, seconds = asyncio.run(main())
        assert not taken
        assert seconds < PATIENCE / 2
        assert not in_running_loop()

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    def test_never_in_a_signal_handler(self, overflow):
        """
        A signal handler never waits: what it interrupted may be what would make room.
        """
        queue: BoundedQueue[object] = BoundedQueue(16, overflow=overflow)
        for _ in range(16):
            queue.put(object(), SHED_SIGNALS, 1)
        results = []

        def log() -> None:
            start = time.monotonic()
            results.append((queue.put(object(), SHED_SIGNALS, 1), time.monotonic() - start))

        class App:
            def on_signal(self, number: int, frame: object) -> None:
                log()

        before = signal.signal(signal.SIGUSR1, lambda number, frame: log())
        try:
            with watchdog(30):
                signal.raise_signal(signal.SIGUSR1)
                signal.signal(signal.SIGUSR1, App().on_signal)
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert [taken for taken, _ in results] == [False, False]
        assert max(seconds for _, seconds in results) < PATIENCE / 2

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    def test_never_in_the_consumer(self, overflow):
        """
        The consumer's own thread never waits for itself.
        """
        queue: BoundedQueue[object] = BoundedQueue(16, overflow=overflow)

        def work() -> tuple[bool, float]:
            queue.consumer = threading.get_ident()
            for _ in range(16):
                queue.put(object(), SHED_SIGNALS, 1)
            start = time.monotonic()
            return queue.put(object(), SHED_SIGNALS, 1), time.monotonic() - start

        taken, seconds = _in_thread(work)
        assert not taken
        assert seconds < PATIENCE / 2


class TestBar:
    """What a mark on the disk's free space does to the queue."""

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    @pytest.mark.parametrize("size", [1, 100_000])
    def test_refuses_what_is_below(self, overflow, size):
        """
        What is less important than the bar is refused at once, however empty the queue is; the rest is not.
        """
        queue = BoundedQueue(100, 10_000, overflow)
        begin = time.monotonic()
        for bar in range(SHED_LAST + 1):
            queue.refuse_below(bar)
            for priority in range(SHED_LAST + 1):
                assert queue.refuses(priority) is (priority < bar)
                assert (len(queue.items) < queue.room[priority]) is (priority >= bar)
                assert queue.put("x", priority, size) is (priority >= bar)
                _take(queue, 10)
        queue.refuse_below(0)
        assert all(queue.put("x", priority, 1) for priority in range(SHED_LAST + 1))
        assert time.monotonic() - begin < 10

    @watchdog(30)
    def test_full_queue(self):
        """
        What is below the bar does not wait, also where the queue is full and everything else waits for room.
        """
        queue = BoundedQueue(16, 16_000, "wait")
        queue.attend(0)
        while queue.room[SHED_SIGNALS] > len(queue.items):
            queue.put("x", SHED_SIGNALS, 1)
        queue.refuse_below(SHED_LAST)
        assert not queue.put("x", SHED_SIGNALS, 1)
        assert not queue.put("x", SHED_FULL, 100_000)

    def test_commands_and_what_is_queued(self):
        """
        Commands pass, and what was queued before stays.
        """
        queue = BoundedQueue(100, 10_000)
        queue.put("before", SHED_FULL, 1)
        queue.refuse_below(SHED_LAST)
        queue.put_always("command")
        assert _take(queue, 10) == ["before", "command"]

    def test_lasts(self):
        """
        It stays when the queue gets other bounds, in a forked child, and while items are taken.
        """
        queue = BoundedQueue(100, 10_000)
        queue.refuse_below(SHED_PROMPTS)
        queue.configure(200, 20_000, "wait")
        assert queue.refuses(SHED_DEBUG)
        queue.put("x", SHED_LAST, 5_000)
        _take(queue, 1)
        assert queue.refuses(SHED_DEBUG)
        queue.reset()
        assert queue.refuses(SHED_DEBUG)
        assert not queue.refuses(SHED_PROMPTS)

    def test_comes_while_somebody_waits(self):
        """
        Who waits for room when the bar comes is refused.
        """
        queue = BoundedQueue(16, 16_000, "wait")
        queue.attend(0)
        while queue.room[SHED_FULL] > len(queue.items):
            queue.put("x", SHED_FULL, 1)
        results = []
        thread = threading.Thread(target=lambda: results.append(queue.put("late", SHED_FULL, 1)))
        thread.start()
        time.sleep(0.1)
        queue.refuse_below(SHED_LAST)
        _take(queue, 16)
        thread.join(10)
        assert results == [False]
        assert "late" not in queue.items


class TestWaking:
    def test_sleeps_until_something_comes(self):
        """
        The consumer sleeps until an item is put, and does not sleep when there is one.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        woken = []

        def consume() -> None:
            queue.attend(threading.get_ident())
            queue.sleep(10)
            woken.append(_take(queue, 10))

        thread = threading.Thread(target=consume)
        thread.start()
        wait_until(lambda: queue.consumer is not None and queue.idle)
        queue.put("item", SHED_FULL, 1)
        thread.join(5)
        assert woken == [["item"]]
        queue.put("other", SHED_FULL, 1)
        start = time.monotonic()
        queue.sleep(10)
        assert time.monotonic() - start < 1

    def test_sleep_ends_in_time(self):
        """
        Without an item, sleep ends when its time is over.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        start = time.monotonic()
        queue.sleep(0.05)
        assert 0.05 <= time.monotonic() - start < 1

    def test_gathering(self):
        """
        Ordinary wakes don't end the gathering of a batch; an urgent one does.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        queue.attend(threading.get_ident())
        queue.wake()
        start = time.monotonic()
        queue.gather(0.05)
        assert time.monotonic() - start >= 0.05
        timer = threading.Timer(0.02, queue.wake, kwargs={"urgent": True})
        timer.start()
        start = time.monotonic()
        queue.gather(10)
        assert time.monotonic() - start < 2
        timer.join()

    def test_what_is_in_hand_takes_room(self):
        """
        What was taken counts against the bounds until it is dealt with: a queue that is lost holds no more than them.
        """
        queue: BoundedQueue[object] = BoundedQueue(100)
        assert _fill(queue, SHED_FULL) == 80
        queue.take(50)
        assert _fill(queue, SHED_FULL) == 0
        queue.done()
        assert _fill(queue, SHED_FULL) == 50

    def test_nobody_to_wake(self):
        """
        Where nobody takes what is put, each producer finds the queue idle, and no wake is left behind for later.
        """
        queue: BoundedQueue[object] = BoundedQueue(16)
        for _ in range(3):
            queue.put("item", SHED_FULL, 1)
            assert queue.idle
        queue.attend(threading.get_ident())
        queue.wake()
        assert not queue.idle
        queue.abandon()
        assert queue.idle
        _take(queue, 10)
        queue.reset()
        start = time.monotonic()
        queue.sleep(0.05)
        assert time.monotonic() - start >= 0.05

    def test_reset(self):
        """
        After a reset nothing is left, not even the slots of large items.
        """
        queue: BoundedQueue[object] = BoundedQueue(100, 1000)
        queue.put(object(), SHED_FULL, 500)
        queue.reset()
        assert len(queue) == 0
        assert _fill(queue, SHED_FULL) == 80


@pytest.mark.parametrize("overflow", ["shed", "wait"])
@pytest.mark.parametrize("size", [1, 700])
def test_sent_is_taken_and_refused(overflow, size):
    """
    Eight threads, a queue of four and a slow consumer: each of 1,024 items is delivered or was refused.
    """
    queue: BoundedQueue[tuple[int, int]] = BoundedQueue(4, 4 * 512, overflow)
    delivered: list[tuple[int, int]] = []
    refused: list[tuple[int, int]] = []

    def sink(batch: list[tuple[int, int]]) -> None:
        time.sleep(0.0005)
        delivered.extend(batch)

    def send(sender: int) -> None:
        for number in range(128):
            if not queue.put((sender, number), number % 5, size):
                refused.append((sender, number))

    listener = BatchingQueueListener(queue, sink=sink, linger=0)
    with watchdog(60):
        listener.start()
        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listener.stop(10)
    assert sorted(delivered + refused) == [(sender, number) for sender in range(8) for number in range(128)]
    for sender in range(8):
        numbers = [number for who, number in delivered if who == sender]
        assert numbers == sorted(numbers)
    assert bool(refused) == (overflow == "shed")
    assert queue._extra_slots == 0
