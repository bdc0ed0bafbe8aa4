"""
Calls that fail: every write, every sync, every rename of a rotation, once and for ever.
"""

from __future__ import annotations

import re

from faults.child import ALL, Child, Fault
from faults.row import Run, row
from faults.rows.kills import SETTINGS, SMALL

_NO_NEW_FILE = re.compile(r"^sessionlog: .*no new file can be started.*$", re.MULTILINE)
_TOLD = re.compile(r"^sessionlog: .*Input/output error.*$", re.MULTILINE)


def _fail_and_count(run: Run, fault: Fault, **options: object) -> Child | None:
    """Run a program with that fault and judge what it left; None if there were not so many calls."""
    place = run.place()
    child = run.run("plain.events", place, fault=fault, **options)
    what = f"{fault.what} at {fault.call} {fault.when}{' and later' if fault.for_ever else ''}"
    run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
    if child.is_complete:
        dropped, lines_lost = sum(child.stats["dropped"].values()), child.stats["lines_lost"]
        content = run.judge(what, place / "logs", [child], reported=dropped, lines_reported=lines_lost)
        run.compare_told(what, content, child)
    made = child.faults_made
    run.discard(place)
    return child if made else None


@row(
    "F8",
    "EIO and short writes at the n-th write, once and for ever",
    "each record found or reported; a partial line is removed or ended",
    broken={
        "forgets_after_errors": "lost",
        "leaves_half_lines": "joined",
        "writes_no_audit_files": "unaudited",
        "tells_of_no_losses_in_the_log": "the log tells of 0",
    },
)
def fail_every_write(run: Run) -> None:
    """
    The n-th write of each thread fails, or writes a part of a line.
    """
    options = {
        "events": 16,
        "flush_every": 4,
        "size": 90,
        "handler": {**SETTINGS, "max_bytes": 2048, "backup_count": 30},
    }
    for what in ("EIO", "ENOSPC", "short"):
        for for_ever in (False, True):
            for at in run.points():
                if _fail_and_count(run, Fault("write", what, at, for_ever, ALL), **options) is None:
                    break
    # What does not fit into the backlog is lost in the midst of the session, whose log has to tell of it.
    options["handler"] = {**SETTINGS, "backlog": 300}
    for at in range(1, run.times(40, 7)):
        if run.is_decided or _fail_and_count(run, Fault("write", "EIO", at, False, ALL), **options) is None:
            break


@row(
    "F9",
    "the n-th fsync and fdatasync fails",
    "every failure is reported, and nobody is told that it is durable",
    broken={"hides_failed_syncs": "0 reported"},
)
def fail_every_sync(run: Run) -> None:
    """
    Syncs of logs, directories and archives fail while every fourth record is waited for until it is durable.
    """
    options = {"events": 16, "flush_every": 4, "durable": True, "size": 90, "handler": SMALL}
    for call in ("fdatasync", "fsync"):
        for for_ever in (False, True):
            for at in run.points():
                fault = Fault(call, "EIO", at, for_ever, ALL)
                child = _fail_and_count(run, fault, **options)
                if child is None:
                    break
                what = f"{call} {at}{' and later' if for_ever else ''}"
                errors = child.stats["errors"]
                run.check(errors >= child.faults_made, f"{what}: {child.faults_made} failed, {errors} reported")
                run.check(_TOLD.search(child.stderr), f"{what}: nothing on stderr")
                if (call, at, for_ever) == ("fdatasync", 1, True):
                    acknowledged = child.acks.slot(0).acknowledged
                    run.check(not acknowledged, f"{what}: {acknowledged} records were called durable")


@row(
    "F10",
    "the n-th rename fails, rotation's and others'",
    "the same file is written on, rotation is tried later, one report an episode",
    broken={
        "empties_what_it_cannot_rotate": "lost",
        "forgets_after_errors_in_rotation": "lost",
        "writes_no_audit_files": "unaudited",
    },
)
def fail_every_rename(run: Run) -> None:
    """
    Renames fail for every thread: those of rotation, of gzip, and of `metadata.json`.
    """
    options = {"events": 16, "flush_every": 2, "size": 90, "handler": SMALL}
    for for_ever in (False, True):
        for at in run.points():
            child = _fail_and_count(run, Fault("rename", "EACCES", at, for_ever, ALL), **options)
            if child is None:
                break
            told = _NO_NEW_FILE.findall(child.stderr)
            run.check(len(told) == len(set(told)), f"rename {at}: told of twice: {told[:2]}")
