"""
Disks that are full, or can't be written to when the app starts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from faults import disks
from faults.row import Run, row

ROOM = 200_000  # bytes that a disk has left when it is about to be full
SETTLE = 20.0  # seconds until what waits for a disk is written once there is room
FULL = {"session_level": "full"}


@row(
    "F6",
    "disk full, then room again, three times over",
    "each record found or reported, never both; it writes again by itself",
    broken=("forgets_after_errors", "writes_twice", "tells_of_no_losses"),
)
def fill_the_disk(run: Run) -> None:
    """
    A small disk is full while threads log, and then is not, with either policy of a full queue.
    """
    for overflow in ("shed", "wait"):
        if run.is_decided:
            return
        place = run.place()
        settings = {"session_level": "full", "overflow": overflow, "backlog": "64 KB", "linger": 0}
        options = {"rounds": run.times(3, 1), "events": 1500, "size": 100, "sessions": ["a", "b"], "handler": settings}
        with _small_disk(run, place) as disk:
            child = run.start("full.rounds", place, root=disk / "logs", **options)
            filler = disk / "filler"
            if disks.can_mount():
                _fill(filler)
            child.go()
            for number in range(int(options["rounds"])):
                child.wait_done(2 * number + 1)  # it has met the end
                filler.unlink(missing_ok=True)
                child.step()
                child.wait_done(2 * number + 2)
                if number + 1 < int(options["rounds"]) and disks.can_mount():
                    _fill(filler)
                child.step()
                run.result.faults += 1
            child.end()
            run.check(child.is_complete, f"{overflow}: the program failed: {child.stderr[-500:]}")
            run.check(child.acks.notes.get("again"), f"{overflow}: it did not write again by itself")
            content = run.judge(overflow, disk / "logs", [child])
            dropped = sum(child.stats.get("dropped", {}).values())
            run.check(
                content.reported == dropped, f"{overflow}: the log tells of {content.reported}, stats of {dropped}"
            )
        run.discard(place)


@contextlib.contextmanager
def _small_disk(run: Run, place: Path) -> Iterator[Path]:
    if disks.can_mount():
        run.made(0, "tmpfs")
        with disks.small(place / "disk", "16m") as disk:
            yield disk
    else:
        run.made(0, "RLIMIT_FSIZE")
        yield place / "disk"


def _fill(filler: Path) -> None:
    """Take nearly all the room that is left."""
    left = os.statvfs(filler.parent)
    filler.write_bytes(b"x" * (left.f_bavail * left.f_frsize - ROOM))


@row(
    "F11",
    "a directory that can't be written when the app starts",
    "construction does not raise; it is reported; logging resumes by itself",
    broken=("never_tries_again",),
)
def start_read_only(run: Run) -> None:
    """
    The root is on a read-only disk, below a file, or below a link to nowhere, and then is not.
    """
    obstacles = ["file", "dangling link"] + (["read-only"] if disks.can_mount() else [])
    for obstacle in obstacles:
        if run.is_decided:
            return
        place = run.place()
        base = place / "base"
        with contextlib.ExitStack() as stack:
            if obstacle == "read-only":
                stack.enter_context(disks.small(base, "8m", "ro"))
            elif obstacle == "file":
                base.write_text("in the way")
            else:
                base.symlink_to(place / "nowhere")
            child = run.start("full.waiting", place, root=base / "logs", events=50, sessions=["a"], handler=FULL).go()
            child.wait_done(1)
            if obstacle == "read-only":
                disks.remount(base, "rw")
            else:
                os.unlink(base)
            start = time.monotonic()
            child.step()
            child.end()
            run.made(1, obstacle)
            run.check(child.is_complete, f"{obstacle}: the program failed: {child.stderr[-500:]}")
            told = [line for line in child.stderr.splitlines() if line.startswith("sessionlog: ")]
            run.check(told, f"{obstacle}: nothing was reported")
            run.check(child.acks.notes.get("again"), f"{obstacle}: it did not resume by itself")
            run.check(time.monotonic() - start < SETTLE, f"{obstacle}: it did not resume in time")
            run.judge(obstacle, base / "logs", [child])
