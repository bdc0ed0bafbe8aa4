"""
Nanoseconds of one call on the thread that makes it, which is what an app notices of its logging.

In bursts: 2,000 calls without a pause, each burst after all before is written. Paced: a call each millisecond, with a
sleep in between, so that nothing is warm and a thread behind a queue has to be woken. Both on one thread and on four.
Fields are made between the calls and are not counted; the clock's own cost is taken off (*empty measuring*).

*burst longest* is the median of the bursts' longest calls. *burst mean* checks the p50: bursts with no clock in them,
timed as a whole, less the loop. Long bursts have 20,000 calls: they show what the garbage collector makes of a queue.

Every call carries a session's id and five fields, but for ``session.output``, which has some bytes of a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import harness
from calls import STYLES, Meter
from floors import CALL_FLOORS
from lines import check_numbers
from ours import OURS
from peers import PEERS
from topic import Figure, Options, Run, Size, Topic, Variant
from workload import Builder, Place

MANY = 4  # threads
SPREAD = ("p50", "p99", "p99.9", "longest")
LONG_BURSTS = 3
WARM_UP = 1_000  # calls

NOTHING, OBVIOUS = "handler that does nothing", "obvious stack"
# Two threads that log wait for each other for ever: https://github.com/microsoft/picologging/issues/207
ONE_THREAD_ONLY = ("picologging",)
LEFT_OUT = ("Logbook threaded",)  # it can only be emptied by closing it


def measure(builder: Builder) -> Run:
    """
    A round of that logger.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        logging = builder.build(Place(directory, 1, 1))
        if logging.call is None:
            raise TypeError(f"{builder.name} has no call of its own to be measured")
        drain = logging.drain or logging.finish
        meter = Meter(STYLES[logging.style], logging.call, logging.first, logging.item, drain)
        figures = measure_one(meter, options)
        if builder.name not in ONE_THREAD_ONLY:
            figures |= measure_many(meter, options)
        logging.finish()
        logging.close()
        if builder.kind != "floor":  # those write nothing
            check_numbers(logging.numbers(), meter.sent)
        return figures

    run.__doc__ = builder.build.__doc__
    return run


def measure_one(meter: Meter, options: Options) -> dict[str, float]:
    """
    The figures of one thread.
    """
    size, bursts = options["burst"], options["bursts"]
    meter.warm_up(min(WARM_UP, size))
    return {
        "empty measuring": meter.empty,
        **_named("burst", meter.bursts(1, bursts, size)),
        "burst mean": meter.mean(bursts, size),
        "long burst longest": meter.bursts(1, LONG_BURSTS, options["long_burst"])["longest"],
        **_named("paced", meter.paced(1, options["paced"], options["interval"] / 1e6)),
    }


def measure_many(meter: Meter, options: Options) -> dict[str, float]:
    """
    The figures of several threads.
    """
    size, bursts = options["burst"], max(options["bursts"] // 2, 1)
    return {
        **_named(f"{MANY} threads, burst", meter.bursts(MANY, bursts, size)),
        **_named(f"{MANY} threads, paced", meter.paced(MANY, options["paced"], options["interval"] / 1e6)),
    }


def _named(way: str, found: Mapping[str, float]) -> dict[str, float]:
    return {f"{way} {name}": value for name, value in found.items()}


def _figures() -> list[Figure]:
    """In the order of the table; a chart for those that an app notices first."""
    shown = {"burst p50", "paced p50", "paced p99.9", "long burst longest"}
    names = [
        *(f"burst {name}" for name in SPREAD),
        "burst mean",
        "long burst longest",
        *(f"paced {name}" for name in SPREAD),
        *(f"{MANY} threads, burst {name}" for name in SPREAD),
        *(f"{MANY} threads, paced {name}" for name in SPREAD),
    ]
    return [
        *(Figure(name, "ns", "lower", in_chart=name in shown) for name in names),
        Figure("empty measuring", "ns", "none", against=(), in_chart=False),
    ]


TOPIC = Topic(
    "caller",
    __doc__,
    tuple(
        Variant(builder.name, measure(builder), builder.kind, builder.needs)
        for builder in (*OURS, *PEERS, *CALL_FLOORS)
        if builder.name not in LEFT_OUT
    ),
    tuple(_figures()),
    bases={NOTHING: "nothing", OBVIOUS: "obvious"},
    sizes={
        "burst": Size(2_000, 100, "calls of a burst"),
        "bursts": Size(20, 2, "bursts on one thread, and half as many on four"),
        "long_burst": Size(20_000, 200, "calls of a long burst"),
        "paced": Size(3_000, 20, "paced calls of each thread"),
        "interval": Size(1_000, 1_000, "microseconds between two paced calls"),
    },
)

if __name__ == "__main__":
    harness.main(TOPIC)
