"""
What others do to the files, what stands in their place, and what is left of descriptors.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import count
from faults.child import Child
from faults.row import Run, row
from sessionlog_handlers import read_path

FULL = {"session_level": "full", "linger": 0}
ROUNDS, SIZE = 3, 20  # of logging, and the records of each


def _cut(path: Path, size: int) -> None:
    os.truncate(path, size)


@dataclass(frozen=True)
class Meddling:
    """
    What is done to a session's directory between two rounds of logging.

    Args:
        act: Does it.

        takes: What may be missing of the first round's lines then: those of the log, of the audit file, or both.

        torn: How many torn lines that may leave.
    """

    act: Callable[[Path], object]
    takes: tuple[str, ...] = ()
    torn: int = 0


BOTH = ("log", "audit")
MEDDLING = {
    "log deleted": Meddling(lambda path: (path / "session.log").unlink(), ("log",)),
    "log renamed": Meddling(lambda path: (path / "session.log").rename(path / "moved.txt"), ("log",)),
    "log emptied": Meddling(lambda path: _cut(path / "session.log", 0), ("log",)),
    "log cut in a line": Meddling(lambda path: _cut(path / "session.log", 100), ("log",), 1),
    "audit file deleted": Meddling(lambda path: (path / "audit_system.log").unlink(), ("audit",)),
    "metadata deleted": Meddling(lambda path: (path / "metadata.json").unlink()),
    "directory deleted": Meddling(shutil.rmtree, BOTH),
    "directory renamed": Meddling(lambda path: path.rename(path.with_name(".moved")), BOTH),
    "root deleted": Meddling(lambda path: shutil.rmtree(path.parent), BOTH),
}


@row(
    "F12",
    "log, audit file, metadata, directory or root deleted, renamed or cut by others",
    "the next record makes them anew, `metadata.json` too; no NUL hole",
    broken={
        "trusts_the_descriptor": "0 are in the log file",
        "forgets_the_metadata": "no metadata.json",
        "writes_no_audit_files": "0 are in the audit file",
    },
)
def meddle(run: Run) -> None:
    """
    Between two rounds of logging the harness takes something away; the next round must be whole.
    """
    for name, meddling in list(MEDDLING.items())[: run.times(len(MEDDLING), 6)]:
        if run.is_decided:
            return
        _meddle(run, name, meddling)


def _meddle(run: Run, name: str, meddling: Meddling) -> None:
    place = run.place()
    session = place / "logs" / "s"
    child = run.start("plain.rounds", place, rounds=ROUNDS, events=SIZE, handler=FULL).go()
    child.wait_done(1)
    meddling.act(session)
    child.step()
    child.wait_done(2)
    run.made(1, "by hand")
    if name != "metadata deleted":  # alone, it is missed when its counters are told anew
        run.check(_has_metadata(session), f"{name}: no metadata.json after the next round")
    content = count.read(place / "logs")
    for what, records in (("log", content.records), ("audit", content.audited)):
        late = [number for number in records.get(0, []) if number >= SIZE]
        run.check(late == list(range(SIZE, 2 * SIZE)), f"{name}: of {SIZE} records {len(late)} are in the {what} file")
    raw = (session / "session.log").read_bytes() if (session / "session.log").exists() else b""
    run.check(b"\0" not in raw, f"{name}: a hole of NULs")
    for _ in range(2, ROUNDS + 1):
        child.step()
    child.end()
    run.check(child.is_complete, f"{name}: the program failed: {child.stderr[-500:]}")
    run.check(_has_metadata(session), f"{name}: no metadata.json at the end")
    _judge_without_taken(run, name, place / "logs", child, meddling)
    if name == "log renamed":
        run.check(len(list(read_path(session / "moved.txt"))) > SIZE, f"{name}: the renamed file was written to")
    run.discard(place)


def _has_metadata(session: Path) -> bool:
    """Whether `metadata.json` is there, and is that of the session."""
    try:
        return json.loads((session / "metadata.json").read_text("utf-8"))["session"] == "s"
    except (OSError, ValueError, KeyError):
        return False


def _judge_without_taken(run: Run, name: str, root: Path, child: Child, meddling: Meddling) -> None:
    """What was taken away is not the package's loss: only the rounds after it count. All else has to be there."""
    content = count.read(root)
    written = set(content.audited.get(0, ()))
    first = 0 if "audit" not in meddling.takes else SIZE
    missing = set(range(first, ROUNDS * SIZE)) - written
    run.check(not missing, f"{name}: {len(missing)} records are missing in the audit file")
    for place in content.places.values():
        place.to_audit = {each for each in place.to_audit if each[2] >= first}
    taken = []
    if "log" in meddling.takes:
        taken = [number for number in range(SIZE) if number not in content.records.get(0, [])]
        content.records.setdefault(0, [])[:0] = taken
    tally = count.tally(content, child.acks.slots())
    tally.accepted, tally.found = tally.accepted - len(taken), tally.found - len(taken)
    run.result.tally.add(tally)
    for wrong in tally.faults(meddling.torn):
        run.problem(f"{name}: {wrong}")


@row(
    "F13",
    "no descriptors left: n of them, n = 0, 1, 2 … until a run is clean",
    "it reports, and recovers when there are some; closing works",
    broken={"never_tries_again": "did not recover", "writes_no_audit_files": "unaudited"},
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
    broken={"writes_to_anything": "lost"},
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
    dropped, lines_lost = sum(child.stats.get("dropped", {}).values()), child.stats.get("lines_lost", 0)
    content = count.read(place / "logs")
    content.bad = [bad for bad in content.bad if Path(bad.path) != path]  # what stands there is no line of ours
    tally = count.tally(content, child.acks.slots(), reported=dropped, lines_reported=lines_lost)
    tally.orphans = 0
    run.result.tally.add(tally)
    for wrong in tally.faults():
        run.problem(f"{what}: {wrong}")
    run.compare_told(what, content, child)
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
