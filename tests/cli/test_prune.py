from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from helpers import child_environment, read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.cli import prune
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.reading.pruned import configured_rules
from sessionlog_handlers.reading.sessions import list_sessions
from sessionlog_handlers.settings.tables import parse_retention


@pytest.fixture
def root(tmp_path):
    """
    A root with three sessions that have ended, s1 first, and none configured to go.
    """
    make(tmp_path / "logs")
    return tmp_path / "logs"


def make(root, **options) -> None:
    """
    Make the sessions s1, s2 and s3, which end in this order.
    """
    handler = SessionHandler(root, linger=0, **options)
    for number in (1, 2, 3):
        with start_session(f"s{number}", handler=handler) as session:
            session.event("completion")
        time.sleep(0.002)
    handler.close()


def is_group(number: int) -> bool:
    """
    Whether any process of that group is left.
    """
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def names(root) -> list[str]:
    """
    The sessions that are there.
    """
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


class TestPrune:
    def test_dry_run(self, sessionlog, root):
        """
        What would go is listed with the reason and its bytes, and nothing is touched.
        """
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--dry-run")
        assert outcome.code == 0
        head, *rows = outcome.out.splitlines()
        assert head.split() == ["ID", "STATE", "END", "SIZE", "WHY"]
        assert [row.split()[0] for row in rows] == ["s1", "s2"]
        assert rows[0].endswith("3 sessions are over, the last one is kept")
        assert outcome.err.startswith("2 sessions, ")
        assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    def test_removes(self, sessionlog, root):
        """
        With --yes they are removed, and what was removed is told by ls --pruned.
        """
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--yes")
        assert outcome.code == 0
        assert outcome.err.splitlines()[-1].startswith("Removed: 2 sessions, ")
        assert names(root) == ["s3"]
        told = sessionlog("ls", "--dir", root, "--pruned")
        assert [row.split()[0] for row in told.out.splitlines()] == ["ID", "s2", "s1"]
        assert sessionlog("prune", "--dir", root, "--keep", "1", "--yes") == (0, "", "Nothing is to go.\n")

    def test_json(self, sessionlog, root):
        """
        With --json each session is an object with its rule and what became of it.
        """
        dry = json.loads(sessionlog("prune", "--dir", root, "--keep", "2", "--dry-run", "--json").out)
        assert (dry["id"], dry["rule"], dry["removed"]) == ("s1", "count", False)
        done = json.loads(sessionlog("prune", "--dir", root, "--keep", "2", "--yes", "--json").out)
        assert {**done, "removed": False} == dry
        pruned = json.loads(sessionlog("ls", "--dir", root, "--pruned", "--json").out)
        assert (pruned["id"], pruned["rule"], pruned["bytes"]) == ("s1", "count", done["size"])
        assert sessionlog("prune", "--dir", root, "--keep", "2", "--yes", "--json") == (0, "", "")

    @pytest.mark.parametrize(
        ("options", "left"),
        [
            (["--older-than", "1d"], ["s1", "s2", "s3"]),
            (["--older-than", "1ms"], []),
            (["--total", "1"], []),
            (["--keep-free", "100%"], []),
            (["--keep-free", "1 KB"], ["s1", "s2", "s3"]),
            (["--keep", "2", "--total", "100 MB"], ["s2", "s3"]),
        ],
    )
    def test_rules(self, sessionlog, root, options, left):
        """
        Each rule is that of the configuration, and they can be combined.
        """
        time.sleep(0.01)
        assert sessionlog("prune", "--dir", root, *options, "--yes").code == 0
        assert names(root) == left

    @pytest.mark.parametrize(
        "rule", [{"keep_free": "100%"}, {"keep_free": 1.0}, {"keep_free": 0.9999999, "days": 1 / 3}, {"total": 1}]
    )
    def test_rules_of_the_app(self, sessionlog, tmp_path, rule):
        """
        Rules that an app was configured with are read back from the metadata as they were.
        """
        make(tmp_path)
        handler = SessionHandler(tmp_path, retention=rule)  # too short-lived to remove anything by itself
        start_session("s4", handler=handler).end()
        handler.close()
        assert configured_rules(list_sessions([tmp_path])).retention == parse_retention(rule)
        assert sessionlog("prune", "--dir", tmp_path, "--dry-run").code == 0

    @pytest.mark.parametrize(
        "words",
        [
            "--older-than soon",
            "--older-than 0",
            "--older-than 1M",
            "--keep 0",
            "--total 0",
            "--total much",
            "--keep-free 120%",
        ],
    )
    def test_wrong_value(self, sessionlog, root, words):
        """
        A value that a rule can't have is wrong usage, told with what it may be.
        """
        outcome = sessionlog("prune", "--dir", root, *words.split())
        assert outcome.code == 2
        assert repr(words.split()[1]) in outcome.err
        assert names(root) == ["s1", "s2", "s3"]

    def test_running_sessions_stay(self, sessionlog, tmp_path, start_app):
        """
        A session that runs in another process is never removed.
        """
        app = start_app(tmp_path, "one", "two")
        app.run("sessions[0].end()")
        app.run("logging.root.handlers[0].flush()")
        assert sessionlog("prune", "--dir", tmp_path, "--older-than", "1ms", "--total", "1", "--yes").code == 0
        assert names(tmp_path) == ["two"]
        app.run("sessions[1].event('completion')")

    def test_trash(self, sessionlog, root, tmp_path):
        """
        With --trash they are moved, and can be read there.
        """
        sessionlog("prune", "--dir", root, "--keep", "2", "--trash", tmp_path / "trash", "--yes")
        (place,) = (tmp_path / "trash").iterdir()
        assert "completion" in sessionlog("show", "s1", "--dir", place).out
        assert str(place) in sessionlog("ls", "--pruned", "--dir", root).out

    def test_archive(self, sessionlog, root, tmp_path):
        """
        With --archive a command runs for each before; where it fails the session stays, and the exit code is 1.
        """
        text = "import os, sys; sys.exit(os.environ['SESSIONLOG_SESSION'] == 's1')"
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--archive", f"{sys.executable} -c {text!r}", "-y")
        assert outcome.code == 1
        assert "sessionlog: session 's1' stays, since it could not be archived: its exit code was 1\n" in outcome.err
        assert names(root) == ["s1", "s3"]

    @pytest.mark.parametrize("words", [["--trash", ""], ["--dir", ""], ["--archive", ""], ["--archive", '"x']])
    def test_empty_values(self, sessionlog, root, words):
        """
        An option whose variable was not set, or a command that can't be read, is wrong usage and removes nothing.
        """
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--yes", *words)
        assert outcome.code == 2
        assert repr(words[1]) in outcome.err
        assert names(root) == ["s1", "s2", "s3"]

    def test_archive_and_trash(self, sessionlog, root, tmp_path):
        """
        As in a configuration, a session goes to one of the two.
        """
        outcome = sessionlog(
            "prune", "--dir", root, "--keep", "1", "--trash", tmp_path / "t", "--archive", "true", "-y"
        )
        assert outcome.code == 2
        assert outcome.err.endswith("a removed session goes to --trash or to --archive; give one of them\n")
        assert names(root) == ["s1", "s2", "s3"]

    @pytest.mark.parametrize("below", [".", "old", "s1/old", "../logs/old", ".trash"])
    def test_trash_within_the_root(self, sessionlog, root, below):
        """
        A trash among the sessions is refused, however it is written.
        """
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--trash", root / below, "--yes")
        assert outcome.code == 1
        assert f"is within {root}, where sessions are" in outcome.err
        assert names(root) == ["s1", "s2", "s3"]

    def test_trash_that_can_not_be_used(self, sessionlog, root, tmp_path):
        """
        A trash that is no directory is told of before anything is taken, and nothing is left to finish.
        """
        (tmp_path / "trash").write_text("")
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--trash", tmp_path / "trash", "--yes")
        assert outcome.code == 1
        assert str(tmp_path / "trash") in outcome.err
        assert names(root) == ["s1", "s2", "s3"]
        assert not (root / ".pruning").exists()
        assert sessionlog("prune", "--dir", root, "--keep", "1", "--yes").code == 0

    def test_tells_what_becomes_of_them(self, sessionlog, root, tmp_path):
        """
        The list, its dry run, and the summary say whether sessions are deleted or where they are moved.
        """
        words = ["prune", "--dir", root, "--keep", "1"]
        assert sessionlog(*words, "--dry-run").err.endswith(" KB, to be deleted for good.\n")
        trash = ["--trash", tmp_path / "trash"]
        assert sessionlog(*words, *trash, "--dry-run").err.endswith(f" KB, to be moved to {tmp_path / 'trash'}.\n")
        dry = sessionlog(*words, *trash, "--dry-run", "--json").out.splitlines()
        assert {json.loads(line)["trash"] for line in dry} == {str(tmp_path / "trash")}
        assert not (tmp_path / "trash").exists()
        assert sessionlog(*words, *trash, "--yes").err.endswith(f" KB, moved to {tmp_path / 'trash'}.\n")

    def test_unreadable_session(self, sessionlog, root, unreadable):
        """
        A session that can't be read is named, and the exit code is 1; the others go.
        """
        unreadable(root / "s1")
        outcome = sessionlog("prune", "--dir", root, "--older-than", "1ms", "--yes")
        assert outcome.code == 1
        assert outcome.err.startswith(f"sessionlog: {root}/s1 can't be read (Permission denied)\n")
        assert names(root) == ["s1"]

    def test_interrupted_archive(self, root, tmp_path):
        """
        Ctrl-C ends the command that archives too, with all that it started, and the session stays.
        """
        note = f"echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid"
        archive = f"sh -c '{note}; sleep 60; true'"
        words = ["prune", "--dir", str(root), "--keep", "2", "--archive", archive, "--yes"]
        process = subprocess.Popen(
            [sys.executable, "-m", "sessionlog_handlers", *words],
            env=child_environment(),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background
        )
        group = int(wait_until((tmp_path / "pid").exists) and (tmp_path / "pid").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        wait_until(lambda: not is_group(group))
        assert names(root) == ["s1", "s2", "s3"]

    def test_finishes_what_was_cut_short(self, sessionlog, root):
        """
        What a killed process left of a removal is swept away.
        """
        (root / ".pruning" / "x-0123456789ab" / "files").mkdir(parents=True)
        sessionlog("prune", "--dir", root, "--keep", "2", "--yes")
        assert not (root / ".pruning").exists()

    def test_lock_that_can_not_be_made(self, sessionlog, root):
        """
        Where nobody could remove anything, the command says why, and does not blame another process.
        """
        (root / ".locks" / "retention").mkdir()
        outcome = sessionlog("prune", "--dir", root, "--keep", "2", "--yes")
        assert outcome.code == 1
        assert outcome.err == f"sessionlog: {root}/.locks/retention: Is a directory\n"
        assert names(root) == ["s1", "s2", "s3"]

    def test_somebody_else_is_at_it(self, sessionlog, root, monkeypatch):
        """
        While an app removes sessions of the root, the command says so.
        """
        monkeypatch.setattr(prune, "LOCK_TIMEOUT", 0.05)
        lock = FileLock(str(root / ".locks" / "retention"))
        with lock.hold():
            outcome = sessionlog("prune", "--dir", root, "--keep", "2", "--yes")
        lock.close()
        assert outcome.code == 1
        assert outcome.err.endswith(f"another process is removing sessions of {root} now; try again\n")

    @pytest.mark.root
    def test_another_users_root(self, sessionlog, root):
        """
        What belongs to another user is left to that one, also by root.
        """
        os.chown(root, 65534, 65534)
        for command in (["prune", "--keep", "2", "--yes"], ["pin", "s1"]):
            outcome = sessionlog(command[0], "--dir", root, *command[1:])
            assert outcome.code == 1
            assert "belongs to user 65534" in outcome.err

    def test_hostile_id(self, sessionlog, tmp_path):
        """
        Control characters of an id are shown, not executed.
        """
        handler = SessionHandler(tmp_path, linger=0)
        for id in ("a\x1b[2J\r\nb", "z"):
            start_session(id, handler=handler).end()
            time.sleep(0.002)
        handler.close()
        for options in (["--dry-run"], ["--yes"]):
            outcome = sessionlog("prune", "--dir", tmp_path, "--keep", "1", *options)
            assert "\x1b" not in outcome.out + outcome.err
        assert "\x1b" not in sessionlog("ls", "--dir", tmp_path, "--pruned").out


class TestAsking:
    def test_in_a_pipe(self, sessionlog_process, root):
        """
        Where nobody can be asked, nothing is removed without --yes.
        """
        done = sessionlog_process("prune", "--dir", root, "--keep", "1")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "sessionlog: nobody can be asked here; give --yes to remove them, or --dry-run to only see them"
        )
        assert names(root) == ["s1", "s2", "s3"]

    @pytest.mark.parametrize(("answer", "left"), [(b"n\n", ["s1", "s2", "s3"]), (b"y\n", ["s3"]), (b"\x03", None)])
    def test_on_a_terminal(self, root, answer, left):
        """
        On a terminal the list is shown, then it asks; no answer but yes removes anything.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # in a shell's background, it is ignored
            words = [sys.executable, "-m", "sessionlog_handlers", "prune", "--dir", str(root), "--keep", "1"]
            os.execve(words[0], words, child_environment())
        shown = b""
        try:
            while b"[y/N]" not in shown:
                shown += os.read(terminal, 1024)
            while True:
                # Python may miss a Ctrl-C that comes just before it waits for the terminal.
                os.write(terminal, answer)
                while select.select([terminal], [], [], 1.0)[0]:
                    shown += os.read(terminal, 1024)
        except OSError:  # the terminal hangs up at the child's end
            pass
        finally:
            os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert b"s1" in shown
        assert b"These 2 sessions are deleted for good. Go on?" in shown
        assert code == (130 if left is None else 0)
        assert names(root) == (left or ["s1", "s2", "s3"])

    def test_json_on_a_terminal(self, root):
        """
        With --json no list is shown, so nobody is asked: one of --yes and --dry-run is needed on a terminal, too.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            words = [sys.executable, "-m", "sessionlog_handlers", "prune", "--dir", str(root), "--keep", "1", "--json"]
            os.execve(words[0], words, child_environment())
        shown = b""
        try:
            while chunk := os.read(terminal, 1024):
                shown += chunk
                assert b"[y/N]" not in shown
        except OSError:  # the terminal hangs up at the child's end
            pass
        finally:
            os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        assert b"give --yes to remove them" in shown
        assert names(root) == ["s1", "s2", "s3"]


