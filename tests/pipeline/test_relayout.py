"""
Open sessions under a configuration that gives them another layout.
"""

from __future__ import annotations

import itertools
import json
import os

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, read_session, start_session
from sessionlog_handlers.care.doctor import examine
from sessionlog_handlers.pipeline.metadata import read_metadata
from sessionlog_handlers.reading.sessions import list_sessions
from sessionlog_handlers.settings.layouts import LAYOUTS


class TestChange:
    @pytest.mark.parametrize(("first", "second"), [*itertools.permutations(LAYOUTS, 2)])
    def test_nothing_is_lost_from_sight(self, tmp_path, first, second):
        """
        Whatever the layouts, there is one session, whose log is that of the new layout, and every line of it is found.
        """
        SessionHandler(tmp_path, layout=first, linger=0)
        session = start_session("abc", level="full")
        session.event("error", x="one")
        session.flush()
        handler = SessionHandler(tmp_path, layout=second, linger=0)
        session.event("error", x="two")
        session.end("done")
        handler.close()
        (info,) = list_sessions([tmp_path])
        assert (info.id, info.state, info.reason) == ("abc", "ended", "done")
        assert info.log == session.log_path
        assert info.metadata.config["layout"] == second
        assert {"one", "two"} <= {line.data.get("x") for path in info.files for line in lines_of(path, tmp_path)}
        assert handler.stats()["dropped"] == {}
        assert [found for checkup in examine([tmp_path]) for found in checkup.findings] == []

    def test_another_format_starts_a_new_file(self, tmp_path):
        """
        A file whose format changes becomes an old file, so that no file has lines of two formats.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        handler = SessionHandler(tmp_path, layout="recorder", linger=0)
        session.event("error", x="two")
        session.flush()
        assert [line["event"] for line in read_lines(tmp_path / "abc" / "session.log.1")] == ["session_start"]
        assert not any(line.startswith("{") for line in (tmp_path / "abc" / "session.log").read_text().splitlines())
        assert [line.event for line in read_session("abc", directory=tmp_path)] == [
            "session_start",
            "log_rotated",
            "error",
        ]
        assert handler.stats()["rotations"] == 1

    def test_there_and_back(self, tmp_path):
        """
        A file that the new layout shares with the one before goes on, and one that had another format meanwhile too.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        layouts = ["multiplexer", "fugue", "multiplexer", "recorder", "multiplexer"]
        for number, layout in enumerate(layouts):
            handler = SessionHandler(tmp_path, layout=layout, linger=0)
            session.event("error", x=number)
            session.flush()
        session.end()
        handler.close()
        (info,) = list_sessions([tmp_path])
        lines = [line for path in info.files for line in lines_of(path, tmp_path)]
        events = [str(line.data["x"]) for line in lines if line.event == "error"]
        assert sorted({*events}) == ["0", "1", "2", "3", "4"]
        assert [found for checkup in examine([tmp_path]) for found in checkup.findings] == []

    def test_what_an_earlier_session_left(self, tmp_path):
        """
        Files that an earlier session of that id left in the new place stay the session's.
        """
        earlier = SessionHandler(tmp_path, layout="recorder", linger=0)
        start_session("abc").end()
        earlier.close()
        os.rename(tmp_path / "abc" / ".metadata.json", tmp_path / "kept")
        os.rename(tmp_path / "abc" / "session.log", tmp_path / "abc" / "older.log")
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        known = json.loads((tmp_path / "kept").read_text())
        (tmp_path / "abc" / ".metadata.json").write_text(json.dumps({**known, "files": ["abc/older.log"]}))
        handler = SessionHandler(tmp_path, layout="recorder", linger=0)
        handler.flush()
        (info,) = list_sessions([tmp_path])
        assert info.state == "running"
        assert {path.name for path in info.files} >= {"session.log", "older.log"}
        session.end()

    def test_move_that_fails_is_tried_again(self, tmp_path, capfd):
        """
        While the metadata can't be moved, the lines are kept, and all is written once it can.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        (tmp_path / ".sessions").write_text("in the way")
        handler = SessionHandler(tmp_path, layout="terminal", linger=0)
        session.event("error", x="two")
        assert not session.flush(0.2)
        (tmp_path / ".sessions").unlink()
        assert wait_until(session.flush)
        session.end()
        handler.close()
        (info,) = list_sessions([tmp_path])
        assert info.log == tmp_path / "abc.jsonl"
        assert info.state == "ended"
        assert "two" in (tmp_path / ".sessions" / "abc" / "session.log").read_text()
        assert handler.stats()["dropped"] == {}
        assert "can't be written" in capfd.readouterr().err

    @pytest.mark.parametrize("on_end", ["compress", "delete"])
    def test_end_takes_the_old_files_along(self, tmp_path, on_end):
        """
        What becomes of a session's files at its end becomes of those of its first layout, too.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        handler = SessionHandler(tmp_path, layout="fugue", linger=0, on_end=on_end)
        session.end()
        handler.close()
        if on_end == "delete":
            wait_until(lambda: not (tmp_path / "abc").exists())
        else:
            wait_until(lambda: (tmp_path / "abc" / "session.log.gz").exists())
            assert not (tmp_path / "abc" / "session.log").exists()

    def test_of_two_processes(self, tmp_path):
        """
        Of a session that two processes write, the first to come to the new layout moves it, and the other one follows.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        other = """if True:
            import sys
            from sessionlog_handlers import SessionHandler, start_session
            SessionHandler(sys.argv[1], linger=0)
            session = start_session("abc")
            session.event("error", x="other")
            assert session.flush()
            SessionHandler(sys.argv[1], linger=0, layout="recorder")
            session.event("error", x="other again")
            assert session.flush()
        """
        done = run_python(other, str(tmp_path))
        assert done.stderr == ""
        session.event("error", x="still in the old one")
        session.flush()
        handler = SessionHandler(tmp_path, linger=0, layout="recorder")
        session.event("error", x="new")
        session.end("done")
        handler.close()
        assert not (tmp_path / "abc" / "metadata.json").exists()
        assert not (tmp_path / "abc" / "session.log.2").exists()
        metadata = read_metadata(str(tmp_path / "abc" / ".metadata.json"))
        assert (metadata.state, metadata.reason) == ("ended", "done")


class TestKeptLines:
    @pytest.mark.parametrize(
        "settings", [{"files": {"session.log": "level"}}, {"layout": "fugue"}, {"layout": "recorder"}]
    )
    def test_are_counted_as_lost(self, tmp_path, capfd, settings):
        """
        What is kept for a file that can't be written is lost with its layout, counted, and troubles no other file.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        (tmp_path / "abc" / "audit_user.log").mkdir()
        (tmp_path / "abc" / "audit_system.log").unlink()
        (tmp_path / "abc" / "audit_system.log").mkdir()
        session.event("client_attached")
        assert not session.flush(0.2)
        handler = SessionHandler(tmp_path, linger=0, **settings)
        session.event("error", x="after")
        assert session.flush()
        stats = handler.stats()
        assert stats["pending"] == 0
        assert stats["accepted"] == stats["written"] + sum(stats["dropped"].values())
        assert sum(stats["dropped"].values()) + stats["lines_lost"] >= 1
        assert "after" in session.log_path.read_text()
        session.end()
        assert handler.stats()["last_error"].startswith(str(tmp_path / "abc"))
        capfd.readouterr()

    def test_are_written_where_that_can_be_done(self, tmp_path, capfd):
        """
        A file that can be written again by then gets its lines.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.flush()
        path = tmp_path / "abc" / "audit_user.log"
        path.mkdir()
        session.event("client_attached")
        for _ in range(4):
            assert not session.flush(0.2)
        path.rmdir()
        handler = SessionHandler(tmp_path, linger=0, layout="fugue")
        assert session.flush()
        assert [line["event"] for line in read_lines(path)] == ["client_attached"]
        assert handler.stats()["dropped"] == {}
        session.end()
        capfd.readouterr()


def lines_of(path, directory):
    """The lines of a file of the session *abc*, with its old files."""
    return read_session("abc", directory=directory, file=os.path.relpath(path, directory))
