"""
Sudden death: at any moment, and at every system call that changes a file.
"""

from __future__ import annotations

import random
import time

from faults import count
from faults.child import Child, Fault
from faults.row import Run, row

SETTINGS = {"session_level": "full", "linger": 0}
SMALL = {**SETTINGS, "max_bytes": 1024, "backup_count": 30, "compress": "gzip"}
# The next program comes when half-made files are old enough to be nobody's: recovery leaves them alone for an hour.
LATER = [{"kind": "clock", "seconds": 7200}]
FRAGMENT = b'{"ts":"2026-01-08T12:34:56.789Z","level":"info","sess'  # what a write that was cut short leaves

# Which of the program's threads makes which calls that change files.
CALLS = {
    "sessionlog-listener": ("write", "rename", "link", "unlink", "openat", "mkdir"),
    "sessionlog-keeper-slow": ("write", "rename", "link", "unlink", "openat", "fsync"),
    "sessionlog-sync": ("openat", "fsync", "fdatasync"),
    "MainThread": ("write", "rename", "link", "unlink", "openat"),
}
WITHOUT_TRACER = {"": ("write", "rename", "link", "unlink", "openat", "mkdir", "fsync", "fdatasync")}


@row(
    "F1",
    "kill -9 at any moment while writing",
    "what `flush` said is written stays; the next writer starts a fresh line",
    broken={
        "says_flushed_at_once": "lost",
        "joins_torn_lines": "joined",
        "writes_no_audit_files": "unaudited",
    },
)
def kill_at_any_moment(run: Run) -> None:
    """
    Programs log to the same sessions one after the other, each killed at a random moment.
    """
    chance = random.Random(1)
    place = run.place()
    children: list[Child] = []
    planted = 0
    settings = {**SETTINGS, "max_bytes": "256 KB", "backup_count": 500}
    both = {"threads": 2, "sessions": ["a", "b"], "handler": settings}
    for number in range(run.times(100, 5)):
        child = run.start("plain.events", place, base=2 * number, events=10**9, flush_every=25, **both)
        child.go()
        child.wait(lambda child=child: child.acks.slot(0).acknowledged > 0)
        time.sleep(chance.uniform(0.0, 0.03))
        child.kill()
        children.append(child)
        run.made(1, "kill")
        log = place / "logs" / "a" / "session.log"
        if number % 5 == 0 and log.exists():  # who says too early that it is written may be killed before it is
            with open(log, "ab") as torn_log:
                torn_log.write(FRAGMENT)
            planted += 1
    last = run.run("plain.events", place, base=2 * len(children), events=1, calls=LATER, **both)
    run.check(last.is_complete, f"the last program failed: {last.stderr[-300:]}")
    torn = planted + len(children)  # a kill may tear the line that is being written, and the next writer ends it
    run.judge(
        "after the kills",
        place / "logs",
        [*children, last],
        promise="acknowledged",
        reported=0,
        torn=torn,
        leftovers=True,
    )


@row(
    "F2",
    "death at the n-th write, rename, link, unlink, open and sync, with rotation and gzip",
    "the next open repairs: nothing orphaned, nothing twice; half-made files go after an hour",
    broken={
        "deletes_before_gzip_is_there": "lost|unaudited|orphans",  # by which file was being packed, and when
        "deletes_full_files": "lost",
        "writes_twice": "duplicated",
    },
)
def kill_at_every_call(run: Run) -> None:
    """
    Each thread of the program is killed at its n-th call of each kind; then another program logs to the same session.
    """
    tracer = Fault("write", "KILL").by_tracer
    for thread, calls in (CALLS if tracer else WITHOUT_TRACER).items():
        for call in calls:
            for at in run.points():
                if not _kill_and_repair(run, Fault(call, "KILL", at, thread=thread)):
                    break


def _kill_and_repair(run: Run, fault: Fault) -> bool:
    """Whether there were so many calls."""
    place = run.place()
    options = {"events": 12, "flush_every": 2, "size": 90, "handler": SMALL}
    child = run.run("plain.events", place, fault=fault, **options)
    what = f"{fault.thread}: {fault.call} {fault.when}"
    if child.faults_made:
        before = count.tally(count.read(place / "logs"), child.acks.slots(), promise="acknowledged", reported=0)
        run.check(not before.lost and not before.duplicated and before.torn <= 1, f"{what}: before the repair {before}")
        repair = run.run("plain.events", place, base=1, calls=LATER, **options)
        run.check(repair.is_complete, f"{what}: the next open failed: {repair.stderr[-300:]}")
        run.judge(what, place / "logs", [child, repair], promise="acknowledged", reported=0, torn=1, leftovers=True)
    elif not child.is_complete:
        run.problem(f"{what}: the program failed: {child.stderr[-300:]}")
    run.discard(place)
    return child.faults_made > 0
