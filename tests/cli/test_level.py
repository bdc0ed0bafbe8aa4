from __future__ import annotations

import json
import os
import signal
import time

import pytest

from sessionlog_handlers.cli import level
from sessionlog_handlers.pipeline.metadata import read_metadata


class TestShowLevel:
    def test_prints_it(self, sessionlog, ended):
        """
        Without LEVEL the session's level is printed.
        """
        assert sessionlog("level", "abc123") == (0, "signals\n", "")
        assert json.loads(sessionlog("level", "abc123", "--json").out) == {
            "id": "abc123",
            "level": "signals",
            "severity": "off",
            "state": "ended",
        }


class TestSetLevel:
    def test_changes_a_running_app(self, sessionlog, tmp_path, start_app):
        """
        A running app in another process takes the level within a second, logs it, and logs by it from then on.
        """
        app = start_app(tmp_path, "abc", "other")
        started = time.monotonic()
        outcome = sessionlog("level", "abc", "FULL", "--dir", tmp_path)
        assert time.monotonic() - started < 1.0
        assert outcome == (0, "abc: signals -> full\n", "")
        app.run("sessions[0].output(b'x'); sessions[1].output(b'x')")
        app.close()
        events = [json.loads(line)["event"] for line in (tmp_path / "abc" / "session.log").read_text().splitlines()]
        assert events == ["session_start", "completion", "level_change", "output", "session_end"]
        assert "output" not in (tmp_path / "other" / "session.log").read_text()
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert metadata
        assert [(change["from"], change["to"]) for change in metadata.level_history] == [("signals", "full")]

    @pytest.mark.root
    def test_another_users_session(self, sessionlog, tmp_path, start_app):
        """
        Nothing is asked of an app of another user's, which could not read it.
        """
        start_app(tmp_path, "abc")
        os.chown(tmp_path / "abc", 65534, 65534)
        outcome = sessionlog("level", "abc", "full", "--dir", tmp_path)
        assert outcome.code == 1
        assert "belongs to user 65534" in outcome.err
        assert not (tmp_path / ".control").exists()

    def test_severities_too(self, sessionlog, tmp_path, start_app):
        """
        The other vocabulary sets the severity threshold, and off takes it away.
        """
        start_app(tmp_path, "abc")
        assert sessionlog("level", "abc", "error", "--dir", tmp_path).out == "abc: severity off -> error\n"
        assert sessionlog("level", "abc", "--dir", tmp_path).out == "signals, severity error\n"
        changed = json.loads(sessionlog("level", "abc", "off", "--dir", tmp_path, "--json").out)
        assert changed == {"id": "abc", "changed": "severity", "from": "error", "to": "off"}

    def test_a_later_request_leaves_an_earlier_alone(self, sessionlog, tmp_path, start_app):
        """
        What the app sets itself after a request stays when somebody asks for another session.
        """
        app = start_app(tmp_path, "one", "two")
        sessionlog("level", "one", "full", "--dir", tmp_path)
        app.run("sessions[0].set_level('spawns')")
        sessionlog("level", "two", "full", "--dir", tmp_path)
        app.run("logging.root.handlers[0].flush()")
        assert sessionlog("level", "one", "--dir", tmp_path).out == "spawns\n"

    def test_any_id(self, sessionlog, tmp_path, start_app):
        """
        An id that is no file name is asked for by itself, and shown safely.
        """
        start_app(tmp_path, "we\x1b[2J/ird")
        outcome = sessionlog("level", "we\x1b[2J/ird", "prompts", "--dir", tmp_path)
        assert outcome == (0, "we\\x1b[2J/ird: signals -> prompts\n", "")

    def test_unknown_level(self, sessionlog, ended):
        """
        An unknown level is wrong usage: the choices are listed, with the one that was probably meant.
        """
        outcome = sessionlog("level", "abc123", "ful")
        assert (outcome.code, outcome.out) == (2, "")
        assert "spawns, signals, prompts, full, debug, info, warning, error, off; did you mean 'full'?" in outcome.err

    def test_unknown_session(self, sessionlog, ended):
        """
        An unknown session is exit code 1 and one sentence.
        """
        assert sessionlog("level", "zzz", "full") == (1, "", f"sessionlog: there is no session 'zzz' in {ended}\n")

    def test_ended_session(self, sessionlog, ended):
        """
        An ended session is exit code 1 and one sentence, and nothing is asked for.
        """
        outcome = sessionlog("level", "abc123", "full")
        assert outcome.code == 1
        assert outcome.err.startswith("sessionlog: session 'abc123' ended at 20")
        assert outcome.err.endswith("only a running session's level can be set\n")
        assert not (ended / ".control").exists()

    def test_crashed_session(self, sessionlog, tmp_path, start_app):
        """
        So is one whose process is gone.
        """
        start_app(tmp_path, "abc").kill()
        outcome = sessionlog("level", "abc", "full", "--dir", tmp_path)
        assert outcome.code == 1
        assert "crashed" in outcome.err

    def test_app_that_does_not_answer(self, sessionlog, tmp_path, start_app, monkeypatch):
        """
        An app that hangs is told of, with its process, after a few seconds.
        """
        app = start_app(tmp_path, "abc")
        monkeypatch.setattr(level.set_level, "__defaults__", (0.2,))
        os.kill(app.process.pid, signal.SIGSTOP)
        outcome = sessionlog("level", "abc", "full", "--dir", tmp_path)
        assert outcome.code == 1
        assert f"process {app.process.pid}, which did not answer within 0.2 s" in outcome.err

    @pytest.mark.parametrize("layout", ["fugue", "recorder", "terminal"])
    def test_every_layout(self, sessionlog, tmp_path, start_app, layout):
        """
        Sessions of every layout are found and changed.
        """
        start_app(tmp_path, "abc", layout=layout)
        assert sessionlog("level", "abc", "prompts", "--dir", tmp_path).out == "abc: signals -> prompts\n"
