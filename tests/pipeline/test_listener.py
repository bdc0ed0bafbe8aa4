from __future__ import annotations

import logging
import threading
import time

import pytest
from helpers import wait_until, watchdog

from sessionlog_handlers.pipeline import threads as threads_module
from sessionlog_handlers.pipeline.listener import BATCH, Barrier, BatchingQueueListener
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.routes import SHED_LAST


class _Collecting(logging.Handler):
    def __init__(self, fail_on: dict[str, BaseException] | None = None, **options: object) -> None:
        super().__init__(**options)
        self.messages: list[str] = []
        self.fail_on = fail_on or {}

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message in self.fail_on:
            raise self.fail_on[message]
        self.messages.append(message)


def _record(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("app", level, __file__, 1, message, (), None)


@pytest.fixture
def queue():
    """
    A queue with room enough.
    """
    return BoundedQueue(20_000)


@pytest.fixture
def no_threads(monkeypatch):
    """
    The interpreter is at its end: there are no new threads.
    """
    monkeypatch.setattr(threads_module, "_forbidden", True)


class TestHandlers:
    def test_hands_records_out(self, queue):
        """
        Each record goes to each handler, in order.
        """
        handlers = [_Collecting(), _Collecting()]
        listener = BatchingQueueListener(queue, *handlers, linger=0)
        listener.start()
        for number in range(100):
            queue.put(_record(str(number)), SHED_LAST, 1)
        listener.stop()
        assert [handler.messages for handler in handlers] == [[str(number) for number in range(100)]] * 2

    def test_handler_levels(self, queue):
        """
        On request, a handler's own level counts.
        """
        picky, other = _Collecting(level=logging.ERROR), _Collecting()
        listener = BatchingQueueListener(queue, picky, other, respect_handler_level=True)
        for level in (logging.INFO, logging.ERROR):
            queue.put(_record(str(level), level), SHED_LAST, 1)
        listener.drain()
        assert (picky.messages, other.messages) == (["40"], ["20", "40"])

    @pytest.mark.parametrize(
        "error",
        [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError()],
    )
    def test_survives_any_exception(self, queue, error):
        """
        Whatever a handler raises ends neither the thread nor the batch, and is told of.
        """
        told: list[BaseException] = []
        handler = _Collecting({"1": error})
        listener = BatchingQueueListener(queue, handler, on_error=told.append)
        listener.start()
        for number in range(3):
            queue.put(_record(str(number)), SHED_LAST, 1)
        assert listener.flush(5)
        assert listener.is_running
        queue.put(_record("later"), SHED_LAST, 1)
        listener.stop()
        assert handler.messages == ["0", "2", "later"]
        assert told == [error]

    def test_one_that_raises_keeps_nothing_from_the_others(self, queue):
        """
        A record that one handler fails on still goes to those behind it, by their levels, and the failure is told.
        """
        failing, other, strict = _Collecting({"bad": SystemExit(1)}), _Collecting(), _Collecting(level=logging.ERROR)
        errors = []
        listener = BatchingQueueListener(
            queue, failing, other, strict, respect_handler_level=True, linger=0, on_error=errors.append
        )
        for message in ("bad", "good"):
            queue.put(_record(message), SHED_LAST, 1)
        listener.drain()
        assert (failing.messages, other.messages, strict.messages) == (["good"], ["bad", "good"], [])
        assert [type(error) for error in errors] == [SystemExit]

    def test_what_is_no_record_harms_none(self, queue):
        """
        Something in the queue that no handler can deal with is told of, and the records behind it go out.
        """
        handler, errors = _Collecting(), []
        listener = BatchingQueueListener(queue, handler, respect_handler_level=True, on_error=errors.append)
        for item in (None, _record("good")):
            queue.put(item, SHED_LAST, 1)
        listener.drain()
        assert handler.messages == ["good"]
        assert [type(error) for error in errors] == [AttributeError]


class TestSink:
    @pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
    def test_survives_any_exception(self, queue, error):
        """
        Whatever the sink raises, the next batch reaches it.
        """
        batches, told = [], []

        def sink(batch: list[object]) -> None:
            batches.append(batch)
            if "bad" in batch:
                raise error

        listener = BatchingQueueListener(queue, sink=sink, linger=0, on_error=told.append)
        listener.start()
        queue.put("bad", SHED_LAST, 1)
        wait_until(lambda: told)
        queue.put("good", SHED_LAST, 1)
        listener.stop()
        assert [item for batch in batches for item in batch] == ["bad", "good"]
        assert told == [error]
        assert listener.in_hand == []

    def test_batches(self, queue):
        """
        What comes while the listener lingers is one batch; a batch has a largest size.
        """
        sizes = []
        listener = BatchingQueueListener(queue, sink=lambda batch: sizes.append(len(batch)), linger=0.2)
        listener.start()
        wait_until(lambda: listener.is_running and queue.consumer is not None and queue.idle)
        for number in range(50):
            queue.put(number, SHED_LAST, 1)
            time.sleep(0.0005)
        listener.stop()
        assert sizes[0] == 50
        for number in range(BATCH + 5):
            queue.put_always(number)
        sizes.clear()
        listener.drain()
        assert sizes == [BATCH, 5]

    def test_within_linger(self, queue):
        """
        An item is handed over at most *linger* later.
        """
        times = []
        listener = BatchingQueueListener(queue, sink=lambda batch: batch and times.append(time.monotonic()), linger=0.1)
        listener.start()
        wait_until(lambda: listener.is_running and queue.consumer is not None and queue.idle)
        start = time.monotonic()
        queue.put("item", SHED_LAST, 1)
        wait_until(lambda: times)
        listener.stop()
        assert 0.05 < times[0] - start < 0.1 + 0.1  # and a busy machine's delay

    def test_due(self, queue):
        """
        A sink that wants to be called without a batch is, with an empty one.
        """
        batches = []
        listener = BatchingQueueListener(queue, sink=batches.append, due=lambda: 0.01)
        listener.start()
        wait_until(lambda: len(batches) >= 3, 5)
        listener.stop()
        assert batches[:3] == [[], [], []]

    def test_idle_sleeps(self, queue):
        """
        An idle listener does not call its sink.
        """
        batches = []
        listener = BatchingQueueListener(queue, sink=batches.append)
        listener.start()
        time.sleep(0.1)
        assert batches == []
        listener.stop()


class TestStop:
    def test_drains(self, queue):
        """
        Stopping hands over what is queued, ends the thread, and may be repeated; starting again works.
        """
        taken = []
        listener = BatchingQueueListener(queue, sink=taken.extend, linger=10)
        for turn in range(3):
            listener.start()
            assert listener.is_running
            for number in range(100):
                queue.put((turn, number), SHED_LAST, 1)
            start = time.monotonic()
            listener.stop()
            listener.stop()
            assert time.monotonic() - start < 2
            assert not listener.is_running
        assert taken == [(turn, number) for turn in range(3) for number in range(100)]

    def test_does_not_wait_for_ever(self, queue):
        """
        A sink that hangs holds stopping up only so long.
        """
        release = threading.Event()
        taken = []

        def sink(batch: list[object]) -> None:
            release.wait(20)
            taken.extend(batch)

        listener = BatchingQueueListener(queue, sink=sink, linger=0)
        listener.start()
        queue.put("item", SHED_LAST, 1)
        wait_until(lambda: listener.in_hand)
        start = time.monotonic()
        listener.stop(0.1)
        assert 0.1 <= time.monotonic() - start < 2
        assert listener.is_running
        release.set()
        listener.stop()
        assert taken == ["item"]

    def test_from_its_own_thread(self, queue):
        """
        A sink that stops its own listener does not wait for itself, and its thread ends.
        """
        threads = []

        def sink(batch: list[object]) -> None:
            if batch:
                listener.stop()
                threads.append(threading.current_thread())

        listener = BatchingQueueListener(queue, sink=sink, linger=0)
        with watchdog(30):
            listener.start()
            queue.put("item", SHED_LAST, 1)
            wait_until(lambda: threads)
            threads[0].join(5)
        assert not threads[0].is_alive()
        assert not listener.is_running

    def test_starts_once(self, queue):
        """
        However many threads start it, it has one thread.
        """
        listener = BatchingQueueListener(queue, sink=lambda batch: None)
        barrier = threading.Barrier(8)

        def start() -> None:
            barrier.wait()
            listener.start()

        starters = [threading.Thread(target=start) for _ in range(8)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        assert sum(thread.name == "sessionlog-listener" for thread in threading.enumerate()) == 1
        listener.stop()


class TestWithoutThread:
    def test_drains_inline(self, queue, no_threads):
        """
        Where there can be no thread, draining does its work in the caller's.
        """
        taken = []
        listener = BatchingQueueListener(queue, sink=taken.extend)
        listener.start()
        assert not listener.is_running
        queue.put("item", SHED_LAST, 1)
        assert listener.flush(5)
        assert taken == ["item"]
        listener.stop()

    def test_unstartable_thread(self, queue, monkeypatch):
        """
        A thread that the system refuses is no error.
        """

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        taken = []
        listener = BatchingQueueListener(queue, sink=taken.extend)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            listener.start()
            queue.put("item", SHED_LAST, 1)
            listener.drain()
            assert taken == ["item"]
        listener.start()
        assert listener.is_running
        listener.stop()


class TestFlush:
    def test_waits(self, queue):
        """
        When flushing returns, all that was queued before has been dealt with.
        """
        taken = []

        def sink(batch: list[object]) -> None:
            for item in batch:
                if isinstance(item, Barrier):
                    item.reached()
                else:
                    taken.append(item)

        listener = BatchingQueueListener(queue, sink=sink, linger=10)
        for number in range(1000):
            queue.put(number, SHED_LAST, 1)
        start = time.monotonic()
        assert listener.flush(5)
        assert time.monotonic() - start < 2
        assert taken == [*range(1000)]
        listener.stop()

    def test_only_so_long(self, queue):
        """
        A sink that is too slow makes it give up in time, and say so.
        """
        release = threading.Event()
        listener = BatchingQueueListener(queue, sink=lambda batch: release.wait(20), linger=0)
        queue.put("item", SHED_LAST, 1)
        start = time.monotonic()
        assert not listener.flush(0.1)
        assert 0.1 <= time.monotonic() - start < 2
        release.set()
        listener.stop()

    def test_in_the_listeners_thread(self, queue):
        """
        The listener's own thread does not wait for itself.
        """
        results = []
        listener = BatchingQueueListener(queue, sink=lambda batch: results.append(listener.flush(60)), linger=0)
        listener.start()
        queue.put("item", SHED_LAST, 1)
        wait_until(lambda: results, 5)
        listener.stop()
        assert results[0] is False


def test_barrier():
    """
    A barrier is waited for only so long, and by any number of threads.
    """
    barrier = Barrier()
    assert not barrier.wait(0.01)
    timer = threading.Timer(0.02, barrier.reached)
    timer.start()
    assert barrier.wait(5)
    assert barrier.wait(0)
    timer.join()
