"""
How much memory a burst takes: the growth of the resident set while 200,000 events are logged as fast as it goes.

What grows is the queue between the caller and whoever writes, so the figure is the highest resident set of the burst
less what there was before it, when all is set up and some records have been through. Resident memory is what counts
against a container's limit; `tracemalloc` would slow the two sides of the queue down unevenly, and so change what is
queued. Ours wait at a full queue (``overflow: wait``), so that all events land here too.

Linux only: the high-water mark is read and reset by way of ``/proc``.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from pathlib import Path

import harness
from lines import check_numbers
from ours import OURS
from peers import PEERS
from topic import BenchmarkError, Figure, Options, Run, Size, Topic
from workload import Builder, Place

STATUS = Path("/proc/self/status")
RESET_PEAK = "5"  # what proc(5) says to write to `clear_refs`
SETTLE = 0.2  # seconds for what the first records started to come to rest

SHOWN = (
    "logger.info",
    "session.event full",
    "session.output",
    "obvious stack",
    "stdlib QueueHandler",
    "loguru enqueue",
)


def kilobytes(field: str) -> int:
    """
    A size out of the process' status, such as ``VmHWM``, its highest resident set.
    """
    for line in STATUS.read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise BenchmarkError(f"{STATUS} has no {field}")


def measure(builder: Builder) -> Run:
    """
    A round of that logger.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        records, first = options["records"], options["first"]
        logging = builder.build(Place(directory, options["sessions"], records + first))
        for number in range(records, records + first):
            logging.log(number)
        time.sleep(SETTLE)
        gc.collect()
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, "ascii")
        before = kilobytes("VmRSS")
        logging.log_all(records)
        logging.finish()
        grown = kilobytes("VmHWM") - before
        logging.close()
        check_numbers(logging.numbers(), records + first)
        return {"MB in burst": grown * 1024 / 1e6}

    return run


TOPIC = Topic(
    "memory",
    __doc__,
    tuple(builder.variant(measure(builder)) for builder in (*OURS, *PEERS) if builder.name in SHOWN),
    (Figure("MB in burst", "", "lower", ".1f"),),
    bases={"obvious stack": "obvious"},
    sizes={
        "records": Size(200_000, 500, "events in the burst"),
        "first": Size(1_000, 50, "events before it"),
        "sessions": Size(20, 3, "sessions, in turn"),
    },
    rounds=3,
)

if __name__ == "__main__":
    harness.main(TOPIC)
