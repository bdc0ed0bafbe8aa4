"""
The thread that empties a queue in batches, and what happens when there can be no such thread.
"""

from __future__ import annotations

import logging
import logging.handlers
import threading
import time
from collections.abc import Callable
from typing import Any

from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.threads import start_thread

BATCH = 65_536  # items at a time, a full queue by default: the more at once, the less each of 10,000 sessions costs
ENOUGH = 0.125  # of the queue's capacity; where that much waits, there is no waiting for more
GATHER_SHARE = 0.8  # of `linger` is spent gathering; the rest is for writing
JOIN_TIMEOUT = 2.0  # seconds that stopping waits for the thread


class BatchingQueueListener(logging.handlers.QueueListener):
    """
    A `QueueListener` that takes all there is, instead of one record at a time, and that no exception ends.

    Usable alone, with a `BoundedQueueHandler` in front and any handlers behind.

    Args:
        queue: Where the records come from.

        handlers: What takes each record, if no *sink* is given.

        respect_handler_level: Whether a handler's level is compared with the record's, as in the standard library.

        linger: How long a record may wait for company, in seconds. (default: 0.05)

        sink: Called with each batch instead of the handlers.

        on_done: Called with each batch when the sink is done with it, as it goes out of `in_hand`.

        due: Gives the seconds until the sink wants to be called even without a batch, or None.

        on_error: Called with an exception that came out of a handler or the sink.
    """

    def __init__(
        self,
        queue: BoundedQueue[Any],
        *handlers: logging.Handler,
        respect_handler_level: bool = False,
        linger: float = 0.05,
        sink: Callable[[list[Any]], None] | None = None,
        on_done: Callable[[list[Any]], None] | None = None,
        due: Callable[[], float | None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(queue, *handlers, respect_handler_level=respect_handler_level)  # type: ignore[arg-type]  # not a queue.Queue
        self.queue: BoundedQueue[Any] = queue  # type: ignore[assignment]  # as above
        self.linger = linger
        self._sink = sink or self._hand_out
        self._on_done = on_done
        self._due = due
        self._on_error = on_error
        self.reset()

    def reset(self) -> None:
        """
        Start over without a thread, in a forked child for example.
        """
        self._worker: threading.Thread | None = None
        self._draining = threading.RLock()
        self._starting = threading.RLock()
        self._stopping = False
        self.moves = 0  # odd while a batch moves from the queue into our hands, or out of them
        self.in_hand: list[Any] = []  # taken from the queue and not yet dealt with

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._worker is not None and self._worker.is_alive()

    def start(self) -> None:
        """
        Start the thread if it does not run. Where there can be none, `drain` does its work.
        """
        with self._starting:
            if self.is_running:
                self._stopping = False  # a thread that was told to stop and has not yet seen it goes on
                return
            self._stopping = False
            self._worker = start_thread(self._run, "sessionlog-listener")
            if self._worker is not None and self._worker.ident is not None:
                self.queue.attend(self._worker.ident)

    def stop(self, timeout: float = JOIN_TIMEOUT) -> None:
        """
        Empty the queue and end the thread.
        """
        thread = self._worker
        self._stopping = True
        if thread is not None and thread is not threading.current_thread():
            self.queue.wake(urgent=True)
            thread.join(timeout)
            if thread.is_alive():  # held up by a slow disk; it will end by itself
                return
        with self._starting:
            if self._worker is thread:  # nobody has started another one meanwhile
                self._worker = None
                self.queue.abandon()
        self.drain()

    def drain(self, timeout: float = JOIN_TIMEOUT) -> bool:
        """
        Deal with everything that is queued now, in the calling thread. What others add meanwhile has to wait.

        Gives False if another thread was at it for all of *timeout* seconds.
        """
        if not self._draining.acquire(timeout=timeout):
            return False
        try:
            left = len(self.queue)
            while left > 0:
                left -= self._batch() or left
        finally:
            self._draining.release()
        return True

    def _run(self) -> None:
        while True:
            self.queue.attend(threading.get_ident())
            self._serve()
            with self._starting:
                if self._stopping:
                    self.queue.abandon()
            self.drain()  # what was put until then, by who found the queue attended
            with self._starting:  # whoever starts it again now finds it gone, or in time to go on
                if self._stopping:
                    if self._worker is threading.current_thread():
                        self._worker = None
                    return

    def _serve(self) -> None:
        while not self._stopping:
            self.queue.sleep(self._due() if self._due else None)
            if self.linger and 0 < len(self.queue) < self.queue.capacity * ENOUGH and not self._stopping:
                self.queue.gather(self.linger * GATHER_SHARE)
            with self._draining:
                self._batch()

    def _batch(self) -> int:
        self.moves += 1
        batch = self.in_hand = self.queue.take(BATCH)
        self.moves += 1
        try:
            self._sink(batch)
        except BaseException as error:
            # SystemExit or a MemoryError from a sink must not silence the log of a whole application.
            if self._on_error:
                self._on_error(error)
        finally:
            self.moves += 1
            self.in_hand = []
            self.queue.done()
            if self._on_done:
                self._on_done(batch)
            self.moves += 1
        return len(batch)

    def _hand_out(self, batch: list[Any]) -> None:
        for record in batch:
            if isinstance(record, Barrier):
                record.reached()
                continue
            try:
                self.handle(record)
            except BaseException as error:  # what comes here is no record, or somebody overrides how it is dealt with
                if self._on_error:
                    self._on_error(error)

    def handle(self, record: logging.LogRecord) -> None:
        """
        Give a record to each handler. One that raises keeps it from none of the others.
        """
        record = self.prepare(record)
        for handler in self.handlers:
            if self.respect_handler_level and record.levelno < handler.level:
                continue
            try:
                handler.handle(record)
            except BaseException as error:
                if self._on_error:
                    self._on_error(error)

    def flush(self, timeout: float) -> bool:
        """
        Wait until everything that was queued before is dealt with. Gives False if *timeout* seconds were not enough.
        """
        if threading.get_ident() == self.queue.consumer:
            return False
        self.start()
        if not self.is_running:
            return self.drain(timeout)
        barrier = Barrier()
        self.queue.put_always(barrier)
        self.queue.wake(urgent=True)
        return barrier.wait(timeout)


class Barrier:
    """
    A place in the queue: reached when everything before it is dealt with.
    """

    __slots__ = ("_gate", "error")

    def __init__(self) -> None:
        self._gate = threading.Event()
        self.error: Exception | None = None

    def reached(self) -> None:
        """Let the waiting go on."""
        self._gate.set()

    def wait(self, timeout: float) -> bool:
        """Wait for it, at most *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while not self._gate.wait(min(0.1, max(deadline - time.monotonic(), 0.0))):
            if time.monotonic() >= deadline:
                return False
        return True
