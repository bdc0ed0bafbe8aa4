from __future__ import annotations

import logging
import os
import time

import pytest
from helpers import read_lines, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline.report import FIRST_DISTANCE
from sessionlog_handlers.pipeline.writer import Writer


def log_lines(tmp_path):
    """The lines of the session *abc*, as far as there are any."""
    path = tmp_path / "abc" / "session.log"
    return read_lines(path) if path.exists() else []


@pytest.fixture
def logger():
    """
    A logger of the app.
    """
    return logging.getLogger("test_router")


class TestBatches:
    def test_one_write_a_file(self, tmp_path, monkeypatch):
        """
        However many entries a batch has, each of its files is written once.
        """
        handler = SessionHandler(tmp_path, linger=0.2)
        sessions = [start_session(f"s{number}") for number in range(3)]
        handler.flush()
        calls = []
        append = Writer.append

        def counting(self, lines, **others):
            calls.append((os.path.relpath(self.baseFilename, tmp_path), len(lines)))
            return append(self, lines, **others)

        monkeypatch.setattr(Writer, "append", counting)
        for _ in range(50):
            for session in sessions:
                session.event("warning")
        handler.flush()
        assert sum(count for name, count in calls if name == "s0/session.log") == 50
        assert len(calls) <= 2 * 6  # the first entry wakes the listener; what comes while it writes is the next batch

    def test_nonsense_takes_nothing_along(self, tmp_path, capfd):
        """
        What can't be made sense of is told of, and the entries around it are written.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        session.event("completion", number=1)
        handler.root.queue.put_always("no entry at all")
        session.event("completion", number=2)
        session.end()
        handler.close()
        assert handler.stats()["dropped"] == {}
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["data"].get("number") for line in lines] == [None, 1, 2, None]
        assert "an entry could not be written" in capfd.readouterr().err

    @pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
    def test_failing_format(self, tmp_path, monkeypatch, error):
        """
        Whatever a format raises, the thread goes on and the other entries are written.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        handler.flush()
        line_format = handler.root.plan.formats[0]
        assemble_all = type(line_format).assemble_all

        def failing(self, entries, *others):
            if any(entry.route.event == "retry" for entry in entries):
                raise error
            return assemble_all(self, entries, *others)

        monkeypatch.setattr(type(line_format), "assemble_all", failing)
        session.event("completion")
        session.event("retry")
        session.event("completion")
        handler.flush()
        assert handler.root.listener.is_running
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines if line["event"] != "log_dropped"] == [
            "session_start",
            "completion",
            "completion",
            "session_end",
        ]
        assert [line["data"] for line in lines if line["event"] == "log_dropped"] == [{"reason": "error", "count": 1}]
        stats = handler.stats()
        assert (stats["written"], stats["dropped"], stats["pending"]) == (2, {"error": 1}, 0)


