from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from helpers import read_lines

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.formats.encoding import freeze
from sessionlog_handlers.pipeline.metadata import MAX_HISTORY, Metadata, as_mapping, read_metadata, write_metadata

HOSTILE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\0" * 4096,
    b'{"session": 3, "writers": "x"}',
    b'{"session": "\xff"}',
    b'{"metadata": {"a": ' + b"[" * 100_000,
    b'{"session": "abc", "owner": "\\u0000", "state": "running"}',
    b'{"session": "abc", "owner": "../../etc", "state": "running", "writers": {"a/b": {}, "": {}}}',
    b'{"session": "abc", "state": "no such state", "seq": -5}',
    b'{"session": "abc", "state": "running", "rotations": {"session.log": {"count": "x", "sizes": 3}}}',
    b'{"session": "abc", "state": "running", "rotations": {"session.log": {"count": null, "sizes": {"a": 1}}}}',
    b'{"session": "abc", "seq": 123456789012345678901234567890}',
    b'{"session": "abc", "level_history": [{"at": null}], "files": ["../../etc/passwd"], "version": 99}',
]


class TestMetadata:
    def test_round_trip(self, tmp_path):
        """
        What is written is read again, all of it.
        """
        path = str(tmp_path / "metadata.json")
        metadata = Metadata(
            session="abc",
            start="2026-01-08T12:34:56.789Z",
            level="full",
            command=["bash", "-l"],
            metadata={"user": "ada", "n": 1},
            writers={"lease": {"pid": 1}},
            rotations={"session.log": {"count": 1, "sizes": [3]}},
        )
        write_metadata(path, metadata)
        assert read_metadata(path) == metadata
        assert list(json.loads(Path(path).read_bytes())) == list(as_mapping(metadata))

    def test_what_the_app_says_is_never_an_obstacle(self, tmp_path):
        """
        Metadata of the app that JSON lacks is written with stand-ins, and the file can be read.
        """
        path = str(tmp_path / "metadata.json")
        cycle: list[object] = []
        cycle.append(cycle)
        app = {"nan": float("nan"), "cycle": cycle, "object": object(), "surrogate": "\ud800", "big": 10**5000}
        write_metadata(path, Metadata(session="abc", metadata=freeze(app)))
        again = read_metadata(path)
        assert again is not None
        assert set(again.metadata) == set(app)

    def test_history_is_bounded(self, tmp_path):
        """
        Of very many level changes, the first and the newest are kept.
        """
        path = str(tmp_path / "metadata.json")
        write_metadata(
            path, Metadata(session="abc", level_history=[{"n": number} for number in range(MAX_HISTORY + 500)])
        )
        history = read_metadata(path).level_history
        assert len(history) == MAX_HISTORY
        assert [history[0], history[1], history[-1]] == [{"n": 0}, {"n": 501}, {"n": MAX_HISTORY + 499}]

    @pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[:60]))
    def test_hostile_content(self, tmp_path, content):
        """
        Whatever is in the file, a session goes on, rotates, ends, and leaves a whole file behind.
        """
        handler = SessionHandler(tmp_path, max_bytes=2000, linger=0)
        (tmp_path / "abc").mkdir()
        (tmp_path / "abc" / "metadata.json").write_bytes(content)
        session = start_session("abc", handler=handler)
        for number in range(30):
            session.event("completion", number=number, text="x" * 80)
        session.set_level("full")
        session.end()
        handler.close()
        stats = handler.stats()
        assert (stats["dropped"], stats["pending"], stats["sessions"]) == ({}, 0, 0)
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.session, metadata.state, metadata.reason) == ("abc", "ended", "end")
        assert metadata.rotations["session.log"]["count"] >= 1
        lines = [line for path in (tmp_path / "abc").glob("session.log*") for line in read_lines(path)]
        assert sorted(line["data"]["number"] for line in lines if line["event"] == "completion") == [*range(30)]
        assert sum(line["event"] == "session_end" for line in lines) == 1

    def test_recreated(self, tmp_path):
        """
        A file that somebody deleted is there again after the next write of it.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", handler=handler)
        handler.flush()
        os.unlink(tmp_path / "abc" / "metadata.json")
        session.set_level("full")
        handler.flush()
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.session, metadata.level) == ("abc", "full")

    def test_tells_the_story(self, tmp_path):
        """
        A session's start, level changes, counters and end are all there.
        """
        handler = SessionHandler(tmp_path, session_level="signals", linger=0)
        with start_session("abc", metadata={"user": "ada"}, command=["bash"], handler=handler) as session:
            logging.getLogger("nobody")
            session.set_level("full")
            session.set_level("warning")
            session.event("completion")
            handler.flush()
            running = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        handler.close()
        ended = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (running.state, running.end, list(running.writers)) == ("running", None, [running.owner])
        assert (running.level, running.severity) == ("full", "warning")
        assert [(change["from"], change["to"]) for change in ended.level_history] == [
            ("signals", "full"),
            ("full",) * 2,
        ]
        assert (ended.metadata, ended.command, ended.resumed) == ({"user": "ada"}, ["bash"], 0)
        assert (ended.state, ended.reason, ended.writers) == ("ended", "return", {})
        assert ended.files == ["abc/session.log", "abc/audit_user.log", "abc/audit_system.log"]
        assert ended.end >= ended.start
