"""
What is loaded when: a handler that is made has loaded all that its threads, its end and a fork of its process need.
"""

from __future__ import annotations

import gzip

import pytest
from helpers import run_python

# Whatever is loaded after the first mark is told at the very end, after our own exit function.
PROGRAM = """
import atexit, dataclasses, datetime, decimal, logging, os, pathlib, sys, time

def tell():
    print(*sorted({*sys.modules} - before))

atexit.register(tell)

@dataclasses.dataclass
class Point:
    x: float

from sessionlog_handlers import SessionHandler, start_session

root = pathlib.Path(sys.argv[1])
FILES = {"session.log": "level", "a.jsonl": {"format": "fugue"}, "b.txt": {"format": "text"},
         "c.log": {"format": "event_line"}, "d.pty": {"format": "pty", "takes": "bytes"}, "e.log": "user"}
OPTIONS = {"linger": 0, "compress": "gzip", "on_end": "compress", "audit_durability": "sync", "session_level": "full",
           "capture_signals": True, "capture_errors": True}
MARKS = {"marks": {"warn": "100%"}, "on_mark": "true", "flood": {"rate": 10_000}}
OPTIONS |= {"retention": {"count": 1, "keep_free": 1, "session_bytes": "1 GB"}, "pinned": ["abc"], "archive": "true"}
handler = SessionHandler(root, max_bytes=4096, sampling={"resize": 0.5}, **MARKS, **OPTIONS)
before = {*sys.modules}

logger = logging.getLogger("app")
logger.addHandler(handler)
logger.setLevel(1)
values = {"path": root, "day": datetime.date.today(), "sum": decimal.Decimal(1), "point": Point(float("nan")),
          "bytes": b"abc", "none": None, "deep": [[[{}]]], "text": "\\ud800\\x1b" * 50}

def work(name):
    with start_session(name, level="prompts", severity="debug", metadata={"of": "test"}) as session:
        for number in range(60):
            logger.warning("record %d", number, extra=values)
            session.event("completion", **values)
            session.event("unheard", number=number)
            session.event("resize", columns=80)
            session.output(b"bytes")
        session.set_level("full")
        session.input(b"more")
        session.prompt("what?")
        try:
            1 / 0
        except ZeroDivisionError as error:
            logger.exception("failed")
            session.error(error)
        session.flush(durable=True)
        session.log_path, session.directory

work("abc")
work("no name for / a directory")
other = SessionHandler(root, rotation="time", when=sys.argv[2], files=FILES, **MARKS, **OPTIONS)
logger.addHandler(other)
logger.removeHandler(handler)
work("abc")
other.close()
work("more")
work("and more")
limit = time.monotonic() + 20
while not other.stats()["pruned"] and time.monotonic() < limit:
    os.utime(root / ".locks" / "retention", (0, 0))
    work("and yet more")
    time.sleep(0.05)
if not os.fork():
    work("child")
    sys.exit()
os.wait()
logging.shutdown()
start_session("left open")
logger.info("the last", extra={"session_id": "left open"})
"""


@pytest.mark.parametrize("when", ["S", "midnight"])
def test_handler_that_was_made_loads_no_more(tmp_path, when):
    """
    Once a handler is made, nothing is loaded by its threads, by what an app does with it, in a forked child, or at the
    end. It could wait for a lock that is not the listener's to take, or fail without a free descriptor.
    """
    # An unknown event warns, and a warning shown would load what shows it.
    done = run_python(PROGRAM, tmp_path, when, options=["-W", "ignore"], check=True)
    assert done.stdout.split("\n") == ["", "", ""]  # by the child, by the parent
    assert [line for line in done.stderr.splitlines() if "the mark warn" not in line] == []
    assert (tmp_path / ".pruned.jsonl").exists()
    assert gzip.decompress((tmp_path / "abc" / "session.log.1.gz").read_bytes())


WATCHING = """
import os, signal, sys, time
from sessionlog_handlers import watch

path = sys.argv[1]
GOOD = open(path).read()

def replace(text):
    open(path + ".new", "w").write(text)
    os.replace(path + ".new", path)

def wait(before):
    while watching.reloads + watching.errors == before:
        time.sleep(0.01)

watching = watch(path, interval=0.01, sighup=True)
before = {*sys.modules}
for text in ("version: [", "version: 2", GOOD.replace("full", "fulll"), GOOD + "  late: {class: logging.FileHandler, "
             "filename: /no/such/x}", GOOD.replace("full", "prompts")):
    number = watching.reloads + watching.errors
    replace(text)
    wait(number)
number = watching.reloads
os.kill(os.getpid(), signal.SIGHUP)
wait(number + watching.errors)
watching.stop()
print(watching.reloads, watching.errors, *sorted({*sys.modules} - before))
"""


def test_watch_that_was_begun_loads_no_more(tmp_path):
    """
    Once a file is watched, nothing is loaded by its thread, whatever becomes of the file.
    """
    path = tmp_path / "logging.yaml"
    options = f"directory: {tmp_path / 'logs'}, session_level: full"
    path.write_text(
        "version: 1\nroot: {handlers: [sessions]}\n"
        f"handlers:\n  sessions: {{class: sessionlog_handlers.SessionHandler, {options}}}\n"
        f"  plain: {{class: logging.FileHandler, filename: {tmp_path / 'plain.txt'}}}\n"
    )
    done = run_python(WATCHING, path, check=True)
    assert done.stdout.split() == ["2", "4"]
