"""
Slow and periodic work of a root, off the listener's thread: gzip, clean-up, timers, levels set from outside.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.threads import start_thread

Job = Callable[[], None]


class Keeper:
    """
    A thread that runs jobs one after the other, some at a later time, and a tick while there is something to watch.

    Slow jobs, such as a compression, run one after the other in a second thread: the tick must not wait for them.

    Args:
        tick: Called about every *interval* seconds; while it gives False nothing needs watching and the thread sleeps.

        interval: Seconds between ticks.

        reporter: Where failing jobs are told.

        name: The thread's name.
    """

    def __init__(
        self, tick: Callable[[], bool], interval: float, reporter: Reporter, name: str = "sessionlog-keeper"
    ) -> None:
        self._tick = tick
        self._interval = interval
        self._reporter = reporter
        self._name = name
        self.reset()

    def reset(self) -> None:
        """
        Start over without a thread and without jobs, in a forked child for example.
        """
        self._inbox: SimpleQueue[tuple[float, Job] | None] = SimpleQueue()
        self._timers: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._slow: Keeper | None = None

    def submit(self, job: Job, delay: float = 0.0, *, slow: bool = False) -> None:
        """
        Run a job soon, or after *delay* seconds; *slow*: without keeping other jobs and the tick waiting.
        """
        if slow:
            self._for_slow_jobs().submit(job, delay)
            return
        self._inbox.put((time.monotonic() + delay, job))
        self.start()

    def _for_slow_jobs(self) -> Keeper:
        with self._starting:
            if self._slow is None:
                self._slow = Keeper(lambda: False, self._interval, self._reporter, f"{self._name}-slow")
            return self._slow

    def watch(self) -> None:
        """
        There is something to watch from now on.
        """
        self._inbox.put(None)
        self.start()

    def start(self) -> None:
        """
        Start the thread if it does not run. Where there can be none, jobs run when the keeper is stopped.
        """
        with self._starting:
            if self._thread is threading.current_thread():
                return  # it sees to what one of its jobs submits, and must not be kept from ending
            self._stopping = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = start_thread(self._run, self._name)

    def stop(self, timeout: float) -> None:
        """
        Run the jobs that are due, as far as *timeout* seconds reach, and end the threads. Later ones wait for `start`.
        """
        deadline = time.monotonic() + timeout
        if self._stop_thread(timeout):
            self._collect()
            while self._is_due() and time.monotonic() < deadline:
                self._guard(heapq.heappop(self._timers)[2])
        if self._slow is not None:
            self._slow.stop(max(deadline - time.monotonic(), 0.0))

    def _stop_thread(self, timeout: float) -> bool:
        """Whether it ended in time."""
        with self._starting:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return True
            self._stopping = True
        self._inbox.put(None)
        thread.join(timeout)
        with self._starting:
            if self._thread is thread and not thread.is_alive():
                self._thread = None
            return self._thread is None

    def _collect(self, timeout: float | None = 0.0) -> None:
        """Move what was submitted to the timers, waiting up to *timeout* seconds for the first."""
        try:
            while True:
                item = self._inbox.get(timeout=timeout) if timeout != 0.0 else self._inbox.get_nowait()
                timeout = 0.0
                if item is not None:
                    heapq.heappush(self._timers, (item[0], next(self._order), item[1]))
        except Empty:
            return

    def _run(self) -> None:
        watching = True
        while self._goes_on():
            timeout = self._interval if watching else None
            if self._timers:
                until_next = max(self._timers[0][0] - time.monotonic(), 0.0)
                timeout = until_next if timeout is None else min(timeout, until_next)
            self._collect(0.0 if self._stopping else timeout)
            while self._is_due():
                self._guard(heapq.heappop(self._timers)[2])
            if self._stopping:
                continue
            watching = False
            try:
                watching = self._tick()
            except Exception as error:
                watching = True
                self._reporter.report("tick", f"looking for changes failed: {error!r}")

    def _goes_on(self) -> bool:
        with self._starting:
            if not self._stopping:
                return True
            self._collect()
            if self._is_due():
                return True
            self._thread = None  # from here on `start` has to start another one
            return False

    def _is_due(self) -> bool:
        return bool(self._timers) and self._timers[0][0] <= time.monotonic()

    def _guard(self, job: Job) -> None:
        try:
            job()
        except Exception as error:
            self._reporter.report(f"job {error!r:.100}", f"work on rotated files failed: {error!r}")
