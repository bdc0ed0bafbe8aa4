from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time

import pytest
from helpers import read_lines, wait_until, watchdog

from sessionlog_handlers import SessionHandler, SessionNotFoundError, start_session, use_session
from sessionlog_handlers.context import set_default_session
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.pipeline import threads as threads_module
from sessionlog_handlers.pipeline.commands import CallCommand
from sessionlog_handlers.pipeline.root import FORK_TIMEOUT


@pytest.fixture
def handler(tmp_path):
    """
    A handler that does not linger, on a logger of its own.
    """
    handler = SessionHandler(tmp_path, linger=0, session_level="prompts", logger_prefixes=["sessions."])
    logger = logging.getLogger("test_root")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    return handler


@pytest.fixture
def logger(handler):
    """
    The logger.
    """
    return logging.getLogger("test_root")


def _events(tmp_path, session: str = "abc") -> list[str]:
    return [line["event"] for line in read_lines(tmp_path / session / "session.log")]


class TestFinding:
    def test_own_id_and_context(self, handler, logger, tmp_path):
        """
        A record goes to the session that it names, else to the current one, else to the process's default.
        """
        set_default_session("default")
        with use_session("current"):
            logger.info("one", extra={"session_id": "own"})
            logger.info("two")
        logger.info("three")
        handler.close()
        for name in ("own", "current", "default"):
            assert _events(tmp_path, name) == ["session_start", "log"]

    def test_unrouted(self, handler, logger):
        """
        A record without a session is not accepted, and counted as such.
        """
        logger.info("nobody's")
        handler.flush()
        stats = handler.stats()
        assert (stats["unrouted"], stats["accepted"], stats["sessions"]) == (1, 0, 0)

    def test_default_session_of_the_settings(self, tmp_path):
        """
        A configured default session takes what has none.
        """
        handler = SessionHandler(tmp_path, linger=0, default_session="main")
        handler.handle(logging.LogRecord("app", logging.ERROR, __file__, 1, "hello", (), None))
        handler.close()
        assert _events(tmp_path, "main") == ["session_start", "log"]

    def test_child_logger_of_a_session(self, handler, tmp_path):
        """
        A logger below a session's own belongs to that session, not to a new one.
        """
        start_session("abc")
        for name in ("sessions.abc", "sessions.abc.ffmpeg", "sessions.abc.ffmpeg.stderr"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            logger.propagate = False
            logger.warning("hello")
        handler.close()
        assert _events(tmp_path) == ["session_start", "log", "log", "log"]
        assert handler.stats()["sessions"] == 1

    def test_not_implicit(self, tmp_path):
        """
        Switched off, a record alone begins no session.
        """
        handler = SessionHandler(tmp_path, linger=0, implicit=False)
        record = logging.LogRecord("app", logging.ERROR, __file__, 1, "hello", (), None)
        record.session_id = "abc"
        handler.handle(record)
        handler.close()
        assert handler.stats()["unrouted"] == 1
        assert not (tmp_path / "abc").exists()

    def test_most_implicit_sessions(self, tmp_path, capfd):
        """
        Records begin at most so many sessions; the rest is counted and told of once.
        """
        handler = SessionHandler(tmp_path, linger=0, max_sessions=3)
        for number in range(10):
            record = logging.LogRecord("app", logging.ERROR, __file__, 1, "hello", (), None)
            record.session_id = f"s{number}"
            handler.handle(record)
        handler.close()
        assert handler.stats()["dropped"] == {"max_sessions": 7}
        assert len(list(tmp_path.glob("s*"))) == 3
        assert capfd.readouterr().err.count("sessions began by a record alone") == 1


class TestLevels:
    def test_vocabularies(self, handler):
        """
        A level can be set by either vocabulary, in any case; another word is an error that lists both.
        """
        session = start_session("abc")
        session.set_level("FULL")
        assert session.level.value == "full"
        session.set_level("Error")
        assert (session.level.value, session.severity) == ("full", logging.ERROR)
        session.set_level("off")
        assert session.severity == 0
        with pytest.raises(ConfigurationError, match=r"spawns, signals, prompts, full, or a severity: debug, info"):
            session.set_level("loud")

    def test_ended(self, handler):
        """
        The level of a session that has ended can't be set.
        """
        session = start_session("abc")
        session.end()
        with pytest.raises(SessionNotFoundError, match="has ended") as caught:
            session.set_level("full")
        assert caught.value.session_id == "abc"

    def test_change_is_in_order(self, handler, tmp_path):
        """
        The line of a change stands where the change took effect.
        """
        session = start_session("abc", level="signals")
        session.event("prompt_detected")
        session.set_level("prompts")
        session.event("prompt_detected")
        session.set_level("prompts")  # no change
        session.set_level("signals")
        session.event("prompt_detected")
        session.end()
        handler.close()
        assert _events(tmp_path) == ["session_start", "level_change", "prompt_detected", "level_change", "session_end"]

    def test_flipped_by_threads(self, handler, tmp_path):
        """
        Sixteen threads flip the level a thousand times: each change is one line, and begins where the last one led.
        """
        session = start_session("abc", level="signals")
        barrier = threading.Barrier(16)

        def flip() -> None:
            barrier.wait()
            for number in range(64):
                session.set_level("full" if number % 2 else "spawns")

        threads = [threading.Thread(target=flip) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        changes = [line["data"] for line in lines if line["event"] == "level_change"]
        assert changes
        here = "signals"
        for change in changes:
            assert change["from"] == here
            here = change["to"]
        assert here == session.level.value


class TestLife:
    def test_closes_and_lives_again(self, handler, logger, tmp_path):
        """
        Closing writes all and gives everything back; the next record starts it again, in the same session.
        """
        session = start_session("abc")
        for number in range(5):
            logger.info("hello", extra={"session_id": "abc", "number": number})
            handler.close()
            handler.close()
            left = [name for name in os.listdir("/proc/self/fd") if _is_below(name, tmp_path)]
            assert len(left) == 1  # the lease, since the session is open
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("sessionlog")]
        session.end()
        handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", *["log"] * 5, "session_end"]
        assert [line["seq"] for line in lines] == [*range(1, 8)]

    def test_close_while_threads_log(self, handler, tmp_path):
        """
        Closing again and again while threads log loses nothing.
        """
        session = start_session("abc")

        def log(who: int) -> None:
            for number in range(500):
                session.event("completion", who=who, number=number)

        threads = [threading.Thread(target=log, args=(who,)) for who in range(4)]
        with watchdog(60):
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                handler.close()
            for thread in threads:
                thread.join()
            session.end()
            handler.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        for who in range(4):
            numbers = [line["data"]["number"] for line in lines if line["data"].get("who") == who]
            assert numbers == [*range(500)]
        stats = handler.stats()
        assert (stats["written"], stats["dropped"], stats["pending"]) == (2000, {}, 0)

    def test_without_threads(self, handler, tmp_path, monkeypatch):
        """
        Where there can be no thread, lines are in their files when the call returns.
        """
        monkeypatch.setattr(threads_module, "_forbidden", True)
        session = start_session("abc")
        session.event("completion")
        assert _events(tmp_path) == ["session_start", "completion"]
        session.end()
        assert _events(tmp_path) == ["session_start", "completion", "session_end"]
        handler.close()

    def test_dead_thread_is_replaced(self, handler, tmp_path):
        """
        A listener whose thread is gone is replaced, and what was queued is written.
        """
        session = start_session("abc")
        handler.flush()
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "sessionlog-listener"]
        handler.root.listener._stopping = True
        handler.root.queue.wake(urgent=True)
        thread.join(10)
        assert not thread.is_alive()
        session.event("completion")
        wait_until(lambda: "completion" in _events(tmp_path))

    def test_switched_off(self, tmp_path):
        """
        Switched off, it writes nothing and costs no thread.
        """
        handler = SessionHandler(tmp_path / "logs", enabled=False)
        with start_session("abc") as session:
            session.error("broken")
        handler.flush()
        assert not (tmp_path / "logs").exists()
        assert handler.stats()["sessions"] == 0
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("sessionlog")]


