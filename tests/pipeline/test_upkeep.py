from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import removal, retention, upkeep
from sessionlog_handlers.pipeline.leases import sweep
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.pruner import MOST_FAILURES, Pruner
from sessionlog_handlers.pipeline.retention import Chosen, Disk
from sessionlog_handlers.reading.sessions import list_sessions
from sessionlog_handlers.settings.tables import Retention


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """
    Runs follow each other without the pauses that an app is given.
    """
    monkeypatch.setattr(upkeep, "GAP", 0.0)
    monkeypatch.setattr(upkeep, "DISK_GAP", 0.0)


def make_sessions(root: Path, *ids: str, **options: object) -> None:
    """
    Sessions that have ended, one after the other.
    """
    handler = SessionHandler(root, linger=0, **options)
    for id in ids:
        start_session(id, handler=handler).end()
        time.sleep(0.002)  # so that they end in this order, to the millisecond
    handler.close()


def sessions(root: Path) -> list[str]:
    """
    The sessions whose directories are there.
    """
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def pruned(root: Path) -> list[str]:
    """
    The sessions that were removed, in the order of their removal.
    """
    path = root / ".pruned.jsonl"
    return [line["session"] for line in read_lines(path)] if path.exists() else []


class TestByItself:
    def test_at_the_start(self, tmp_path):
        """
        What was left by earlier processes is removed soon after an app begins to log; sessions of its own stay.
        """
        make_sessions(tmp_path, "old1", "old2", "old3")
        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1})
        with start_session("new"):
            wait_until(lambda: handler.stats()["pruned"] == 2)
            assert sessions(tmp_path) == ["new", "old3"]
            assert pruned(tmp_path) == ["old1", "old2"]
        handler.close()

    @pytest.mark.parametrize("rule", [{"count": 2}, {"total": "5 KB"}])
    def test_after_an_end(self, tmp_path, rule):
        """
        Where number or bytes are bounded, sessions go soon after others have ended.
        """
        handler = SessionHandler(tmp_path, linger=0, retention=rule)
        for number in range(6):
            start_session(f"s{number}", handler=handler).end()
            handler.flush()
        wait_until(lambda: "s0" in pruned(tmp_path))
        wait_until(lambda: len(sessions(tmp_path)) <= 3)
        assert "s5" in sessions(tmp_path)
        handler.close()
        assert pruned(tmp_path) == sorted(pruned(tmp_path))

    def test_when_the_disk_fills(self, tmp_path, monkeypatch):
        """
        When the free space falls below the floor while the app runs, the oldest sessions go.
        """
        make_sessions(tmp_path, "old1", "old2")
        room = Disk(1000, 10_000)
        monkeypatch.setattr(Pruner, "disk", lambda self: room)
        handler = SessionHandler(tmp_path, linger=0, retention={"keep_free": "5%"})
        with start_session("new"):
            wait_until(lambda: (tmp_path / ".locks" / "retention").exists())
            handler.flush()
            assert sessions(tmp_path) == ["new", "old1", "old2"]
            room = Disk(499, 10_000)
            wait_until(lambda: pruned(tmp_path))
            assert pruned(tmp_path) == ["old1"]
        handler.close()

    def test_finishes_before_it_chooses(self, tmp_path, monkeypatch):
        """
        The room that a removal makes which was cut short counts before anything else is chosen.
        """
        make_sessions(tmp_path, "old1", "old2")

        def killed(*args: object) -> None:
            raise KeyboardInterrupt

        pruner = Pruner(str(tmp_path), Retention(count=1))
        with monkeypatch.context() as patch:
            patch.setattr(removal.shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt), pruner.alone():
                [*pruner.remove(pruner.choose())]
        room = Disk(499, 10_000)
        rest = tmp_path / ".pruning"
        monkeypatch.setattr(Pruner, "disk", lambda self: room if rest.exists() else Disk(501, 10_000))
        handler = SessionHandler(tmp_path, linger=0, retention={"keep_free": "5%"})
        with start_session("new"):
            wait_until(lambda: pruned(tmp_path))
            wait_until(lambda: handler.root.upkeep._due is not None)  # the next run: this one is over
            assert pruned(tmp_path) == ["old1"]
            assert sessions(tmp_path) == ["new", "old2"]
        handler.close()

    def test_goes_on_after_an_error(self, tmp_path, monkeypatch, capsys):
        """
        A run that fails, whatever the reason, is told, and the next one comes.
        """
        monkeypatch.setattr(upkeep, "INTERVAL", 0.05)
        make_sessions(tmp_path, "old1", "old2")
        calls = []
        choose = Pruner.choose

        def fail_first(self, *args):
            calls.append(self)
            if len(calls) == 1:
                raise ValueError("something unheard of")
            return choose(self, *args)

        monkeypatch.setattr(Pruner, "choose", fail_first)
        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1})
        with start_session("new"):
            wait_until(lambda: pruned(tmp_path) == ["old1"])
        handler.close()
        assert "could not be removed: something unheard of" in capsys.readouterr().err

    def test_lock_that_can_not_be_made(self, tmp_path):
        """
        Where nobody could remove anything, since the lock can't be opened, that is told.
        """
        make_sessions(tmp_path, "old1", "old2")
        (tmp_path / ".locks" / "retention").mkdir()
        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1})
        with start_session("new"):
            wait_until(lambda: "retention" in str(handler.stats()["last_error"]))
        handler.close()
        assert pruned(tmp_path) == []

    def test_when_the_disk_fills_soon_after_a_run(self, tmp_path, monkeypatch):
        """
        A run that had nothing to remove, for whatever reason, puts none off that a full disk asks for; where sessions
        ended since a run that could not help, the disk is looked at again.
        """
        monkeypatch.setattr(upkeep, "GAP", 60.0)
        monkeypatch.setattr(upkeep, "DISK_GAP", 0.05)
        room = Disk(1000, 10_000)
        monkeypatch.setattr(Pruner, "disk", lambda self: room)
        lock = tmp_path / ".locks" / "retention"
        handler = SessionHandler(tmp_path, linger=0, retention={"keep_free": "5%"})
        session, running = start_session("first", handler=handler), start_session("second", handler=handler)
        wait_until(lock.exists)
        session.end()
        handler.flush()
        room = Disk(499, 10_000)
        wait_until(lambda: pruned(tmp_path) == ["first"])
        room = Disk(400, 10_000)
        before = lock.stat().st_mtime_ns
        wait_until(lambda: lock.stat().st_mtime_ns != before)
        running.end()
        wait_until(lambda: pruned(tmp_path) == ["first", "second"])
        handler.close()
        assert sessions(tmp_path) == []

    def test_an_end_that_fills_the_disk(self, tmp_path, monkeypatch):
        """
        Where the last session that was open ends on a full disk, it goes as soon as with others beside it.
        """
        monkeypatch.setattr(upkeep, "GAP", 60.0)
        monkeypatch.setattr(upkeep, "DISK_GAP", 0.05)
        room = Disk(1000, 10_000)
        monkeypatch.setattr(Pruner, "disk", lambda self: room)
        handler = SessionHandler(tmp_path, linger=0, retention={"keep_free": "5%"})
        session = start_session("only", handler=handler)
        wait_until((tmp_path / ".locks" / "retention").exists)
        room = Disk(499, 10_000)
        session.end()
        wait_until(lambda: pruned(tmp_path) == ["only"])
        handler.close()
        assert sessions(tmp_path) == []

    def test_trash_on_the_same_disk(self, tmp_path, monkeypatch, capsys):
        """
        Where the trash is on the root's disk, moving sessions there would make no room: they stay, and that is told.
        """
        root = tmp_path / "logs"
        make_sessions(root, "old")
        monkeypatch.setattr(Pruner, "disk", lambda self: Disk(0, 10_000))
        handler = SessionHandler(root, linger=0, retention={"keep_free": "5%"}, trash=tmp_path / "trash" / "below")
        with start_session("new"):
            wait_until(lambda: "trash is on the same disk" in str(handler.stats()["last_error"]))
        handler.close()
        assert pruned(root) == []
        assert capsys.readouterr().err.count("makes no room") == 1

    def test_pinned(self, tmp_path):
        """
        A pattern keeps the sessions that it names, at an end with deletion too.
        """
        make_sessions(tmp_path, "keep-1", "old1", "old2", on_end="delete", pinned=["keep-*"])
        assert sessions(tmp_path) == ["keep-1"]
        make_sessions(tmp_path, "old1", "old2")
        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1}, pinned=["keep-*"])
        with start_session("new"):
            wait_until(lambda: pruned(tmp_path) == ["old1"])
        handler.close()
        assert sessions(tmp_path) == ["keep-1", "new", "old2"]

    def test_own_sessions_whose_lease_was_lost(self, tmp_path, monkeypatch):
        """
        A session that is open in this process stays, though somebody deleted what proves to others that it runs.
        """
        monkeypatch.setattr("sessionlog_handlers.pipeline.retention.CRASH_GRACE", -60.0)
        make_sessions(tmp_path, "old")
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("new", handler=handler)
        handler.flush()
        for lease in (tmp_path / ".leases").iterdir():
            lease.unlink()
        other = SessionHandler(tmp_path, linger=0, retention={"total": 1})
        wait_until(lambda: pruned(tmp_path) == ["old"])
        assert sessions(tmp_path) == ["new"]
        session.end()
        wait_until(lambda: pruned(tmp_path) == ["old", "new"])
        other.close()

    def test_other_settings(self, tmp_path):
        """
        A newer handler's rules are in force at once, and a rule that was taken away removes nothing any more.
        """
        make_sessions(tmp_path, "old1", "old2", "old3")
        first = SessionHandler(tmp_path, linger=0, retention={"count": 2})
        session = start_session("new", handler=first)
        wait_until(lambda: pruned(tmp_path) == ["old1"])
        SessionHandler(tmp_path, linger=0, retention={"count": 1})
        wait_until(lambda: pruned(tmp_path) == ["old1", "old2"])
        last = SessionHandler(tmp_path, linger=0)
        start_session("newer", handler=last).end()
        session.end()
        last.close()
        assert pruned(tmp_path) == ["old1", "old2"]
        assert last.stats()["pruned"] == 2

    def test_failure_is_told_once(self, tmp_path, capsys):
        """
        An archive that fails is told of once; the sessions stay, and go as soon as it works.
        """
        make_sessions(tmp_path, "old1", "old2", "old3")
        works = []

        def archive(info: object) -> None:
            if not works:
                raise OSError("the archive is down")

        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1}, archive=archive)
        session = start_session("new", handler=handler)
        wait_until(lambda: handler.stats()["errors"] >= 2)
        assert sessions(tmp_path) == ["new", "old1", "old2", "old3"]
        works.append(True)
        session.end()
        wait_until(lambda: len(pruned(tmp_path)) >= 2)
        handler.close()
        assert capsys.readouterr().err.count("archive is down") == 1

    def test_nothing_is_loaded_without_it(self, tmp_path):
        """
        Who sets no rule loads none of what removes, and who does has loaded all of it with the handler.
        """
        program = """
import sys
from sessionlog_handlers import SessionHandler
names = ["pruner", "removal", "retention", "upkeep", "hooks", "tombstones"]
def loaded():
    return [name for name in names if f"sessionlog_handlers.pipeline.{name}" in sys.modules]
SessionHandler(sys.argv[1], retention={"session_bytes": "1 MB"})
print(*loaded())
SessionHandler(sys.argv[1], retention="7d")
print(*loaded())
"""
        assert run_python(program, tmp_path, check=True).stdout.split("\n")[:2] == [
            "",
            "pruner removal retention upkeep hooks tombstones",
        ]

    @pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"])
    def test_archive_at_the_end_of_the_app(self, tmp_path, end):
        """
        An app that ends waits for its archive some time, then kills the command with what it started.
        """
        program = f"""
import os, signal, sys, time
from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import root
root.STOP_TIMEOUT = 0.5
note = f"echo $$ > {{sys.argv[2]}}.part; mv {{sys.argv[2]}}.part {{sys.argv[2]}}; sleep 60; true"
options = {{"retention": {{"count": 1}}, "archive": ["sh", "-c", note], "capture_signals": True}}
handler = SessionHandler(sys.argv[1], linger=0, **options)
start_session("c")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
{end}
"""
        make_sessions(tmp_path / "logs", "a", "b")
        done = run_python(program, tmp_path / "logs", tmp_path / "pid")
        assert done.returncode == (0 if "exit" in end else -15)
        group = int((tmp_path / "pid").read_text())

        def is_over() -> bool:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return True
            return False

        wait_until(is_over)
        assert sessions(tmp_path / "logs") == ["a", "b", "c"]


