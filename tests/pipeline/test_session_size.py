from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from helpers import read_lines

from sessionlog_handlers import SessionHandler, SessionLogWarning, start_session
from sessionlog_handlers.pipeline import session_size

KIB = 1024


def size(root: Path) -> int:
    """
    Bytes of a session's files, without its metadata and the lines that are our own.
    """
    paths = [path for path in (root / "abc").iterdir() if path.name != "metadata.json"]
    lines = [line for path in paths for line in path.read_text().splitlines(True)]
    return sum(len(line) for line in lines if "log_dropped" not in line and "log_rotated" not in line)


def dropped(handler: SessionHandler) -> int:
    """
    How many entries were too many.
    """
    return handler.stats()["dropped"].get("session_bytes", 0)


def lines(root: Path, name: str = "session.log*") -> list[dict]:
    """
    All lines of a log and its old files.
    """
    return [line for path in (root / "abc").glob(name) for line in read_lines(path)]


class TestLimit:
    @pytest.mark.parametrize("batch", [1, 10, 400])
    @pytest.mark.parametrize("rotation", [{}, {"max_bytes": "2 KB", "backup_count": 200}])
    def test_takes_no_more(self, tmp_path, batch, rotation):
        """
        From its size on, audit and old files counted, a session takes no more; what is lost is counted to the last
        entry, and its log says so.
        """
        handler = SessionHandler(
            tmp_path, linger=0, session_level="full", retention={"session_bytes": "20 KB"}, **rotation
        )
        with start_session("abc") as session:
            for number in range(400):
                session.event("state_change", number=number)
                if number % batch == batch - 1:
                    handler.flush()
        handler.close()
        stats = handler.stats()
        assert stats["accepted"] == 400 == stats["written"] + dropped(handler)
        assert dropped(handler) > 100
        assert size(tmp_path) < 32 * KIB
        assert sum(path.stat().st_size for path in (tmp_path / "abc").iterdir()) >= 20 * KIB
        events = Counter(line["event"] for line in lines(tmp_path))
        assert events["state_change"] == stats["written"]
        told = [line["data"] for line in lines(tmp_path) if line["event"] == "log_dropped"]
        assert {data["reason"] for data in told} == {"session_bytes"}
        assert sum(data["count"] for data in told) == dropped(handler)
        numbers = sorted(line["data"]["number"] for line in lines(tmp_path) if line["event"] == "state_change")
        assert numbers == [*range(len(numbers))]

    def test_what_still_comes_in(self, tmp_path):
        """
        Starts, ends, audited rare events and lines of our own are written all the same.
        """
        handler = SessionHandler(tmp_path, linger=0, session_level="full", retention={"session_bytes": 1})
        logger = logging.Logger("app")
        logger.addHandler(handler)
        with start_session("abc") as session:
            handler.flush()
            session.event("client_attached", who="ada")
            session.event("output", text="x")
            logger.error("left out")
            session.set_level("signals")
        handler.close()
        assert {line["event"] for line in lines(tmp_path)} == {
            "session_start",
            "client_attached",
            "level_change",
            "log_dropped",
            "session_end",
        }
        assert dropped(handler) == 2

    def test_of_a_session_that_goes_on(self, tmp_path):
        """
        A session that is begun again begins with the bytes that its files hold.
        """
        handler = SessionHandler(tmp_path, linger=0, session_level="full", retention={"session_bytes": "10 KB"})
        counts = []
        for _ in range(3):
            with start_session("abc") as session:
                for number in range(60):
                    session.event("resize", number=number)
            handler.close()
            counts.append(dropped(handler))
        assert 10 * KIB <= size(tmp_path) < 16 * KIB
        assert counts[0] == 0
        assert counts[2] - counts[1] == 60

    def test_room_after_a_compression(self, tmp_path, monkeypatch):
        """
        When old files have become smaller, the session takes more again.
        """
        monkeypatch.setattr(session_size, "LOOK_AGAIN", 0.0)
        handler = SessionHandler(tmp_path, linger=0, session_level="full", retention={"session_bytes": "10 KB"})
        with start_session("abc") as session:
            for _ in range(200):
                session.event("resize", number=1)
            handler.flush()
            before = dropped(handler)
            assert before
            (tmp_path / "abc" / "session.log").write_bytes(b"")
            session.event("resize", number=2)
            handler.flush()
            assert dropped(handler) == before
        handler.close()

    def test_what_others_write(self, tmp_path, monkeypatch):
        """
        What another process writes to the session counts too, soon after.
        """
        monkeypatch.setattr(session_size, "LOOK_AGAIN", 0.0)
        handler = SessionHandler(tmp_path, linger=0, session_level="full", retention={"session_bytes": "10 KB"})
        with start_session("abc") as session:
            session.event("resize", number=1)
            handler.flush()
            assert dropped(handler) == 0
            with open(tmp_path / "abc" / "session.log", "ab") as log:
                log.write(b"x" * 10 * KIB + b"\n")
            session.event("resize", number=2)
            handler.flush()
            assert dropped(handler) == 1
        handler.close()

    @pytest.mark.parametrize("options", [{}, {"retention": "7d"}])
    def test_off(self, tmp_path, options):
        """
        Without a limit nothing is measured.
        """
        handler = SessionHandler(tmp_path, linger=0, **options)
        with start_session("abc") as session:
            session.event("completion")
            handler.flush()
            assert handler.root.router.files_of(session)._size is None
        handler.close()

    def test_single_file(self, tmp_path):
        """
        One file for all sessions is no session's own, and has no such limit, which is said.
        """
        options = {"single_file": tmp_path / "all.log", "retention": {"session_bytes": 1}}
        with pytest.warns(SessionLogWarning, match="retention has no effect"):
            handler = SessionHandler(tmp_path, linger=0, **options)
        with start_session("abc") as session:
            session.event("completion")
        handler.close()
        assert handler.stats()["dropped"] == {}

    def test_newer_settings(self, tmp_path):
        """
        A limit that a newer handler brings is in force for sessions that are open.
        """
        handler = SessionHandler(tmp_path, linger=0, session_level="full")
        with start_session("abc") as session:
            session.event("resize", number=1)
            handler.flush()
            newer = SessionHandler(tmp_path, linger=0, session_level="full", retention={"session_bytes": 1})
            session.event("resize", number=2)
        newer.close()
        assert dropped(newer) == 1
