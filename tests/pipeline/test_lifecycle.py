from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from helpers import child_environment, read_lines, run_python

from sessionlog_handlers import SessionHandler, configure, start_session
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.lifecycle import all_roots, capture_signals, find_root, is_newest
from sessionlog_handlers.session import Session


def _handler(directory, name: str | None = None, **options: object) -> SessionHandler:
    handler = SessionHandler(directory, **options)
    if name:
        handler.name = name
    return handler


class TestFindRoot:
    def test_newest(self, tmp_path):
        """
        A session starts with the newest handler.
        """
        one = _handler(tmp_path / "one")
        assert start_session().root is one.root
        two = _handler(tmp_path / "two")
        assert start_session().root is two.root

    def test_by_name_or_itself(self, tmp_path):
        """
        A handler can be named, or given as it is.
        """
        one, two = _handler(tmp_path / "one", "first"), _handler(tmp_path / "two", "second")
        assert start_session(handler="first").root is one.root
        assert start_session(handler=one).root is one.root
        assert start_session(handler="second").root is two.root

    def test_unknown_name(self, tmp_path):
        """
        An unknown name is an error that lists the names there are.
        """
        with pytest.raises(LookupError, match=r"'third'; there is none yet"):
            start_session(handler="third")
        handlers = [_handler(tmp_path / name, name) for name in ("second", "first")]
        with pytest.raises(LookupError, match=r"no SessionHandler is called 'third'; there is first, second$"):
            start_session(handler="third")
        assert len(handlers) == 2

    def test_parking(self, tmp_path):
        """
        Before there is a handler, sessions wait in one place.
        """
        root = find_root(None, Session)
        assert find_root(None, Session) is root
        handler = _handler(tmp_path)
        assert find_root(None, Session) is handler.root


class TestRootFor:
    def test_one_for_a_directory(self, tmp_path, monkeypatch):
        """
        All handlers of a directory share one root, however the directory is spelled.
        """
        monkeypatch.chdir(tmp_path)
        one, two = _handler(tmp_path / "logs"), _handler("logs/../logs/")
        assert one.root is two.root
        assert one.root is not _handler(tmp_path / "other").root
        assert len(all_roots()) == 2
        assert is_newest(two, two.root)
        assert not is_newest(one, one.root)

    def test_newest_settings_count(self, tmp_path):
        """
        The newest handler's settings rule the root, and open sessions go on under them in the same log.
        """
        one = _handler(tmp_path, layout="multiplexer", linger=0)
        session = start_session("abc")
        session.event("completion", number=1)
        two = _handler(tmp_path, layout="multiplexer", linger=0, max_bytes=100_000, session_level="full")
        session.event("completion", number=2)
        one.close()
        session.event("completion", number=3)
        session.end()
        two.close()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["data"].get("number") for line in lines if line["event"] == "completion"] == [1, 2, 3]
        assert [line["event"] for line in lines].count("session_start") == 1
        assert two.root.settings.max_bytes == 100_000

    def test_older_handler_closes_nothing(self, tmp_path):
        """
        Closing an older handler does not stop the newer one's root.
        """
        one, two = _handler(tmp_path), _handler(tmp_path)
        start_session("abc").event("completion")
        one.close()
        assert two.root.listener.is_running
        two.close()
        assert not two.root.listener.is_running


