from __future__ import annotations

import gc
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import read_lines

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.pipeline import lifecycle, parking
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.metadata import read_metadata


def _events(tmp_path: Path, session: str = "abc", file: str = "session.log") -> list[str]:
    return [line["event"] for line in read_lines(tmp_path / session / file)]


def _handler(tmp_path: Path, **options: object) -> SessionHandler:
    return SessionHandler(tmp_path, linger=0, **options)


class TestOrderAndTime:
    def test_everything_arrives(self, tmp_path):
        """
        What happened before the first handler is in the session's log, in its order and with its own times.
        """
        session = start_session("abc", metadata={"user": "ada"}, command=["bash"])
        for number in range(100):
            session.event("completion", number=number)
        session.error(ValueError("broken"), step=3)
        before = time.time()
        time.sleep(0.05)
        handler = _handler(tmp_path)
        session.event("completion", number=100)
        session.end("done", code=0)
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == [
            "session_start",
            *["completion"] * 100,
            "error",
            "completion",
            "session_end",
        ]
        assert [line["data"]["number"] for line in lines if line["event"] == "completion"] == [*range(101)]
        assert [line["seq"] for line in lines] == [*range(1, len(lines) + 1)]
        times = [datetime.fromisoformat(line["ts"]).timestamp() for line in lines]
        assert times == sorted(times)
        assert times[101] <= before < times[102]
        assert lines[0]["data"]["metadata"] == {"user": "ada"}
        assert "ValueError: broken" in lines[101]["exc"]
        assert lines[101]["data"]["step"] == 3
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).command == ["bash"]

    def test_ended_before(self, tmp_path):
        """
        A session that began and ended before the first handler is written with the time of its end.
        """
        with start_session("abc") as session:
            session.event("completion")
        ended = time.time()
        time.sleep(0.05)
        _handler(tmp_path).close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "completion", "session_end"]
        assert datetime.fromisoformat(lines[-1]["ts"]).timestamp() <= ended
        assert lines[-1]["data"]["seconds"] < 0.05
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.state, metadata.reason) == ("ended", "return")

    def test_same_id_again(self, tmp_path):
        """
        A session that ended and began again before the first handler is one log with two starts.
        """
        for _ in range(2):
            start_session("abc").end()
        _handler(tmp_path).close()
        assert _events(tmp_path) == ["session_start", "session_end"] * 2

    def test_bytes(self, tmp_path):
        """
        A terminal's bytes wait, too.
        """
        session = start_session("abc")
        session.output(b"\x00\xff")
        handler = _handler(tmp_path, session_level="full")
        session.end()
        handler.close()
        assert read_lines(tmp_path / "abc" / "session.log")[1]["data"]["bytes"] == 2

    def test_formats(self, tmp_path):
        """
        Values are frozen at the call, and written in the format of the handler that comes.
        """
        session = start_session("abc")
        values = ["at the call"]
        session.event("completion", values=values)
        values.append("later")
        handler = _handler(tmp_path, layout="recorder")
        session.end()
        handler.close()
        text = (tmp_path / "abc" / "session.log").read_text()
        assert "completion values=" in text
        assert "at the call" in text
        assert "later" not in text


