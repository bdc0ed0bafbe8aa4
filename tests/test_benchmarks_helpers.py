"""
What the benchmarks measure with: percentiles, pacing, threads that begin together, and counting what landed.
"""

from __future__ import annotations

import contextvars
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest
from helpers import run_python

import calls
import machine
from bench_processes import Landed, count_landed
from bench_share import Load
from workload import fields_of

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

current = contextvars.ContextVar("current", default="")


class Clock:
    """A clock that only sleeping and working move."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def read(self):
        """The time."""
        return self.now

    def sleep(self, seconds):
        """Let time pass."""
        self.slept.append(round(seconds, 6))
        self.now += seconds


class TestPercentile:
    @pytest.mark.parametrize(
        ("share", "expected"), [(0.0, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
    )
    def test_is_the_least_value_that_enough_do_not_exceed(self, share, expected):
        """
        Of the numbers from 1 to 100, the n-th is the n-th percentile.
        """
        assert calls.percentile(range(1, 101), share) == expected

    def test_of_one_value(self):
        """
        One value is every percentile.
        """
        assert calls.percentile([7], 0.5) == calls.percentile([7], 0.999) == 7

    def test_spread_sorts_and_subtracts_the_empty_measurement(self):
        """
        Each percentile is given less the cost of measuring, and never below nothing.
        """
        assert calls.spread([300, 30, 200], 50) == {"p50": 150, "p99": 250, "p99.9": 250}
        assert calls.spread([30], 50) == {"p50": 0, "p99": 0, "p99.9": 0}

    def test_empty_measurement_costs_something(self):
        """
        Reading the clock twice takes time, and no more than a call of a logger would.
        """
        assert 0 < calls.empty_cost() < 10_000


class TestPaced:
    def test_sleeps_until_the_next_is_due(self):
        """
        What the caller takes for its work is not slept again, so the pace is kept.
        """
        clock = Clock()
        given = []
        for item in calls.paced("abc", 1.0, 0.5, clock.read, clock.sleep):
            given.append((item, clock.now))
            clock.now += 0.25
        assert given == [("a", 100.5), ("b", 101.5), ("c", 102.5)]
        assert clock.slept == [0.5, 0.75, 0.75]

    def test_who_is_late_does_not_catch_up(self):
        """
        After a long call the next comes at once, and the one after that an interval later: no burst follows.
        """
        clock = Clock()
        times = []
        for item in calls.paced(range(4), 1.0, 0.0, clock.read, clock.sleep):
            times.append(clock.now)
            clock.now += 5.0 if item == 0 else 0.0
        assert times == [100.0, 105.0, 106.0, 107.0]


class TestRunTogether:
    def test_one_is_the_thread_that_asks(self):
        """
        One thread needs no other.
        """
        seen = []
        calls.run_together(1, lambda number: seen.append((number, threading.current_thread())))
        assert seen == [(0, threading.current_thread())]

    def test_threads_are_in_the_context_of_who_asks(self):
        """
        A session that is current when the threads are started is current in each of them.
        """
        seen = set()
        token = current.set("session")
        calls.run_together(4, lambda number: seen.add((number, current.get())))
        current.reset(token)
        assert seen == {(number, "session") for number in range(4)}

    def test_failure_in_a_thread_reaches_who_asked(self):
        """
        A job that fails in its thread is no figure.
        """

        def fail(number):
            raise ValueError(f"{number} failed")

        with pytest.raises(ValueError, match="failed"):
            calls.run_together(2, fail)


FIELDS = fields_of(2)


class TestMeter:
    @pytest.mark.parametrize(
        ("style", "expected"),
        [
            ("extra", (("done",), {"extra": FIELDS})),
            ("names", (("done",), FIELDS)),
            ("argument", (("done", FIELDS), {})),
            ("item", ((FIELDS,), {})),
        ],
    )
    def test_style_says_how_the_call_is_written(self, style, expected):
        """
        The same item is an ``extra``, named arguments, or the one argument, timed alone or in a loop.
        """
        seen = []

        def call(*arguments, **named):
            seen.append((arguments, named))

        chosen = calls.STYLES[style]
        took = array("q", [-1, -1])
        chosen.time_each(call, "done", [fields_of(1), FIELDS], took)
        chosen.call_all(call, "done", [FIELDS])
        assert seen[1:] == [expected, expected]
        assert min(took) >= 0  # a coarse clock may see nothing of so short a call

    @pytest.mark.parametrize("threads", [1, 4])
    def test_each_number_is_sent_once(self, threads):
        """
        Whatever is measured, and by how many threads, the numbers from 0 to *sent* are called once each.
        """
        seen = []
        drained = []
        meter = calls.Meter(
            calls.STYLES["item"], seen.append, "", lambda number: number, lambda: drained.append(len(seen))
        )
        meter.warm_up(10)
        bursts = meter.bursts(threads, 3, 20)
        meter.mean(2, 20)
        paced = meter.paced(threads, 5, 0.0001)
        assert meter.sent == 20 + threads * 60 + 40 + threads * 5
        assert sorted(seen) == [*range(meter.sent)]
        assert drained[-1] == meter.sent
        assert bursts.keys() == paced.keys() == {"p50", "p99", "p99.9", "longest"}


class TestCountLanded:
    @pytest.fixture
    def count(self, tmp_path):
        """
        Writes a log and a rotated one, and gives what of the numbers 0 to 3 landed.
        """

        def write(log: bytes, rotated: bytes = b"") -> Any:
            (tmp_path / "app.log").write_bytes(log)
            (tmp_path / "app.log.1").write_bytes(rotated)
            return count_landed(tmp_path, "app.log*", lambda line: line.get("pid"), 4)

        return write

    def test_finds_numbers_in_rotated_files_too(self, count):
        """
        Each number is there once, wherever rotation put it; a line without a number is none of them.
        """
        assert count(b'{"pid":3}\n{"event":"session_end"}\n', b'{"pid":0}\n{"pid":1}\n{"pid":2}\n') == Landed(
            4, 0, 0, 0
        )

    def test_counts_what_is_lost_and_doubled(self, count):
        """
        A number that was never sent is a line too many, and no number found.
        """
        assert count(b'{"pid":1}\n{"pid":1}\n{"pid":9}\n') == Landed(3, 3, 2, 0)

    def test_counts_torn_lines_and_reads_on(self, count):
        """
        Half a line in the middle, two in one, or a last one without its end are each torn; what is whole still counts.
        """
        assert count(b'{"pid":0}\n{"pi\n{"pid":1}{"pid":2}\n{"pid":3}') == Landed(2, 2, 0, 3)


class TestLoad:
    @pytest.mark.parametrize(("rate", "batch", "events"), [(1_000, 2, 10_000), (10_000, 20, 100_000), (100, 1, 1_000)])
    def test_makes_whole_batches(self, rate, batch, events):
        """
        A batch is what is due each 2 ms, at least one event, and ten seconds have as many as the rate says.
        """
        load = Load(rate, 10.0)
        assert (load.batch, load.events) == (batch, events)

    def test_numbers_its_events(self):
        """
        Each number from the first on is logged once, in order.
        """
        seen = []
        load = Load(10_000, 0.01)
        load.run(seen.append, 7)
        assert seen == [*range(7, 7 + load.events)]


class TestMemoryDirectory:
    def test_wants_room(self, tmp_path):
        """
        A directory in memory is taken if it has enough room, and none if it has not or is not there.
        """
        assert machine.memory_directory(str(tmp_path), 1) == str(tmp_path)
        assert machine.memory_directory(str(tmp_path), 2**80) is None
        assert machine.memory_directory(str(tmp_path / "absent"), 1) is None


class TestQuickRuns:
    @pytest.mark.parametrize(
        ("topic", "names", "figures"),
        [
            ("caller", ["logger.info", "obvious stack"], ["burst p50", "paced p99.9", "4 threads, burst longest"]),
            ("disabled", ["session.output", "session.event rare", "logger.debug"], ["refused call"]),
            ("processes", ["session.event full", "concurrent-log-handler"], ["4 processes, events/s"]),
            ("sessions", ["logger.info", "FileHandler each"], ["20 sessions, events/s", "20 sessions, descriptors"]),
            ("sessions", ["idle sessions", "start and end"], ["idle session", "start, p50", "end, in the files"]),
            ("share", ["session.output", "open session, idle"], ["1,000/s over idle", "wake-ups when idle"]),
        ],
    )
    def test_finds_every_line_again(self, topic, names, figures):
        """
        A quick run ends with figures, which it gives only if all that was logged has landed.
        """
        result = run_python(BENCHMARKS / f"bench_{topic}.py", "--quick", "--only", *names, check=True)
        printed = result.stdout.splitlines()
        for figure in figures:
            assert any(line.startswith(f"{figure} [") for line in printed), result.stdout
        assert not result.stderr