class TestConfigured:
    def test_rules_of_the_app(self, sessionlog, tmp_path):
        """
        Without a rule those count that the app was configured with, its pins and its trash too.
        """
        root = tmp_path / "logs"
        rules = {"total": "100 MB", "session_bytes": "1 MB"}
        make(root, retention=rules, pinned=["*1"], trash=tmp_path / "trash")
        path = root / "s3" / "metadata.json"
        path.write_text(path.read_text().replace(str(100 * 1024**2), "1"))
        assert sessionlog("prune", "--yes").code == 0
        assert names(root) == ["s1"]
        assert len(list((tmp_path / "trash").iterdir())) == 2

    def test_pins_hold_for_other_rules_too(self, sessionlog, tmp_path):
        """
        What the app pins stays, whatever rule is given.
        """
        make(tmp_path, retention="7d", pinned=["s1"])
        sessionlog("prune", "--dir", tmp_path, "--older-than", "1ms", "--yes")
        assert names(tmp_path) == ["s1"]

    def test_none(self, sessionlog, root):
        """
        Without any rule, the error says which options there are.
        """
        outcome = sessionlog("prune", "--dir", root)
        assert outcome.code == 1
        assert outcome.err == (
            "sessionlog: no app has configured what to keep; give --older-than, --keep, --total or --keep-free\n"
        )

    def test_several_directories(self, sessionlog, root, tmp_path):
        """
        A rule that was given is for one directory; each directory's own rules count for it alone.
        """
        make(tmp_path / "others", retention={"total": "1 GB"})
        outcome = sessionlog("prune", "--keep", "1", "--yes")
        assert outcome.code == 1
        assert "--dir names one" in outcome.err
        assert sessionlog("prune", "--yes") == (0, "", "Nothing is to go.\n")

    @pytest.mark.parametrize("archive", ["/bin/false --now", len])
    def test_archive_of_the_app(self, sessionlog, tmp_path, archive):
        """
        Where the app archives sessions, they don't go without that: it has to be given, or a trash.
        """
        root = tmp_path / "logs"
        make(root, retention="7d", archive=archive)
        outcome = sessionlog("prune", "--dir", root, "--keep", "1", "--yes")
        assert outcome.code == 1
        assert "/bin/false --now" in outcome.err or "builtins.len" in outcome.err
        assert outcome.err.endswith("give --archive COMMAND, or --trash DIRECTORY\n")
        assert sessionlog("prune", "--dir", root, "--keep", "1", "--dry-run").code == 0
        assert sessionlog("prune", "--dir", root, "--keep", "1", "--yes", "--trash", tmp_path / "trash").code == 0
        assert names(root) == ["s3"]

    def test_broken_configuration(self, sessionlog, root):
        """
        Rules in the metadata that make no sense are none.
        """
        path = root / "s3" / "metadata.json"
        metadata = json.loads(path.read_text())
        for broken in ({"days": "x"}, 7, None, {"count": {}}):
            metadata["config"] = {"retention": broken, "pinned": 3, "trash": "relative", "archive": 1}
            path.write_text(json.dumps(metadata))
            assert sessionlog("prune", "--dir", root).err.startswith("sessionlog: no app has configured")