class TestNewestHandler:
    def test_works_without_a_logger(self, tmp_path):
        """
        A handler that no logger has is not collected: sessions of the API need none.
        """
        handler = {"class": "sessionlog_handlers.SessionHandler", "directory": str(tmp_path / "logs")}
        configure({"version": 1, "handlers": {"sessions": handler}})
        gc.collect()
        for name in ("one", "two"):
            start_session(name).end()
            gc.collect()
        with start_session("three", handler="sessions") as session:
            session.event("completion")
        session.flush()
        for name in ("one", "two", "three"):
            assert read_lines(tmp_path / "logs" / name / "session.log")[-1]["event"] == "session_end"

    def test_survives_a_configuration_without_it(self, tmp_path):
        """
        Another configuration takes the handler from its logger; sessions that start later are still written.
        """
        handler = {"class": "sessionlog_handlers.SessionHandler", "directory": str(tmp_path / "logs")}
        configure({"version": 1, "handlers": {"sessions": handler}, "root": {"handlers": ["sessions"]}})
        configure({"version": 1, "root": {"handlers": []}})
        gc.collect()
        with start_session("later") as session:
            session.event("completion")
        session.flush()
        events = [line["event"] for line in read_lines(tmp_path / "logs" / "later" / "session.log")]
        assert events == ["session_start", "completion", "session_end"]


class TestCloseAll:
    def test_ends_sessions(self, tmp_path):
        """
        At the end of everything, sessions are ended and roots forgotten.
        """
        _handler(tmp_path, linger=0)
        start_session("abc")
        lifecycle.close_all()
        lines = read_lines(tmp_path / "abc" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "session_end"]
        assert lines[-1]["data"]["reason"] == "exit"
        assert all_roots() == []


PROGRAM = """
import logging, os, signal, sys, threading, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], capture_signals=True)
logging.getLogger().addHandler(handler)
session = start_session("abc")
session.event("completion")
"""


def _end(directory) -> dict[str, object]:
    lines = read_lines(directory / "abc" / "session.log")
    assert [line["event"] for line in lines][:2] == ["session_start", "completion"]
    assert [line["event"] for line in lines].count("session_end") == 1
    assert lines[-1]["event"] == "session_end"
    return lines[-1]["data"]


class TestAtEnd:
    def test_failure_keeps_no_other_from_its_turn(self, capsys):
        """
        What fails at the end of the process is told, and the other calls are made.
        """
        seen = []
        lifecycle.at_end(lambda: seen.append("first"))
        lifecycle.at_end(lambda: 1 / 0)
        lifecycle.at_end(lambda: seen.append("last"))
        lifecycle.close_all()
        assert seen == ["last", "first"]
        assert capsys.readouterr().err.count("ZeroDivisionError") == 1


