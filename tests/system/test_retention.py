"""
Retention beside living writers: the storm of `tests/retention_storm.py`, for some seconds.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_environment, read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import upkeep

STORM = Path(__file__).parent.parent / "retention_storm.py"
SECONDS = 2.0


@pytest.mark.parametrize("manners", [[], ["rude"]], ids=["polite", "rude"])
def test_storm(tmp_path, manners):
    """
    PROMISES F28: while four processes write and four remove, and these are killed now and then, no live session is
    touched, every accepted event is found once, and each removed session is whole and has exactly one line.
    """
    result = json.loads(run_python(STORM, tmp_path, str(SECONDS), *manners, check=True).stdout)
    assert result["accepted"] > 100
    assert result["removed"] > 20
    assert result["kills"] > 2
    expected = {"lost": 0, "duplicates": 0, "torn": 0, "touched": [], "reported": [], "failures": []}
    expected |= {"doubled": 0, "parts": {}, "untold": [], "left": False, "found": result["accepted"]}
    assert {key: result[key] for key in expected} == expected


APP = """
import sys, time
from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import upkeep
upkeep.GAP = 0.05
handler = SessionHandler(sys.argv[1], linger=0, retention={"count": 3})
mine = start_session(f"open-{sys.argv[2]}")
for number in range(40):
    start_session(f"{sys.argv[2]}-{number}").end()
    mine.event("completion", number=number)
    time.sleep(0.02)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def apps(tmp_path):
    """
    Three apps that have each ended forty sessions, and keep one open until their standard input ends.
    """
    words = [sys.executable, "-c", APP, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*words, str(number)], env=child_environment(), **pipes) for number in range(3)]
    yield started
    for app in started:
        app.kill()
        app.communicate()


def test_processes_that_clean_up_after_themselves(tmp_path, apps, monkeypatch):
    """
    Apps that are configured to keep few sessions keep so few together, and each goes on writing its own.
    """
    for app in apps:
        assert app.stdout.readline() == "ready\n"
    for app in apps[1:]:
        app.communicate(timeout=60)
    monkeypatch.setattr(upkeep, "GAP", 0.0)
    handler = SessionHandler(tmp_path, linger=0, retention={"count": 3})
    numbers = itertools.count()

    def few_are_left() -> bool:
        start_session(f"more-{next(numbers)}", handler=handler).end()  # whose end lets the others be looked at
        names = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
        return len([name for name in names if name not in ("open-0", "last")]) <= 3

    with start_session("last", handler=handler):
        wait_until(few_are_left, 60, interval=0.1)
    handler.close()
    apps[0].communicate(timeout=60)
    pruned = [line["session"] for line in read_lines(tmp_path / ".pruned.jsonl")]
    assert len(pruned) == len(set(pruned))
    assert not {"open-0", "last"} & set(pruned)
    written = [line["data"].get("number") for line in read_lines(tmp_path / "open-0" / "session.log")]
    assert [number for number in written if number is not None] == [*range(40)]


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize("call", ["rename", "unlink", "unlinkat", "rmdir", "mkdir", "write", "fsync", "fdatasync"])
def test_killed_by_the_system_at_each_call(tmp_path, call):
    """
    Killed at the n-th call of a kind, for each n, the command leaves what the next one finishes, with one line.
    """
    root = tmp_path / "logs"
    removed = 0
    for number in range(1, 200):
        handler = SessionHandler(root, layout="terminal", linger=0)
        with start_session(f"s{number}", handler=handler) as session:
            session.event("output", text="x")
        handler.close()
        command = ["strace", "-f", "-qq", "-o", "/dev/null", f"--inject={call}:signal=KILL:when={number}"]
        command += ["-P", str(root), "-P", str(root / ".pruning")] if call == "mkdir" else []
        words = [sys.executable, "-m", "sessionlog_handlers", "prune", "--dir", str(root), "--total", "1", "--yes"]
        done = subprocess.run([*command, *words], env=child_environment(), capture_output=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL or b"not implemented" in done.stderr, done.stderr
        again = subprocess.run(words, env=child_environment(), capture_output=True, check=False)
        assert again.returncode == 0, again.stderr
        lines = read_lines(root / ".pruned.jsonl")
        assert [line["session"] for line in lines] == [f"s{n}" for n in range(1, number + 1)]
        assert sorted(path.name for path in root.iterdir()) == [".leases", ".locks", ".pruned.jsonl", ".sessions"]
        removed = number
    assert done.returncode == 0
    assert removed or call in ("unlink", "unlinkat", "rmdir", "mkdir")