class TestPin:
    def test_keeps_a_session(self, sessionlog, root):
        """
        A pinned session is never removed, until it is pinned no more.
        """
        assert sessionlog("pin", "s1", "--dir", root) == (0, "s1: pinned\n", "")
        sessionlog("prune", "--dir", root, "--older-than", "1ms", "--yes")
        assert names(root) == ["s1"]
        assert json.loads(sessionlog("ls", "--dir", root, "--json").out)["pinned"] is True
        assert json.loads(sessionlog("pin", "s1", "--off", "--dir", root, "--json").out) == {
            "id": "s1",
            "pinned": False,
        }
        sessionlog("prune", "--dir", root, "--older-than", "1ms", "--yes")
        assert names(root) == []

    def test_off_with_a_pattern(self, sessionlog, tmp_path):
        """
        Where a pattern of the app's holds a session, taking its own pin off says so.
        """
        make(tmp_path, retention="7d", pinned=["*1"])
        listed = map(json.loads, sessionlog("ls", "--dir", tmp_path, "--json").out.splitlines())
        assert {one["id"] for one in listed if one["pinned"]} == {"s1"}
        sessionlog("pin", "s1", "--dir", tmp_path)
        outcome = sessionlog("pin", "--off", "s1", "--dir", tmp_path)
        assert outcome == (0, "s1: still pinned, by a pattern of its app\n", "")
        assert json.loads(sessionlog("pin", "--off", "s1", "--dir", tmp_path, "--json").out)["pinned"]

    def test_while_it_runs(self, sessionlog, tmp_path, start_app):
        """
        A session can be pinned while it runs, and stays so when it ends and when it is begun again.
        """
        app = start_app(tmp_path, "abc")
        assert sessionlog("pin", "abc", "--dir", tmp_path).code == 0
        app.run("sessions[0].end()")
        app.run("sessions.append(start_session('abc')); sessions[1].end()")
        app.close()
        found = json.loads(sessionlog("ls", "--dir", tmp_path, "--json").out)
        assert (found["state"], found["pinned"]) == ("ended", True)

    def test_mode_stays(self, sessionlog, root):
        """
        Who may read the metadata does not change.
        """
        path = root / "s1" / "metadata.json"
        path.chmod(0o640)
        sessionlog("pin", "s1", "--dir", root)
        assert path.stat().st_mode & 0o777 == 0o640

    def test_unknown(self, sessionlog, root):
        """
        Without metadata there is nothing that could say so, and no need.
        """
        (root / "s1" / "metadata.json").unlink()
        outcome = sessionlog("pin", "s1", "--dir", root)
        assert outcome.code == 1
        assert "never removed" in outcome.err