def _is_below(descriptor: str, directory) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{directory}/")
    except OSError:
        return False


class TestSignalsAndLoops:
    def test_signal_handler_logs(self, handler, logger, tmp_path):
        """
        A signal handler that logs while its thread logs neither hangs nor loses a record.
        """
        session = start_session("abc")
        logged = []

        def on_signal(number: int, frame: object) -> None:
            logged.append(1)
            session.event("signal_received", name="SIGALRM")

        before = signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            with watchdog(60):
                for number in range(3000):
                    session.event("completion", number=number)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        session.end()
        handler.close()
        events = _events(tmp_path)
        assert events.count("completion") == 3000
        assert events.count("signal_received") == len(logged) > 0

    def test_loop_is_not_held_up(self, tmp_path):
        """
        A full queue does not hold up a running loop, whatever the overflow; what was refused is counted.
        """
        for overflow in ("shed", "wait"):
            handler = SessionHandler(tmp_path / overflow, queue_size=16, overflow=overflow, linger=0)
            session = start_session("abc")
            longest = 0.0

            async def main(session=session) -> float:
                longest = 0.0
                for number in range(3000):
                    start = time.perf_counter()
                    session.event("completion", number=number)
                    longest = max(longest, time.perf_counter() - start)
                return longest

            longest = asyncio.run(main())
            session.end()
            handler.close()
            stats = handler.stats()
            assert stats["written"] + sum(stats["dropped"].values()) == 3000
            assert longest < 0.05


