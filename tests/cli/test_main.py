from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers import child_environment, run_python, wait_until

from sessionlog_handlers.cli import main

# Runs the command with the descriptor closed that is the first argument, as `>&-` does it.
CLOSED = """
import os, sys
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "sessionlog_handlers", *sys.argv[2:]])
"""

# Runs the command as a user without rights. All that it imports must be loaded before, from wherever it is installed.
AS_NOBODY = """
import os, sys
from sessionlog_handlers.cli.main import run
import sessionlog_handlers.cli.config, sessionlog_handlers.cli.ls, sessionlog_handlers.cli.output
import sessionlog_handlers.config.configure, sessionlog_handlers.reading.sessions
os.setgid(65534)
os.setuid(65534)
sys.exit(run(sys.argv[1:]))
"""


class TestRun:
    @pytest.mark.parametrize("argument", ["-h", "--help"])
    def test_help(self, sessionlog, argument):
        """
        Both ways to ask for help give it on stdout.
        """
        outcome = sessionlog(argument)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("Usage: sessionlog ")

    def test_version_is_quick(self):
        """
        The version is told without loading what reads or writes logs.
        """
        program = (
            "import sys\nfrom sessionlog_handlers.cli.main import run\nassert run(['--version']) == 0\n"
            "print(sorted({'msgspec', 'yaml', 'psutil', 'sessionlog_handlers.reading.reader'} & set(sys.modules)))"
        )
        lines = run_python(program, check=True).stdout.splitlines()
        assert lines[0].startswith("sessionlog ")
        assert lines[1] == "[]"

    def test_runs_as_a_module(self, tmp_path):
        """
        ``python -m sessionlog_handlers`` is the same command.
        """
        result = subprocess.run(
            [sys.executable, "-m", "sessionlog_handlers", "ls"], env=child_environment(), capture_output=True, text=True
        )
        assert (result.returncode, result.stdout) == (0, "")
        assert result.stderr.startswith("No sessions yet")

    @pytest.mark.parametrize("args", [["nonsense"], ["show"], ["ls", "--nonsense"], ["ls", "--state", "odd"]])
    def test_wrong_usage_is_2(self, sessionlog, args):
        """
        What can't be understood is told on stderr, with exit code 2.
        """
        outcome = sessionlog(*args)
        assert (outcome.code, outcome.out) == (2, "")
        assert "Usage: sessionlog" in outcome.err

    @pytest.mark.parametrize("command", ["ls", "status"])
    def test_missing_directory_is_1(self, sessionlog, tmp_path, command):
        """
        An expected failure is one sentence on stderr and exit code 1.
        """
        outcome = sessionlog(command, "--dir", tmp_path / "gone")
        assert outcome == (1, "", f"sessionlog: '{tmp_path}/gone' is not a directory\n")

    @pytest.mark.parametrize("command", [["ls"], ["status"], ["show", "abc123"], ["level", "abc123"]])
    def test_unreadable_directory_is_1(self, sessionlog, ended, unreadable, command):
        """
        A directory that was named and may not be read is an expected failure too, and no wrong usage.
        """
        unreadable(ended)
        outcome = sessionlog(*command, "--dir", ended)
        assert outcome == (1, "", f"sessionlog: {ended}: Permission denied\n")

    @pytest.mark.root
    @pytest.mark.parametrize("path", ["closed", "closed/logging.yaml"])
    def test_another_user_is_told(self, path):
        """
        Another user, whom the modes keep out, gets exit code 1 and the reason, and not a word about usage.
        """
        place = Path(tempfile.mkdtemp())  # which others may enter, as they may not our *tmp_path*
        try:
            place.chmod(0o755)
            (place / "closed").mkdir(mode=0o700)
            (place / "closed" / "logging.yaml").write_text("version: 1")
            command = ["ls", "--dir"] if path == "closed" else ["config", "check"]
            result = run_python(AS_NOBODY, *command, place / path)
            assert (result.returncode, result.stdout) == (1, "")
            assert "Permission denied" in result.stderr
            assert "Usage" not in result.stderr
        finally:
            shutil.rmtree(place)

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("shwo", "no such command: 'shwo'; did you mean 'show'?"),
            ("zzzzz", "no such command: 'zzzzz'\n"),
            ("x" * 5000, "x…"),
            ("\x1b[2J", "no such command: '\\x1b[2J'"),
        ],
    )
    def test_unknown_command(self, sessionlog, word, said):
        """
        A misspelt command is answered with the one that was probably meant.
        """
        outcome = sessionlog(word)
        assert outcome.code == 2
        assert said in outcome.err
        assert len(outcome.err) < 400

    @pytest.mark.parametrize("args", [["ls"], ["--help"], ["--version"], ["show", "abc123"]])
    def test_closed_stdout_is_silent(self, ended, args):
        """
        A stdout that the shell has closed is a reader that went away, and no bug.
        """
        result = run_python(CLOSED, "1", *args)
        assert (result.returncode, result.stderr) == (141, "")

    @pytest.mark.parametrize(("args", "code"), [(["nonsense"], 2), (["show", "nobody"], 1), (["ls"], 0)])
    def test_closed_stderr_changes_no_code(self, ended, args, code):
        """
        Nobody reads what went wrong, but the exit code says it, and none of it is on stdout.
        """
        result = run_python(CLOSED, "2", *args)
        assert result.returncode == code
        assert "sessionlog:" not in result.stdout

    def test_variable_names_the_directory(self, sessionlog, ended, monkeypatch):
        """
        ``SESSIONLOG_DIR`` stands for --dir, and an error names it.
        """
        monkeypatch.setenv("SESSIONLOG_DIR", str(ended))
        assert "abc123" in sessionlog("ls").out
        monkeypatch.setenv("SESSIONLOG_DIR", "/nowhere\x1b[2J")
        assert sessionlog("ls").err == "sessionlog: SESSIONLOG_DIR: '/nowhere\\x1b[2J' is not a directory\n"

    def test_bug_is_3_with_a_report(self, sessionlog, home, monkeypatch):
        """
        Any other exception is a bug: a private file for the report is named, without a traceback on the terminal.
        """

        def fail(*args):
            raise ZeroDivisionError("odd \x1b[2J")

        monkeypatch.setattr(main, "_run", fail)
        outcome = sessionlog("ls", "some")
        report = home / ".sessionlog" / "bug-report.txt"
        assert outcome.code == 3
        assert outcome.err.count("\n") == 1
        assert "\x1b" not in outcome.err
        assert "ZeroDivisionError" in outcome.err
        assert str(report) in outcome.err
        text = report.read_text()
        assert "arguments: ['ls', 'some']" in text
        assert "Traceback" in text
        assert "\x1b" not in text
        assert stat.S_IMODE(report.stat().st_mode) == 0o600

    def test_bug_without_a_home(self, sessionlog, home, monkeypatch):
        """
        Where the report can't be written it goes to stderr.
        """
        (home / ".sessionlog").write_text("in the way")
        monkeypatch.setattr(main, "_run", lambda args: 1 / 0)
        outcome = sessionlog("ls")
        assert outcome.code == 3
        assert "Traceback" in outcome.err

    def test_interrupt_is_130(self, sessionlog, monkeypatch):
        """
        Ctrl-C ends a command without a word.
        """

        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(main, "_run", interrupt)
        assert sessionlog("ls") == (130, "", "")

    def test_sigint_from_outside(self, tmp_path, start_app):
        """
        The same in a process of its own that waits for an app which does not answer.
        """
        app = start_app(tmp_path, "abc")
        os.kill(app.process.pid, signal.SIGSTOP)
        child = subprocess.Popen(
            [sys.executable, "-m", "sessionlog_handlers", "level", "abc", "full", "--dir", tmp_path],
            env=child_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until((tmp_path / ".control").exists)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=10)[1].strip() == ""
        assert child.returncode == 130

    def test_broken_pipe_is_silent(self, tmp_path):
        """
        A reader that goes away, such as ``head``, ends the command without a complaint.
        """
        directory = tmp_path / "abc"
        directory.mkdir()
        line = '{"ts":"2026-01-08T12:34:56.789Z","level":"info","session":"abc","event":"log","data":{},"msg":"hi"}\n'
        (directory / "session.log").write_text(line * 50_000)
        for option in ("--json", "--color=never", "--color=always"):
            command = [sys.executable, "-m", "sessionlog_handlers", "show", "abc", "--dir", tmp_path, option]
            with subprocess.Popen(
                command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as child:
                assert child.stdout
                assert child.stderr
                child.stdout.readline()
                child.stdout.close()
                assert child.stderr.read() == b""
            assert child.returncode == 141

    def test_full_disk_is_a_sentence(self):
        """
        Output that can't be written is an expected failure too.
        """
        if not os.path.exists("/dev/full"):
            pytest.skip("needs /dev/full")
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "sessionlog_handlers", "--help"],
                env=child_environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert result.returncode == 1
        assert result.stderr == "sessionlog: No space left on device\n"


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_script(self, sessionlog, shell):
        """
        Each shell gets a script that calls the command back.
        """
        outcome = sessionlog("completion", shell)
        assert outcome.code == 0
        assert f"_SESSIONLOG_COMPLETE={shell}_complete" in outcome.out

    def test_completes_commands_and_ids(self, sessionlog_process, ended):
        """
        Commands, levels and the ids of sessions are completed; an id that a shell would act on is left out.
        """
        (ended / "abc-evil;rm").mkdir()
        (ended / "abc-evil;rm" / "session.log").write_text("")

        def complete(words):
            env = {
                "_SESSIONLOG_COMPLETE": "bash_complete",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
                "SESSIONLOG_DIR": str(ended),
            }
            return sessionlog_process(env=env).stdout.split()

        assert complete("sessionlog st") == ["plain,status"]
        assert complete("sessionlog show ab") == ["plain,abc123"]
        assert complete("sessionlog level abc123 fu") == ["plain,full"]
        assert complete("sessionlog config show rec") == ["plain,recorder"]
