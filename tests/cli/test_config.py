from __future__ import annotations

import io
import sys

import pytest

from sessionlog_handlers.config import profile_names, profile_text


class TestShow:
    @pytest.mark.parametrize("name", profile_names())
    def test_prints_what_passes_the_check(self, sessionlog, tmp_path, name):
        """
        Each profile is printed as it is, and is a right configuration.
        """
        outcome = sessionlog("config", "show", name)
        assert (outcome.code, outcome.out) == (0, profile_text(name))
        path = tmp_path / "logging.yaml"
        path.write_text(outcome.out)
        assert sessionlog("config", "check", path).code == 0

    def test_unknown(self, sessionlog):
        """
        An unknown profile is one sentence with the choices.
        """
        outcome = sessionlog("config", "show", "multiplexr")
        assert outcome.code == 1
        assert "multiplexer, recorder, terminal, timeline" in outcome.err

    def test_list(self, sessionlog):
        """
        The names of all profiles, one a line.
        """
        assert sessionlog("config", "list").out.splitlines() == profile_names()


class TestCheck:
    def test_right(self, sessionlog, tmp_path):
        """
        A right file is said to be so.
        """
        path = tmp_path / "logging.yaml"
        path.write_text("version: 1\n")
        assert sessionlog("config", "check", path) == (0, f"{path}: ok\n", "")

    def test_every_problem_is_a_line(self, sessionlog, tmp_path):
        """
        Each problem is a line with its key, what is allowed, and what was probably meant.
        """
        path = tmp_path / "logging.yaml"
        path.write_text(
            "version: 1\nhandlers:\n  s:\n    class: sessionlog_handlers.SessionHandler\n"
            "    session_levl: full\n    max_bytes: lots\n"
        )
        outcome = sessionlog("config", "check", path)
        assert (outcome.code, outcome.out) == (1, "")
        first, second = sorted(outcome.err.splitlines())
        assert first.startswith(f"{path}: handlers.s.max_bytes: 'lots' is not a size")
        assert second.startswith(f"{path}: handlers.s.session_levl: ")
        assert second.endswith("did you mean 'session_level'?")

    @pytest.mark.parametrize("content", [None, "", "a: [", "\x1b[2J: \x1b"])
    def test_unreadable(self, sessionlog, tmp_path, content):
        """
        A file that is missing, empty or no YAML is one sentence.
        """
        path = tmp_path / "logging.yaml"
        if content is not None:
            path.write_text(content)
        outcome = sessionlog("config", "check", path)
        assert outcome.code == 1
        assert len(outcome.err.splitlines()) == 1
        assert "\x1b" not in outcome.err

    @pytest.mark.parametrize(
        ("content", "code", "said"),
        [
            (b"version: 1\n", 0, "stdin: ok\n"),
            (b"version: 2\n", 1, "stdin: version: 2 is not a version that logging knows; write 1\n"),
            (b"\xff", 1, "sessionlog: stdin can't be read: it is not UTF-8\n"),
            (b"", 1, "stdin is empty; it needs at least 'version: 1' and handlers\n"),
        ],
    )
    def test_stdin(self, sessionlog, monkeypatch, content, code, said):
        """
        A dash stands for stdin.
        """
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        outcome = sessionlog("config", "check", "-")
        assert (outcome.code, outcome.out + outcome.err) == (code, said)

    def test_closed_stdin(self, sessionlog, monkeypatch):
        """
        A stdin that is not there is an empty one.
        """
        monkeypatch.setattr(sys, "stdin", None)
        assert "stdin is empty" in sessionlog("config", "check", "-").err
