from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers import read_lines, run_python, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionlog_handlers import SessionHandler, read_session, start_session
from sessionlog_handlers.pipeline import claim, leftovers, recovery
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.metadata import read_metadata, write_metadata
from sessionlog_handlers.pipeline.recovery import (
    Twins,
    close_gaps,
    compare_twins,
    end_last_line,
    has_torn_end,
    missing_slots,
    put_behind,
    set_aside,
    settle_twins,
)

LINES = b"".join(b'{"n":%d}\n' % number for number in range(1000))
SESSION = """
import os, signal, sys
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], layout=sys.argv[2])
session = start_session("abc", metadata={"user": "ada"}, command=["bash", "-l"], level="prompts")
session.set_level("full")
session.event("completion", number=1)
session.flush()
if sys.argv[3] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
session.end(sys.argv[3])
"""


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def _line(event: str, seq: int, second: int = 0, **others: Any) -> bytes:
    line = {"ts": f"2026-01-08T12:34:{second:02d}.000Z", "level": "info", "session": "abc", "event": event}
    return json.dumps({**line, "data": {}, "seq": seq, **others}, separators=(",", ":")).encode() + b"\n"


class TestTwins:
    def test_same(self, tmp_path):
        """
        Of a file and its gzip, the plain one counts.
        """
        path = tmp_path / "a.log.1"
        path.write_bytes(LINES)
        path.with_name("a.log.1.gz").write_bytes(gzip.compress(LINES))
        assert settle_twins(str(path)) is Twins.SAME
        assert _names(tmp_path) == ["a.log.1"]

    @pytest.mark.parametrize("cut", [0, 5, 100, -1])
    def test_half_made(self, tmp_path, cut):
        """
        A gzip that was cut, wherever, is not needed beside its whole original.
        """
        path = tmp_path / "a.log.1"
        path.write_bytes(LINES)
        path.with_name("a.log.1.gz").write_bytes(gzip.compress(LINES)[:cut])
        assert settle_twins(str(path)) is Twins.SAME
        assert path.read_bytes() == LINES
        assert _names(tmp_path) == ["a.log.1"]

    @pytest.mark.parametrize("cut", [0, 5, 100, -1])
    def test_plain_one_is_cut(self, tmp_path, cut):
        """
        A whole gzip of which the plain file is only the beginning, as after a loss of power, takes its place.
        """
        path = tmp_path / "a.log.1"
        path.write_bytes(LINES[:cut])
        path.with_name("a.log.1.gz").write_bytes(gzip.compress(LINES))
        assert settle_twins(str(path)) is Twins.PLAIN_IS_CUT
        assert _names(tmp_path) == ["a.log.1.gz"]

    def test_each_has_what_the_other_lacks(self, tmp_path):
        """
        Where neither holds all that the other does, both are kept.
        """
        path = tmp_path / "a.log.1"
        for plain, packed in ((LINES, gzip.compress(b"other" + LINES)), (LINES[:9], gzip.compress(LINES)[:-4])):
            path.write_bytes(plain)
            path.with_name("a.log.1.gz").write_bytes(packed)
            assert settle_twins(str(path)) is Twins.DIFFERENT
            assert _names(tmp_path) == ["a.log.1", "a.log.1.gz"]

    def test_changed_since_they_were_compared(self, tmp_path, monkeypatch):
        """
        Where the lock is only taken after the comparison, what has changed since then is left alone.
        """
        path = tmp_path / "a.log.1"
        path.write_bytes(LINES)
        (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(LINES))
        lock = FileLock(str(tmp_path / "lock"), keep_open=False)

        def compare(name: str) -> Twins:
            found = compare_twins(name)
            path.write_bytes(LINES + LINES)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(recovery, "compare_twins", compare)
            assert settle_twins(str(path), lock) is None
        assert _names(tmp_path) == ["a.log.1", "a.log.1.gz", "lock"]
        assert settle_twins(str(path), lock) is Twins.SAME
        assert _names(tmp_path) == ["a.log.1", "lock"]


