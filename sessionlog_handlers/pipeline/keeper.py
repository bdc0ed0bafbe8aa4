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

    Args:
        tick: Called about every *interval* seconds; while it gives False nothing needs watching and the thread sleeps.

        interval: Seconds between ticks.

        reporter: Where failing jobs are told.
    """

    def __init__(self, tick: Callable[[], bool], interval: float, reporter: Reporter) -> None:
        self._tick = tick
        self._interval = interval
        self._reporter = reporter
        self.reset()

    def reset(self) -> None:
        """
        Start over without a thread and without jobs, in a forked child for example.
        """
        self._inbox: SimpleQueue[tuple[float, Job] | None] = SimpleQueue()
        self._timers: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def submit(self, job: Job, delay: float = 0.0) -> None:
        """
        Run a job soon, or after *delay* seconds.
        """
        self._inbox.put((time.monotonic() + delay, job))
        self.start()

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
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopping = False
        self._thread = start_thread(self._run, "sessionlog-keeper")

    def stop(self, timeout: float) -> None:
        """
        Run the jobs that are due, as far as *timeout* seconds reach, and end the thread. Later ones wait for `start`.
        """
        deadline = time.monotonic() + timeout
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stopping = True
            self._inbox.put(None)
            thread.join(timeout)
            if thread.is_alive():
                return
        self._thread = None
        self._collect()
        while self._timers and self._timers[0][0] <= time.monotonic() < deadline:
            self._guard(heapq.heappop(self._timers)[2])

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
        while not self._stopping:
            timeout = self._interval if watching else None
            if self._timers:
                until_next = max(self._timers[0][0] - time.monotonic(), 0.0)
                timeout = until_next if timeout is None else min(timeout, until_next)
            self._collect(timeout)
            while self._timers and self._timers[0][0] <= time.monotonic() and not self._stopping:
                self._guard(heapq.heappop(self._timers)[2])
            watching = False
            try:
                watching = self._tick()
            except Exception as error:
                self._reporter.report("tick", f"looking for changes failed: {error!r}")

    def _guard(self, job: Job) -> None:
        try:
            job()
        except Exception as error:
            self._reporter.report(f"job {error!r:.100}", f"work on rotated files failed: {error!r}")
