"""
A configuration that is applied again and again, broken ones among them.
"""

from __future__ import annotations

from faults.row import Run, row


@row(
    "F25",
    "20 broken configurations and 100 reloads while 4 threads log",
    "the old one stays whole; a good one is swapped in at once; nothing is lost or leaked",
    broken={"takes_the_old_one_away_first": "lost"},
)
def reload_under_load(run: Run) -> None:
    """
    For 30 seconds, files take each other's place, every fifth of them broken.
    """
    place = run.place()
    reloads = run.times(100, 15)
    options = {"threads": 4, "reloads": reloads, "between": 0.3 if not run.quick else 0.02, "pause": 0.002}
    child = run.run("reload.load", place, **options)
    broken = (reloads + 4) // 5
    run.check(child.is_complete, f"the program failed: {child.stderr[-800:]}")
    notes = child.acks.notes
    run.made(notes.get("reloads", 0) + notes.get("refused", 0), "Watch.reload")
    run.check(notes.get("refused") == broken, f"{notes.get('refused')} of {broken} broken ones were refused: {notes}")
    run.check(not notes.get("left"), f"{notes.get('left')} descriptors are left")
    run.check(notes.get("threads") == 1, f"{notes.get('threads')} threads are left")
    run.check(notes.get("extra_threads", 9) <= 4, f"{notes.get('extra_threads')} threads came while it ran")
    run.judge("reloads", place / "logs", [child])
