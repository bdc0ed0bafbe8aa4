"""
Retention against living writers and against itself.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import retention_storm

from faults.child import Child
from faults.row import Run, row
from sessionlog_handlers.pipeline.pruner import Pruner
from sessionlog_handlers.settings.tables import Retention

KILL_PAUSE = 0.3  # seconds between two kills of a cleaner


@row(
    "F28",
    "4 cleaners remove all that is over while 4 writers log; one of them is killed every 0.3 s",
    "never a live session, never a file in use, never half a session",
    broken={"takes_everybody_for_dead": "touched"},
    alone=True,
)
def clean_while_others_write(run: Run) -> None:
    """
    Sessions are begun, ended and begun again while others remove them to the trash; then everything is looked for.
    """
    place = run.place()
    (place / "trash").mkdir()
    seconds = float(run.times(30, 2))
    writers = [
        run.start("storm.write", place, root=place / "logs", number=number, seconds=seconds)
        for number in range(retention_storm.WRITERS)
    ]
    cleaners = [_start_cleaner(run, place, number) for number in range(retention_storm.CLEANERS)]
    for child in (*writers, *cleaners):
        child.go()
    chance = random.Random(28)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(KILL_PAUSE)
        number = chance.randrange(len(cleaners))
        cleaners[number].kill()
        cleaners[number] = _start_cleaner(run, place, number).go()
        run.made(1, "8 processes")
    for writer in writers:
        writer.end()
        run.check(writer.is_complete, f"a writer failed: {writer.stderr[-300:]}")
    for cleaner in cleaners:
        cleaner.kill()
    for _ in Pruner(str(place / "logs"), Retention()).finish():
        pass  # what the last one that was killed had begun
    _judge(
        run, retention_storm.count(place, [line for writer in writers for line in writer.stderr.splitlines() if line])
    )


def _start_cleaner(run: Run, place: Path, number: int) -> Child:
    return run.start("storm.clean", place, root=place / "logs", number=number, rude=number % 2 == 1)


def _judge(run: Run, found: dict[str, Any]) -> None:
    tally = run.result.tally
    tally.accepted, tally.found, tally.lost = found["accepted"], found["found"], found["lost"]
    tally.duplicated, tally.torn = found["duplicates"], found["torn"]
    run.note(f"{found['removed']} sessions removed")
    for wrong in tally.faults():
        run.problem(wrong)
    for name in ("touched", "reported", "doubled", "parts", "untold", "left"):
        run.check(not found[name], f"{name}: {found[name]!s:.200}")
    run.check(found["removed"], "nothing was removed")
