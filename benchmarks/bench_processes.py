"""
Events per second of 4 and of 8 processes that write one log, which rotates meanwhile.

Ours write one session, begun by the first process and joined by the others; concurrent-log-handler writes one file, as
it comes, in the caller's thread. The clock runs from the first call of any process until all lines of all of them are
in the files. Then these, rotated ones too, are read back: each number of each process has to be there once. *lost* and
*torn* are counted; ours may have neither, else there are no figures. One call of 16 is timed for p50 and p99.

The floor writes ready lines under a lock that the processes share, and does not rotate.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from calls import percentile
from lines import SESSION_LOGS
from ours import number_of
from topic import BenchmarkError, Figure, Options, Run, Size, Topic, Variant
from worker import WAYS

PROCESSES = (4, 8)
WORKER = Path(__file__).with_name("worker.py")
APP_LOGS = "app.log*"

CLH, FLOOR = "concurrent-log-handler", "os.write 1000, locked"


@dataclass(frozen=True, slots=True)
class Landed:
    """
    What stands in the files.

    Args:
        lines: Whole ones with a number.

        lost: Numbers that were sent and are not there.

        doubled: Lines whose number is there already, or was never sent.

        torn: Lines that are no JSON, or have no end.
    """

    lines: int
    lost: int
    doubled: int
    torn: int


def count_landed(directory: Path, pattern: str, number_of: Callable[[dict[str, Any]], int | None], sent: int) -> Landed:
    """
    Count what is in all files that match, where the numbers below *sent* should be.

    Unlike where a loss ends the run, a bad line is counted here and the next one read.
    """
    found: Counter[int] = Counter()
    torn = 0
    for path in directory.glob(pattern):
        content = path.read_bytes()
        torn += bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                number = number_of(json.loads(line))
            except (LookupError, TypeError, ValueError):
                torn += 1
                continue
            if number is not None:
                found[number] += 1
    known = sum(1 for number in found if 0 <= number < sent)
    return Landed(found.total(), sent - known, found.total() - known, torn)


def run_workers(way: str, directory: Path, processes: int, records: int, max_bytes: int) -> list[dict[str, Any]]:
    """
    Let that many processes log that way, all at a time, and give what each of them said.
    """
    command = [sys.executable, str(WORKER), way, str(directory)]
    workers: list[subprocess.Popen[str]] = []
    try:
        for number in range(processes):
            arguments = [*command, str(number), str(records), str(max_bytes)]
            workers.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            if number == 0:
                _read(workers[0])  # it has begun the session before another can
        for worker in workers[1:]:
            _read(worker)
        for worker in workers:
            _tell(worker, "go\n")
        answers = [json.loads(_read(worker)) for worker in workers]
        for worker in workers:
            worker.communicate("end\n")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if failed := [worker.returncode for worker in workers if worker.returncode]:
        raise BenchmarkError(f"{len(failed)} of {processes} processes failed: {failed}")
    return answers


def _tell(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdin is not None  # it was asked for
    worker.stdin.write(word)
    worker.stdin.flush()


def _read(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    answer = worker.stdout.readline()
    if not answer:
        raise BenchmarkError(f"a process ended with {worker.wait()} before its turn")
    return answer


def measure(way: str) -> Run:
    """
    A round of that way with each number of processes.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        total = options["slow_records"] if way == CLH else options["records"]
        figures: dict[str, float] = {}
        for processes in (number for number in PROCESSES if number <= options["processes"]):
            place = directory / str(processes)
            place.mkdir()
            each = total // processes
            answers = run_workers(way, place, processes, each, options["max_bytes"])
            seconds = max(answer["end"] for answer in answers) - min(answer["start"] for answer in answers)
            landed = _landed(way, place, processes * each)
            found = {
                "events/s": landed.lines / seconds,
                "lost": landed.lost,
                "torn": landed.torn,
                "doubled": landed.doubled,
                "rotations": len([*place.rglob("*.log.*[0-9]")]),
            }
            if took := sorted(duration for answer in answers for duration in answer["took"]):
                found |= {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99)}
            figures |= {f"{processes} processes, {name}": value for name, value in found.items()}
        return figures

    run.__doc__ = WAYS[way].__doc__
    return run


def _landed(way: str, directory: Path, sent: int) -> Landed:
    if way == CLH:
        return count_landed(directory, APP_LOGS, lambda line: int(line["pid"]), sent)
    landed = count_landed(directory, APP_LOGS if way == FLOOR else SESSION_LOGS, number_of, sent)
    if landed != Landed(sent, 0, 0, 0):
        raise BenchmarkError(f"{sent:,} sent, and of them {landed}")
    return landed


def _figures() -> list[Figure]:
    return [
        figure
        for processes in PROCESSES
        for figure in (
            Figure(f"{processes} processes, events/s", "events/s", "higher"),
            Figure(f"{processes} processes, p50", "ns", "lower", against=(CLH,), in_chart=False),
            Figure(f"{processes} processes, p99", "ns", "lower", against=(CLH,), in_chart=processes == PROCESSES[0]),
            Figure(f"{processes} processes, lost", "events", "lower", against=(), in_chart=False),
            Figure(f"{processes} processes, torn", "lines", "lower", against=(), in_chart=False),
            Figure(f"{processes} processes, doubled", "lines", "lower", against=(), in_chart=False),
            Figure(f"{processes} processes, rotations", "files", "none", against=(), in_chart=False),
        )
    ]


TOPIC = Topic(
    "processes",
    __doc__,
    (
        *(Variant(way, measure(way), "ours") for way in WAYS if way not in {CLH, FLOOR}),
        Variant(CLH, measure(CLH), "peer"),
        Variant(FLOOR, measure(FLOOR), "floor"),
    ),
    tuple(_figures()),
    bases={CLH: "concurrent-log-handler", FLOOR: "floor"},
    sizes={
        "processes": Size(8, 4, "processes at most, of 4 and 8"),
        "records": Size(400_000, 4_000, "events of all processes together"),
        "slow_records": Size(80_000, 800, "events of concurrent-log-handler's"),
        "max_bytes": Size(4_000_000, 40_000, "bytes at which a file is rotated"),
    },
)

if __name__ == "__main__":
    harness.main(TOPIC)