class TestOneAtATime:
    def test_another_process_is_at_it(self, tmp_path):
        """
        While another process removes sessions of the root, this one leaves it alone.
        """
        make_sessions(tmp_path, "old1", "old2")
        lock = FileLock(str(tmp_path / ".locks" / "retention"))
        with lock.hold() as locked:
            assert locked
            with Pruner(str(tmp_path), Retention(count=1)).alone() as alone:
                assert not alone
            handler = SessionHandler(tmp_path, linger=0, retention={"count": 1})
            session = start_session("new", handler=handler)
            handler.flush()
            session.end()
            handler.close()
        lock.close()
        assert pruned(tmp_path) == []

    def test_not_again_so_soon(self, tmp_path, monkeypatch):
        """
        A run is put off if any process has just made one.
        """
        monkeypatch.setattr(upkeep, "GAP", 60.0)
        make_sessions(tmp_path, "old1", "old2")
        with Pruner(str(tmp_path), Retention()).alone() as alone:
            assert alone
        handler = SessionHandler(tmp_path, linger=0, retention={"count": 1})
        start_session("new", handler=handler).end()
        handler.close()
        assert pruned(tmp_path) == []
        before = time.time() - 61
        os.utime(tmp_path / ".locks" / "retention", (before, before))
        start_session("newer", handler=handler).end()
        wait_until(lambda: pruned(tmp_path))
        handler.close()

    def test_clock_set_back(self, tmp_path):
        """
        A run that seems to have been in the future puts none off.
        """
        with Pruner(str(tmp_path), Retention()).alone():
            pass
        os.utime(tmp_path / ".locks" / "retention", (time.time() + 9999,) * 2)
        assert Pruner(str(tmp_path), Retention()).age_of_last_run() == float("inf")

    def test_forked_child_holds_nothing(self, tmp_path):
        """
        A child that is forked during a removal keeps no lock of it, so that others go on if the parent dies.
        """
        program = """
import os, signal, sys, time
from sessionlog_handlers import SessionHandler, start_session

def archive(info):
    if os.fork() == 0:
        os.close(1)
        os.close(2)
        with open(sys.argv[2], "w") as out:
            out.write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)

handler = SessionHandler(sys.argv[1], linger=0)
for id in ("a", "b"):
    start_session(id).end()
    time.sleep(0.002)
handler.close()
handler = SessionHandler(sys.argv[1], linger=0, retention={"count": 1}, archive=archive)
start_session("c")
time.sleep(60)
"""
        root = tmp_path / "logs"
        assert run_python(program, root, tmp_path / "child").returncode == -9
        try:
            with Pruner(str(root), Retention()).alone() as alone:
                assert alone
        finally:
            os.kill(int((tmp_path / "child").read_text()), 9)


