"""
Several processes and threads on one session.
"""

from __future__ import annotations

from faults import count
from faults.row import Run, row

FULL = {"session_level": "full", "linger": 0}


@row(
    "F15",
    "fork while threads log",
    "no child hangs; each record once; the children's records land too",
    broken={"forgets_the_fork": "children hung", "writes_no_audit_files": "unaudited"},
)
def fork_while_logging(run: Run) -> None:
    """
    40 children are forked from a process with three logging threads; each logs with three threads of its own.
    """
    place = run.place()
    forks = run.times(40, 8)
    options = {"threads": 3, "events": 20, "forks": forks, "patience": 20.0 if not run.broken else 2.0}
    child = run.start("processes.forks", place, handler=FULL, **options).go().end(120)
    run.made(child.acks["injected"], "fork")
    run.check(child.is_complete, f"the program failed: {child.stderr[-800:]}")
    hung = child.acks.notes.get("hung", forks)
    run.check(not hung, f"{hung} of {forks} children hung or failed")
    run.judge("forks", place / "logs", [child])


@row(
    "F16",
    "8 processes rotate one log with gzip",
    "each record exactly once, in its process's order",
    broken={"takes_no_lock": "lost", "overwrites_old_files": "lost"},
)
def share_a_log(run: Run) -> None:
    """
    8 programs log to one session at once.
    """
    place = run.place()
    settings = {**FULL, "max_bytes": 20_000, "backup_count": 500, "compress": "gzip", "overflow": "wait"}
    children = [
        run.start("plain.events", place, base=number, events=run.times(1500, 400), handler=settings)
        for number in range(8)
    ]
    for child in children:
        child.go()
    for child in children:
        child.end()
        run.check(child.is_complete, f"a program failed: {child.stderr[-500:]}")
    rotations = sum(child.stats.get("rotations", 0) for child in children)
    run.made(rotations, "8 processes")
    run.note(f"{rotations} rotations")
    run.judge("8 processes", place / "logs", children)


@row(
    "F22",
    "the level is changed while 16 threads log",
    "each record is judged by exactly one level; the changes are logged in order",
    broken={"judges_twice": "records are there"},
)
def change_levels(run: Run) -> None:
    """
    One thread flips the level and logs between the flips; the log must hold what each level lets through.
    """
    place = run.place()
    flips = run.times(1000, 60)
    child = run.run("processes.levels", place, threads=16, flips=flips, handler={**FULL, "overflow": "wait"})
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")
    content = count.read(place / "logs", keep_lines=True)
    changes = [line.data for line in content.lines if line.event == "level_change"]
    run.made(len(changes), "set_level")
    run.check(len(changes) == flips, f"{len(changes)} changes are logged, {flips} were made")
    levels = ["full", *(change["to"] for change in changes)]
    run.check([change["from"] for change in changes] == levels[:-1], "the changes are not in order")
    _check_flips(run, content, flips)
    # A record goes to the log and to the audit file, or to neither.
    run.check(
        {writer: set(numbers) for writer, numbers in content.records.items()}
        == {writer: set(numbers) for writer, numbers in content.audited.items()},
        "the log and the audit file differ: some records were judged twice",
    )
    stats = child.stats
    tally = count.tally(content, (), reported=0)
    tally.ghosts = 0  # how many each thread logged depends on the level
    tally.accepted = stats.get("accepted", 0)
    tally.found = sum(line.event == "state_change" for line in content.lines)
    tally.reported = sum(stats.get("dropped", {}).values())
    tally.lost = tally.accepted - tally.found - tally.reported
    run.result.tally.add(tally)
    for wrong in tally.faults():
        run.problem(wrong)


def _check_flips(run: Run, content: count.Content, flips: int) -> None:
    """What the flipping thread logged after each flip is there exactly if the new level lets it through."""
    level, seen = "full", []
    for line in content.lines:
        if line.event == "level_change":
            level = line.data["to"]
        elif "flip" in line.data:
            seen.append(line.data["flip"])
            run.check(level == "full", f"flip {line.data['flip']}: a record of class full after a change to {level}")
    run.check(seen == list(range(1, flips, 2)), f"{len(seen)} of {flips // 2} records are there")