class TestListPruned:
    def test_nothing(self, sessionlog, root):
        """
        Where nothing was removed, there is a word on stderr.
        """
        assert sessionlog("ls", "--dir", root, "--pruned") == (0, "", "Nothing was removed.\n")

    def test_limit_and_state(self, sessionlog, root):
        """
        The other options of ls count here too.
        """
        sessionlog("prune", "--dir", root, "--older-than", "1ms", "--yes")
        assert len(read_lines(root / ".pruned.jsonl")) == 3
        assert [json.loads(line)["id"] for line in sessionlog("ls", "--pruned", "-n2", "--json").out.splitlines()] == [
            "s3",
            "s2",
        ]
        assert sessionlog("ls", "--pruned", "--state", "crashed").out == ""
        assert "\x1b[1m" in sessionlog("ls", "--pruned", "--color=always").out

    def test_color(self, sessionlog, root):
        """
        There is colour on request, and none in a pipe.
        """
        assert "\x1b[" in sessionlog("prune", "--dir", root, "--keep", "1", "--dry-run", "--color=always").out
        assert "\x1b[" not in sessionlog("prune", "--dir", root, "--keep", "1", "--dry-run").out


def test_progress(root):
    """
    A terminal is told how far it is when that takes long; the line goes before anything else is said.
    """
    program = """
import sys
from sessionlog_handlers.cli import prune
sys.stderr.isatty = lambda: True
prune.PROGRESS_PAUSE = 0.0
progress = prune.Progress(2)
progress.advance()
progress.advance()
progress.clear()
progress.clear()
"""
    assert run_python(program, check=True).stderr == "\n1 of 2\n2 of 2\n\x1b[K"  # \\r as text
