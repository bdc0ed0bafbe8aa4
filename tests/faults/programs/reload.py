"""
A configuration file that changes while threads log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from faults.program import Job
from faults.programs.plain import run_threads
from sessionlog_handlers import ConfigurationError, start_session, watch

GOOD = """\
version: 1
disable_existing_loggers: false
handlers:
  sessions:
    class: sessionlog_handlers.SessionHandler
    directory: {directory}
    session_level: full
    overflow: wait
    max_bytes: {size} KB
    backup_count: 200
    linger: {linger}ms
  other:
    class: logging.FileHandler
    filename: {directory}/../plain.txt
loggers:
  app: {{level: DEBUG, handlers: [sessions]}}
root: {{level: WARNING, handlers: [other]}}
"""


def spoil(text: str, number: int) -> str | bytes:
    """
    A good file made a broken one, in one of 20 ways.
    """
    lines = text.splitlines(keepends=True)
    changes = {
        0: text.replace("/../plain.txt", "/no/such/plain.txt"),
        1: text.replace("full", "ful"),
        2: text.replace("max_bytes: ", "max_bytes: minus "),
        3: text.replace("[sessions]", "[sesions]"),
        4: text.replace("SessionHandler", "SesionHandler"),
        5: text.replace("logging.FileHandler", "logging.handlers.NoSuchHandler"),
        6: text.replace("level: DEBUG", "level: LOUD"),
        7: text.replace("version: 1", "version: 7"),
        8: text.replace("session_level", "session_levl"),
        9: text.replace("linger: ", "linger: -"),
        10: text.replace("  sessions:", "\tsessions:"),
        11: "- 1\n",
        12: b"\xff\xfe\x00" + text.encode(),
        13: text.replace("loggers:", "logers:"),
        14: text.replace("overflow: wait", "overflow: [wait"),
    }
    if number in changes:
        return changes[number]
    cut = 4 + 2 * (number - len(changes))  # only half written: it ends in the midst of a key
    return "".join(lines[:cut]) + lines[cut][:5]


def load(job: Job) -> None:
    """
    Threads log through `logging` while the main thread puts good and broken files in the place of the configuration.
    """
    path = Path(job.root).parent / "logging.yaml"
    os.makedirs(job.root)
    _write(path, _good(job, 0))
    before = _descriptors()
    watching = watch(path, interval=60)
    job.ready()
    logger = logging.getLogger("app")
    threads = job.get("threads", 4)
    over = threading.Event()
    sessions = [start_session(f"s{index}") for index in range(threads)]
    threads_before = 0

    def work(index: int) -> None:
        number = 0
        if index < threads:
            job.acks.bind(index, sessions[index].id)
        if index == threads:
            _reload(job, watching, path)
            over.set()
        while not over.is_set():
            job.acks.attempt(index, number + 1)
            extra = {"writer": index, "number": number, "session_id": f"s{index}"}
            logger.debug("x" * 50, extra=extra)
            number += 1
            job.acks.accept(index, number)
            time.sleep(job.get("pause", 0.001))

    job.options["threads"] = threads + 1
    threads_before = threading.active_count()
    run_threads(job, work)
    job.acks.note(extra_threads=threading.active_count() - threads_before)
    for session in sessions:
        session.end()
    watching.stop()
    job.acks.note(reloads=watching.reloads, errors=watching.errors)
    logging.shutdown()
    job.finish()
    job.acks.note(left=_descriptors() - before, threads=threading.active_count())


def _reload(job: Job, watching: object, path: Path) -> None:
    refused, wrong = 0, []
    for number in range(job.get("reloads", 10)):
        _write(path, _good(job, number))
        watching.reload()  # type: ignore[attr-defined]
        if number % 5 == 0:
            _write(path, spoil(_good(job, number), number // 5))
            try:
                watching.reload()  # type: ignore[attr-defined]
                wrong.append(number // 5)
            except ConfigurationError:
                refused += 1
        time.sleep(job.get("between", 0.05))
    job.acks.note(refused=refused, wrong=wrong)


def _good(job: Job, number: int) -> str:
    return GOOD.format(directory=job.root, size=20 + number, linger=number % 3)


def _write(path: Path, content: str | bytes) -> None:
    new = path.with_name("new.yaml")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(path)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