class TestPruner:
    def test_gives_up_after_many_failures(self, tmp_path):
        """
        After many failures in a row a run gives up; one that works in between lets it go on.
        """
        make_sessions(tmp_path, *(f"s{number:02}" for number in range(30)))
        calls = []

        def archive(info: object) -> None:
            calls.append(info)
            if len(calls) != MOST_FAILURES:
                raise OSError("down")

        pruner = Pruner(str(tmp_path), Retention(total=1), archive=archive)
        with pruner.alone():
            steps = list(pruner.remove(pruner.choose()))
        assert len(steps) == len(calls) == 2 * MOST_FAILURES
        assert len(pruned(tmp_path)) == 1
        assert steps[0].failure == "session 's00' stays, since it could not be archived: it raised OSError('down')"

    def test_look_is_given_up(self, tmp_path):
        """
        When the app closes its handler, a look at many sessions does not hold that up.
        """
        make_sessions(tmp_path, "a", "b")
        assert Pruner(str(tmp_path), Retention(total=1)).choose(lambda: False) == []

    def test_disk(self, tmp_path):
        """
        The disk is looked at only if its room matters.
        """
        assert Pruner(str(tmp_path), Retention(days=1)).disk() is None
        disk = Pruner(str(tmp_path), Retention(keep_free=0.1)).disk()
        assert 0 < disk.free < disk.total


