from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers import read_lines, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import marks as module
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.marks import MARGIN, DiskMark, DiskMarks
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.routes import SHED_FULL, SHED_LAST, SHED_PROMPTS
from sessionlog_handlers.settings.model import Settings

LIMITS = {"warn": 1000, "shed": 500, "suspend": 100}
TOTAL = 10_000  # bytes of the disk that `disk` plays


class Disk:
    """A disk whose free space the test sets."""

    def __init__(self):
        self.free = TOTAL
        self.error = None

    def space(self, directory):
        """What `free_space` would give."""
        if self.error:
            raise self.error
        return self.free, TOTAL


@pytest.fixture
def disk(monkeypatch):
    """The disk that all marks of the test look at."""
    disk = Disk()
    monkeypatch.setattr(module, "free_space", disk.space)
    return disk


def make_marks(limits=None, *, place="/logs", queue=None, keeper=None, reporter=None, **options):
    """Marks of a root that nobody writes to."""
    reporter = reporter or Reporter()
    return DiskMarks(
        place,
        Settings(marks=LIMITS if limits is None else limits, **options),
        queue=BoundedQueue() if queue is None else queue,
        keeper=keeper or Keeper(lambda: False, 1.0, reporter),
        reporter=reporter,
    )


class Calls:
    """Stands for the keeper's slow thread: calls at once, in order."""

    def submit(self, job, delay=0.0, *, slow=False):
        """Run a job."""
        assert slow
        job()


def log_lines(root, name="s"):
    """All lines of a session's log, the oldest first."""
    paths = sorted((root / name).glob("session.log*"), reverse=True)
    return [line for path in paths for line in read_lines(path)]


