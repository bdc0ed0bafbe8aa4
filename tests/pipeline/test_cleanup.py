from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline.cleanup import clean_up, compress_slots, is_over, slot_names
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata, write_metadata
from sessionlog_handlers.settings.layouts import FileSpec
from sessionlog_handlers.settings.model import Settings


@pytest.fixture
def lock(tmp_path):
    """
    The lock of the session's files.
    """
    made = FileLock(str(tmp_path / "lock"))
    yield made
    made.close()


@pytest.fixture
def paths(tmp_path):
    """
    A session that has ended, with old files, one of them compressed.
    """
    paths = SessionPaths(str(tmp_path), Settings().layout, "abc")
    (tmp_path / "abc").mkdir()
    for index in range(3):
        Path(paths.file(index)).write_bytes(b"line\n")
    Path(paths.log + ".1").write_bytes(b"older\n")
    Path(paths.log + ".2.gz").write_bytes(gzip.compress(b"oldest\n"))
    write_metadata(paths.metadata, Metadata(session="abc", state="ended"))
    return paths


def _names(paths: SessionPaths) -> list[str]:
    return sorted(os.listdir(paths.directory)) if os.path.isdir(paths.directory) else []


class TestIsOver:
    @pytest.mark.parametrize(
        ("metadata", "over"),
        [
            (Metadata(session="abc", state="ended"), True),
            (Metadata(session="abc", state="running"), False),
            (Metadata(session="abc", state="crashed"), False),
            (Metadata(session="abc", state="ended", writers={"dead": {"pid": 1}, "../x": {}}), True),
        ],
    )
    def test_by_metadata(self, paths, metadata, over):
        """
        A session is over when it has ended and nobody writes it any more.
        """
        write_metadata(paths.metadata, metadata)
        assert is_over(paths) is over

    def test_while_one_writes(self, paths, tmp_path):
        """
        A session that has ended is not over while a process still writes to it; one that was killed does not count.
        """
        lease = Lease(str(tmp_path / ".leases"))
        write_metadata(paths.metadata, Metadata(session="abc", state="ended", writers={"dead": {}, lease.take(): {}}))
        assert not is_over(paths)
        lease.forget()  # as the system does when a process is killed
        assert is_over(paths)

    def test_without_metadata(self, paths):
        """
        A session of which nothing is known is not over.
        """
        os.unlink(paths.metadata)
        assert not is_over(paths)


class TestCleanUp:
    def test_keep(self, paths, lock):
        """
        By default nothing is touched.
        """
        before = _names(paths)
        clean_up(paths, lock, Settings())
        assert _names(paths) == before

    def test_compress(self, paths, lock):
        """
        Every file of the session is compressed, metadata excepted.
        """
        clean_up(paths, lock, Settings(on_end="compress"))
        assert _names(paths) == [
            "audit_system.log.gz",
            "audit_user.log.gz",
            "metadata.json",
            "session.log.1.gz",
            "session.log.2.gz",
            "session.log.gz",
        ]

    def test_log_of_before_is_not_replaced(self, paths, lock):
        """
        A compressed log of before, which nobody could move out of the way, is not replaced by the new one's gzip.
        """
        before = gzip.compress(b"before\n")
        Path(paths.log + ".gz").write_bytes(before)
        clean_up(paths, lock, Settings(on_end="compress"))
        assert Path(paths.log + ".gz").read_bytes() == before
        assert Path(paths.log).read_bytes() == b"line\n"

    def test_delete(self, paths, lock):
        """
        All files of the session and its directory are deleted.
        """
        clean_up(paths, lock, Settings(on_end="delete"))
        assert _names(paths) == []
        assert not os.path.exists(paths.directory)

    def test_delete_leaves_what_is_not_ours(self, paths, lock):
        """
        A file that the app put into the directory stays, and the directory with it.
        """
        (Path(paths.directory) / "recording.wav").write_bytes(b"x")
        clean_up(paths, lock, Settings(on_end="delete"))
        assert _names(paths) == ["recording.wav"]

    def test_delete_nested(self, tmp_path, lock):
        """
        Directories within each other go as well, whatever the order in which the layout names them.
        """
        files = [
            FileSpec("{id}/" + name, "jsonl", "level") for name in ("session.log", "audit/b.log", "audit/user/a.log")
        ]
        paths = SessionPaths(str(tmp_path), dataclasses.replace(Settings().layout, files=tuple(files)), "abc")
        for directory in paths.directories():
            os.makedirs(directory, exist_ok=True)
        for path in paths.files():
            Path(path).write_bytes(b"line\n")
        write_metadata(paths.metadata, Metadata(session="abc", state="ended"))
        clean_up(paths, lock, Settings(on_end="delete"))
        assert not os.path.exists(paths.directory)

    def test_delete_leftovers(self, paths, lock):
        """
        What a killed process left of a file in the making goes with the session; what only looks alike stays.
        """
        directory = Path(paths.directory)
        for name in ("session.log.2", "session.log", "metadata.json", "audit_user.log.1"):
            (directory / f".{name}.0123456789ab.tmp").write_bytes(b"x")
        others = [".other.log.0123456789ab.tmp", ".session.log.tmp", ".session.log.1.x.tmp", "session.log.bak"]
        for name in others:
            (directory / name).write_bytes(b"x")
        clean_up(paths, lock, Settings(on_end="delete"))
        assert _names(paths) == sorted(others)

    @pytest.mark.parametrize("on_end", ["compress", "delete"])
    def test_not_a_session_that_goes_on(self, paths, lock, on_end):
        """
        The files of a session that was started again in the meantime stay.
        """
        write_metadata(paths.metadata, Metadata(session="abc", state="running", writers={"lease": {}}))
        clean_up(paths, lock, Settings(on_end=on_end))
        assert {"session.log", "audit_user.log", "audit_system.log", "metadata.json"} <= set(_names(paths))


