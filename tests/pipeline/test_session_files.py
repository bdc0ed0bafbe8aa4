from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

import pytest
from helpers import read_lines, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import metadata, session_record
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.metadata import read_metadata


def _lines(tmp_path: Path, name: str = "session.log") -> list[dict[str, object]]:
    return read_lines(tmp_path / "abc" / name)


def _all_lines(tmp_path: Path) -> list[dict[str, object]]:
    """The lines of a session's log and its old files, the oldest first."""
    paths = (tmp_path / "abc").glob("session.log*")
    ordered = sorted(paths, key=lambda path: -int(path.suffix[1:]) if path.suffix != ".log" else 1)
    return [line for path in ordered for line in read_lines(path)]


@pytest.fixture
def handler(tmp_path):
    """
    A handler that does not linger.
    """
    return SessionHandler(tmp_path, linger=0)


class TestLines:
    def test_numbered_in_order(self, handler, tmp_path):
        """
        Lines are numbered in the file's order, and an audit line has the number of its twin.
        """
        with start_session("abc", level="prompts") as session:
            for number in range(50):
                session.event("completion", number=number)
                session.event("initial_prompt", number=number)
        handler.close()
        log = _lines(tmp_path)
        assert [line["seq"] for line in log] == [*range(1, 103)]
        twins = {line["seq"]: line for line in log}
        for name, count in (("audit_user.log", 50), ("audit_system.log", 52)):
            audit = _lines(tmp_path, name)
            assert len(audit) == count
            assert all(twins[line["seq"]] == line for line in audit)

    def test_audit_line_without_a_twin(self, handler, tmp_path):
        """
        What the level leaves out of the log is in the audit file all the same, with a number of its own.
        """
        with start_session("abc", level="spawns") as session:
            session.event("initial_prompt", text="x")
        handler.close()
        assert [line["seq"] for line in _lines(tmp_path)] == [1, 3]
        assert [line["seq"] for line in _lines(tmp_path, "audit_user.log")] == [2]

    def test_counted_once(self, handler):
        """
        An entry in two files counts as one, and our own lines are not counted.
        """
        with start_session("abc") as session:
            session.error("broken")
        handler.close()
        assert handler.stats()["written"] == 1


class TestRotation:
    def test_is_told(self, tmp_path):
        """
        A rotation is a line in the new file and is counted in the metadata, with the sizes of the last ones.
        """
        handler = SessionHandler(tmp_path, max_bytes=1024, backup_count=100, linger=0)
        with start_session("abc") as session:
            for number in range(100):
                session.event("completion", number=number)
                handler.flush()
        handler.close()
        lines = _all_lines(tmp_path)
        told = [
            line["data"] for line in lines if line["event"] == "log_rotated" and line["data"]["file"] == "session.log"
        ]
        assert told
        assert {data["archive"] for data in told} == {"session.log.1"}
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        rotations = metadata.rotations["session.log"]
        assert rotations["count"] == len(list((tmp_path / "abc").glob("session.log.*")))
        assert len(rotations["sizes"]) <= session_record.ROTATION_SIZES
        assert [line["data"]["number"] for line in lines if line["event"] == "completion"] == [*range(100)]
        assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]
        assert lines[-1]["event"] == "session_end"

    def test_nothing_follows_the_end(self, tmp_path):
        """
        The last line is the session's end, also where that line itself starts a new file.
        """
        handler = SessionHandler(tmp_path, max_bytes=1024, backup_count=100, linger=0)
        for size in range(0, 900, 50):
            session = start_session("abc", metadata={"text": "x" * size})
            session.end(text="x" * (800 - size))
            handler.flush()
            last = read_lines(tmp_path / "abc" / "session.log")[-1]
            assert last["event"] == "session_end"
        handler.close()
        assert [line["event"] for line in _all_lines(tmp_path)][-1] == "session_end"


