"""
Retention against living writers and against itself: `python tests/retention_storm.py ROOT SECONDS [rude]`.

Four processes begin, write, end and begin again sessions in ROOT/logs; four others remove all that is over to
ROOT/trash, by rules under which nothing may be kept, and are killed now and then. Those that are rude don't ask
whether somebody else is at it. In the end every event that a writer was told to be on its way is looked for, in the
logs and in the trash. What was found is printed as a JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.cli.main import run
from sessionlog_handlers.pipeline.places import RootPlaces
from sessionlog_handlers.pipeline.pruner import Pruner
from sessionlog_handlers.reading.reader import read_path, read_rotated
from sessionlog_handlers.settings.tables import Retention

WRITERS = 4
CLEANERS = 4
SESSIONS = 6  # ids of each writer, so that many are begun again
KILL_PAUSE = 0.3  # seconds between two kills of a cleaner

LAYOUTS = ("multiplexer", "terminal")  # in one place, and with the log beside it


def write(directory: Path, number: int, seconds: float) -> None:
    """
    A writer. For each event it prints a name that nobody else uses, once the event is in its file; "touched" if a
    session that it has open is not whole.
    """
    layout = LAYOUTS[number % len(LAYOUTS)]
    handler = SessionHandler(directory / "logs", layout=layout, session_level="full", linger=0, max_bytes="4 KB")
    handler.root.reporter.report = lambda key, message: print("reported", message)  # type: ignore[method-assign]
    rng = random.Random(number)
    deadline = time.monotonic() + seconds
    counter = 0
    while time.monotonic() < deadline:
        session = start_session(f"w{number}-{rng.randrange(SESSIONS)}", handler=handler)
        names = []
        for _ in range(rng.randrange(1, 12)):
            names.append(f"{number}:{counter}")
            counter += 1
            session.event("state_change", name=names[-1])
            if rng.random() < 0.3:
                handler.flush()
                time.sleep(rng.random() * 0.02)
        handler.flush()
        log = directory / "logs" / (f".sessions/{session.id}" if layout == "terminal" else session.id) / "session.log"
        found = {line.data.get("name") for line in read_rotated(log)}
        print(*(["touched", session.id] if not found.issuperset(names) else ["ok"]), *names, flush=True)
        session.end()
    handler.close()
    print("stats", json.dumps(handler.stats()))


def clean(directory: Path, number: int, is_rude: bool) -> None:
    """
    A cleaner: the command, or what an app does.
    """
    while True:
        if number == 0:
            run(["prune", "--dir", f"{directory}/logs", "--total", "1", "--trash", f"{directory}/trash", "--yes"])
            continue
        pruner = Pruner(str(directory / "logs"), Retention(total=1), trash=directory / "trash")
        with pruner.alone() as alone:
            if alone or is_rude:
                for step in (*pruner.finish(), *pruner.remove(pruner.choose())):
                    if step.failure:
                        print("failed", step.failure, flush=True)


def start(role: str, *arguments: object) -> subprocess.Popen[str]:
    """
    Run this program in one of its roles.
    """
    words = [sys.executable, __file__, role, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def storm(directory: Path, seconds: float, *rude: str) -> dict[str, Any]:
    """
    Run all of them, and count.
    """
    writers = [start("write", directory, number, seconds) for number in range(WRITERS)]
    cleaners = [start("clean", directory, number, *rude) for number in range(CLEANERS)]
    said: list[str] = []
    kills = 0
    deadline = time.monotonic() + seconds
    rng = random.Random(0)
    while time.monotonic() < deadline:
        time.sleep(KILL_PAUSE)
        number = rng.randrange(CLEANERS)
        said += end(cleaners[number])
        kills += 1
        cleaners[number] = start("clean", directory, number, *rude)
    told = [line for writer in writers for line in writer.communicate(timeout=60)[0].splitlines()]
    for cleaner in cleaners:
        said += end(cleaner)
    steps = [*Pruner(str(directory / "logs"), Retention()).finish()]
    result = count(directory, told)
    result["kills"] = kills
    # Who is rude finds sessions gone that somebody else was about to remove, and says so.
    result["failures"] = (
        [] if rude else sorted({line for line in said if line.startswith("failed")} | {s.failure for s in steps} - {""})
    )
    return result


def end(process: subprocess.Popen[str]) -> list[str]:
    """
    Kill a cleaner and give what it said.
    """
    process.send_signal(signal.SIGKILL)
    return process.communicate()[0].splitlines()


def count(directory: Path, told: list[str]) -> dict[str, Any]:
    """
    Compare what the writers were told with what is in the logs and in the trash.
    """
    accepted = [name for line in told if line.split()[0] in ("ok", "touched") for name in line.split() if ":" in name]
    roots = [directory / "logs", *sorted((directory / "trash").iterdir())]
    found: Counter[str] = Counter()
    torn = 0
    for root in roots:
        places = RootPlaces(root)
        for info in filter(None, map(places.look, places.all())):
            for path in info.files:
                if path.name == "session.log":
                    lines = read_rotated(path)
                    found.update(line.data["name"] for line in lines if line.event == "state_change")
                    torn += len(lines.bad)
    tombstones = [line.data for line in read_path(directory / "logs" / ".pruned.jsonl")]
    whole = {}
    for place in roots[1:]:
        files = [path for path in place.rglob("*") if path.is_file()]
        whole[str(place)] = len(files), sum(path.stat().st_size for path in files)
    return {
        "accepted": len(accepted),
        "found": len(found.keys() & set(accepted)),
        "lost": len(set(accepted) - found.keys()),
        "duplicates": sum(number - 1 for number in found.values()),
        "torn": torn,
        "touched": [line for line in told if line.startswith("touched")],
        "reported": [line for line in told if line.startswith("reported")],
        "removed": len(tombstones),
        "doubled": len(tombstones) - len({data["removal"] for data in tombstones}),
        "parts": {
            data["trash"]: [data["files"], data["bytes"], whole.get(data["trash"])]
            for data in tombstones
            if whole.get(data["trash"]) != (data["files"], data["bytes"])
        },
        "untold": sorted(whole.keys() - {data["trash"] for data in tombstones}),
        "left": os.path.exists(directory / "logs" / ".pruning"),
    }


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    elif sys.argv[1] == "clean":
        clean(Path(sys.argv[2]), int(sys.argv[3]), "rude" in sys.argv)
    else:
        print(json.dumps(storm(Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]), indent=2))