def test_a_name_that_no_file_can_have(tmp_path):
    """
    A session whose metadata names such a file, half of a surrogate pair for example, hides none of the others.
    """
    handler = SessionHandler(tmp_path, linger=0)
    for id in ("a", "b", "c"):
        start_session(id, handler=handler).end()
        handler.flush()
        time.sleep(0.002)
    handler.close()
    path = tmp_path / "a" / "metadata.json"
    path.write_text(
        path.read_text().replace('"a/session.log"', '"a/\\ud800/session.log", "a/\\u0000", "a/session.log"')
    )
    assert "ud800" in path.read_text()
    assert [info.id for info in list_sessions([tmp_path])] == ["a", "b", "c"]
    assert [one.session.id for one in Pruner(str(tmp_path), Retention(count=1)).choose()] == ["a", "b"]


# Begins a session and leaves it to a forked child, which has nothing to say until a file appears.
DAEMON = """
import os, sys, time
from sessionlog_handlers import SessionHandler, start_session

handler = SessionHandler(sys.argv[1], linger=0, retention="7d")
session = start_session("daemon", handler=handler)
session.event("error", text="before")
handler.flush()
if os.fork():
    os._exit(0)
os.setsid()
for number in range(3):
    os.close(number)
    os.open(os.devnull, os.O_RDWR)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
if os.path.getsize(sys.argv[2]):
    session.event("error", text="after")
    handler.flush()
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("writes", [True, False])
def test_a_forked_child_has_the_session(tmp_path, monkeypatch, writes):
    """
    A session whose parent left stays as long as a child lives that was forked from it, though it has not written yet;
    after that it goes.
    """
    monkeypatch.setattr(retention, "CRASH_GRACE", 0.0)
    root, go = tmp_path / "logs", tmp_path / "go"
    assert run_python(DAEMON, root, go).returncode == 0
    make_sessions(root, "other")
    pruner = Pruner(str(root), Retention(count=1))
    try:
        (info,) = [info for info in list_sessions([root]) if info.id == "daemon"]
        assert info.state == "crashed"
        assert pruner.choose() == []
        with pruner.alone():
            assert [step.record for step in pruner.remove([Chosen(info, "count", "")])] == [None]
    finally:
        (tmp_path / "new").write_text("x" * writes)
        (tmp_path / "new").rename(go)
    wait_until(lambda: [one.session.id for one in pruner.choose()] in (["daemon"], ["other"]))
    assert ("after" in (root / "daemon" / "session.log").read_text()) == writes
    sweep(str(root / ".leases"))
    assert os.listdir(root / ".leases") == []