class TestLogs:
    def test_torn_end(self, tmp_path):
        """
        A torn last line is ended, once, and nothing of it is cut.
        """
        path = tmp_path / "a.log"
        path.write_bytes(b'{"n":1}\n{"n"')
        assert has_torn_end(str(path))
        for _ in range(2):
            end_last_line(str(path))
        assert path.read_bytes() == b'{"n":1}\n{"n"\n'
        path.write_bytes(b"")
        assert not has_torn_end(str(path))

    def test_gaps(self, tmp_path):
        """
        Gaps in the numbers are closed in the order of the files, plain or compressed, and none is deleted.
        """
        for slot in (2, 5, 9):
            (tmp_path / f"a.log.{slot}").write_text(str(slot))
        (tmp_path / "a.log.7.gz").write_text("7")
        assert missing_slots(str(tmp_path / "a.log")) == [1, 3, 4, 6, 8]
        close_gaps(str(tmp_path / "a.log"))
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            "a.log.1": "2",
            "a.log.2": "5",
            "a.log.3.gz": "7",
            "a.log.4": "9",
        }
        assert missing_slots(str(tmp_path / "a.log")) == []

    def test_put_behind(self, tmp_path):
        """
        A log becomes the youngest of its old files, however many there are.
        """
        for slot in range(1, 30):
            (tmp_path / f"a.log.{slot}").write_text(str(slot))
        (tmp_path / "a.log").write_text("0")
        put_behind(str(tmp_path / "a.log"))
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            f"a.log.{slot}": str(slot - 1) for slot in range(1, 31)
        }


class TestSetAside:
    def test_each_has_a_name_of_its_own(self, tmp_path):
        """
        What is set aside is as it was, for its owner alone, and never takes another's name.
        """
        path = tmp_path / "metadata.json"
        for number in range(3):
            path.write_text(f"broken {number}")
            path.chmod(0o644)
            set_aside(str(path))
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            "metadata.json.broken": "broken 0",
            "metadata.json.broken.1": "broken 1",
            "metadata.json.broken.2": "broken 2",
        }
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}

    def test_only_files(self, tmp_path):
        """
        What is no regular file is not renamed.
        """
        (tmp_path / "metadata.json").symlink_to("elsewhere")
        with pytest.raises(OSError, match="symbolic link"):
            set_aside(str(tmp_path / "metadata.json"))
        assert _names(tmp_path) == ["metadata.json"]


@pytest.fixture
def ended(tmp_path_factory) -> tuple[Path, bytes]:
    """
    A root with a session that has ended, and its metadata.
    """
    root = tmp_path_factory.mktemp("ended")
    handler = SessionHandler(root, linger=0)
    start_session("abc", handler=handler, metadata={"user": "ada"}).end("done")
    handler.close()
    return root, (root / "abc" / "metadata.json").read_bytes()