class TestLevel:
    def test_of_the_handler(self, tmp_path):
        """
        A session that asked for no level has the handler's, for what waited as well.
        """
        session = start_session("abc")
        session.event("initial_prompt", text="x")
        session.output(b"x")
        handler = _handler(tmp_path, session_level="signals")
        assert session.level.value == "signals"
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "session_end"]
        assert _events(tmp_path, file="audit_user.log") == ["initial_prompt"]
        assert read_lines(tmp_path / "abc" / "session.log")[0]["data"]["level"] == "signals"

    @pytest.mark.parametrize(("asked", "kept"), [("spawns", 0), ("prompts", 1), ("full", 2)])
    def test_asked_for(self, tmp_path, asked, kept):
        """
        The level that a session asked for stands, whatever the handler's is.
        """
        session = start_session("abc", level=asked)
        session.event("initial_prompt", text="x")
        session.output(b"x")
        handler = _handler(tmp_path, session_level="signals")
        assert session.level.value == asked
        session.end()
        handler.close()
        assert _events(tmp_path)[1:-1] == ["initial_prompt", "output"][:kept]

    def test_changed_to_full(self, tmp_path):
        """
        A level set while waiting counts from there on, also where nothing seems to change yet.
        """
        session = start_session("abc")
        session.output(b"before")
        session.set_level("full")
        session.output(b"after")
        handler = _handler(tmp_path, session_level="signals")
        assert session.level.value == "full"
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "level_change", "output", "session_end"]
        assert read_lines(tmp_path / "abc" / "session.log")[1]["data"] == {"from": "signals", "to": "full", "by": "app"}

    def test_changed_to_spawns(self, tmp_path):
        """
        A level lowered while waiting leaves out what came after.
        """
        session = start_session("abc")
        session.event("completion", number=1)
        session.set_level("spawns")
        session.event("completion", number=2)
        handler = _handler(tmp_path, session_level="signals")
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "completion", "level_change", "session_end"]

    def test_severity(self, tmp_path):
        """
        A severity set while waiting changes the severity only, and only for what came after.
        """
        session = start_session("abc")
        session.event("completion", number=1)
        session.set_level("error")
        session.event("completion", number=2)
        session.error("broken")
        handler = _handler(tmp_path, session_level="signals")
        assert (session.level.value, session.severity) == ("signals", logging.ERROR)
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "completion", "level_change", "error", "session_end"]

    def test_severity_of_the_handler_until_another_is_set(self, tmp_path):
        """
        Before the severity that was set while waiting, the one of the handler's settings counts, and `off` is one, too.
        """
        session = start_session("abc")
        session.event("completion", number=1)
        session.set_level("off")
        session.event("completion", number=2)
        off = start_session("off", severity="off")
        handler = _handler(tmp_path, severity="error", session_level="signals")
        assert (session.severity, off.severity) == (0, 0)
        for one in (session, off):
            one.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "level_change", "completion", "session_end"]
        assert lines[2]["data"] == {"number": 2}

    def test_follows_settings_unless_asked(self, tmp_path):
        """
        A session that waited for its handler follows later settings, unless it asked for a level, or set it meanwhile.
        """
        sessions = [start_session("abc"), start_session("asked", level="prompts"), start_session("set")]
        sessions[2].set_level("prompts")
        handler = _handler(tmp_path)
        newest = _handler(tmp_path, session_level="full")
        assert [session.level.value for session in sessions] == ["full", "prompts", "prompts"]
        for session in sessions:
            session.end()
        handler.close()
        newest.close()
        assert _events(tmp_path) == ["session_start", "level_change", "session_end"]

    def test_severity_asked_for(self, tmp_path):
        """
        The severity that a session asked for stands from its start.
        """
        session = start_session("abc", severity="error")
        session.event("completion")
        session.error("broken")
        handler = _handler(tmp_path)
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "error", "session_end"]


