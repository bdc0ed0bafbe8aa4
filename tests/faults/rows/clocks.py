"""
Clocks that are set back and forward.
"""

from __future__ import annotations

from faults.row import Run, row

STEPS = (-3600, 86400, -3600, 0, 86400, -86400, 3600)  # seconds that the clock is off, one after the other
METHOD = "time.time and the files' times shifted"


@row(
    "F14",
    "the clock steps back an hour and forward a day, under rotation by time and by size",
    "no loss, no old file overwritten, no storm of rotations",
    broken={
        "overwrites_old_files": "lost",
        "rotates_at_every_look": "rotations for",
        "writes_no_audit_files": "unaudited",
    },
)
def step_the_clock(run: Run) -> None:
    """
    Between rounds of logging the clock is set; each step may start one new file in each log at most.
    """
    rotations = [
        {"rotation": "time", "when": "H"},
        {"rotation": "time", "when": "midnight"},
        {"rotation": "time", "when": "midnight", "max_bytes": 2048, "compress": "gzip"},
        {"rotation": "size", "max_bytes": 2048},
    ]
    for settings in rotations:
        if run.is_decided:
            return
        place = run.place()
        handler = {"session_level": "full", "linger": 0, "backup_count": 200, "max_bytes": 0, **settings}
        steps = STEPS * run.times(3, 1)
        options = {"rounds": len(steps) + 1, "events": 10, "size": 60, "handler": handler}
        child = run.start("plain.rounds", place, calls=[{"kind": "clock"}], **options).go()
        for number, seconds in enumerate(steps):
            child.wait_done(number + 1)
            child.acks.path.with_name(f"{child.acks.path.name}.clock").write_text(str(seconds))
            child.step()
            run.made(1, METHOD)
        child.wait_done(len(steps) + 1)
        child.step()
        child.end()
        what = f"{settings}"
        run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
        run.judge(what, place / "logs", [child])
        made = child.stats.get("rotations", 0)
        most = 3 * (len(steps) + 1)  # three logs
        run.check("max_bytes" in settings or 0 < made <= most, f"{what}: {made} rotations for {len(steps)} steps")
        run.discard(place)