class TestTrouble:
    def test_directory_that_can_not_be_made(self, handler, tmp_path, capfd):
        """
        While the session's directory can't be made, its lines are kept and tried again, and the fault is told of once.
        """
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        for number in range(20):
            session.event("completion", number=number)
            handler.flush()
        assert handler.stats()["pending"] == 20
        assert capfd.readouterr().err.count("can't be written") == 1
        os.unlink(tmp_path / "abc")
        wait_until(lambda: handler.stats()["written"] == 20, 10)
        session.end()
        handler.close()
        assert [line["event"] for line in _lines(tmp_path)] == ["session_start", *["completion"] * 20, "session_end"]
        assert [line["data"]["number"] for line in _lines(tmp_path)[1:-1]] == [*range(20)]

    def test_metadata_that_can_not_be_written(self, handler, tmp_path, monkeypatch):
        """
        When the metadata of a new session can't be written, its lines are not lost, and the metadata follows.
        """
        replace = metadata.replace_file
        calls = []

        def failing(*args: object) -> None:
            calls.append(args)
            if len(calls) <= 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            replace(*args)

        monkeypatch.setattr(metadata, "replace_file", failing)
        session = start_session("abc")
        session.event("completion")
        wait_until(lambda: (tmp_path / "abc" / "metadata.json").exists())
        handler.flush()
        assert [line["event"] for line in _lines(tmp_path)] == ["session_start", "completion"]
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "running"
        assert handler.stats()["dropped"] == {}

    def test_one_file_of_three(self, handler, tmp_path):
        """
        A file that can't be opened does not keep the others from being written, and gets its lines once.
        """
        session = start_session("abc", level="prompts")
        handler.flush()
        os.mkdir(tmp_path / "abc" / "audit_user.log")
        for number in range(10):
            session.event("initial_prompt", number=number)
            handler.flush()
        wait_until(lambda: len([line for line in _lines(tmp_path) if line["event"] == "initial_prompt"]) == 10)
        os.rmdir(tmp_path / "abc" / "audit_user.log")
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)
        assert [line["data"]["number"] for line in _lines(tmp_path, "audit_user.log")] == [*range(10)]
        assert len([line for line in _lines(tmp_path) if line["event"] == "initial_prompt"]) == 10

    def test_one_bad_file_delays_no_other(self, handler, tmp_path, capfd):
        """
        While one file can't be written, each batch of the others is written at once, and the trouble is told once.
        """
        session = start_session("abc", level="prompts")
        handler.flush()
        os.mkdir(tmp_path / "abc" / "audit_user.log")
        for number in range(30):
            session.event("initial_prompt", number=number)
            handler.flush()
            # Tried again after 0.1 s, 0.2 s and so on, all of it would be up to 5 s late.
            assert _lines(tmp_path)[-1]["data"] == {"number": number}
        stats = handler.stats()
        assert (stats["written"], stats["pending"], stats["dropped"]) == (30, 0, {})
        assert capfd.readouterr().err.count("audit_user.log: can't be written") == 1
        os.rmdir(tmp_path / "abc" / "audit_user.log")
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)
        assert [line["data"]["number"] for line in _lines(tmp_path, "audit_user.log")] == [*range(30)]
        assert _lines(tmp_path)[-1]["event"] == "session_end"

    def test_bad_log_delays_no_audit(self, handler, tmp_path):
        """
        While the log can't be written, audit files are; what is kept for the log counts as pending until it is there.
        """
        session = start_session("abc", level="prompts")
        handler.flush()
        os.unlink(tmp_path / "abc" / "session.log")
        os.mkdir(tmp_path / "abc" / "session.log")
        for number in range(10):
            session.event("initial_prompt", number=number)
            handler.flush()
            assert _lines(tmp_path, "audit_user.log")[-1]["data"] == {"number": number}
        assert handler.stats()["pending"] == 10
        os.rmdir(tmp_path / "abc" / "session.log")
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)
        stats = handler.stats()
        assert (stats["accepted"], stats["written"], stats["pending"]) == (10, 10, 0)
        assert [line["data"].get("number") for line in _lines(tmp_path)] == [*range(10), None]

    def test_end_waits_for_all_files(self, handler, tmp_path):
        """
        A session ends only when all of its files are complete: until then it runs by its metadata, and no last line is
        said.
        """
        session = start_session("abc", level="prompts")
        handler.flush()
        os.mkdir(tmp_path / "abc" / "audit_user.log")
        session.event("initial_prompt", number=0)
        session.end()
        handler.flush()
        assert _lines(tmp_path)[-1]["event"] == "initial_prompt"
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "running"
        os.rmdir(tmp_path / "abc" / "audit_user.log")
        wait_until(lambda: not handler.stats()["sessions"], 10)
        assert _lines(tmp_path)[-1]["event"] == "session_end"
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "ended"

    def test_backlog_of_one_bad_file(self, tmp_path):
        """
        What is kept for one bad file is bounded, and costs the others nothing: all that is lost is its own lines.
        """
        handler = SessionHandler(tmp_path, linger=0, backlog=20_000)
        session = start_session("abc", level="prompts")
        handler.flush()
        os.mkdir(tmp_path / "abc" / "audit_user.log")
        for number in range(300):
            session.event("initial_prompt", number=number, text="x" * 100)
            if number % 10 == 0:
                handler.flush()
        handler.flush()
        stats = handler.stats()
        assert (stats["written"], stats["pending"], stats["dropped"]) == (300, 0, {})
        (files,) = handler.root.router._troubled
        assert 0 < files.held <= 20_000 + 10 * 300
        os.rmdir(tmp_path / "abc" / "audit_user.log")
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)
        kept = [line["data"]["number"] for line in _lines(tmp_path, "audit_user.log")]
        assert kept == sorted(set(kept))
        assert 50 < len(kept) < 200
        prompts = [line for line in _lines(tmp_path) if line["event"] == "initial_prompt"]
        assert [line["data"]["number"] for line in prompts] == [*range(300)]

    def test_many_rotations_in_a_batch(self, tmp_path):
        """
        However often one batch rotates the log, what comes after it is written, and `flush` says so only then.
        """
        handler = SessionHandler(tmp_path, max_bytes=4096, backup_count=400, overflow="wait", linger=0.2)
        session = start_session("abc")
        session.flush()
        for number in range(9000):
            session.event("completion", number=number)
        assert session.flush(30)
        for number in range(9000, 9003):
            session.event("completion", number=number)
        assert session.flush()
        assert handler.stats()["pending"] == 0
        assert [line["data"].get("number") for line in _lines(tmp_path)][-1] == 9002
        session.end()
        handler.close()

    def test_backlog_is_bounded_between_two_tries(self, tmp_path):
        """
        What comes in many batches while nothing can be written is bounded like what comes in one.
        """
        handler = SessionHandler(tmp_path, linger=0, backlog=20_000)
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        held = []
        for number in range(30):
            for _ in range(50):
                session.event("completion", number=number, text="x" * 100)
            handler.flush()
            held.append(handler.stats()["pending"])
        assert max(held) < 250
        os.unlink(tmp_path / "abc")
        session.end()
        handler.close()

    def test_bounded_backlog(self, tmp_path):
        """
        What is kept for later is bounded; what goes beyond it is counted, and told of in the session's log.
        """
        handler = SessionHandler(tmp_path, linger=0, backlog=20_000)
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        for number in range(1000):
            session.event("completion", number=number, text="x" * 100)
        handler.flush()
        stats = handler.stats()
        assert 0 < stats["pending"] < 250
        assert stats["pending"] + stats["dropped"]["write_error"] == 1000
        os.unlink(tmp_path / "abc")
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)
        lines = _lines(tmp_path)
        kept = [line["data"]["number"] for line in lines if line["event"] == "completion"]
        assert kept == [*range(len(kept))]  # the newest were given up
        told = sum(line["data"]["count"] for line in lines if line["event"] == "log_dropped")
        assert told + len(kept) == 1000

    def test_never_written(self, tmp_path, capfd):
        """
        What could not be written until the process's end is counted and told of.
        """
        handler = SessionHandler(tmp_path, linger=0)
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        session.event("completion")
        handler.root.finish("exit")
        assert handler.stats()["dropped"] == {"write_error": 1}
        assert handler.stats()["lines_lost"] == 2  # its start and its end
        assert handler.stats()["pending"] == 0
        assert "session 'abc' could not be written to its end; entries lost: 1," in capfd.readouterr().err

    def test_held_lock(self, handler, tmp_path, monkeypatch):
        """
        While another process sits on the lock, lines are appended without it, without rotation; that is counted, and
        told once until the lock is to be had again.
        """
        session = start_session("abc")
        handler.flush()
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(FileLock, "acquire", lambda self, timeout=0: False)
                for _ in range(2):
                    session.event("completion")
                    handler.flush()
            session.event("completion")
            handler.flush()
        assert handler.stats()["unlocked"] == 4
        once = ["completion", "completion", "log_degraded", "completion"]
        assert [line["event"] for line in _lines(tmp_path)[1:]] == once * 2
        told = [line["data"] for line in _lines(tmp_path) if line["event"] == "log_degraded"]
        assert told == [{"reason": "lock"}] * 2

    @pytest.mark.parametrize("made", [False, True], ids=["entries", "lines"])
    def test_lines_that_tell_of_losses_are_not_given_up(self, handler, tmp_path, made):
        """
        Where everything that waits has to be given up, what tells of earlier losses stays and is written later.
        """
        session = start_session("abc", level="full")
        assert session.flush()
        files = handler.root.router.files_of(session)
        rotated = {"file": "session.log", "archive": "session.log.1", "bytes": 1}
        files.say("log_rotated", rotated)
        files.say("log_dropped", {"reason": "write_error", "count": 7})
        files.say("log_rotated", rotated)
        if made:
            files.settle()
        assert files.trim(1 << 20) == 0
        assert handler.root.losses.lines == (5 if made else 2)  # made, also the three of the audit file
        handler.root.router.touch(files)
        session.event("completion")
        assert session.flush()
        lines = [line for line in _lines(tmp_path) if line["event"].startswith("log_")]
        assert [line["data"] for line in lines if line["data"]["reason"] == "write_error"] == [
            {"reason": "write_error", "count": 7}
        ]
        assert "log_rotated" not in [line["event"] for line in lines]


