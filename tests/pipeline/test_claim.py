from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import read_lines, run_python

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import files
from sessionlog_handlers.pipeline.layout import directory_name
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata, write_metadata


def _events(directory: Path) -> list[str]:
    return [line["event"] for line in read_lines(directory / "session.log")]


def _line(event: str, seq: int, pid: int | None = None) -> bytes:
    line: dict[str, Any] = {
        "ts": "2026-01-08T12:34:56.789Z",
        "level": "info",
        "session": "abc",
        "event": event,
        "data": {},
        "seq": seq,
        **({"pid": pid} if pid else {}),
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def handler(tmp_path):
    """
    A handler of the root.
    """
    return SessionHandler(tmp_path, linger=0)


def _run(handler: SessionHandler, session: str = "abc") -> None:
    start_session(session, handler=handler).end()
    handler.close()


def _left(tmp_path: Path, metadata: Metadata | None, log: bytes) -> Path:
    """What a process of before left behind."""
    directory = tmp_path / "abc"
    directory.mkdir()
    (directory / "session.log").write_bytes(log)
    if metadata:
        write_metadata(str(directory / "metadata.json"), metadata)
    return directory


class TestNew:
    def test_first(self, handler, tmp_path):
        """
        A new session begins with line 1.
        """
        _run(handler)
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [(line["event"], line["seq"]) for line in lines] == [("session_start", 1), ("session_end", 2)]
        assert "resumed" not in lines[0]["data"]


class TestResumed:
    def test_after_its_end(self, handler, tmp_path):
        """
        A session that is started again after its end goes on with the numbers of its lines, and says so.
        """
        for _ in range(3):
            _run(handler)
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "session_end"] * 3
        assert [line["seq"] for line in lines] == [*range(1, 7)]
        assert [line["data"].get("resumed") for line in lines[::2]] == [None, True, True]
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).resumed == 2

    def test_without_metadata(self, handler, tmp_path):
        """
        A log whose metadata was lost goes on after its last whole line, a torn one behind it notwithstanding.
        """
        directory = _left(tmp_path, None, _line("completion", 41) + _line("completion", 42) + b'{"ts":"2026')
        _run(handler)
        content = (directory / "session.log").read_bytes().splitlines()
        assert content[2] == b'{"ts":"2026'
        crashed, start = map(json.loads, content[3:5])
        assert (crashed["event"], crashed["seq"]) == ("session_crashed", 43)  # for its last line is not its end
        assert (start["seq"], start["data"]["resumed"]) == (44, True)

    def test_while_no_descriptor_is_free(self, handler, tmp_path, monkeypatch):
        """
        A session whose metadata can't be read for want of a descriptor is resumed as soon as it can, not begun anew.
        """
        _run(handler)
        path = str(tmp_path / "abc" / "metadata.json")
        before = read_metadata(path)
        opened = os.open

        def fail(name: str, flags: int, mode: int = 0o777) -> int:
            if name == path:
                raise OSError(errno.EMFILE, "Too many open files", name)
            return opened(name, flags, mode)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "open", fail)
            session = start_session("abc", handler=handler)
            session.event("completion")
            handler.flush()
            assert handler.stats()["pending"] == 1
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")[2:]
        assert [(line["event"], line["seq"]) for line in lines] == [
            ("session_start", 3),
            ("completion", 4),
            ("session_end", 5),
        ]
        assert lines[0]["data"]["resumed"] is True
        after = read_metadata(path)
        assert (after.start, after.resumed) == (before.start, 1)

    def test_long_garbage(self, handler, tmp_path):
        """
        A log that ends in very much garbage is taken up as well.
        """
        _left(tmp_path, None, _line("completion", 41) + b"\0\xff garbage " * 20_000)
        _run(handler)
        assert handler.stats()["dropped"] == {}


