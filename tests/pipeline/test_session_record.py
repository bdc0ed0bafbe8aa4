from __future__ import annotations

import errno
import os

import pytest

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import files
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.metadata import Metadata, read_metadata, write_metadata


@pytest.fixture
def handler(tmp_path):
    """
    A handler that does not linger.
    """
    return SessionHandler(tmp_path, linger=0)


class TestWriters:
    def test_others_of_the_same_number(self, handler, tmp_path):
        """
        A writer with this process's number is not this process: in each of two containers it may be 1.
        """
        path = str(tmp_path / "abc" / "metadata.json")
        other = Lease(str(tmp_path / ".leases"))
        session = start_session("abc", handler=handler)
        handler.flush()
        metadata = read_metadata(path)
        (own,) = metadata.writers
        write_metadata(path, Metadata(**{**_fields(metadata), "writers": {other.take(): {"pid": os.getpid()}}}))
        session.set_level("full")
        handler.flush()
        assert set(read_metadata(path).writers) == {own, other.name}
        session.end()
        handler.close()
        assert set(read_metadata(path).writers) == {other.name}
        other.give_back()

    def test_older_lease_goes(self, handler, tmp_path):
        """
        After its handler was closed and lives again, a process is named once, by its new lease.
        """
        session = start_session("abc", handler=handler)
        handler.flush()
        path = str(tmp_path / "abc" / "metadata.json")
        (first,) = read_metadata(path).writers
        root = session.root
        root.shared.lease.give_back()
        session.event("completion")
        handler.flush()
        assert list(read_metadata(path).writers) == [root.shared.lease.name]
        assert root.shared.lease.name != first

    @pytest.mark.parametrize("when", ["start", "end"])
    def test_dead_ones_go(self, handler, tmp_path, when):
        """
        Writers that were killed are forgotten when a process comes to the session, and when one leaves it.
        """
        path = str(tmp_path / "abc" / "metadata.json")
        living = Lease(str(tmp_path / ".leases"))
        found = Metadata(session="abc", state="ended", writers={"dead": {"pid": 1}, living.take(): {"pid": 1}})
        if when == "start":
            (tmp_path / "abc").mkdir()
            write_metadata(path, found)
        session = start_session("abc", handler=handler)
        handler.flush()
        if when == "end":
            write_metadata(path, found)
            session.end()
        handler.flush()
        writers = read_metadata(path).writers
        assert "dead" not in writers
        assert living.name in writers
        living.give_back()


class TestSave:
    def test_unreadable_is_not_replaced(self, handler, tmp_path, monkeypatch):
        """
        Metadata that can't be read for want of a descriptor is not replaced by new one; it is tried again.
        """
        path = str(tmp_path / "abc" / "metadata.json")
        session = start_session("abc", handler=handler, metadata={"user": "ada"})
        handler.flush()
        before = read_metadata(path)
        opened = os.open

        def fail(name: str, flags: int, mode: int = 0o777) -> int:
            if name == path:
                raise OSError(errno.EMFILE, "Too many open files", name)
            return opened(name, flags, mode)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "open", fail)
            session.set_level("full")
            handler.flush()
        assert read_metadata(path) == before
        session.end()
        handler.close()
        after = read_metadata(path)
        assert (after.start, after.metadata, after.level) == (before.start, {"user": "ada"}, "full")
        assert len(after.level_history) == 1


@pytest.mark.parametrize(("end", "final"), [("app", True), ("process", False)])
def test_final(tmp_path, end, final):
    """
    Whether the app ended the session, or it ended with its process, is in the metadata.
    """
    handler = SessionHandler(tmp_path, linger=0)
    session = start_session("abc", handler=handler)
    if end == "app":
        session.end("exit")
    else:
        session.root.finish("exit")
    handler.close()
    metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
    assert (metadata.reason, metadata.final) == ("exit", final)


def _fields(metadata: Metadata) -> dict[str, object]:
    return {name: getattr(metadata, name) for name in Metadata.__struct_fields__}
