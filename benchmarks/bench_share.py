"""
CPU that logging takes at a steady rate, as a share of one core: 1,000 and 10,000 events a second over ten seconds.

Every variant is paced by the same loop, which makes some events each 2 ms and sleeps in between. What counts is the
time of the whole process, user and system, all threads: first of that loop with fields made and nothing logged, then
with logging; the difference is the share over an idle loop. Beside it, a process that has an open session and logs
nothing: its CPU and how often it wakes up.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import harness
from calls import paced
from lines import check_numbers
from ours import OURS, Ours
from peers import PEERS
from topic import Figure, Options, Run, Size, Topic, Variant
from workload import COMMAND, Builder, Place, fields_of

TICK = 0.002  # seconds between two batches of events
RATES = (1_000, 10_000)  # events/s
WARM_UP = 0.05  # seconds
SETTLE = 1.0  # seconds; what follows the first line, such as noting the root and syncing, is over then
IDLE_SHARE = 4  # the loop without logging runs for this fraction of the time
SESSIONS = 20  # of the variants that log to several

COMPARED = ("logger.info", "session.event full", "session.output")
PEERS_COMPARED = ("obvious stack", "stdlib FileHandler", "stdlib QueueHandler", "loguru", "loguru enqueue", "structlog")


@dataclass(frozen=True, slots=True)
class Load:
    """
    Events at a steady pace.

    Args:
        rate: Events a second.

        seconds: How long.
    """

    rate: int
    seconds: float

    @property
    def batch(self) -> int:
        """Events each tick."""
        return max(round(self.rate * TICK), 1)

    @property
    def events(self) -> int:
        """Events in all, whole batches."""
        return max(round(self.rate * self.seconds / self.batch), 1) * self.batch

    def run(self, log: Callable[[int], object], first: int = 0) -> None:
        """
        Log them, numbered from *first* on.
        """
        batch = self.batch
        for start in paced(range(first, first + self.events, batch), batch / self.rate):
            for number in range(start, start + batch):
                log(number)


def cpu_share(load: Load, log: Callable[[int], object], first: int = 0) -> float:
    """
    CPU of this process while the load is logged, in percent of a core over the time that this is meant to take.

    Not over the time it took: who can't keep the pace would look cheaper for that.
    """
    gc.collect()
    before = time.process_time()
    load.run(log, first)
    return 100 * (time.process_time() - before) / (load.events / load.rate)


def idle_loop(directory: Path, options: Options) -> Mapping[str, float]:
    """The loop that paces all others, with the fields made and nothing logged."""
    return {f"{rate:,}/s": cpu_share(Load(rate, options["milliseconds"] / 1000), fields_of) for rate in RATES}


def measure(builder: Builder, sessions: int) -> Run:
    """
    A round of that logger at each rate.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        loads = [Load(rate, options["milliseconds"] / 1000) for rate in RATES]
        warm_up = Load(RATES[0], WARM_UP)
        # Before there is a logger, since its threads may go on for a while.
        make = WITHOUT_DICTIONARY.get(builder.name, fields_of)
        idle = [cpu_share(Load(load.rate, load.seconds / IDLE_SHARE), make) for load in loads]
        logging = builder.build(Place(directory, sessions, sum(load.events for load in (warm_up, *loads))))
        warm_up.run(logging.log)
        time.sleep(WARM_UP)
        sent = warm_up.events
        figures: dict[str, float] = {}
        for load, least in zip(loads, idle, strict=True):
            share = cpu_share(load, logging.log, sent)
            sent += load.events
            figures |= {f"{load.rate:,}/s": share, f"{load.rate:,}/s over idle": share - least}
        logging.finish()
        logging.close()
        check_numbers(logging.numbers(), sent)
        return figures

    run.__doc__ = f"{(builder.build.__doc__ or '').removesuffix('.')}; sessions: {sessions}."
    return run


def _make_nothing(number: int) -> None:
    """Bytes of a terminal are ready before the time is taken, and have no fields."""


def _make_values(number: int) -> tuple[object, ...]:
    """The fields of an event are named arguments, and in no dictionary before the call."""
    return (COMMAND, number, "running" if number & 1 else "waiting", number & 3, number * 0.5)


# What is made for a call is part of the loop that is subtracted; for most loggers that is the fields' dictionary.
WITHOUT_DICTIONARY: Mapping[str, Callable[[int], object]] = {
    "session.output": _make_nothing,
    "session.event full": _make_values,
}


def idle_process(directory: Path, options: Options) -> Mapping[str, float]:
    """A process that has logged, has an open session, and sleeps: its CPU and its wake-ups."""
    ours = Ours(Place(directory, 1, 1))
    ours.sessions[0].output(b"something")
    ours.finish()
    time.sleep(SETTLE)
    figures = sleep_and_count(options["idle_milliseconds"] / 1000)
    ours.close()
    return figures


def sleeping_process(directory: Path, options: Options) -> Mapping[str, float]:
    """A process that only sleeps: what the one with an open session can come down to."""
    return sleep_and_count(options["idle_milliseconds"] / 1000)


def sleep_and_count(seconds: float) -> dict[str, float]:
    """
    CPU and voluntary context switches of all threads while this one sleeps. The sleep's own switch is not counted.
    """
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.process_time()
    time.sleep(seconds)
    after, used = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.process_time()
    return {"idle": 100 * (used - cpu) / seconds, "wake-ups when idle": max(after - before - 1, 0) / seconds}


def _variants() -> list[Variant]:
    ours = [builder for builder in OURS if builder.name in COMPARED]
    peers = [builder for builder in PEERS if builder.name in PEERS_COMPARED]
    return [
        *(Variant(each.name, measure(each, 1), "ours", each.needs) for each in ours),
        *(Variant(f"{each.name}, 20 sessions", measure(each, SESSIONS), "ours", each.needs) for each in ours),
        Variant("open session, idle", idle_process, "ours"),
        *(Variant(each.name, measure(each, 1), "peer", each.needs) for each in peers),
        Variant("idle loop", idle_loop, "floor"),
        Variant("sleeping process", sleeping_process, "floor"),
    ]


TOPIC = Topic(
    "share",
    __doc__,
    tuple(_variants()),
    (
        Figure("1,000/s over idle", "% of a core", "lower", ",.2f"),
        Figure("10,000/s over idle", "% of a core", "lower", ",.2f"),
        Figure("1,000/s", "% of a core", "lower", ",.2f", against=(), in_chart=False),
        Figure("10,000/s", "% of a core", "lower", ",.2f", against=(), in_chart=False),
        Figure("idle", "% of a core", "lower", ",.3f", against=(), in_chart=False),
        Figure("wake-ups when idle", "1/s", "lower", ",.1f", against=(), in_chart=False),
    ),
    bases={"obvious stack": "obvious"},
    sizes={
        "milliseconds": Size(10_000, 30, "time at each rate"),
        "idle_milliseconds": Size(5_000, 100, "time of the idle process"),
    },
    rounds=3,
)

if __name__ == "__main__":
    harness.main(TOPIC)
