"""
Disks that are full, or can't be written to when the app starts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults import count, disks
from faults.row import Run, row

ROOM = 200_000  # bytes that a disk has left when it is about to be full
SETTLE = 20.0  # seconds until what waits for a disk is written once there is room
FULL = {"session_level": "full"}


@row(
    "F6",
    "disk full, then room again, three times over",
    "each record found or reported, never both; it writes again by itself",
    broken={
        "forgets_after_errors": "lost",
        "writes_twice": "duplicated",
        "tells_of_no_losses": "lost",
        "tells_of_no_losses_in_the_log": "the log tells of 0",
    },
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
            child.end()
            run.result.faults += child.acks["injected"]
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
    "F7",
    "the disk gets full, mark by mark, and has room again",
    "`warn`, `shed` and `suspend` are told once each, before it is full; what they refuse is reported",
    broken={"sees_no_marks": "before the last mark was told", "refuses_silently": "nothing was refused"},
)
def pass_the_marks(run: Run) -> None:
    """
    A program fills a small disk until the last mark is in force; then there is room again.
    """
    if not disks.can_mount():
        _set_marks_around(run)
        return
    place = run.place()
    with disks.small(place / "disk", "32m") as disk:
        filler = disk / "filler"
        filler.write_bytes(b"x" * (16 << 20))
        marks = {"warn": 12_000_000, "shed": 8_000_000, "suspend": 4_000_000}
        _judge_marks(run, place, disk / "logs", marks, filler.unlink, "tmpfs")


def _set_marks_around(run: Run) -> None:
    """The weaker way: marks just below what is free on the machine's own disk, of which a file takes what is left."""
    place = run.place()
    free = shutil.disk_usage(place).free
    filler = place / "filler"
    filler.write_bytes(b"x" * (64 << 20))
    step = 8 << 20
    marks = {name: free - (64 << 20) - place_of * step for place_of, name in enumerate(("warn", "shed", "suspend"), 1)}
    _judge_marks(run, place, place / "logs", marks, filler.unlink, "marks moved to a disk's free space")


def _judge_marks(
    run: Run, place: Path, root: Path, marks: dict[str, Any], make_room: Callable[[], object], method: str
) -> None:
    settings = {**FULL, "marks": marks, "queue_size": 512, "max_bytes": 0}
    child = run.start("full.marked", place, root=root, size=400, events=20, handler=settings).go()
    child.wait_done(1)
    free = shutil.disk_usage(root).free
    make_room()
    child.step()
    child.end()
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")
    run.check(free > 0, "the disk was full before the last mark was told")
    told = [tuple(each) for each in child.acks.notes.get("told", [])]
    run.made(max(sum(passed for _, passed in told), sum(free < mark for mark in marks.values())), method)
    expected = [(name, True) for name in marks] + [(name, False) for name in reversed(marks)]
    run.check(sorted(told) == sorted(expected), f"on_mark was called with {told}")
    run.check(child.acks.notes.get("again", 0) == 30, f"{child.acks.notes.get('again')} of 30 were written again")
    dropped = child.stats.get("dropped", {})
    run.check(set(dropped) <= {"disk_low", "queue_full"}, f"lost for other reasons: {dropped}")
    run.check(dropped.get("disk_low"), "nothing was refused")
    content = run.judge("marks", root, [child])
    run.check(content.reported == sum(dropped.values()), f"the log tells of {content.reported}, stats of {dropped}")
    lines = count.read(root, keep_lines=True).lines
    degraded = [line.data.get("mark") for line in lines if line.event == "log_degraded"]
    run.check(degraded == list(marks), f"the log tells of the marks {degraded}")


@row(
    "F11",
    "a directory that can't be written when the app starts",
    "construction does not raise; it is reported; logging resumes by itself",
    broken={"never_tries_again": "did not resume"},
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