class TestFlush:
    def test_is_in_the_file(self, handler, tmp_path):
        """
        After a flush everything logged before is in its file.
        """
        session = start_session("abc")
        for number in range(50):
            session.event("completion", number=number)
            assert session.flush()
            assert read_lines(tmp_path / "abc" / "session.log")[-1]["data"]["number"] == number

    def test_durable_failure(self, handler, tmp_path):
        """
        A durable barrier tells what could not be written.
        """
        (tmp_path / "abc").write_bytes(b"in the way")
        session = start_session("abc")
        session.event("completion")
        barrier = handler.root.durable_barrier(session)
        assert barrier.wait(5)
        assert "could not be written" in str(barrier.error)
        (tmp_path / "abc").unlink()
        session.end()
        wait_until(lambda: not handler.stats()["sessions"], 10)

    def test_counters(self, handler, logger):
        """
        Accepted is written, dropped and pending, before and after a flush.
        """
        session = start_session("abc")
        for _ in range(100):
            session.event("completion")
        for _ in range(2):
            stats = handler.stats()
            assert stats["accepted"] == stats["written"] + sum(stats["dropped"].values()) + stats["pending"]
            handler.flush()
        assert stats["written"] <= 100
        assert handler.stats()["written"] == 100


class TestOtherSettings:
    def test_switched_off_and_on_again(self, tmp_path):
        """
        A session that is open while its handler is switched off goes on in its log when it is switched on again.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", metadata={"user": "ada"})
        session.event("completion", number=1)
        SessionHandler(tmp_path, linger=0, enabled=False)
        session.event("completion", number=2)
        assert session.flush()
        newest = SessionHandler(tmp_path, linger=0)
        session.event("completion", number=3)
        session.end("done")
        newest.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["data"]["number"] for line in lines if line["event"] == "completion"] == [1, 3]
        assert [line["data"]["reason"] for line in lines if line["event"] == "session_end"] == ["disabled", "done"]
        assert handler.stats()["dropped"] == {}

    def test_levels_follow(self, tmp_path):
        """
        Sessions follow the level and the severity of the settings, by id, with a line that stands in the queue's order.
        """
        handler = SessionHandler(tmp_path, linger=0.2)
        session, debugged = start_session("abc"), start_session("debug-1")
        session.event("completion", number=1)
        options = {"session_level": "spawns", "session_levels": {"debug-*": "full"}}
        SessionHandler(tmp_path, linger=0, severity="error", **options)
        session.event("completion", number=2)
        session.error("not at this level")
        debugged.event("state_change")
        debugged.error("kept")
        newest = SessionHandler(tmp_path, linger=0, severity="off", **options)
        debugged.event("state_change")
        for one in (session, debugged):
            one.end()
        newest.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == [
            *("session_start", "completion", "level_change", "level_change", "session_end")
        ]
        lowered = {"from": "signals", "to": "spawns", "by": "config", "severity": "error"}
        assert [line["data"] for line in lines[2:4]] == [
            lowered,
            {"from": "spawns", "to": "spawns", "by": "config", "severity": "off"},
        ]
        lines = read_lines(tmp_path / "debug-1" / "session.log")
        assert [line["event"] for line in lines] == [
            *("session_start", "level_change", "error", "level_change", "state_change", "session_end")
        ]
        metadata = json.loads((tmp_path / "abc" / "metadata.json").read_text())
        assert [change["by"] for change in metadata["level_history"]] == ["config", "config"]
        handler.close()

    @pytest.mark.parametrize("way", ["start", "set", "command", "severity"])
    def test_level_that_was_asked_for(self, tmp_path, way):
        """
        A level that was asked for, at the start, by a call or by a command, stays what it is; likewise a severity.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session(
            "abc", level="prompts" if way == "start" else None, severity="info" if way == "severity" else None
        )
        if way == "set":
            session.set_level("signals")  # the one that it has
        elif way == "command":
            handler.root.set_level_by_name(session, "prompts", by="command")
        before = session.level, session.severity
        newest = SessionHandler(tmp_path, linger=0, session_level="full", severity="warning")
        if way == "severity":
            assert (session.level.value, session.severity) == ("full", before[1])
        else:
            assert (session.level, session.severity) == (before[0], logging.WARNING)
        session.end()
        newest.close()

    def test_levels_of_a_handler_that_is_off(self, tmp_path):
        """
        What changes while a handler is off is no line of its own: the next start tells of the level.
        """
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        SessionHandler(tmp_path, linger=0, enabled=False, session_level="full")
        newest = SessionHandler(tmp_path, linger=0, session_level="prompts")
        session.end()
        newest.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "session_end"] * 2
        assert lines[2]["data"]["level"] == "prompts"

    def test_session_that_has_just_ended(self, tmp_path):
        """
        A session whose last line is still queued is over: no change of level follows it.
        """
        SessionHandler(tmp_path, linger=0.3)
        session = start_session("abc")
        session.end()
        newest = SessionHandler(tmp_path, linger=0.3, session_level="full")
        newest.close()
        assert _events(tmp_path, "abc") == ["session_start", "session_end"]

    def test_session_keeps_its_name(self, tmp_path):
        """
        A session whose place is another's, and that took a name of its own, keeps it under other settings.
        """
        (tmp_path / "abc").mkdir()
        (tmp_path / "abc" / "metadata.json").write_text('{"session": "ABC", "state": "ended"}')
        SessionHandler(tmp_path, linger=0)
        session = start_session("abc")
        assert session.flush()
        place = session.directory
        assert place.name != "abc"
        newest = SessionHandler(tmp_path, linger=0, session_level="full")
        session.event("completion")
        session.end()
        newest.close()
        assert session.directory == place
        assert _events(tmp_path, place.name) == ["session_start", "level_change", "completion", "session_end"]
        assert [path.name for path in (tmp_path / "abc").iterdir()] == ["metadata.json"]


class TestBeforeFork:
    def test_disk_that_stands_still_is_waited_for_once(self, handler, tmp_path):
        """
        A fork waits for a listener that stands still once, not each time, and again as soon as that has moved.
        """
        root, moves_on = handler.root, threading.Event()
        root.queue.put_always(CallCommand(lambda router: moves_on.wait(30)))
        root.rouse()
        start_session("one")
        try:
            begun = time.monotonic()
            for _ in range(6):
                root.before_fork()
            assert time.monotonic() - begun < 4 * FORK_TIMEOUT
        finally:
            moves_on.set()
        assert root.flush()
        for number in range(20):
            start_session(f"later-{number}")
            root.before_fork()
            assert _events(tmp_path, f"later-{number}") == ["session_start"]