class TestEnd:
    def test_last_line(self, handler, tmp_path):
        """
        The last line says why, how long it took, and what the app wanted to say.
        """
        session = start_session("abc")
        time.sleep(0.02)
        session.end("user_request", code=3)
        handler.close()
        data = _lines(tmp_path)[-1]["data"]
        assert (data["reason"], data["code"]) == ("user_request", 3)
        assert 0.02 <= data["seconds"] < 5

    def test_sampling_is_told(self, tmp_path):
        """
        At its end a session says how much sampling left out.
        """
        handler = SessionHandler(tmp_path, linger=0, sampling={"output": 0.1})
        with start_session("abc", level="full") as session:
            for _ in range(100):
                session.output(b"x")
        handler.close()
        (told,) = [line["data"] for line in _lines(tmp_path) if line["event"] == "log_dropped"]
        assert told == {"reason": "sampling", "event": "output", "count": 90}

    def test_descriptors(self, handler, tmp_path):
        """
        A session that has ended holds no file open.
        """
        with start_session("abc") as session:
            session.error("broken")
            handler.flush()
            before = handler.stats()["open_files"]
        handler.flush()
        assert handler.stats()["open_files"] == before - 2

    def test_late_events(self, handler, tmp_path):
        """
        What comes after the end is refused and counted, and the log's last line stays its end.
        """
        session = start_session("abc")
        session.end()
        session.event("completion")
        logger = logging.getLogger("test_late_events")
        logger.addHandler(handler)
        logger.warning("late", extra={"session_id": "abc"})
        handler.close()
        assert handler.stats()["dropped"] == {"late": 2}
        assert _lines(tmp_path)[-1]["event"] == "session_end"

    def test_end_linger(self, tmp_path):
        """
        With ``end_linger``, late lines are let in for that long, before the last line.
        """
        handler = SessionHandler(tmp_path, linger=0, end_linger=0.1)
        session = start_session("abc")
        session.end("done")
        session.event("completion")
        wait_until(lambda: not handler.stats()["sessions"])
        session.event("completion")
        handler.close()
        assert [line["event"] for line in _lines(tmp_path)] == ["session_start", "completion", "session_end"]
        assert handler.stats()["dropped"] == {"late": 1}
