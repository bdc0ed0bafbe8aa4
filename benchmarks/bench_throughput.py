"""
Events per second until all of them are in the files: ours, other loggers, and what writing them costs by itself.

All log the same records, a message and five fields, from 20 sessions in turn and as fast as they can. The clock runs
from the first call until everything is in its file; then every line is read back, parsed and found by its number. Ours
write a log for each session, with audit files and metadata; a full queue lets the caller wait (``overflow: wait``), but
for the two variants that shed: their events/s are those that were written, and what was refused is a figure beside it.

loguru writes a file for each session too. All other peers write one file, which spares them the sorting.

One variant has the standard library's ``json`` in the place of msgspec's encoder, which is no option of the package: it
tells how much of the speed is the encoder's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import harness
from floors import FLOORS
from lines import check_rest
from ours import JSON_ALONE, OURS, OURS_SHEDDING
from peers import PEERS
from topic import Figure, Options, Run, Size, Topic
from workload import Builder, Place


def measure(builder: Builder) -> Run:
    """
    A round of that logger.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        records = options["slow_records"] if builder.is_slow else options["records"]
        logging = builder.build(Place(directory, options["sessions"], records))
        start = time.perf_counter()
        logging.log_all(records)
        logging.finish()
        took = time.perf_counter() - start
        refused = logging.dropped()
        logging.close()
        landed = check_rest(logging.numbers(), records, refused)
        figures = {"events/s": landed / took}
        if builder in OURS_SHEDDING:
            figures |= {"refused": refused, "refused share": 100 * refused / records}
        return figures

    return run


TOPIC = Topic(
    "throughput",
    __doc__,
    tuple(builder.variant(measure(builder)) for builder in (*OURS, JSON_ALONE, *OURS_SHEDDING, *PEERS, *FLOORS)),
    (
        Figure("events/s", "events/s", "higher"),
        Figure("refused", "events", "none", against=(), in_chart=False),
        Figure("refused share", "%", "none", ".0f", against=(), in_chart=False),
    ),
    bases={"obvious stack": "obvious", "structlog": "structlog"},
    sizes={
        "records": Size(200_000, 1_000, "events of ours, of the floors, and of peers that take less than 10 µs each"),
        "slow_records": Size(50_000, 500, "events of all other peers"),
        "sessions": Size(20, 3, "sessions, in turn"),
    },
)

if __name__ == "__main__":
    harness.main(TOPIC)