class TestCrashed:
    def test_says_so(self, handler, tmp_path):
        """
        A session whose processes are all dead has crashed: its log says so, with the last line's time, and it goes on.
        """
        start = "2026-01-08T12:00:00.000Z"
        metadata = Metadata(session="abc", state="running", start=start, owner="dead", pid=123, seq=7)
        directory = _left(tmp_path, metadata, _line("session_start", 1) + _line("completion", 9))
        _run(handler)
        lines = read_lines(directory / "session.log")[2:]
        assert [line["event"] for line in lines] == ["session_crashed", "session_start", "session_end"]
        assert [line["seq"] for line in lines] == [10, 11, 12]
        assert lines[0]["level"] == "error"
        assert lines[0]["data"] == {
            "pid": 123,
            "started": start,
            "last_line": "2026-01-08T12:34:56.789Z",
        }
        assert "session_crashed" in [line["event"] for line in read_lines(directory / "audit_system.log")]

    def test_after_a_line_of_another_process(self, handler, tmp_path):
        """
        Lines go on with the number of the owner's last one, not with that of a process which wrote the very last.
        """
        metadata = Metadata(session="abc", state="running", owner="dead", seq=1)
        log = _line("session_start", 1) + _line("completion", 500) + _line("completion", 3, pid=77) * 2000
        directory = _left(tmp_path, metadata, log)
        _run(handler)
        assert [line["seq"] for line in read_lines(directory / "session.log")[-3:]] == [501, 502, 503]

    @pytest.mark.parametrize("name", ["audit_user.log", "session.log.1"])
    def test_last_line_elsewhere(self, handler, tmp_path, name):
        """
        The owner's last line may be in an audit file only, or in a file that was just rotated.
        """
        metadata = Metadata(session="abc", state="running", owner="dead", seq=1)
        directory = _left(tmp_path, metadata, _line("completion", 3, pid=77))
        (directory / name).write_bytes(_line("initial_prompt", 40) + _line("initial_prompt", 41))
        _run(handler)
        assert read_lines(directory / "session.log")[1]["seq"] == 42

    def test_without_lines(self, handler, tmp_path):
        """
        Where no line was written before, there is no last one to name.
        """
        directory = _left(tmp_path, Metadata(session="abc", state="running", owner="dead"), b"")
        _run(handler)
        assert "last_line" not in read_lines(directory / "session.log")[0]["data"]

    def test_not_while_one_lives(self, handler, tmp_path):
        """
        A session that another process runs is neither begun nor ended here; lines here carry this process's number.
        """
        lease = Lease(str(tmp_path / ".leases"))
        metadata = Metadata(session="abc", state="running", owner="dead", writers={lease.take(): {"pid": 1}})
        directory = _left(tmp_path, metadata, _line("session_start", 1))
        session = start_session("abc", handler=handler)
        session.event("completion")
        session.end()
        handler.close()
        lease.give_back()
        assert _events(directory) == ["session_start", "completion"]
        assert read_lines(directory / "session.log")[1]["pid"] == os.getpid()
        assert read_metadata(str(directory / "metadata.json")).state == "running"

    def test_again_while_one_lives(self, handler, tmp_path):
        """
        A process that leaves a session which another one runs, and comes back, goes on with its own numbers.
        """
        lease = Lease(str(tmp_path / ".leases"))
        metadata = Metadata(session="abc", state="running", owner=lease.take(), writers={lease.name: {"pid": 1}})
        directory = _left(tmp_path, metadata, _line("session_start", 1) + _line("completion", 70))
        for _ in range(2):
            session = start_session("abc", handler=handler)
            session.event("completion")
            session.event("completion")
            session.end()
            handler.flush()
        lease.give_back()
        assert [line["seq"] for line in read_lines(directory / "session.log")[2:]] == [1, 2, 3, 4]


def test_child_of_a_parent_that_left(tmp_path):
    """
    A daemon goes on with the numbers of the parent's lines, those included that metadata does not know of yet.
    """
    program = """
import os, sys, warnings
from sessionlog_handlers import SessionHandler, start_session
warnings.simplefilter("ignore")
handler = SessionHandler(sys.argv[1], session_level="full")
session = start_session("abc")
session.flush()
for number in range(100):
    session.event("completion", number=number)
session.flush()
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    pass
session.event("completion")
session.end()
handler.close()
os._exit(0)
"""
    run_python(program, tmp_path)
    lines = read_lines(tmp_path / "abc" / "session.log")
    assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]
    assert lines[-1]["event"] == "session_end"


