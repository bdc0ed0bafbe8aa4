"""
Timing single calls on the thread that makes them: in bursts and paced, on one thread and on several.

What is called, and whether all of it landed, is the topic's business.
"""

from __future__ import annotations

import contextvars
import gc
import math
import statistics
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Call = Callable[..., object]

EMPTY_PAIRS = 20_001  # readings of the clock that the cost of measuring is taken from


@dataclass(frozen=True, slots=True)
class Style:
    """
    How a call is written: once with the clock read around each call, and once in a loop that is timed as a whole.

    The two are loops of their own, and not one that is given a function, because a call in between would cost as much
    as what is measured.

    Args:
        time_each: Calls for each item, and puts the nanoseconds of each call into the array, from the first place on.

        call_all: Only calls.
    """

    time_each: Callable[[Call, str, Iterable[Any], array[int]], None]
    call_all: Callable[[Call, str, Iterable[Any]], None]


def _time_with_extra(call: Call, first: str, items: Iterable[Any], took: array[int]) -> None:
    clock = time.perf_counter_ns
    for at, fields in enumerate(items):
        start = clock()
        call(first, extra=fields)
        took[at] = clock() - start


def _call_with_extra(call: Call, first: str, items: Iterable[Any]) -> None:
    for fields in items:
        call(first, extra=fields)


def _time_with_names(call: Call, first: str, items: Iterable[Any], took: array[int]) -> None:
    clock = time.perf_counter_ns
    for at, fields in enumerate(items):
        command, pid, status, code, ratio = fields.values()
        start = clock()
        call(first, command=command, pid=pid, status=status, code=code, ratio=ratio)
        took[at] = clock() - start


def _call_with_names(call: Call, first: str, items: Iterable[Any]) -> None:
    for fields in items:
        command, pid, status, code, ratio = fields.values()
        call(first, command=command, pid=pid, status=status, code=code, ratio=ratio)


def _time_with_argument(call: Call, first: str, items: Iterable[Any], took: array[int]) -> None:
    clock = time.perf_counter_ns
    for at, item in enumerate(items):
        start = clock()
        call(first, item)
        took[at] = clock() - start


def _call_with_argument(call: Call, first: str, items: Iterable[Any]) -> None:
    for item in items:
        call(first, item)


def _time_with_item(call: Call, first: str, items: Iterable[Any], took: array[int]) -> None:
    clock = time.perf_counter_ns
    for at, item in enumerate(items):
        start = clock()
        call(item)
        took[at] = clock() - start


def _call_with_item(call: Call, first: str, items: Iterable[Any]) -> None:
    for item in items:
        call(item)


# By the words of `workload.Logging.style`.
STYLES = {
    "extra": Style(_time_with_extra, _call_with_extra),
    "names": Style(_time_with_names, _call_with_names),
    "argument": Style(_time_with_argument, _call_with_argument),
    "item": Style(_time_with_item, _call_with_item),
}


def percentile(values: Sequence[float], share: float) -> float:
    """
    The least of *values*, which are sorted, that at least this share of them does not exceed.
    """
    return values[max(math.ceil(share * len(values)) - 1, 0)]


def spread(values: Iterable[float], empty: float = 0.0) -> dict[str, float]:
    """
    p50, p99 and p99.9, each less what an empty measurement gives.
    """
    known = sorted(values)
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: max(percentile(known, share) - empty, 0.0) for name, share in shares.items()}


def empty_cost() -> float:
    """
    Nanoseconds that the clock shows where nothing is between two readings, in the median.
    """
    clock = time.perf_counter_ns
    took = array("q", bytes(8 * EMPTY_PAIRS))
    for at in range(EMPTY_PAIRS):
        start = clock()
        took[at] = clock() - start
    return float(statistics.median(took))


def paced(
    items: Iterable[Item],
    interval: float,
    delay: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item]:
    """
    Each item when it is due, one for each *interval*. Who comes late is not made to catch up: that would be a burst.

    Args:
        items: What is given.

        interval: Seconds between two items.

        delay: Seconds before the first.
    """
    due = clock() + delay
    for item in items:
        if (left := due - clock()) > 0:
            sleep(left)
        now = clock()
        due = due + interval if due + interval > now else now + interval
        yield item