class TestBounds:
    def test_entries(self, tmp_path, monkeypatch):
        """
        Beyond the bound events are counted as lost, and the session's own log says so.
        """
        monkeypatch.setattr(parking, "MAX_PARKED", 20)
        session = start_session("abc")
        for number in range(50):
            session.event("completion", number=number)
        handler = _handler(tmp_path)
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        kept = sum(line["event"] == "completion" for line in lines)
        (told,) = [line["data"] for line in lines if line["event"] == "log_dropped"]
        assert told == {"reason": "no_handler", "count": 50 - kept}
        assert handler.stats()["dropped"] == {"no_handler": 50 - kept}
        assert 0 < kept <= 20

    def test_bytes(self, tmp_path, monkeypatch):
        """
        Large events are bound by the memory that they take.
        """
        monkeypatch.setattr(parking, "MAX_BYTES", 100_000)
        session = start_session("abc")
        for _ in range(50):
            session.output(b"x" * 10_000)
        session.event("completion")
        handler = _handler(tmp_path, session_level="full")
        session.end()
        handler.close()
        assert handler.stats()["dropped"] == {"no_handler": 41}
        assert _events(tmp_path).count("output") == 9
        assert "completion" in _events(tmp_path)

    def test_end_beyond_the_bound(self, tmp_path, monkeypatch):
        """
        The end of a session whose start is kept is kept as well.
        """
        monkeypatch.setattr(parking, "MAX_COMMANDS", 3)
        sessions = [start_session(f"s{number}") for number in range(3)]
        for session in sessions:
            session.end()
        handler = _handler(tmp_path)
        handler.close()
        assert handler.stats()["sessions"] == 0
        for session in sessions:
            assert _events(tmp_path, session.id) == ["session_start", "session_end"]

    def test_sessions_without_a_handler(self, tmp_path, monkeypatch):
        """
        An app that never configures a handler keeps a bounded number of sessions in memory.
        """
        monkeypatch.setattr(parking, "MAX_COMMANDS", 100)
        for number in range(1000):
            start_session(f"s{number}").end()
        root = lifecycle.find_root(None, parking.Channel)
        gc.collect()
        assert len(root._parked) <= 100
        assert len(root.sessions) <= 100
        assert len(root._asked) <= 100

    def test_open_session_beyond_the_bound(self, tmp_path, monkeypatch):
        """
        A session that is still open when the handler comes is written from there on, though its start had no room.
        """
        monkeypatch.setattr(parking, "MAX_COMMANDS", 10)
        for number in range(20):
            start_session(f"s{number}").end()
        session = start_session("abc", level="full")
        session.set_level("prompts")
        handler = _handler(tmp_path)
        session.event("completion")
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "completion", "session_end"]
        assert len(list(tmp_path.glob("s*/session.log"))) == 5


