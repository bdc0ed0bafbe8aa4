from __future__ import annotations

import json
import shutil

import pytest
from helpers import wait_until

from sessionlog_handlers.cli.output import cell, human_duration, human_size

HOSTILE = "a\x1b[2J\r\nb\u202ec\x9b31m\td"


class TestLs:
    def test_empty_home(self, sessionlog):
        """
        Without any session there is a friendly word on stderr, and nothing for a pipe.
        """
        outcome = sessionlog("ls")
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.startswith("No sessions yet")

    def test_finds_noted_roots(self, sessionlog, ended):
        """
        Without --dir, sessions are found wherever an app of this user logged.
        """
        outcome = sessionlog("ls")
        head, row = outcome.out.splitlines()
        assert head.split() == ["ID", "STATE", "LEVEL", "START", "DURATION", "SIZE", "REASON"]
        assert row.split()[:3] == ["abc123", "ended", "signals"]

    def test_json(self, sessionlog, ended):
        """
        With --json each session is an object on a line.
        """
        found = json.loads(sessionlog("ls", "--json").out)
        assert (found["id"], found["state"], found["level"]) == ("abc123", "ended", "signals")
        assert found["log"] == str(ended / "abc123" / "session.log")
        assert found["size"] == sum(path.stat().st_size for path in (ended / "abc123").iterdir())
        assert found["start"].endswith("Z")

    def test_states(self, sessionlog, tmp_path, start_app):
        """
        A session is running while its process lives; when that is killed it shows as crashed.
        """
        app = start_app(tmp_path, "one", "two")
        app.run("sessions[0].end('done')")
        wait_until(lambda: len(sessionlog("ls", "--dir", tmp_path, "--state", "ended").out.splitlines()) == 2)
        assert "two" in sessionlog("ls", "--dir", tmp_path, "--state", "running").out
        assert "one" not in sessionlog("ls", "--dir", tmp_path, "--state", "running").out
        app.kill()
        assert "two" in sessionlog("ls", "--dir", tmp_path, "--state", "crashed").out
        none = sessionlog("ls", "--dir", tmp_path, "--state", "running")
        assert (none.out, none.err) == ("", f"No running sessions in {tmp_path}.\n")

    def test_newest_first(self, sessionlog, tmp_path, start_app):
        """
        The session that was started last is the first line, and --limit keeps the newest.
        """
        app = start_app(tmp_path, "first")
        app.run("import time; time.sleep(0.01); sessions.append(start_session('second'))")
        app.close()
        assert [row.split()[0] for row in sessionlog("ls", "--dir", tmp_path).out.splitlines()[1:]] == [
            "second",
            "first",
        ]
        assert [row.split()[0] for row in sessionlog("ls", "--dir", tmp_path, "-n1").out.splitlines()[1:]] == ["second"]

    def test_several_roots_are_named(self, sessionlog, ended, tmp_path, start_app):
        """
        When sessions come from more than one directory, each row says from which.
        """
        start_app(tmp_path / "others", "xyz").close()
        outcome = sessionlog("ls")
        assert outcome.out.splitlines()[0].endswith("DIRECTORY")
        assert str(ended) in outcome.out
        assert str(tmp_path / "others") in outcome.out

    def test_unreadable_session_is_named(self, sessionlog, ended, unreadable):
        """
        A session that may not be read is told of on stderr, beside those that may; the exit code is 1.
        """
        (ended / "secret").mkdir()
        unreadable(ended / "secret")
        outcome = sessionlog("ls", "--dir", ended)
        assert outcome.code == 1
        assert "abc123" in outcome.out
        assert outcome.err == f"sessionlog: {ended}/secret can't be read (Permission denied)\n"
        shutil.rmtree(ended / "abc123")
        assert sessionlog("ls", "--dir", ended) == (1, "", outcome.err)
        assert sessionlog("ls", "--dir", ended, "--json") == (1, "", outcome.err)

    def test_unreadable_root_is_named_once(self, sessionlog, ended, unreadable):
        """
        A known root that may not be read is told of once.
        """
        unreadable(ended)
        expected = f"sessionlog: {ended} can't be read (Permission denied)\n"
        assert sessionlog("ls") == (1, "", expected)

    def test_many_that_are_unreadable(self, sessionlog, tmp_path, unreadable):
        """
        Ten are named, the others counted.
        """
        for number in range(12):
            (tmp_path / f"s{number:02}").mkdir()
            unreadable(tmp_path / f"s{number:02}")
        lines = sessionlog("ls", "--dir", tmp_path).err.splitlines()
        assert len(lines) == 11
        assert lines[-1] == "sessionlog: … and 2 more"

    def test_long_id_is_cut(self, sessionlog, tmp_path, start_app):
        """
        One long id does not widen the table; it is in full in --json. A blank id is in quotes.
        """
        start_app(tmp_path, "x" * 100, " ").close()
        outcome = sessionlog("ls", "--dir", tmp_path)
        assert max(len(line) for line in outcome.out.splitlines()) < 120
        assert "x" * 39 + "…  ended" in outcome.out
        assert "' '" in outcome.out
        assert "x" * 100 in sessionlog("ls", "--dir", tmp_path, "--json").out

    @pytest.mark.parametrize("options", [[], ["--json"], ["--color=never"]])
    def test_hostile_id(self, sessionlog, tmp_path, start_app, options):
        """
        Control characters of an id are shown, not executed, and the row stays one line.
        """
        start_app(tmp_path, HOSTILE).close()
        outcome = sessionlog("ls", "--dir", tmp_path, *options)
        assert not set(outcome.out) & {"\x1b", "\r", "\x9b", "\u202e", "\t"}
        assert len(outcome.out.splitlines()) == (1 if options == ["--json"] else 2)
        if options == ["--json"]:
            assert json.loads(outcome.out)["id"] == HOSTILE

    def test_color(self, sessionlog, ended):
        """
        There is colour on request, and none in a pipe.
        """
        assert "\x1b[" in sessionlog("ls", "--color=always").out
        assert "\x1b[" not in sessionlog("ls").out

    def test_broken_metadata(self, sessionlog, ended):
        """
        A session whose metadata is broken is listed from its log.
        """
        (ended / "abc123" / "metadata.json").write_text("{")
        found = json.loads(sessionlog("ls", "--json").out)
        assert (found["id"], found["state"]) == ("abc123", "unknown")
        assert found["start"]

    def test_deleted_root(self, sessionlog, ended):
        """
        A root that was removed is no error.
        """
        shutil.rmtree(ended)
        assert sessionlog("ls").code == 0


class TestOutput:
    @pytest.mark.parametrize(
        ("size", "text"),
        [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (5 * 1024**2, "5.0 MB"), (3 * 1024**4, "3.0 TB")],
    )
    def test_human_size(self, size, text):
        """
        Sizes have the unit that leaves few digits.
        """
        assert human_size(size) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (-5, "0ms"),
            (0.04, "40ms"),
            (1.25, "1.2s"),
            (59.9, "59.9s"),
            (61, "1m01s"),
            (3725, "1h02m"),
            (90_000, "1d01h"),
        ],
    )
    def test_human_duration(self, seconds, text):
        """
        Durations have their two largest units.
        """
        assert human_duration(seconds) == text

    def test_cell_is_cut(self):
        """
        A very long id does not spoil the table.
        """
        assert cell("x" * 500) == "x" * 59 + "…"
