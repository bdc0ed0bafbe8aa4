"""
Each example runs, in an empty home and directory, and prints and writes what it is there to show.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from helpers import read_lines, run_python

EXAMPLES = Path(__file__).parent.parent / "examples"
RUN_BY_OTHERS = {"chat_server", "demo"}

MODE_LINE = re.compile(r"^  [d-]rw", re.MULTILINE)


def run_example(name: str, directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """
    Run an example with warnings as errors; it must succeed and say nothing on stderr.
    """
    done = run_python(EXAMPLES / f"{name}.py", *args, cwd=directory, options=["-W", "error"], check=True)
    assert done.stderr == ""
    return done


def printed_lines(text: str) -> list[dict[str, Any]]:
    """
    The JSON Lines among what was printed.
    """
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def messages(text: str) -> list[str]:
    """
    The messages of the ordinary records among what was printed.
    """
    return [line["msg"] for line in printed_lines(text) if line["event"] == "log"]


class TestExamples:
    def test_all_are_tested(self):
        """
        No example is without a test here, none is longer than a screen, and each says what it shows.
        """
        for path in EXAMPLES.glob("*.py"):
            source = path.read_text("utf-8")
            assert source.startswith('"""\n'), path
            if path.stem not in RUN_BY_OTHERS:
                assert hasattr(self, f"test_{path.stem}"), path
                assert len(source.splitlines()) < 60, path

    def test_process_pool(self, tmp_path):
        """
        Each worker's record is in the session, with the worker's number, and the session ends once.
        """
        printed = run_example("process_pool", tmp_path).stdout
        lines = printed_lines(printed)
        assert sorted(messages(printed)) == [f"{number} is worked on for squares" for number in range(4)]
        assert all(("pid" in line) == (line["event"] == "log") for line in lines)
        events = [line["event"] for line in lines if line["event"] != "log"]
        assert events == ["session_start", "completion", "session_end"]

    def test_quickstart(self, tmp_path, home):
        """
        The session's level decides, and the change of it is in the log.
        """
        printed = printed_lines(run_example("quickstart", tmp_path).stdout)
        assert [line["event"] for line in printed] == [
            *("session_start", "log", "initial_prompt", "level_change", "log", "session_end")
        ]
        assert printed == read_lines(home / ".sessionlog" / "logs" / "abc123" / "session.log")

    def test_threads_and_executors(self, tmp_path):
        """
        The bound thread and the executor's job are in the session's log, the plain thread is not.
        """
        found = messages(run_example("threads_and_executors", tmp_path).stdout)
        assert [message.partition(" works")[0] for message in found] == ["a bound thread", "a job"]

    def test_asyncio_tasks(self, tmp_path):
        """
        Four sessions: each has its own lines and no other's.
        """
        logs = run_example("asyncio_tasks", tmp_path).stdout.strip().split("\n\n")
        ada, inner, grace, _ = map(messages, logs)
        assert sorted(ada) == ["ada is back in the outer one", "fetched part 1", "fetched part 2"]
        assert inner == ["in a session of its own"]
        assert "grace is back in the outer one" in grace
        assert len(list((tmp_path / "example-logs").glob("[!.]*"))) == 4

    def test_own_events(self, tmp_path):
        """
        Declared events are audited, and what sampling left out is counted in the log.
        """
        log, audit = map(printed_lines, run_example("own_events", tmp_path).stdout.split("audit_user.log:"))
        assert [line["data"] for line in audit] == [
            {"to": "production", "by": "ada"},
            {"to": "staging", "by": "grace"},
        ]
        assert sum(line["event"] == "heartbeat" for line in log) == 10
        assert [line["data"]["count"] for line in log if line["event"] == "log_dropped"] == [90]

    def test_rotating_file(self, tmp_path):
        """
        Four processes rotate one file and lose nothing.
        """
        assert run_example("rotating_file", tmp_path).stdout.endswith(" files, 2000 lines, 2000 different ones\n")

    def test_other_handlers(self, tmp_path):
        """
        The console has the session in its format and gets the events; the level thins it out.
        """
        printed = run_example("other_handlers", tmp_path).stdout.splitlines()
        assert "INFO    [-, prompts] of no session" in printed
        assert "INFO    [other-handlers, prompts] of a session" in printed
        assert "INFO    [other-handlers, signals] completion tokens=128" in printed
        assert not any("beyond" in line for line in printed)
        assert "beyond the console's level" in (tmp_path / "example-everything.jsonl").read_text()
        sessions = [path.name for path in (tmp_path / "example-logs").glob("[!.]*")]
        assert sessions == ["other-handlers"]

    def test_queue_in_front(self, tmp_path):
        """
        All records reach the slow handler, and callers do not wait for it.
        """
        assert run_example("queue_in_front", tmp_path).stdout == (
            "callers waited less than half a second; 100 records were handled\ndropped: {}\n"
        )

    def test_runtime_level(self, tmp_path):
        """
        Both ways to change the level are in the log, in their order, and take effect at once.
        """
        lines = printed_lines(run_example("runtime_level", tmp_path).stdout)
        changes = [line["data"] for line in lines if line["event"] == "level_change"]
        assert [(change["from"], change["to"], change["by"]) for change in changes] == [
            ("signals", "full", "app"),
            ("full", "spawns", "command"),
        ]
        assert [line["msg"] for line in lines if line["event"] == "log"] == ["kept at full"]

    def test_reload(self, tmp_path):
        """
        The app follows the file, says what is wrong with a broken one, and goes on by the old one.
        """
        done = run_python(EXAMPLES / "reload.py", cwd=tmp_path, options=["-W", "error"], check=True)
        problem = "handlers.sessions.session_levle: no such setting; did you mean 'session_level'?"
        assert problem in done.stdout.splitlines()
        (told,) = done.stderr.splitlines()
        assert told.startswith(f"sessionlog: {tmp_path / 'example-reload.yaml'}: {problem}")
        assert messages(done.stdout) == ["kept at full", "kept at full, by the old configuration"]
        changes = [line["data"] for line in printed_lines(done.stdout) if line["event"] == "level_change"]
        assert changes == [{"from": "signals", "to": "full", "by": "config"}]


class TestDemo:
    def test_demo(self, tmp_path):
        """
        The demo checks itself; it also shows what it promises to show, without colour off a terminal, and runs again.
        """
        for _ in range(2):
            done = run_example("demo", tmp_path, "logs")
            assert "NO " not in done.stdout
            assert "\x1b" not in done.stdout
            assert MODE_LINE.search(done.stdout)
            for heading in ("What is on the disk", "One session's log", "Its audit trail", "All sessions"):
                assert f"\n{heading}" in done.stdout

    def test_refuses_a_directory_that_is_not_its_own(self, tmp_path):
        """
        What somebody else keeps in the directory is not removed.
        """
        (tmp_path / "letter").write_text("dear ada")
        done = run_python(EXAMPLES / "demo.py", str(tmp_path))
        assert done.returncode == 2
        assert (tmp_path / "letter").exists()