class TestHandOver:
    def test_while_events_come(self, tmp_path):
        """
        While threads go on logging, each event arrives whole, once, and in its thread's order.
        """
        session = start_session("abc")
        for number in range(300):
            session.event("completion", thread=-1, number=number)
        sent = [0] * 4
        stop = threading.Event()

        def work(thread: int) -> None:
            while not stop.is_set() and sent[thread] < 500:
                session.event("completion", thread=thread, number=sent[thread])
                sent[thread] += 1

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            time.sleep(0.003)
            handler = SessionHandler(tmp_path)
            time.sleep(0.01)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            sys.setswitchinterval(interval)
        session.end()
        handler.close()
        events = [
            line["data"] for line in read_lines(tmp_path / "abc" / "session.log") if line["event"] == "completion"
        ]
        assert handler.stats()["dropped"] == {}
        for thread, number in ((-1, 300), *enumerate(sent)):
            assert [event["number"] for event in events if event["thread"] == thread] == [*range(number)]

    @pytest.fixture
    def halfway(self, monkeypatch):
        """
        Stops the hand-over at its first event, until it is told to go on.
        """
        arrived, go_on = threading.Event(), threading.Event()
        replay = Channel.replay

        def waiting(channel: Channel, entry: Entry, root: Any) -> bool:
            if not arrived.is_set():
                arrived.set()
                go_on.wait(10)
            return replay(channel, entry, root)

        monkeypatch.setattr(Channel, "replay", waiting)
        return arrived, go_on

    def _meanwhile(self, halfway: Any, tmp_path: Path, call: Callable[[], object], **options: object) -> SessionHandler:
        """Make a handler, and call something in another thread while it gets what was parked."""
        arrived, go_on = halfway
        made: list[SessionHandler] = []
        mover = threading.Thread(target=lambda: made.append(_handler(tmp_path, **options)))
        mover.start()
        assert arrived.wait(5)
        caller = threading.Thread(target=call)
        caller.start()
        time.sleep(0.05)
        go_on.set()
        caller.join()
        mover.join()
        return made[0]

    def test_nothing_overtakes(self, tmp_path, halfway):
        """
        An event that comes during the hand-over waits for those before it, whatever its format will be.
        """
        session = start_session("abc")
        for number in range(3):
            session.event("completion", number=number)
        handler = self._meanwhile(halfway, tmp_path, lambda: session.event("completion", number=3), layout="recorder")
        session.end()
        handler.close()
        text = (tmp_path / "abc" / "session.log").read_text()
        assert re.findall(r"number=(\d)", text) == ["0", "1", "2", "3"]

    def test_ended(self, tmp_path, halfway):
        """
        A session that ends during the hand-over has ended.
        """
        session = start_session("abc")
        session.event("completion")
        handler = self._meanwhile(halfway, tmp_path, session.end)
        assert handler.stats()["sessions"] <= 1
        handler.close()
        assert _events(tmp_path) == ["session_start", "completion", "session_end"]

    def test_level(self, tmp_path, halfway):
        """
        A level set during the hand-over is in force, and in the log.
        """
        session = start_session("abc")
        session.event("completion")
        handler = self._meanwhile(halfway, tmp_path, lambda: session.set_level("full"))
        session.end()
        handler.close()
        assert session.level.value == "full"
        assert _events(tmp_path) == ["session_start", "completion", "level_change", "session_end"]

    def test_started(self, tmp_path, halfway):
        """
        A session that starts during the hand-over is one of the handler's, not left behind.
        """
        session = start_session("abc")
        session.event("completion")
        waiting = session.root
        handler = self._meanwhile(halfway, tmp_path, lambda: waiting.open("other", level=SessionLevel.FULL))
        other = handler.root.sessions["other"]
        assert other.root is session.root is handler.root
        assert waiting.flush(5)
        assert waiting.durable_barrier().error is None
        handler.close()

    def test_in_a_signal_handler(self, tmp_path, monkeypatch):
        """
        What the thread that hands over logs itself in between is not left behind.
        """
        session = start_session("abc")
        session.event("completion", number=1)
        replay = Channel.replay

        def interrupted(channel: Channel, entry: Entry, root: Any) -> bool:
            done = replay(channel, entry, root)
            if not seen:
                seen.append(session.event("completion", number=2))
            return done

        seen: list[object] = []
        monkeypatch.setattr(Channel, "replay", interrupted)
        handler = _handler(tmp_path)
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["data"]["number"] for line in lines if line["event"] == "completion"] == [1, 2]

    def test_route_of_before(self, tmp_path):
        """
        An event that was judged before the hand-over and comes after it is judged by the handler's level and files.
        """
        session = start_session("abc")
        output, completion = (session.table.event(name) for name in ("output", "completion"))
        handler = _handler(tmp_path, session_level="signals", layout="recorder")
        assert not session.accept_bytes(output, b"x")
        assert session.accept_event(completion, {"number": 1})
        session.end()
        handler.close()
        assert handler.stats()["dropped"] == {}
        assert "number=1" in (tmp_path / "abc" / "session.log").read_text()

    def test_record_of_before(self, tmp_path):
        """
        A record keeps its logger and is judged as one of its severity.
        """
        session = start_session("abc")
        for level in (logging.DEBUG, logging.WARNING):
            record = logging.LogRecord("app", level, __file__, 1, "hello %s", ("you",), None)
            assert session.accept_record(record)
        handler = _handler(tmp_path, session_level="signals")
        session.end()
        handler.close()
        (line,) = [line for line in read_lines(tmp_path / "abc" / "session.log") if line["event"] == "log"]
        assert (line["level"], line["logger"], line["msg"]) == ("warning", "app", "hello you")