class TestLosses:
    def test_are_told(self, tmp_path):
        """
        What was refused is told of in the session's own log, by reason.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        handler.root.losses.count(session, "queue_full", 7)
        session.event("completion")
        session.end()
        handler.close()
        told = [line["data"] for line in read_lines(tmp_path / "abc" / "session.log") if line["event"] == "log_dropped"]
        assert told == [{"reason": "queue_full", "count": 7}]

    def test_full_queue(self, tmp_path):
        """
        Of a flood through a small queue, each event is in the log or counted there.
        """
        handler = SessionHandler(tmp_path, queue_size=16, linger=0, max_bytes="100 MB")
        session = start_session("abc", level="full")
        for number in range(20_000):
            session.event("state_change", number=number)
        session.end()
        handler.close()
        stats = handler.stats()
        assert stats["written"] + stats["dropped"].get("queue_full", 0) == 20_000
        lines = read_lines(tmp_path / "abc" / "session.log")
        numbers = [line["data"]["number"] for line in lines if line["event"] == "state_change"]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == stats["written"]
        told = sum(line["data"]["count"] for line in lines if line["event"] == "log_dropped")
        assert told == stats["dropped"].get("queue_full", 0)

    def test_are_told_at_growing_distances(self, tmp_path):
        """
        The first loss is told at once, further ones after a second though nothing else is logged, the rest at the end.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        handler.flush()

        def told():
            return [line["data"]["count"] for line in log_lines(tmp_path) if line["event"] == "log_dropped"]

        begin = time.monotonic()
        for number in range(100):
            handler.root.losses.count(session, "queue_full")
            if number == 0:
                wait_until(lambda: told() == [1])
            handler.flush()
        assert told() == [1] or time.monotonic() - begin >= FIRST_DISTANCE
        wait_until(lambda: sum(told()) == 100)
        assert len(told()) == 2
        assert time.monotonic() - begin >= FIRST_DISTANCE
        handler.root.losses.count(session, "queue_full", 5)
        session.end()
        handler.close()
        assert told() == [1, 99, 5]
        assert log_lines(tmp_path)[-1]["event"] == "session_end"

    def test_of_one_event(self, tmp_path):
        """
        A loss that concerns one event names it.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        handler.root.losses.count(session, "flood", 7, "output")
        session.end()
        handler.close()
        told = [line["data"] for line in log_lines(tmp_path) if line["event"] == "log_dropped"]
        assert told == [{"reason": "flood", "event": "output", "count": 7}]

    def test_wait_for_a_log_that_cannot_be_written(self, tmp_path):
        """
        While a session's log can't be written, the listener does not run in circles because of what it has to tell.
        """
        handler = SessionHandler(tmp_path, linger=0)
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        wait_until(lambda: handler.root.router.is_troubled)
        handler.root.losses.count(session, "queue_full", 3)
        moves = handler.root.listener.moves
        time.sleep(0.5)
        assert handler.root.listener.moves - moves < 4 * 20  # it looks around when it tries again
        os.unlink(tmp_path / "abc")
        wait_until(lambda: any(line["event"] == "log_dropped" for line in log_lines(tmp_path)))
        handler.close()

    def test_in_a_forked_child(self, tmp_path):
        """
        A child tells what was lost in it, though it wrote nothing else to the session.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        handler.flush()
        child = os.fork()
        if not child:
            handler.root.losses.count(session, "error", 3)
            handler.root.finish("exit")
            os._exit(0)
        os.waitpid(child, 0)
        session.end()
        handler.close()
        told = [line for line in log_lines(tmp_path) if line["event"] == "log_dropped"]
        assert [(line["pid"], line["data"]) for line in told] == [(child, {"reason": "error", "count": 3})]


class TestIdle:
    def test_implicit_session_ends(self, tmp_path, logger):
        """
        A session that began by a record ends when nothing comes for it, and goes on with its next record.
        """
        handler = SessionHandler(tmp_path, idle_end=1, linger=0)
        logger.addHandler(handler)
        explicit = start_session("explicit")
        for _ in range(2):
            logger.warning("hello", extra={"session_id": "abc"})
            handler.flush()
            wait_until(lambda: "abc" not in handler.root.sessions, 5)
        handler.flush()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "log", "session_end"] * 2
        assert lines[2]["data"]["reason"] == "idle"
        assert lines[3]["data"]["resumed"] is True
        assert not explicit.closed


def test_single_file(tmp_path):
    """
    With ``single_file`` all sessions share one file, without directories of their own.
    """
    handler = SessionHandler(tmp_path / "logs", single_file=str(tmp_path / "all.log"), linger=0)
    for number in range(3):
        with start_session(f"s{number}") as session:
            session.event("completion")
    handler.close()
    lines = read_lines(tmp_path / "all.log")
    assert sorted({line["session"] for line in lines}) == ["s0", "s1", "s2"]
    assert not list((tmp_path / "logs").glob("s*"))


def test_within_linger(tmp_path):
    """
    A line is in its file at most 50 ms after the call, and a busy machine's delay.
    """
    SessionHandler(tmp_path)
    session = start_session("abc")
    session.flush()
    path = tmp_path / "abc" / "session.log"
    delays = []
    for _ in range(5):
        size = path.stat().st_size
        start = time.monotonic()
        session.event("completion")
        wait_until(lambda size=size: path.stat().st_size > size, interval=0.001)
        delays.append(time.monotonic() - start)
    assert sorted(delays)[2] < 0.08
