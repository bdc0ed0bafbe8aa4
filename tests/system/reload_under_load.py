"""
Four threads log while a configuration is applied again and again. Prints as JSON what was lost, doubled and leaked.

    python reload_under_load.py DIRECTORY [SECONDS]

Two configurations take turns, 100 times, spread over SECONDS; without, as fast as it goes. Both take every record, at
different levels and on different loggers.
"""

import gc
import itertools
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import yaml

from sessionlog_handlers import bind, read_session, start_session, watch

RELOADS = 100
THREADS = 4
MAX_BYTES = 256 * 1024  # of a log, so that there are rotations and compressions all the time
SETTLING = 10.0  # seconds after which what is still open counts as leaked

directory = Path(sys.argv[1])
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
path = directory / "logging.yaml"
plain = directory / "plain.txt"


class Yielding(logging.Handler):
    """Lets others run while a record is on its way from logger to logger."""

    def emit(self, record):
        """Wait for a moment, with each fifth record."""
        if record.msecs % 5 < 1:
            time.sleep(0.0001)


def configuration(session_level, max_open_files, *, below):
    """One of the two, as text. *below*: the handlers are on a logger that keeps its records to itself, not on root."""
    sessions = {
        "class": "sessionlog_handlers.SessionHandler",
        "directory": str(directory / "logs"),
        "session_level": session_level,
        "max_open_files": max_open_files,
        "max_bytes": MAX_BYTES,
        "backup_count": 1000,
        "compress": "gzip",
        "audit": False,  # else it depends on the last moment which of the files are open
        "overflow": "wait",
    }
    file = {"class": "logging.FileHandler", "filename": str(plain), "level": "INFO" if below else "WARNING"}
    document = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"sessions": sessions, "plain": file, "yielding": {"()": "__main__.Yielding"}},
        "loggers": {"load": {"level": "DEBUG", "handlers": ["yielding"], "propagate": not below}},
        "root": {"level": "WARNING", "handlers": []},
    }
    place = document["loggers"]["load"] if below else document["root"]
    place["handlers"] += ["sessions", "plain"]
    return yaml.safe_dump(document)


def replace(text):
    """As an editor does: the file is the old one or the new one at any moment."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def log(worker):
    """What a thread of the app does."""
    logger = logging.getLogger(f"load.{worker}")
    while not enough.is_set():
        logger.warning("%d %d", worker, sent[worker])
        logger.debug("taken by one of them only")
        sent[worker] += 1


def open_descriptors():
    """How many there are."""
    return len(os.listdir("/proc/self/fd"))


def settled(goal):
    """How many descriptors and threads there are, once they are no more than the goal, or for a while the same."""
    deadline = time.monotonic() + (SETTLING if goal else 1.0)
    while True:
        gc.collect()
        found = open_descriptors(), threading.active_count()
        if (goal and found[0] <= goal[0] and found[1] <= goal[1]) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def lost_and_doubled(messages):
    """What is missing, and what is there more than once, of all that was sent."""
    found = Counter(messages)
    expected = {f"{worker} {number}" for worker in range(THREADS) for number in range(sent[worker])}
    return len(expected - found.keys()), sum(found[message] > 1 for message in expected)


sys.setswitchinterval(0.00001)  # seconds: the threads interrupt each other wherever they can
versions = [configuration("signals", 64, below=False), configuration("full", 32, below=True)]
sent = [0] * THREADS
enough = threading.Event()
replace(versions[0])
watching = watch(path, interval=0.05)
session = start_session("s")
session.__enter__()
while not [*(directory / "logs" / "s").glob("session.log.*.gz")]:  # until each thread that is ever needed runs
    session.event("warning", text="x" * 10_000)
    session.flush()
before = settled(None)
workers = [threading.Thread(target=bind(log), args=(worker,)) for worker in range(THREADS)]
for thread in workers:
    thread.start()
while not all(sent):
    time.sleep(0.001)
begun = time.monotonic()
for number in range(RELOADS):
    replace(versions[(number + 1) % 2])
    watching.reload()
    time.sleep(max(begun + seconds * (number + 1) / RELOADS - time.monotonic(), 0.0))
enough.set()
for thread in workers:
    thread.join()
session.flush(60)
after = settled(before)
session.__exit__(None, None, None)
logging.shutdown()

lines = [*read_session("s", directory=directory / "logs")]
lost, doubled = lost_and_doubled(line.msg for line in lines if line.event == "log" and line.level == "warning")
changes = [line.data["to"] for line in lines if line.event == "level_change"]
print(
    json.dumps(
        {
            "reloads": watching.reloads,
            "errors": watching.errors,
            "sent": sum(sent),
            "lost": lost,
            "doubled": doubled,
            "lost_elsewhere": lost_and_doubled(plain.read_text().splitlines())[0],
            "descriptors_leaked": max(after[0] - before[0], 0),
            "threads_leaked": max(after[1] - before[1], 0),
            "level_changes_in_order": all(one != other for one, other in itertools.pairwise(changes)),
            "level_changes": len(changes),
            "has_rotated": session.root.stats()["rotations"] > 0,
            "accounted": session.root.stats()["dropped"] == {},
        }
    )
)
