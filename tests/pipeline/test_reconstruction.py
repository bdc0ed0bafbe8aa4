from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from helpers import run_python

from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.registry import get_format
from sessionlog_handlers.pipeline.log_ends import newest_first
from sessionlog_handlers.pipeline.metadata import read_metadata
from sessionlog_handlers.pipeline.reconstruction import LogFile, rebuild

MIB = 1024 * 1024  # bytes
LAYOUTS = ["multiplexer", "fugue", "recorder", "terminal"]
SESSION = """
import sys
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], layout=sys.argv[2])
session = start_session("abc", metadata={"user": "ada"}, command=["bash", "-l"], level="prompts")
session.event("completion", number=1)
session.end(sys.argv[3])
"""


def _line(event: str, seq: int, second: int = 0, **others: Any) -> bytes:
    line = {"ts": f"2026-01-08T12:34:{second:02d}.000Z", "level": "info", "session": "abc", "event": event}
    return json.dumps({**line, "data": {}, "seq": seq, **others}, separators=(",", ":")).encode() + b"\n"


def _logs(directory: Path, *names: str) -> list[LogFile]:
    return [LogFile(str(directory / name), f"abc/{name}", get_format("jsonl")) for name in names]


class TestRebuild:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_tells_what_the_lines_tell(self, tmp_path, layout):
        """
        In every layout, metadata made anew from the lines says what the lost one said of start, end, app and numbers.
        """
        run_python(SESSION, tmp_path, layout, "done", check=True)
        (path,) = tmp_path.glob("**/*metadata.json")
        before = read_metadata(str(path))
        path.unlink()
        run_python(SESSION, tmp_path, layout, "again", check=True)
        after = read_metadata(str(path))
        seconds = 19 if layout == "recorder" else 23  # which stores whole seconds
        assert after.start[:seconds] == before.start[:seconds]
        assert (after.session, after.state, after.reason, after.resumed) == ("abc", "ended", "again", 1)
        assert (after.metadata, after.files, after.config) == (before.metadata, before.files, before.config)
        assert after.command == ["bash", "-l"]
        if layout in ("multiplexer", "terminal"):  # the others number nothing
            assert after.seq == 2 * before.seq

    def test_owner_that_ended_before_others(self, tmp_path):
        """
        A session has ended if the process that began it has said so, whoever wrote after that.
        """
        (tmp_path / "session.log").write_bytes(
            _line("session_start", 1)
            + _line("session_end", 2, 10, data={"reason": "done"})
            + _line("log", 1, 20, pid=7)
        )
        metadata = rebuild("abc", _logs(tmp_path, "session.log"))
        assert (metadata.state, metadata.reason, metadata.end) == ("ended", "done", "2026-01-08T12:34:10.000Z")

    def test_crashed(self, tmp_path):
        """
        Without an end it has crashed, at the time of its last line, in whichever file that is.
        """
        (tmp_path / "session.log.1").write_bytes(_line("session_start", 1, data={"implicit": True}))
        (tmp_path / "session.log").write_bytes(_line("completion", 2, 5) + b'{"ts":')
        (tmp_path / "audit_user.log").write_bytes(_line("input", 3, 7))
        metadata = rebuild("abc", _logs(tmp_path, "session.log", "audit_user.log"))
        assert (metadata.state, metadata.end, metadata.seq) == ("crashed", "2026-01-08T12:34:07.000Z", 3)
        assert (metadata.start, metadata.implicit) == ("2026-01-08T12:34:00.000Z", True)

    def test_compressed_beginning(self, tmp_path):
        """
        The first line may be in a compressed file, also in one that was cut.
        """
        packed = gzip.compress(_line("session_start", 1) + os.urandom(5000))
        (tmp_path / "session.log.2.gz").write_bytes(packed[:1000])
        (tmp_path / "session.log").write_bytes(_line("completion", 9, 9))
        assert rebuild("abc", _logs(tmp_path, "session.log")).start == "2026-01-08T12:34:00.000Z"

    def test_compressed_end_that_is_too_large(self, tmp_path):
        """
        Where less is to be unpacked than a compressed log holds, its end is not looked at; it has ended all the same.
        """
        log = _line("session_start", 1) + _line("log", 2, 2) * 1000 + _line("session_end", 1002, 10)
        (tmp_path / "session.log.gz").write_bytes(gzip.compress(log))
        whole, most = (rebuild("abc", _logs(tmp_path, "session.log"), unpack) for unpack in (None, len(log)))
        assert (whole.state, whole.end, whole.seq) == ("ended", "2026-01-08T12:34:10.000Z", 1002)
        assert most == whole
        less = rebuild("abc", _logs(tmp_path, "session.log"), len(log) - 1)
        assert (less.state, less.end, less.seq, less.start) == ("ended", None, 0, whole.start)

    def test_nothing_to_tell(self, tmp_path):
        """
        Without lines there is nothing to make it of.
        """
        (tmp_path / "session.log").write_bytes(b"garbage\n" * 10)
        assert rebuild("abc", _logs(tmp_path, "session.log", "audit_user.log")) is None


class TestCompressedEnd:
    def test_stops_at_the_gzips_end(self, tmp_path):
        """
        What follows a gzip in its file is not read.
        """
        path = tmp_path / "session.log.1.gz"
        path.write_bytes(gzip.compress(_line("log", 7)))
        os.truncate(path, 16 * MIB)
        lines, peak = _traced(str(path))
        assert [line.seq for line in lines] == [7]
        assert peak < 8 * MIB

    def test_unpacks_piece_by_piece(self, tmp_path):
        """
        A gzip of very much that says nothing takes little memory.
        """
        path = tmp_path / "session.log.1.gz"
        path.write_bytes(gzip.compress(bytes(64 * MIB) + b"\n" + _line("log", 7)))
        lines, peak = _traced(str(path))
        assert lines[0].seq == 7
        assert peak < 16 * MIB


def _traced(path: str) -> tuple[list[Line], int]:
    """The lines at a file's end, and how many bytes were held at once to get them."""
    tracemalloc.start()
    try:
        return list(newest_first(path, get_format("jsonl"))), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