class TestEnded:
    def test_record_does_not_reopen(self, handler, tmp_path, capfd):
        """
        A session that was ended on purpose is not opened again by a record that names it, in a later process either.
        """
        run_python(
            "import sys; from sessionlog_handlers import *\n"
            "h = SessionHandler(sys.argv[1]); start_session('abc').end('done')",
            tmp_path,
            check=True,
        )
        before = (tmp_path / "abc" / "session.log").read_bytes()
        logger = logging.getLogger("test_record_does_not_reopen")
        logger.addHandler(handler)
        logger.warning("late", extra={"session_id": "abc"})
        logger.warning("later", extra={"session_id": "abc"})
        handler.flush()
        assert (tmp_path / "abc" / "session.log").read_bytes() == before
        assert handler.stats()["dropped"]["late"] == 2
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).reason == "done"
        assert "has ended" in capfd.readouterr().err

    def test_implicit_one_that_was_ended(self, handler, tmp_path):
        """
        A session that began by a record and that the app ended stays ended in a later process.
        """
        metadata = Metadata(session="abc", state="ended", implicit=True, final=True, reason="done")
        directory = _left(tmp_path, metadata, _line("session_start", 1))
        logger = logging.getLogger("test_implicit_one_that_was_ended")
        logger.addHandler(handler)
        logger.warning("late", extra={"session_id": "abc"})
        handler.flush()
        assert _events(directory) == ["session_start"]
        _run(handler)  # whoever starts it by name begins it again
        assert _events(directory) == ["session_start", "session_start", "session_end"]

    def test_implicit_one_is_reopened(self, tmp_path):
        """
        A session that began by a record and ended with its process goes on with the next record.
        """
        program = """
import logging, sys
from sessionlog_handlers import SessionHandler
logging.getLogger().addHandler(SessionHandler(sys.argv[1]))
logging.warning("hello", extra={"session_id": "abc"})
"""
        for _ in range(2):
            run_python(program, tmp_path, check=True)
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "log", "session_end"] * 2
        assert lines[0]["data"]["implicit"] is True
        assert lines[3]["data"]["resumed"] is True


class TestPlace:
    def test_name_taken_by_another_id(self, handler, tmp_path):
        """
        Where an id's place belongs to another id, as where case is folded, the second takes a name of its own.
        """
        directory = _left(tmp_path, Metadata(session="ABC", state="ended"), _line("completion", 1))
        before = (directory / "session.log").read_bytes()
        for _ in range(2):
            _run(handler)
        assert (directory / "session.log").read_bytes() == before
        other = tmp_path / directory_name("abc", distinct=True)
        assert _events(other) == ["session_start", "session_end"] * 2
        assert read_metadata(str(other / "metadata.json")).session == "abc"

    @pytest.mark.parametrize("session", ["../../etc", "/etc/passwd", "a\0b", "CON", "x" * 300, "\ud800", "😀"])
    def test_hostile_id(self, handler, tmp_path, session):
        """
        A hostile id has one directory below the root, which its metadata names it by; again and again the same.
        """
        for _ in range(2):
            _run(handler, session)
        (directory,) = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
        assert directory.parent == tmp_path
        assert read_metadata(str(directory / "metadata.json")).session == session
        lines = (directory / "session.log").read_bytes().splitlines()
        assert [json.loads(line)["session"] for line in lines] == [session] * 4

    @pytest.mark.parametrize("lock", ["to be had", "not to be had"])
    def test_single_file_touches_nothing_else(self, tmp_path, lock):
        """
        Where all sessions share one file, none has a place: what looks like a session's beside it is left alone.
        """
        before = {"metadata.json": b"{ broken", "all.log.gz": b"x", "all.log.1": b"y\n", "all.log.1.gz": b"y"}
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "abc").mkdir()
        (tmp_path / "abc" / "metadata.json").write_bytes(b"{ broken")
        if lock == "not to be had":
            (tmp_path / "all.log.lock").mkdir()
        handler = SessionHandler(tmp_path, single_file=str(tmp_path / "all.log"), linger=0)
        for _ in range(2):
            session = start_session("abc", handler=handler)
            session.set_level("full")
            session.end()
        handler.close()
        assert [line["event"] for line in read_lines(tmp_path / "all.log") if line["event"] != "log_degraded"] == [
            "session_start",
            "level_change",
            "session_end",
        ] * 2
        assert {name: (tmp_path / name).read_bytes() for name in before} == before
        assert {path.name for path in tmp_path.iterdir()} == {*before, "abc", "all.log", "all.log.lock"}
        assert [path.read_bytes() for path in (tmp_path / "abc").iterdir()] == [b"{ broken"]

    @pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
    def test_planted_link(self, handler, tmp_path, target, capfd):
        """
        A link planted in a session's place is not followed; it is told of, and what was logged is counted.
        """
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "abc").symlink_to(tmp_path / target)
        session = start_session("abc", handler=handler)
        session.event("completion")
        handler.flush()
        assert os.listdir(tmp_path / "elsewhere") == []
        assert not (tmp_path / "nowhere").exists()
        assert "abc: can't be written (a symbolic link, and a directory is needed)" in capfd.readouterr().err
        assert handler.stats()["pending"] == 1
        (tmp_path / "abc").unlink()
        session.end()
        handler.close()
        assert _events(tmp_path / "abc") == ["session_start", "completion", "session_end"]
