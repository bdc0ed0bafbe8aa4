from __future__ import annotations

import threading

from helpers import run_python

from sessionlog_handlers.pipeline import threads as module
from sessionlog_handlers.pipeline.threads import forbid_threads, start_thread


def test_starts_a_daemon():
    """
    A thread is a daemon with the name that it was given.
    """
    seen = []
    thread = start_thread(lambda: seen.append(threading.current_thread()), "sessionlog-test")
    thread.join(5)
    assert seen == [thread]
    assert (thread.name, thread.daemon) == ("sessionlog-test", True)


def test_refused_by_the_system(monkeypatch):
    """
    Where the system has no thread left, there is None instead of an exception.
    """

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert start_thread(lambda: None, "sessionlog-test") is None


def test_forbidden(monkeypatch):
    """
    Once forbidden, there are no new threads.
    """
    monkeypatch.setattr(module, "_forbidden", False)
    forbid_threads()
    assert start_thread(lambda: None, "sessionlog-test") is None


def test_at_the_interpreters_end(tmp_path):
    """
    What is logged by exit functions that run after ours is in the file, though there are no threads any more.
    """
    program = """
import atexit, logging, sys
atexit.register(lambda: logging.getLogger("app").warning("late", extra={"session_id": "other"}))
from sessionlog_handlers import SessionHandler, start_session
logging.getLogger().addHandler(SessionHandler(sys.argv[1]))
start_session("abc")
"""
    run_python(program, tmp_path, check=True)
    assert b'"msg":"late"' in (tmp_path / "other" / "session.log").read_bytes()
    assert b'"session_end"' in (tmp_path / "abc" / "session.log").read_bytes()
