"""
What others do to the files, what stands in their place, and what is left of descriptors.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from faults import count
from faults.row import Run, row
from sessionlog_handlers import read_path

FULL = {"session_level": "full", "linger": 0}


def _cut(path: Path, size: int) -> None:
    os.truncate(path, size)


# What is done to a session's directory between two rounds of logging, and how many torn lines that may leave.
MEDDLING: dict[str, tuple[Callable[[Path], object], int]] = {
    "log deleted": (lambda path: (path / "session.log").unlink(), 0),
    "log renamed": (lambda path: (path / "session.log").rename(path / "moved.txt"), 0),
    "log emptied": (lambda path: _cut(path / "session.log", 0), 0),
    "log cut in a line": (lambda path: _cut(path / "session.log", 100), 1),
    "audit file deleted": (lambda path: (path / "audit_system.log").unlink(), 0),
    "metadata deleted": (lambda path: (path / "metadata.json").unlink(), 0),
    "directory deleted": (shutil.rmtree, 0),
    "directory renamed": (lambda path: path.rename(path.with_name(".moved")), 0),
    "root deleted": (lambda path: shutil.rmtree(path.parent), 0),
}


@row(
    "F12",
    "log, audit file, metadata, directory or root deleted, renamed or cut by others",
    "the next record makes them anew, `metadata.json` too; no NUL hole",
    broken=("trusts_the_descriptor", "forgets_the_metadata"),
)
def meddle(run: Run) -> None:
    """
    Between two rounds of logging the harness takes something away; the next round must be whole.
    """
    for name, (meddle_with, torn) in list(MEDDLING.items())[: run.times(len(MEDDLING), 6)]:
        if run.is_decided:
            return
        place = run.place()
        session = place / "logs" / "s"
        size = 20
        child = run.start("plain.rounds", place, rounds=3, events=size, handler=FULL).go()
        child.wait_done(1)
        meddle_with(session)
        child.step()
        child.wait_done(2)
        run.made(1, "by hand")
        if name != "metadata deleted":  # alone, it is missed when its counters are told anew
            run.check((session / "metadata.json").exists(), f"{name}: no metadata.json after the next round")
        found = count.read(place / "logs")
        late = [number for number in found.records.get(0, []) if number >= size]
        run.check(late == list(range(size, 2 * size)), f"{name}: of {size} records {len(late)} are there")
        raw = (session / "session.log").read_bytes() if (session / "session.log").exists() else b""
        run.check(b"\0" not in raw, f"{name}: a hole of NULs")
        child.step()
        child.wait_done(3)
        child.step()
        child.end()
        run.check(child.is_complete, f"{name}: the program failed: {child.stderr[-500:]}")
        run.check((session / "metadata.json").exists(), f"{name}: no metadata.json at the end")
        content = count.read(place / "logs")
        # What was taken away is not the package's loss: only the rounds after it count.
        taken = [number for number in range(size) if number not in content.records.get(0, [])]
        content.records.setdefault(0, [])[:0] = taken
        tally = count.tally(content, child.acks.slots())
        tally.accepted, tally.found = tally.accepted - len(taken), tally.found - len(taken)
        run.result.tally.add(tally)
        for wrong in tally.faults(torn):
            run.problem(f"{name}: {wrong}")
        if name == "log renamed":
            run.check(len(list(read_path(session / "moved.txt"))) > size, f"{name}: the renamed file was written to")
        run.discard(place)


@row(
    "F13",
    "no descriptors left: n of them, n = 0, 1, 2 … until a run is clean",
    "it reports, and recovers when there are some; closing works",
    broken=("never_tries_again",),
)
def use_up_descriptors(run: Run) -> None:
    """
    A program with n free descriptors starts sessions, rotates and compresses; then it gets some back.
    """
    for free in range(run.times(40, 3)):
        if run.is_decided:
            return
        place = run.place()
        settings = {**FULL, "max_bytes": 1024, "backup_count": 50, "compress": "gzip"}
        child = run.run("files.starved", place, free=free, events=20, handler=settings, sessions=["a", "b", "c"])
        what = f"{free} free"
        run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
        short = child.acks.notes.get("errors", 0) > 0
        if short:
            run.made(1, "RLIMIT_NOFILE")
        run.check(child.acks.notes.get("again"), f"{what}: it did not recover")
        run.judge(what, place / "logs", [child])
        run.discard(place)
        if not short:
            break


@row(
    "F31",
    "a device, FIFO, socket, directory or symlink in the log's place",
    "it is left as it is, never followed or renamed; a clear error",
    broken=("writes_to_anything",),
)
def stand_in_the_way(run: Run) -> None:
    """
    Something else has the name of the log, of an audit file, of an old file, or of the session's directory.
    """
    kinds = ["fifo", "socket", "directory", "link", "dangling link", "link to a device"]
    if os.geteuid() == 0:
        kinds.append("device")
    for name in ("s/session.log", "s/audit_system.log", "s/session.log.1", "s"):
        for kind in kinds:
            if run.is_decided or (name == "s" and kind == "directory"):
                continue
            _stand(run, name, kind)


def _stand(run: Run, name: str, kind: str) -> None:
    place = run.place()
    path = place / "logs" / name
    path.parent.mkdir(parents=True)
    target = place / "target"
    target.write_text("precious")
    if not _make(path, kind, target):
        return
    before = os.lstat(path)
    settings = {**FULL, "max_bytes": 1024, "backup_count": 30}
    child = run.run("plain.events", place, events=20, flush_every=5, handler=settings)
    what = f"{kind} as {name}"
    run.made(1, "by hand")
    run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
    after = os.lstat(path) if os.path.lexists(path) else None
    same = after is not None and (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    run.check(same, f"{what}: it was replaced")
    run.check(target.read_text() == "precious", f"{what}: its target was written to")
    run.check(not (place / "nowhere").exists(), f"{what}: a dangling link was followed")
    run.check("sessionlog: " in child.stderr, f"{what}: no word of it")
    accepted = child.acks.slot(0).accepted
    found = len(set(count.read(place / "logs").records.get(0, [])))
    run.result.tally.accepted += accepted
    run.result.tally.found += found
    dropped = sum(child.stats.get("dropped", {}).values())
    run.result.tally.reported += dropped
    run.result.tally.lost += accepted - found - dropped
    run.check(accepted == found + dropped, f"{what}: {accepted} accepted, {found} found, {dropped} reported")
    run.discard(place)


def _make(path: Path, kind: str, target: Path) -> bool:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
        except OSError:  # its path is too long
            return False
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # another /dev/null, which may be spoilt
        except OSError:
            return False
    elif kind == "link to a device":
        path.symlink_to("/dev/null")
    else:
        path.symlink_to(target if kind == "link" else path.parents[2] / "nowhere")
    return True