def test_compress_slots(paths, lock):
    """
    Old files that are plain are compressed; the log itself is not.
    """
    compress_slots(paths.log, lock, Settings())
    assert {"session.log", "session.log.1.gz", "session.log.2.gz"} < set(_names(paths))
    assert slot_names("x", 2) == ["x.1", "x.2"]


def test_old_files_of_a_handler(tmp_path):
    """
    With ``compress: gzip``, every full file of a running session is compressed, and no line is lost or doubled.
    """
    handler = SessionHandler(tmp_path, max_bytes=4000, backup_count=50, compress="gzip", linger=0)
    session = start_session("abc", handler=handler)
    for number in range(300):
        session.event("completion", number=number)
        if number % 20 == 0:
            handler.flush()
    handler.flush()
    wait_until(lambda: not [name for name in (tmp_path / "abc").glob("*.log.*") if name.suffix != ".gz"])
    handler.close()
    lines = [line for path in (tmp_path / "abc").glob("session.log*") for line in read_lines(path)]
    assert sorted(line["data"]["number"] for line in lines if line["event"] == "completion") == [*range(300)]
    assert handler.stats()["rotations"] > 5


def test_session_that_goes_on_after_compression(tmp_path):
    """
    A session that was compressed at its end and is started again keeps its old lines as an old file.
    """
    handler = SessionHandler(tmp_path, on_end="compress", linger=0)
    for number in range(3):
        start_session("abc", handler=handler).end(f"end {number}")
        handler.close()
    names = sorted(path.name for path in (tmp_path / "abc").glob("session.log*"))
    assert names == ["session.log.1.gz", "session.log.2.gz", "session.log.gz"]
    lines = [line for name in sorted(names[:2], reverse=True) for line in read_lines(tmp_path / "abc" / name)]
    lines += read_lines(tmp_path / "abc" / "session.log.gz")
    assert [line["data"]["reason"] for line in lines if line["event"] == "session_end"] == ["end 0", "end 1", "end 2"]
    assert [line["seq"] for line in lines if line["event"] in ("session_start", "session_end")] == sorted(
        line["seq"] for line in lines if line["event"] in ("session_start", "session_end")
    )


def test_delete_after_killed_writers(tmp_path):
    """
    With ``on_end: delete`` a session goes at its end, though processes that wrote to it were killed.
    """
    handler = SessionHandler(tmp_path, on_end="delete", linger=0)
    session = start_session("abc", handler=handler)
    handler.flush()
    program = """
import os, sys
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1])
start_session("abc").event("completion")
handler.flush()
os.kill(os.getpid(), 9)
"""
    run_python(program, tmp_path)
    writers = read_metadata(str(tmp_path / "abc" / "metadata.json")).writers
    assert len(writers) == 2
    run_python(program, tmp_path)
    session.end()
    handler.close()
    assert not (tmp_path / "abc").exists()