class TestOpen:
    def test_broken_metadata(self, ended):
        """
        Broken metadata is set aside as it is, and made anew from the lines: start, app metadata, numbers go on.
        """
        root, content = ended
        before = read_metadata(str(root / "abc" / "metadata.json"))
        (root / "abc" / "metadata.json").write_bytes(content[:100])
        handler = SessionHandler(root, linger=0)
        start_session("abc", handler=handler).end("again")
        handler.close()
        assert (root / "abc" / "metadata.json.broken").read_bytes() == content[:100]
        after = read_metadata(str(root / "abc" / "metadata.json"))
        assert (after.start, after.metadata, after.resumed) == (before.start, {"user": "ada"}, 1)
        lines = read_lines(root / "abc" / "session.log")
        assert [line["seq"] for line in lines] == [1, 2, 3, 4]
        assert [line["event"] for line in lines] == ["session_start", "session_end"] * 2

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(share=st.floats(0.0, 1.0))
    def test_metadata_cut_anywhere(self, ended, share):
        """
        Wherever the metadata is cut, the session goes on from its lines, and nothing is lost or raised.
        """
        root, content = ended
        path = root / "abc" / "metadata.json"
        lines = read_lines(root / "abc" / "session.log")
        start = read_metadata(str(path)).start
        path.write_bytes(content[: int(share * len(content))])
        handler = SessionHandler(root, linger=0)
        start_session("abc", handler=handler).end("again")
        handler.close()
        after = read_metadata(str(path))
        assert (after.state, after.start, after.metadata) == ("ended", start, {"user": "ada"})
        assert [line["seq"] for line in read_lines(root / "abc" / "session.log")] == [*range(1, len(lines) + 3)]
        path.write_bytes(content)

    @pytest.mark.parametrize("state", ["running", "crashed", "lost"])
    def test_crash_is_said_once(self, tmp_path, state):
        """
        A crash is said by the next start, once: also if the doctor found it out before, or the metadata was lost.
        """
        run_python(SESSION, tmp_path, "multiplexer", "killed")
        path = tmp_path / "abc" / "metadata.json"
        if state == "crashed":
            metadata = read_metadata(str(path))
            metadata.state = "crashed"
            write_metadata(str(path), metadata)
        elif state == "lost":
            path.unlink()
        for _ in range(2):
            run_python(SESSION, tmp_path, "multiplexer", "done", check=True)
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines].count("session_crashed") == 1
        assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]

    def test_lost_metadata_while_its_owner_lives(self, tmp_path):
        """
        Where the metadata of a running session was lost, a second process joins it: it is begun and ended once, numbers
        are given once, and the owner brings back what only it knows.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", handler=handler)
        session.set_level("full")
        handler.flush()
        path = tmp_path / "abc" / "metadata.json"
        before = read_metadata(str(path))
        path.unlink()
        run_python(SESSION, tmp_path, "multiplexer", "left", check=True)
        joined = read_metadata(str(path))
        assert (joined.state, list(joined.writers)) == ("running", [before.owner])
        session.set_level("prompts")
        handler.flush()
        after = read_metadata(str(path))
        assert (after.owner, after.state, list(after.writers)) == (before.owner, "running", [before.owner])
        assert [change["to"] for change in after.level_history] == ["full", "full", "prompts"]
        session.end("done")
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        own = [line for line in lines if "pid" not in line]
        assert [line["seq"] for line in own] == [*range(1, len(own) + 1)]
        assert [line["event"] for line in own] == ["session_start", "level_change", "level_change", "session_end"]
        assert "session_end" not in [line["event"] for line in lines if "pid" in line]
        assert (read_metadata(str(path)).state, read_metadata(str(path)).reason) == ("ended", "done")

    def test_lost_metadata_and_owner(self, tmp_path):
        """
        Where the metadata was lost and another process lives, nobody can tell of a crash, and none says so: the session
        runs, without an owner, until the next start that finds no such process.
        """
        run_python(SESSION, tmp_path, "multiplexer", "killed")
        (tmp_path / "abc" / "metadata.json").unlink()
        lease = Lease(str(tmp_path / ".leases"))
        lease.take()
        for _ in range(2):
            run_python(SESSION, tmp_path, "multiplexer", "left", check=True)
        assert not {"session_crashed", "session_end"} & {
            line["event"] for line in read_lines(tmp_path / "abc" / "session.log")
        }
        lease.give_back()
        run_python(SESSION, tmp_path, "multiplexer", "done", check=True)
        events = [line["event"] for line in read_lines(tmp_path / "abc" / "session.log")]
        assert [events.count(event) for event in ("session_start", "session_crashed", "session_end")] == [2, 1, 1]
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "ended"

    def test_leftovers_are_settled(self, ended, monkeypatch):
        """
        Copies that killed processes left are removed, and of a file and its gzip the one that is not needed.
        """
        root, _ = ended
        directory = root / "abc"
        (directory / "session.log.1").write_bytes(_line("completion", 1))
        (directory / "session.log.1.gz").write_bytes(gzip.compress(_line("completion", 1))[:-9])
        others = ["notes.txt", "notes.txt.gz", ".notes.txt.0123456789ab.tmp", ".session.log.tmp"]
        for name in (".metadata.json.0123456789ab.tmp", ".session.log.3.0123456789ab.tmp", *others):
            (directory / name).write_bytes(b"something")
        monkeypatch.setattr(leftovers, "ORPHAN_AGE", -1.0)
        handler = SessionHandler(root, linger=0)
        start_session("abc", handler=handler).end()
        handler.close()
        ours = ["audit_system.log", "metadata.json", "session.log", "session.log.1"]
        assert _names(directory) == sorted([*ours, *others])

    @pytest.mark.parametrize("size", ["plain", "unpacked"])
    def test_large_twins_keep_nobody_waiting(self, ended, monkeypatch, size):
        """
        A file and its gzip that take long to be compared, by their sizes or by what the gzip says it holds, are settled
        beside the listener.
        """
        root, _ = ended
        path, threads = root / "abc" / "session.log.1", []
        content = LINES * 100
        path.write_bytes(content if size == "plain" else b"")
        path.with_suffix(".1.gz").write_bytes(gzip.compress(content))

        def compare(name: str) -> Twins:
            threads.append(threading.current_thread().name)
            return compare_twins(name)

        monkeypatch.setattr(recovery, "compare_twins", compare)
        monkeypatch.setattr(claim, "UNPACK", len(content) - 1)
        handler = SessionHandler(root, linger=0)
        start_session("abc", handler=handler).end()
        handler.close()
        assert threads == ["sessionlog-keeper-slow"]
        assert path.exists() == (size == "plain")
        assert path.with_suffix(".1.gz").exists() == (size == "unpacked")

    def test_leftovers_of_a_session_that_never_began(self, tmp_path, monkeypatch):
        """
        What is left of a process that was killed before it had said anything is removed, too.
        """
        directory = tmp_path / "abc"
        directory.mkdir()
        (directory / ".metadata.json.0123456789ab.tmp").write_bytes(b"{")
        monkeypatch.setattr(leftovers, "ORPHAN_AGE", -1.0)
        handler = SessionHandler(tmp_path, linger=0)
        start_session("abc", handler=handler).end()
        handler.close()
        assert _names(directory) == ["audit_system.log", "metadata.json", "session.log"]

    def test_what_is_set_aside_goes_with_the_session(self, ended):
        """
        A session that is deleted at its end leaves no broken metadata behind.
        """
        root, content = ended
        (root / "abc" / "metadata.json").write_bytes(content[:100])
        handler = SessionHandler(root, linger=0, on_end="delete")
        start_session("abc", handler=handler).end()
        handler.close()
        assert not (root / "abc").exists()

    def test_compressed_session_without_metadata(self, tmp_path):
        """
        A session that was compressed at its end and then lost its metadata goes on without losing a line.
        """
        for _ in range(2):
            handler = SessionHandler(tmp_path, linger=0, on_end="compress")
            start_session("abc", handler=handler).end()
            wait_until((tmp_path / "abc" / "session.log.gz").exists)
            handler.close()
            (tmp_path / "abc" / "metadata.json").unlink()
        assert [line.seq for line in read_session("abc", directory=tmp_path)] == [1, 2, 3, 4]

    def test_place_of_another_whose_metadata_was_lost(self, tmp_path):
        """
        Where case is folded and the other session's metadata was lost, its lines say whose place it is.
        """
        (tmp_path / "abc").mkdir()
        (tmp_path / "abc" / "session.log").write_bytes(_line("completion", 1).replace(b'"abc"', b'"ABC"'))
        handler = SessionHandler(tmp_path, linger=0)
        start_session("abc", handler=handler).end()
        handler.close()
        assert len(read_lines(tmp_path / "abc" / "session.log")) == 1
        assert not (tmp_path / "abc" / "metadata.json").exists()

    def test_fresh_session_looks_for_nothing(self, tmp_path, monkeypatch):
        """
        A session whose directory was just made is begun without a look at what may be there.
        """
        handler = SessionHandler(tmp_path, linger=0)
        start_session("first", handler=handler).end()
        handler.flush()
        looked = []
        scandir, listdir = os.scandir, os.listdir
        monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
        monkeypatch.setattr(os, "listdir", lambda path: looked.append(path) or listdir(path))
        start_session("second", handler=handler).end()
        handler.close()
        assert looked == []


class TestWithoutTheLock:
    def test_nothing_is_settled(self, ended):
        """
        While the lock is not to be had nothing is removed, moved or replaced, for another process may be at it; with
        the lock it is settled, and every line is read in its order.
        """
        root, _ = ended
        directory = root / "abc"
        (directory / "session.log.1").write_bytes(_line("completion", 1))
        (directory / "session.log.1.gz").write_bytes(gzip.compress(_line("completion", 1)))
        log = (directory / "session.log").read_bytes()
        (directory / "session.log").unlink()
        (directory / "session.log.gz").write_bytes(gzip.compress(log))
        (directory / "metadata.json").write_text("{ broken")
        before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "audit_system.log"}
        shutil.rmtree(root / ".locks")
        (root / ".locks").write_text("in the way")
        handler = SessionHandler(root, linger=0)
        session = start_session("abc", handler=handler, level="full")
        session.event("completion", number=1)
        handler.flush()
        assert handler.stats()["unlocked"] > 0
        assert {name: (directory / name).read_bytes() for name in before} == before
        (root / ".locks").unlink()
        session.event("completion", number=2)
        session.end()
        handler.close()
        names = ["metadata.json", "metadata.json.broken", "session.log", "session.log.1.gz", "session.log.2"]
        assert _names(directory) == ["audit_system.log", *names]
        assert (directory / "metadata.json.broken").read_bytes() == before["metadata.json"]
        assert read_metadata(str(directory / "metadata.json")).state == "ended"
        events = [line.event for line in read_session("abc", directory=root)]
        assert [event for event in events if event != "log_degraded"] == [
            "completion",
            "session_start",
            "session_end",
            "session_start",
            "completion",
            "completion",
            "session_end",
        ]


class TestDeletedMetadata:
    def test_broken_while_it_runs(self, ended):
        """
        Metadata that somebody breaks while the session runs is kept as it is when it is written again.
        """
        root, _ = ended
        handler = SessionHandler(root, linger=0)
        session = start_session("abc", handler=handler)
        handler.flush()
        (root / "abc" / "metadata.json").write_text("{ by hand")
        session.set_level("full")
        handler.flush()
        assert (root / "abc" / "metadata.json.broken").read_text() == "{ by hand"
        assert read_metadata(str(root / "abc" / "metadata.json")).level == "full"
        session.end()
        handler.close()

    def test_keeps_what_only_the_file_knew(self, tmp_path):
        """
        Metadata that somebody deletes while the session runs comes back with history, rotations, other writers, start.
        """
        first = SessionHandler(tmp_path, linger=0)
        start_session("abc", handler=first, metadata={"user": "ada"}).end()
        first.close()
        handler = SessionHandler(tmp_path, linger=0, max_bytes=2000)
        lease = Lease(str(tmp_path / ".leases"))
        session = start_session("abc", handler=handler)
        session.set_level("full")
        handler.flush()
        path = str(tmp_path / "abc" / "metadata.json")
        joined = read_metadata(path)
        joined.writers[lease.take()] = {"pid": 1}
        write_metadata(path, joined)
        for number in range(30):
            session.event("completion", number=number, text="x" * 80)
        handler.flush()
        before = read_metadata(path)
        assert before.rotations["session.log"]["count"] >= 1
        os.unlink(path)
        session.set_level("prompts")
        handler.flush()
        after = read_metadata(path)
        session.end()
        handler.close()
        lease.give_back()
        assert (after.start, after.metadata, after.resumed) == (before.start, {"user": "ada"}, 1)
        assert after.level_history == [*before.level_history, after.level_history[-1]]
        assert (after.rotations, sorted(after.writers)) == (before.rotations, sorted(before.writers))
        assert (after.config, after.files) == (before.config, before.files)

    def test_deleted_directory(self, tmp_path):
        """
        With the whole directory gone, log and metadata are there again with the next record.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", handler=handler)
        session.set_level("full")
        handler.flush()
        shutil.rmtree(tmp_path / "abc")
        session.event("completion")
        handler.flush()
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.state, len(metadata.level_history)) == ("running", 1)
        session.end()
        handler.close()


def test_modes_are_told(tmp_path):
    """
    Metadata tells which permissions the handler was told to give.
    """
    handler = SessionHandler(tmp_path, linger=0, file_mode="0640")
    start_session("abc", handler=handler).end()
    handler.close()
    config = read_metadata(str(tmp_path / "abc" / "metadata.json")).config
    assert (config["file_mode"], config["directory_mode"]) == ("0640", "0700")