class TestFork:
    def test_child(self, tmp_path):
        """
        A forked child writes nothing of what its parent had parked, and joins the session when it has something to say.
        """
        session = start_session("abc")
        other = start_session("other")
        start_session("ended").end()
        session.event("completion", number=1)
        session.set_level("full")
        session.root.after_fork_in_child()
        handler = _handler(tmp_path, session_level="signals")
        handler.flush()
        assert not (tmp_path / "abc").exists()
        session.event("completion", number=2)
        handler.flush()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["data"].get("number") for line in lines if line["event"] == "completion"] == [2]
        assert session.level.value == "full"
        for started in (session, other):
            started.end()
        handler.close()
        assert not (tmp_path / "other").exists()
        assert not (tmp_path / "ended").exists()

    def test_in_the_middle_of_the_hand_over(self, tmp_path):
        """
        A child that is forked while sessions are handed over goes on with all of them.
        """
        known, other = start_session("known"), start_session("other")
        waiting = known.root
        handler = _handler(tmp_path)
        handler.close()  # a child has no threads
        waiting.sessions = {"known": known, "other": other}
        known.root = other.root = waiting
        del handler.root.sessions["other"]
        handler.root.after_fork_in_child()
        waiting.after_fork_in_child()
        for session in (known, other):
            assert session.root is handler.root
            session.event("completion")
            session.end()
        handler.close()
        for session in (known, other):
            assert _events(tmp_path, session.id)[-2:] == ["completion", "session_end"]

    def test_lock(self):
        """
        The child is not held up by a lock that another thread held while it was forked.
        """
        session = start_session("abc")
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with waiting.lock:
                held.set()
                release.wait(10)

        waiting = session.root
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        waiting.after_fork_in_child()
        start = time.monotonic()
        session.event("completion")
        assert time.monotonic() - start < 5
        release.set()
        thread.join()


class TestUnwritten:
    def test_told(self, monkeypatch, capsys):
        """
        If no handler ever comes, the number of events that were never written is told, once.
        """
        monkeypatch.setattr(parking, "MAX_PARKED", 5)
        for name in ("abc", "def"):
            session = start_session(name)
            for _ in range(4):
                session.event("completion")
        session.root.tell_unwritten()
        session.root.tell_unwritten()
        assert capsys.readouterr().err.count("never written") == 1
        assert session.root.reporter.errors == 1
        assert "8 events of 2 sessions were never written" in session.root.reporter.last_error

    def test_nothing_to_tell(self, tmp_path, capsys):
        """
        Where a handler came, or nothing was logged, nothing is told.
        """
        session = start_session("abc")
        waiting = session.root
        waiting.tell_unwritten()
        session.event("completion")
        _handler(tmp_path).close()
        waiting.tell_unwritten()
        assert capsys.readouterr().err == ""


class TestMeanwhile:
    def test_flush(self):
        """
        While there is no handler, nothing is flushed, and nobody waits for it.
        """
        session = start_session("abc")
        start = time.monotonic()
        assert not session.flush()
        assert not session.flush(durable=True)
        barrier = session.root.durable_barrier()
        assert barrier.wait(0)
        assert "no handler" in str(barrier.error)
        assert time.monotonic() - start < 1

    def test_late(self):
        """
        An event after a session's end is counted, here too.
        """
        session = start_session("abc")
        session.end()
        session.event("completion")
        assert session.root.losses.by_reason == {"late": 1}

    def test_join(self):
        """
        Starting a session again under its id joins it.
        """
        assert start_session("abc") is start_session("abc")

    def test_moves_once(self, tmp_path):
        """
        What waited goes to the first handler only.
        """
        session = start_session("abc")
        one = _handler(tmp_path / "one")
        two = _handler(tmp_path / "two")
        session.event("completion")
        session.end()
        one.close()
        two.close()
        assert _events(tmp_path / "one") == ["session_start", "completion", "session_end"]
        assert not (tmp_path / "two" / "abc").exists()


def test_any_text_survives_the_wait(tmp_path):
    """
    Text that hardly any decoder takes waits for the handler like any other, and the handler's construction never fails.
    """
    session = start_session("abc")
    session.event("completion", text="\ud800 \x00 é")
    handler = SessionHandler(tmp_path)
    session.end()
    handler.close()
    lines = read_lines(tmp_path / "abc" / "session.log")
    assert [line["data"]["text"] for line in lines if line["event"] == "completion"] == ["\ud800 \x00 é"]