def run_together(threads: int, job: Callable[[int], None]) -> None:
    """
    Run the job once on each of some threads, all of them let go at one moment. One is the thread that asks.

    What is current in the context of who asks is current in each thread.
    """
    if threads == 1:
        job(0)
        return
    ready = threading.Barrier(threads)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            ready.wait()
            job(number)
        except Exception as error:
            failures.append(error)

    workers = [
        threading.Thread(target=contextvars.copy_context().run, args=(work, number)) for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]


class Meter:
    """
    Makes numbered calls of one kind, and says what they took on their threads.

    Args:
        style: How the call is written.

        call: What is called.

        first: Its first argument, a message or an event's name, if the style has one.

        make: A call's item from its number; made between the calls, outside of what is timed.

        drain: Waits until all that was logged is written.
    """

    def __init__(
        self, style: Style, call: Call, first: str, make: Callable[[int], Any], drain: Callable[[], object]
    ) -> None:
        self.style = style
        self.call = call
        self.first = first
        self.make = make
        self.drain = drain
        self.sent = 0  # calls so far; their numbers are all below it
        self.empty = empty_cost()

    def warm_up(self, calls: int) -> None:
        """
        Call some times before anything counts: files are opened, and bytecode finds its fast ways.
        """
        self._burst(1, calls)
        self._whole_burst(calls)
        gc.collect()

    def bursts(self, threads: int, bursts: int, size: int) -> dict[str, float]:
        """
        Calls without a pause, in bursts that each begin when all before is written.

        Gives percentiles over all calls, and the *longest* call of a burst, in the median of the bursts.
        """
        took, longest = array("q"), []
        for _ in range(bursts):
            found = self._burst(threads, size)
            longest.append(max(found))
            took.extend(found)
        return {**spread(took, self.empty), "longest": max(statistics.median(longest) - self.empty, 0.0)}

    def mean(self, bursts: int, size: int) -> float:
        """
        Nanoseconds of a call from bursts that are timed as a whole, less those of the loop: what checks the p50.
        """
        return max(statistics.median(self._whole_burst(size) for _ in range(bursts)), 0.0)

    def paced(self, threads: int, calls: int, interval: float) -> dict[str, float]:
        """
        A call on each thread each *interval* seconds, the threads out of step with each other.

        Gives percentiles over all calls, and the *longest*.
        """
        found = self._measure(threads, calls, lambda items, number: paced(items, interval, number * interval / threads))
        self.drain()
        return {**spread(found, self.empty), "longest": max(max(found) - self.empty, 0.0)}

    def _burst(self, threads: int, size: int) -> array[int]:
        found = self._measure(threads, size, lambda items, number: iter(items))
        self.drain()
        return found

    def _measure(self, threads: int, calls: int, pace: Callable[[Iterable[Any], int], Iterator[Any]]) -> array[int]:
        # The arrays are there before the first call, so that measuring adds nothing for the garbage collector to do.
        took = [array("q", bytes(8 * calls)) for _ in range(threads)]
        sent, self.sent = self.sent, self.sent + threads * calls

        def job(number: int) -> None:
            numbers = range(sent + number * calls, sent + (number + 1) * calls)
            self.style.time_each(self.call, self.first, pace(map(self.make, numbers), number), took[number])

        run_together(threads, job)
        return sum(took[1:], took[0])

    def _whole_burst(self, size: int) -> float:
        sent, self.sent = self.sent, self.sent + size
        clock = time.perf_counter_ns
        start = clock()
        _pass_over(map(self.make, range(size)))
        between = clock()
        self.style.call_all(self.call, self.first, map(self.make, range(sent, sent + size)))
        end = clock()
        self.drain()
        return ((end - between) - (between - start)) / size


def _pass_over(items: Iterable[Any]) -> None:
    """The loop alone, for its own cost."""
    for _ in items:
        pass