class TestExit:
    @pytest.mark.parametrize(
        ("ending", "code", "reason"),
        [
            ("", 0, "exit"),
            ("sys.exit(3)", 3, "exit"),
            ("raise ValueError('bad')", 1, "exception ValueError"),
            ("raise KeyboardInterrupt", -signal.SIGINT, "signal SIGINT"),
            ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", -signal.SIGTERM, "signal SIGTERM"),
            ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(10)", -signal.SIGHUP, "signal SIGHUP"),
        ],
    )
    def test_reason(self, tmp_path, ending, code, reason):
        """
        However the program ends, as long as code can run, the session's last line says how.
        """
        result = run_python(PROGRAM + ending, tmp_path)
        assert result.returncode == code, result.stderr
        assert _end(tmp_path)["reason"] == reason

    def test_apps_own_handler(self, tmp_path):
        """
        An app's own signal handler runs as before, and the reason is still the signal.
        """
        program = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + PROGRAM
        result = run_python(program + "os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", tmp_path)
        assert result.returncode == 7
        assert _end(tmp_path)["reason"] == "signal SIGTERM"

    def test_ignored_signal_stays_ignored(self, tmp_path):
        """
        A signal that is ignored on purpose, as under nohup, stays ignored.
        """
        program = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + PROGRAM
        result = run_python(program + "os.kill(os.getpid(), signal.SIGHUP)", tmp_path, check=True)
        assert result.returncode == 0
        assert _end(tmp_path)["reason"] == "exit"

    def test_not_in_other_threads(self):
        """
        Signals are left alone when a handler is configured in a thread other than the main one.
        """
        before = signal.getsignal(signal.SIGTERM)
        thread = threading.Thread(target=capture_signals)
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is before

    def test_kill(self, tmp_path):
        """
        What was flushed before a SIGKILL is there, and the next process says that the session crashed.
        """
        result = run_python(PROGRAM + "handler.flush(); os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
        assert result.returncode == -signal.SIGKILL
        run_python(PROGRAM, tmp_path, check=True)
        events = [line["event"] for line in read_lines(tmp_path / "abc" / "session.log")]
        assert events == [
            "session_start",
            "completion",
            "session_crashed",
            "session_start",
            "completion",
            "session_end",
        ]


class TestFork:
    def test_child_logs_too(self, tmp_path):
        """
        After a fork parent and child both log to the session, each line once, and only the parent ends it.
        """
        program = (
            PROGRAM
            + """
child = os.fork()
for number in range(100):
    logging.getLogger("app").warning("x", extra={"session_id": "abc", "who": child == 0, "number": number})
if child == 0:
    sys.exit()
os.waitpid(child, 0)
"""
        )
        run_python(program, tmp_path, check=True)
        _end(tmp_path)
        lines = [line for line in read_lines(tmp_path / "abc" / "session.log") if line["event"] == "log"]
        for who in (True, False):
            assert [line["data"]["number"] for line in lines if line["data"]["who"] == who] == [*range(100)]
        assert {"pid" in line for line in lines if line["data"]["who"]} == {True}
        assert {"pid" in line for line in lines if not line["data"]["who"]} == {False}

    def test_multiprocessing(self, tmp_path):
        """
        Children of `multiprocessing`, which skip exit functions, lose nothing.
        """
        program = (
            PROGRAM
            + """
import multiprocessing
def work(number):
    logging.getLogger("app").warning("x", extra={"session_id": "abc", "number": number})
context = multiprocessing.get_context("fork")
children = [context.Process(target=work, args=(number,)) for number in range(4)]
for child in children:
    child.start()
for child in children:
    child.join()
"""
        )
        run_python(program, tmp_path, check=True)
        lines = [line for line in read_lines(tmp_path / "abc" / "session.log") if line["event"] == "log"]
        assert sorted(line["data"]["number"] for line in lines) == [0, 1, 2, 3]

    def test_while_threads_log(self, tmp_path):
        """
        Children forked while threads log neither hang nor lose what they log.
        """
        program = (
            PROGRAM
            + """
stop = threading.Event()
def chatter():
    while not stop.is_set():
        logging.getLogger("app").info("chatter", extra={"session_id": "abc"})
threads = [threading.Thread(target=chatter) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for number in range(10):
    child = os.fork()
    if child == 0:
        logging.getLogger("app").warning("child", extra={"session_id": "abc", "number": number})
        handler.close()
        os._exit(0)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
stop.set()
for thread in threads:
    thread.join()
print(codes)
"""
        )
        result = run_python(program, tmp_path, options=["-W", "ignore"], check=True)
        assert result.stdout == f"{[0] * 10}\n"
        lines = read_lines(tmp_path / "abc" / "session.log")
        numbers = [line["data"]["number"] for line in lines if line.get("msg") == "child"]
        assert sorted(numbers) == [*range(10)]


def test_second_process_joins(tmp_path):
    """
    A second process that starts a running session writes to it, and leaves its end to the first.
    """
    program = PROGRAM + "handler.flush(); print('ready', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
    ) as first:
        assert first.stdout.readline() == b"ready\n"
        handler = SessionHandler(tmp_path, linger=0)
        logging.getLogger("nobody")
        session = start_session("abc", handler=handler)
        session.event("completion", second=True)
        session.end()
        handler.close()
        first.communicate(b"\n", timeout=30)
    lines = read_lines(tmp_path / "abc" / "session.log")
    assert [line["event"] for line in lines] == ["session_start", "completion", "completion", "session_end"]
    assert lines[2]["pid"] == os.getpid()
    assert "pid" not in lines[3]