class TestMarks:
    def test_each_once_and_in_order(self, disk, capsys):
        """
        Each mark is told once when the free space falls below it, and once when it is over, the deepest first.
        """
        queue, told = BoundedQueue(), []
        marks = make_marks(queue=queue, keeper=Calls(), on_mark=told.append)
        seen = []
        for free in (1000, 999, 600, 499, 99, 10, 109, 110, 400, 550, 1099, 1100, 999):
            disk.free = free
            marks.look()
            marks.look()
            seen.append((free, marks.in_force, queue.bar))
        assert seen == [
            (1000, None, SHED_FULL),
            (999, "warn", SHED_FULL),
            (600, "warn", SHED_FULL),
            (499, "shed", SHED_PROMPTS),
            (99, "suspend", SHED_LAST),
            (10, "suspend", SHED_LAST),
            (109, "suspend", SHED_LAST),
            (110, "shed", SHED_PROMPTS),
            (400, "shed", SHED_PROMPTS),
            (550, "warn", SHED_FULL),
            (1099, "warn", SHED_FULL),
            (1100, None, SHED_FULL),
            (999, "warn", SHED_FULL),
        ]
        changes = [("warn", 999), ("shed", 499), ("suspend", 99), ("suspend", 110), ("shed", 550), ("warn", 1100)]
        passed = [True, True, True, False, False, False, True]
        assert told == [
            DiskMark(name=name, directory="/logs", free=free, total=TOTAL, passed=state)
            for (name, free), state in zip([*changes, ("warn", 999)], passed, strict=True)
        ]
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 7
        for line, mark in zip(lines, told, strict=True):
            assert f"/logs: {mark.free} bytes are free" in line
            assert f"the mark {mark.name}" in line
            assert ("is over" in line) is not mark.passed
        assert "all but starts, ends and audited rare events is refused" in lines[2]
        assert "events at full and ordinary debug records are refused" in lines[3]

    def test_several_at_once(self, disk):
        """
        If the space falls through several marks at once, each is told, in their order.
        """
        told = []
        marks = make_marks(keeper=Calls(), on_mark=told.append)
        disk.free = 5
        marks.look()
        disk.free = TOTAL
        marks.look()
        assert [(mark.name, mark.passed) for mark in told] == [
            ("warn", True),
            ("shed", True),
            ("suspend", True),
            ("suspend", False),
            ("shed", False),
            ("warn", False),
        ]

    @given(
        given_marks=st.dictionaries(
            st.sampled_from(module.MARKS),
            st.integers(1, TOTAL * 8 // 10) | st.floats(0.001, 0.8),
            min_size=1,
        ),
        free=st.lists(st.integers(0, TOTAL), min_size=1, max_size=30),
    )
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_disk(self, disk, given_marks, free):
        """
        However the free space moves, and whatever the marks are: passing and leaving take turns, deeper marks are
        inside of the others, and what is in force fits the space.
        """
        told = []
        queue = BoundedQueue()
        marks = make_marks(given_marks, queue=queue, keeper=Calls(), on_mark=told.append)
        names = [name for name in module.MARKS if name in given_marks]
        sizes = {name: int(x * TOTAL) if isinstance(x, float) else x for name, x in given_marks.items()}
        limits = {name: max(sizes[other] for other in names[index:]) for index, name in enumerate(names)}
        stack = []
        for disk.free in free:
            marks.look()
            for mark in told:
                if mark.passed:
                    assert mark.name == names[len(stack)]
                    stack.append(mark.name)
                else:
                    assert mark.name == stack.pop()
            told.clear()
            assert marks.in_force == (stack[-1] if stack else None)
            assert all(name in stack for name in names if disk.free < limits[name])
            assert not any(name in stack for name in names if disk.free >= limits[name] + int(limits[name] * MARGIN))
            assert queue.bar == {"suspend": SHED_LAST, "shed": SHED_PROMPTS}.get(marks.in_force, SHED_FULL)

    def test_disk_that_tells_nothing(self, disk, capsys):
        """
        Where the free space can't be told, nothing is refused, and that is said once; afterwards all is as before.
        """
        queue = BoundedQueue()
        marks = make_marks(queue=queue)
        disk.free = 5
        marks.look()
        assert queue.bar == SHED_LAST
        capsys.readouterr()
        disk.error = OSError(5, "Input/output error")
        for _ in range(3):
            marks.look()
        assert (marks.in_force, queue.bar) == (None, 0)
        assert marks.take_news() == []
        (line,) = capsys.readouterr().err.splitlines()
        assert "/logs: its free space can't be told (Input/output error)" in line
        disk.error = None
        marks.look()
        assert (marks.in_force, queue.bar) == ("suspend", SHED_LAST)
        assert len(capsys.readouterr().err.splitlines()) == 3

    def test_root_that_is_not_made_yet(self, tmp_path, capsys):
        """
        Before the root is made, the disk of what is above it is looked at.
        """
        marks = make_marks({"warn": 1.0}, place=str(tmp_path / "not" / "made" / "yet"))
        marks.look()
        assert marks.in_force == "warn"
        assert "can't be told" not in capsys.readouterr().err

    def test_no_marks(self, disk):
        """
        Without marks nobody looks at the disk.
        """
        disk.error = AssertionError("looked")
        marks = make_marks({})
        marks.look()
        marks.look_if_due()
        assert not marks.watching

    def test_looks_by_time_and_by_bytes(self, disk, monkeypatch):
        """
        While lines are written the disk is looked at every 0.1 s, and as often as so many bytes were written.
        """
        now, looks = [1000.0], []
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(module, "free_space", lambda directory: looks.append(now[0]) or (TOTAL, TOTAL))
        marks = make_marks()
        for _ in range(10):
            marks.look_if_due()
        assert len(looks) == 1
        now[0] += module.LOOK_INTERVAL
        marks.look_if_due()
        assert len(looks) == 2
        for _ in range(80):
            marks.wrote(module.LOOK_BYTES // 8)
            marks.look_if_due()
        assert len(looks) == 12

    def test_other_marks(self, disk):
        """
        New settings with other marks begin anew, without marks nothing is refused; the same marks stay as they are.
        """
        queue, told = BoundedQueue(), []
        marks = make_marks(queue=queue, keeper=Calls(), on_mark=told.append)
        disk.free = 50
        marks.look()
        marks.use(Settings(marks=LIMITS, on_mark=told.append, linger=1))
        assert (marks.in_force, queue.bar) == ("suspend", SHED_LAST)
        marks.look()
        assert len(told) == 3
        marks.use(Settings())
        assert (marks.in_force, queue.bar) == (None, 0)
        marks.use(Settings(marks={"warn": 60}, on_mark=told.append))
        marks.look()
        assert told[3:] == [DiskMark(name="warn", directory="/logs", free=50, total=TOTAL, passed=True)]


class TestHooks:
    def test_callable(self, tmp_path):
        """
        A callable gets the mark, in a thread beside the listener's.
        """
        seen = []
        handler = SessionHandler(
            tmp_path,
            marks={"warn": "100%"},
            on_mark=lambda mark: seen.append((mark, threading.current_thread().name)),
        )
        with start_session("s"):
            wait_until(lambda: seen)
        handler.close()
        ((mark, thread),) = seen
        assert (mark.name, mark.directory, mark.passed) == ("warn", str(tmp_path), True)
        assert 0 < mark.free < mark.total
        assert thread == "sessionlog-hook"

    def test_command(self, tmp_path):
        """
        A command gets the mark as words and in its environment.
        """
        target = tmp_path / "told"
        text = (
            "import json, os, sys;"
            "own = {name: value for name, value in os.environ.items() if name.startswith('SESSIONLOG_')};"
            "own.pop('SESSIONLOG_HOME', None);"
            "path = sys.argv[1];"
            "open(path + '.new', 'w').write(json.dumps([sys.argv[2:], own]));"
            "os.rename(path + '.new', path)"
        )
        root = tmp_path / "logs"
        handler = SessionHandler(
            root, marks={"shed": "100%"}, on_mark=[sys.executable, "-c", text, str(target)], linger=0
        )
        with start_session("s"):
            wait_until(target.exists, 30)
        handler.close()
        words, environment = json.loads(target.read_text())
        free, total = environment.pop("SESSIONLOG_FREE"), environment.pop("SESSIONLOG_TOTAL")
        assert words == ["shed", "passed", str(root)]
        assert environment == {
            "SESSIONLOG_DIR": str(root),
            "SESSIONLOG_MARK": "shed",
            "SESSIONLOG_MARK_STATE": "passed",
        }
        assert 0 < int(free) < int(total)

    def test_failing(self, tmp_path, capfd):
        """
        A hook that fails is reported, and nothing else happens.
        """

        def hook(mark):
            raise RuntimeError("no mail today")

        handler = SessionHandler(tmp_path, marks={"warn": "100%"}, on_mark=hook, linger=0)
        with start_session("s") as session:
            wait_until(lambda: handler.stats()["errors"] >= 2)
            session.event("completion")
        handler.close()
        assert "completion" in [line["event"] for line in log_lines(tmp_path)]
        assert "on_mark failed at the mark warn: it raised RuntimeError('no mail today')" in capfd.readouterr().err

    def test_hanging(self, tmp_path, capfd, monkeypatch):
        """
        While a hook hangs, lines are written as ever; after its time it is reported and given up.
        """
        monkeypatch.setattr(module, "HOOK_TIMEOUT", 0.5)
        gate, called = threading.Event(), threading.Event()

        def hook(mark):
            called.set()
            gate.wait(60)

        handler = SessionHandler(tmp_path, marks={"warn": "100%"}, on_mark=hook, linger=0)
        try:
            with start_session("s") as session:
                assert called.wait(10)
                session.event("completion")
                assert session.flush()
                assert "completion" in [line["event"] for line in log_lines(tmp_path)]
                wait_until(lambda: "took more than 0.5 s" in (handler.stats()["last_error"] or ""))
        finally:
            gate.set()
        handler.close()
        assert "on_mark failed at the mark warn" in capfd.readouterr().err

    def test_not_at_the_end(self, disk, monkeypatch, capsys):
        """
        When the process ends, no hook is begun that could hold it up, and that is said.
        """
        monkeypatch.setattr("sessionlog_handlers.pipeline.threads._forbidden", True)
        told = []
        marks = make_marks(keeper=Calls(), on_mark=told.append)
        disk.free = 999
        marks.look()
        assert told == []
        assert "on_mark was not called for the mark warn: the process ends" in capsys.readouterr().err


class TestRefusing:
    """What a mark keeps out, through a real handler on a real disk that is below its marks already."""

    def send(self, handler, logger):
        """One event or record of each kind; gives the session."""
        logger.addHandler(handler)
        with start_session("s", level="full") as session:
            session.event("completion", number=0)
            wait_until(lambda: handler.stats()["mark"])
            session.output(b"x")
            session.event("state_change")
            logger.debug("debug")
            logger.info("info")
            logger.error("error")
            session.event("initial_prompt")
            session.event("prompt_detected")
            session.event("client_attached")
            session.event("error")
        handler.close()
        return handler.stats()

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    @pytest.mark.parametrize(
        ("mark", "written", "lost"),
        [("warn", 10, 0), ("shed", 7, 3), ("suspend", 5, 5)],
    )
    def test_by_importance(self, tmp_path, mark, written, lost, overflow):
        """
        Above `suspend` nothing gets in but starts, ends and audited rare events; above `shed` all but what is at full
        and debug records. What is refused is counted and told, and nobody waits.
        """
        handler = SessionHandler(tmp_path, marks={mark: "100%"}, overflow=overflow, linger=0)
        begin = time.monotonic()
        stats = self.send(handler, logging.Logger("app", 1))
        assert time.monotonic() - begin < 10
        assert stats["mark"] == mark
        assert stats["written"] == written
        assert stats["dropped"] == ({"disk_low": lost} if lost else {})
        lines = log_lines(tmp_path)
        events = [line["event"] for line in lines if line["event"] not in ("log_dropped", "log_degraded")]
        assert events[0] == "session_start"
        assert events[-1] == "session_end"
        kept = {
            "warn": ["output", "state_change", "log", "log", "log", "initial_prompt", "prompt_detected"],
            "shed": ["log", "log", "initial_prompt", "prompt_detected"],
            "suspend": ["initial_prompt", "prompt_detected"],
        }
        assert events[1:-1] == ["completion", *kept[mark], "client_attached", "error"]
        told = [line["data"] for line in lines if line["event"] == "log_dropped"]
        assert sum(data["count"] for data in told) == lost
        assert {data["reason"] for data in told} <= {"disk_low"}
        (degraded,) = [line["data"] for line in lines if line["event"] == "log_degraded"]
        assert degraded.pop("free") > 0
        assert degraded == {"reason": "disk_low", "mark": mark}

    def test_few_logs_tell(self, tmp_path):
        """
        A mark is told in a few of the logs that are written at that moment, not in all of them.
        """
        handler = SessionHandler(tmp_path, marks={"warn": "100%"}, linger=0.2)
        sessions = [start_session(f"s{number}") for number in range(30)]
        handler.flush()
        for session in sessions:
            session.event("completion")
        for session in sessions:
            session.end()
        handler.close()
        telling = Counter(
            line["event"] == "log_degraded" for number in range(30) for line in log_lines(tmp_path, f"s{number}")
        )
        assert 1 <= telling[True] <= 5

    def test_in_a_forked_child(self, tmp_path, capfd):
        """
        What is in force is in force in a forked child too, and is not told again there.
        """
        handler = SessionHandler(tmp_path, marks={"suspend": "100%"}, linger=0)
        session = start_session("s", level="full")
        wait_until(lambda: handler.stats()["mark"])
        capfd.readouterr()
        child = os.fork()
        if not child:
            session.output(b"x")
            session.event("client_attached")
            good = handler.stats()["dropped"] == {"disk_low": 1} and handler.stats()["mark"] == "suspend"
            handler.root.finish("exit")
            os._exit(not good)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        session.end()
        handler.close()
        assert capfd.readouterr().err == ""
        told = [line["event"] for line in log_lines(tmp_path) if line.get("pid")]
        assert sorted(told) == ["client_attached", "log_dropped"]

    def test_forked_while_somebody_looks(self, tmp_path, disk):
        """
        A child that was forked while a thread was looking at the disk looks for itself.
        """
        marks = make_marks()
        inside, gate = threading.Event(), threading.Event()

        def hold() -> None:
            with marks._lock:
                inside.set()
                gate.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(10)
        disk.free = 999
        child = os.fork()
        if not child:
            marks.reset()
            marks.look()
            os._exit(marks.in_force != "warn")
        gate.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)  # after a failure, files are still open there


@pytest.mark.root
class TestSmallDisk:
    """PROMISES F7, on a real disk that a fast writer fills."""

    def handler(self, mount: Path, **options) -> SessionHandler:
        """A handler whose queue is small beside its marks."""
        return SessionHandler(
            mount / "logs",
            session_level="full",
            queue_size=256,
            queue_bytes="64 KB",
            max_record_bytes="16 KB",
            linger=0,
            overflow="wait",
            marks={"warn": "2 MB", "shed": "1 MB", "suspend": "512 KB"},
            **options,
        )

    def test_before_it_is_full(self, small_disk, capfd):
        """
        A fast writer passes warn, shed and suspend once each, in order and before the disk is full; audited events
        still land, each event is found or counted, and with room again all is written as before.
        """
        told = []
        handler = self.handler(small_disk, on_mark=told.append)
        sent = audited = 0
        with start_session("s") as session:
            while handler.stats()["mark"] != "suspend":
                for _ in range(50):
                    session.event("state_change", text="x" * 100)
                    session.event("retry", text="x" * 100)
                    sent += 2
            for _ in range(50):
                session.event("client_attached")
                session.event("state_change", text="x" * 100)
                session.event("retry")
                sent, audited = sent + 3, audited + 1
            assert session.flush()
            stats = handler.stats()
            assert "write_error" not in stats["dropped"]
            assert stats["disk_free"] > 0
            assert stats["dropped"]["disk_low"] >= 100
            assert sent == stats["accepted"] == stats["written"] + stats["dropped"]["disk_low"] + stats["pending"]
            (small_disk / "logs" / "s" / "session.log.1").unlink(missing_ok=True)
            (small_disk / "logs" / "s" / "audit_system.log").unlink(missing_ok=True)
            os.truncate(small_disk / "logs" / "s" / "session.log", 0)
            wait_until(lambda: handler.stats()["mark"] is None)  # nobody writes; the keeper looks
            session.event("state_change", last=True)
            before = handler.stats()["dropped"]["disk_low"]
        handler.close()
        assert handler.stats()["dropped"]["disk_low"] == before
        names = ["warn", "shed", "suspend"]
        assert [mark.name for mark in told] == [*names, *reversed(names)]
        assert [mark.passed for mark in told] == [True] * 3 + [False] * 3
        assert all(mark.free > 0 for mark in told)
        lines = capfd.readouterr().err.splitlines()
        assert [name for line in lines for name in names if f"less than the mark {name};" in line] == names
        assert [name for line in lines for name in names if f"the mark {name} is over" in line] == names[::-1]
        assert len(lines) == 6
        assert any(line["data"].get("last") for line in log_lines(small_disk / "logs"))

    def test_nobody_writes(self, small_disk):
        """
        While a session is open and nothing is logged, a disk that others fill, and make room on, is seen as well.
        """
        handler = self.handler(small_disk)
        with start_session("s") as session:
            session.event("completion")
            assert session.flush()
            (small_disk / "filler").write_bytes(b"x" * 2_200_000)
            wait_until(lambda: handler.stats()["mark"] == "warn")
            (small_disk / "filler").unlink()
            wait_until(lambda: handler.stats()["mark"] is None)
        handler.close()
        assert handler.stats()["dropped"] == {}

    def test_room_again_after_a_close(self, small_disk):
        """
        Another library's `dictConfig` closes the handler while the disk is full: room is seen all the same.
        """
        logger = logging.Logger("app", 1)
        handler = self.handler(small_disk)
        logger.addHandler(handler)
        with start_session("s"):
            logger.warning("first")
            (small_disk / "filler").write_bytes(b"x" * 4_000_000)
            wait_until(lambda: handler.stats()["mark"] == "suspend")
            handler.close()
            (small_disk / "filler").unlink()

            def lands() -> bool:
                logger.warning("again")
                return any(line.get("msg") == "again" for line in log_lines(small_disk / "logs"))

            wait_until(lands)
            assert handler.stats()["mark"] is None
        handler.close()

    def test_what_is_lost_is_told(self, small_disk):
        """
        Of all that was sent on a disk that gets full, each event is in the log or counted there.
        """
        handler = self.handler(small_disk)
        with start_session("s") as session:
            for number in range(20_000):
                session.event("state_change", number=number, text="x" * 100)
            for number in range(20):
                session.event("client_attached", number=number)
        handler.close()
        stats = handler.stats()
        lines = log_lines(small_disk / "logs")
        found = [line["data"]["number"] for line in lines if line["event"] == "state_change"]
        told = [line["data"] for line in lines if line["event"] == "log_dropped"]
        assert found == sorted(set(found))
        assert sum(line["event"] == "client_attached" for line in lines) == 20
        assert {data["reason"] for data in told} == {"disk_low"}
        assert len(found) + sum(data["count"] for data in told) == 20_000
        assert stats["dropped"] == {"disk_low": 20_000 - len(found)}
        degraded = [line["data"]["mark"] for line in lines if line["event"] == "log_degraded"]
        assert degraded == ["warn", "shed"]  # the others are audited, and few: the disk keeps 1 MB
        assert lines[-1]["event"] == "session_end"
