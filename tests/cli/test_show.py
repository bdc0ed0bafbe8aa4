from __future__ import annotations

import json

import pytest


class TestShow:
    def test_readable(self, sessionlog, ended):
        """
        Each stored line is one readable line, with its fields.
        """
        outcome = sessionlog("show", "abc123")
        texts = [line.split(" ", 1)[1] for line in outcome.out.splitlines()]
        assert texts[:3] == [
            "INFO    session_start level=signals",
            "INFO    completion text=ready",
            "WARNING app: watch out n=5",
        ]
        assert texts[3].startswith("INFO    session_end reason=")
        assert (outcome.code, outcome.err) == (0, "")

    def test_json_is_the_stored_line(self, sessionlog, ended):
        """
        With --json the lines of a JSON log come out as they are.
        """
        assert sessionlog("show", "abc123", "--json").out == (ended / "abc123" / "session.log").read_text()

    def test_json_is_the_same_for_every_layout(self, sessionlog, tmp_path, start_app):
        """
        Whatever the layout's format, --json gives the same shape with the session's id in it.
        """
        for layout in ("multiplexer", "fugue", "recorder", "terminal"):
            app = start_app(tmp_path / layout, "abc", layout=layout)
            app.run("sessions[0].set_level('full'); sessions[0].output(b'hello')")
            app.close()
            lines = [
                json.loads(line)
                for line in sessionlog("show", "abc", "--dir", tmp_path / layout, "--json").out.splitlines()
            ]
            assert "output" in {line["event"] for line in lines}, layout
            assert {line["session"] for line in lines} == {"abc"}
            assert all(list(line)[:5] == ["ts", "level", "session", "event", "data"] for line in lines)

    def test_beginning_of_an_id(self, sessionlog, ended):
        """
        The beginning of an id is enough while one session has it.
        """
        assert sessionlog("show", "abc").out == sessionlog("show", "abc123").out

    def test_last_lines(self, sessionlog, ended):
        """
        -n gives the newest lines, not the oldest.
        """
        lines = sessionlog("show", "abc123").out.splitlines()
        assert sessionlog("show", "abc123", "-n", "2").out.splitlines() == lines[-2:]

    def test_other_file(self, sessionlog, ended):
        """
        --file picks an audit file; an unknown one is an error that lists those there are.
        """
        events = [
            json.loads(line)["event"]
            for line in sessionlog("show", "abc123", "--file", "audit_system.log", "--json").out.splitlines()
        ]
        assert events == ["session_start", "completion", "session_end"]
        outcome = sessionlog("show", "abc123", "--file", "nope")
        assert outcome.code == 1
        assert outcome.err == "sessionlog: session 'abc123' has no file 'nope'; it has session.log, audit_system.log\n"

    def test_unknown_session(self, sessionlog, ended):
        """
        An unknown id is exit code 1 and one sentence, with the id that was probably meant.
        """
        outcome = sessionlog("show", "abd123")
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err == f"sessionlog: there is no session 'abd123' in {ended}; did you mean 'abc123'?\n"

    def test_id_in_two_roots(self, sessionlog, ended, tmp_path, start_app):
        """
        An id in two roots is an error that lists both; --dir decides.
        """
        start_app(tmp_path / "others", "abc123").close()
        outcome = sessionlog("show", "abc123")
        assert outcome.code == 1
        assert str(ended) in outcome.err
        assert str(tmp_path / "others") in outcome.err
        assert sessionlog("show", "abc123", "--dir", ended).code == 0

    def test_bad_lines_are_named(self, sessionlog, ended):
        """
        What can't be read is counted and named on stderr, and the rest is shown.
        """
        log = ended / "abc123" / "session.log"
        log.write_bytes(b"garbage\n" + log.read_bytes() + b'{"torn":\x1b[2J')
        outcome = sessionlog("show", "abc123")
        assert outcome.code == 0
        assert len(outcome.out.splitlines()) == 4
        head, *named = outcome.err.splitlines()
        assert head == "sessionlog: 2 lines could not be read:"
        assert [line.partition(": ")[0] for line in named] == [f"  {log}:1", f"  {log}:6"]

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_hostile_content(self, sessionlog, tmp_path, start_app, options):
        """
        Nothing that a session logged acts on the terminal.
        """
        app = start_app(tmp_path, "abc")
        app.run(
            "sessions[0].set_level('full'); sessions[0].output(b'\\x1b]0;owned\\x07\\x9b\\xc2\\x9b31m'); "
            "sessions[0].event('completion\\x1b[2J', **{'k\\x1bey': 'v\\x1b[31m\\u202e\\x9b\\r\\nx'}); "
            "logging.getLogger('l\\x1bog').error('m\\x1b[2J\\nforged', exc_info=ValueError('e\\x1b[2J'), "
            "extra={'session_id': 'abc'})"
        )
        app.close()
        outcome = sessionlog("show", "abc", "--dir", tmp_path, *options)
        assert not set(outcome.out) & {"\x1b", "\x07", "\r", "\x9b", "\u202e"}
        assert "forged" in outcome.out
        assert not any(line.startswith("forged") for line in outcome.out.splitlines())

    def test_traceback_stands_below(self, sessionlog, tmp_path, start_app):
        """
        A traceback is shown as lines of its own, indented.
        """
        app = start_app(tmp_path, "abc")
        app.run("sessions[0].error(ValueError('odd'))")
        app.close()
        lines = sessionlog("show", "abc", "--dir", tmp_path).out.splitlines()
        place = next(number for number, line in enumerate(lines) if " error type=ValueError" in line)
        assert lines[place + 1] == "    ValueError: odd"

    def test_color(self, sessionlog, ended, monkeypatch):
        """
        Colour is for a terminal: none in a pipe, none with NO_COLOR, always on request.
        """
        from sessionlog_handlers.cli.options import use_color

        plain = sessionlog("show", "abc123").out
        colored = sessionlog("show", "abc123", "--color", "always").out
        assert "\x1b[" not in plain
        assert "\x1b[33mWARNING" in colored
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        assert use_color("auto")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not use_color("auto")

    def test_compressed_at_the_end(self, sessionlog, ended):
        """
        A log that was compressed when its session ended is shown like any other.
        """
        import gzip

        log = ended / "abc123" / "session.log"
        before = sessionlog("show", "abc123").out
        log.with_name("session.log.gz").write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
        assert sessionlog("show", "abc123").out == before


class TestLimits:
    def test_more_lines_than_any_number_holds(self, sessionlog, ended):
        """
        A number of lines beyond all counting is all of them.
        """
        assert sessionlog("show", "-n", "9" * 23, "abc123", "--dir", ended) == sessionlog(
            "show", "abc123", "--dir", ended
        )


class TestUnreadable:
    def test_session_is_named(self, sessionlog, ended, unreadable):
        """
        A session that may not be read is not said to be missing.
        """
        (ended / "secret").mkdir()
        unreadable(ended / "secret")
        assert sessionlog("show", "secret", "--dir", ended) == (
            1,
            "",
            f"sessionlog: session 'secret': {ended}/secret can't be read (Permission denied)\n",
        )

    def test_one_that_may_be_it_is_named(self, sessionlog, ended, unreadable):
        """
        Where a session is not found, what could not be looked into is named too.
        """
        (ended / "secret").mkdir()
        unreadable(ended / "secret")
        outcome = sessionlog("show", "xyz", "--dir", ended)
        assert outcome.code == 1
        assert outcome.err.endswith(f"no session 'xyz' in {ended}; {ended}/secret can't be read (Permission denied)\n")
