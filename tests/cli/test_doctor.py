from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_environment


@pytest.fixture
def crashed(tmp_path, start_app) -> Path:
    """
    A root with two sessions whose process was killed, one of them with a torn line.
    """
    start_app(tmp_path / "logs", "abc", "def").kill()
    with (tmp_path / "logs" / "abc" / "session.log").open("ab") as log:
        log.write(b'{"ts":"2026-')
    return tmp_path / "logs"


class TestDoctor:
    def test_all_is_well(self, sessionlog, ended):
        """
        Where nothing is wrong, one sentence says so, and the exit code is 0.
        """
        assert sessionlog("doctor", "--dir", ended) == (0, "1 session in 1 directory: nothing is wrong.\n", "")
        assert sessionlog("doctor", "--repair", "--dir", ended).code == 0
        assert sessionlog("doctor", "--json", "--dir", ended) == (0, "", "")

    def test_tells(self, sessionlog, crashed):
        """
        What is wrong is told by session, with what is wrong and what would be done about it; the exit code is 1.
        """
        code, out, err = sessionlog("doctor", "--dir", crashed)
        assert (code, err) == (1, "")
        assert sorted(out.splitlines()) == sorted(
            f"""\
session abc in {crashed}
  crashed abc/metadata.json: all its processes are gone, and none has ended it
    with --repair: it is marked as crashed, with the time of its last line; its next start says so in its log
  torn_tail abc/session.log: its last line has no line end
    with --repair: a line end is appended, as the next line would do; nothing is cut
session def in {crashed}
  crashed def/metadata.json: all its processes are gone, and none has ended it
    with --repair: it is marked as crashed, with the time of its last line; its next start says so in its log
all sessions in {crashed}
  leases .leases: 1 process was killed
    with --repair: what proved that they live is removed
2 sessions in 1 directory: 4 things wrong, --repair mends 4 of them.
""".splitlines()
        )

    def test_repairs(self, sessionlog, crashed):
        """
        With --repair it says what it did, and the exit code is 0 if nothing is left; then only a note remains.
        """
        code, out, err = sessionlog("doctor", "--repair", "--dir", crashed)
        assert (code, err) == (0, "")
        assert "    mended: a line end is appended, as the next line would do; nothing is cut\n" in out
        assert out.endswith("2 sessions in 1 directory: 4 things mended, 1 note.\n")
        code, out, _ = sessionlog("doctor", "--dir", crashed)
        assert code == 0
        assert "  torn_line abc/session.log: 1 line only began when a process was killed\n" in out
        assert out.endswith("2 sessions in 1 directory: nothing is wrong, 1 note.\n")

    def test_what_is_left(self, sessionlog, ended):
        """
        What can't be mended is told again after a repair, and the exit code is 1.
        """
        os.mkfifo(ended / "abc123" / "session.log.1")
        code, out, _ = sessionlog("doctor", "--repair", "--dir", ended)
        assert code == 1
        assert out.endswith("1 session in 1 directory: 1 thing left.\n")

    @pytest.mark.root
    def test_another_users_root(self, sessionlog, crashed):
        """
        In a root of another user's nothing is mended, also by root: that user's apps could not use what root makes.
        """
        os.chown(crashed, 65534, 65534)
        outcome = sessionlog("doctor", "--repair", "--dir", crashed)
        assert (outcome.code, outcome.out) == (1, "")
        assert "belongs to user 65534, and only that user may change what is in it" in outcome.err
        assert sessionlog("doctor", "--dir", crashed).out.endswith("--repair mends 4 of them.\n")

    def test_only_some(self, sessionlog, crashed):
        """
        With ids, only those sessions are looked at and mended.
        """
        code, out, _ = sessionlog("doctor", "--repair", "def", "--dir", crashed)
        assert code == 0
        assert out.endswith("1 session in 1 directory: 1 thing mended.\n")
        assert sessionlog("doctor", "abc", "--dir", crashed).out.endswith("2 things wrong, --repair mends 2 of them.\n")
        assert sessionlog("doctor", "zzz", "--dir", crashed).err.startswith("sessionlog: there is no session 'zzz' in")

    def test_json(self, sessionlog, crashed):
        """
        With --json each finding is an object on its line, with what became of it.
        """
        found = [json.loads(line) for line in sessionlog("doctor", "--json", "--dir", crashed).out.splitlines()]
        assert sorted((one["session"] or "", one["kind"], one["outcome"]) for one in found) == [
            ("", "leases", "found"),
            ("abc", "crashed", "found"),
            ("abc", "torn_tail", "found"),
            ("def", "crashed", "found"),
        ]
        assert {one["path"] for one in found} >= {str(crashed / "abc" / "session.log"), str(crashed / ".leases")}
        code, out, _ = sessionlog("doctor", "--repair", "--json", "--dir", crashed)
        assert code == 0
        assert sorted(json.loads(line)["outcome"] for line in out.splitlines()) == ["mended"] * 4 + ["note"]

    def test_hostile_id(self, sessionlog, tmp_path, start_app):
        """
        Whatever a session is called, nothing of it acts on the terminal.
        """
        start_app(tmp_path, "we\x1b[2J/ird").kill()
        assert "session we\\x1b[2J/ird in" in sessionlog("doctor", "--dir", tmp_path).out

    def test_colour(self, sessionlog, crashed):
        """
        Colour is for terminals, or for those who ask.
        """
        assert "\x1b[" not in sessionlog("doctor", "--dir", crashed).out
        assert "\x1b[31mcrashed\x1b[0m" in sessionlog("doctor", "--color", "always", "--dir", crashed).out

    def test_unreadable_directory(self, sessionlog, ended, unreadable):
        """
        A directory that can't be read is named, and the exit code is 1.
        """
        unreadable(ended / "abc123")
        code, _, err = sessionlog("doctor", "--dir", ended)
        assert code == 1
        assert str(ended / "abc123") in err

    def test_progress(self, ended):
        """
        Who looks at a terminal sees how far it is; nothing of that stays, and nothing of it is in a pipe.
        """
        terminal, end = pty.openpty()
        program = (
            "from sessionlog_handlers.cli import doctor\n"
            "doctor.PAUSE = -1.0\n"
            "from sessionlog_handlers.cli.main import main\n"
            "main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "doctor", "--dir", str(ended)],
            stdout=subprocess.PIPE,
            stderr=end,
            env=child_environment(),
            check=True,
        )
        os.close(end)
        shown = os.read(terminal, 10_000)
        os.close(terminal)
        assert b"1 session looked at" in shown
        assert shown.endswith(b"\r\x1b[K")
        assert done.stdout == b"1 session in 1 directory: nothing is wrong.\n"
