from __future__ import annotations

import sys
import threading
import time

import psutil
import pytest
from helpers import wait_until

from sessionlog_handlers.pipeline.hooks import HookError, run_hook


def python(text: str) -> tuple[str, ...]:
    """
    The words of a command that runs a Python program.
    """
    return (sys.executable, "-c", text)


class TestCallable:
    def test_is_given_the_argument(self):
        """
        A callable gets its one argument, in a thread of its own, and is waited for.
        """
        seen = []
        run_hook(lambda value: seen.append((value, threading.current_thread().name)), argument="x", timeout=10)
        assert seen == [("x", "sessionlog-hook")]

    @pytest.mark.parametrize("error", [ValueError("no room"), SystemExit(3), KeyboardInterrupt()])
    def test_raises(self, error):
        """
        Whatever a callable raises is a HookError that names it, SystemExit included.
        """

        def hook(argument):
            raise error

        with pytest.raises(HookError, match=type(error).__name__) as found:
            run_hook(hook, timeout=10)
        assert found.value.__cause__ is error

    def test_takes_too_long(self):
        """
        A callable that does not come back in time has failed, and is not called again before it has come back.
        """
        gate, calls = threading.Event(), []

        def hook(argument):
            calls.append(argument)
            gate.wait(30)

        with pytest.raises(HookError, match=r"took more than 0\.05 s"):
            run_hook(hook, argument=1, timeout=0.05)
        with pytest.raises(HookError, match="has not come back"):
            run_hook(hook, argument=2, timeout=10)
        gate.set()
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "sessionlog-hook"])
        run_hook(hook, argument=3, timeout=10)
        assert calls == [1, 3]

    def test_without_threads(self, monkeypatch):
        """
        At the interpreter's end, where there can be no thread, it is called where it is asked for.
        """
        monkeypatch.setattr("sessionlog_handlers.pipeline.threads._forbidden", True)
        seen = []
        run_hook(lambda argument: seen.append(threading.current_thread()), timeout=10)
        assert seen == [threading.current_thread()]


class TestCommand:
    def test_arguments_and_environment(self, tmp_path):
        """
        A command gets its own words, then the arguments as they are, without a shell, and what is put into its
        environment.
        """
        target = tmp_path / "out"
        text = "import os, sys; open(sys.argv[1], 'w').write(repr((sys.argv[2:], os.environ['SESSIONLOG_SESSION'])))"
        arguments = ["a b", "$HOME; echo", tmp_path]
        run_hook((*python(text), str(target)), arguments=arguments, environment={"SESSIONLOG_SESSION": "x"}, timeout=60)
        assert target.read_text() == repr((["a b", "$HOME; echo", str(tmp_path)], "x"))

    def test_what_no_program_can_be_given(self, tmp_path):
        """
        A NUL and half a surrogate pair, which an id may hold, arrive escaped.
        """
        text = f"import os; open({str(tmp_path / 'out')!r}, 'w').write(os.environ['ID'])"
        run_hook(python(text), environment={"ID": "a\0b\ud800"}, timeout=60)
        assert (tmp_path / "out").read_text() == "a\\x00b\\ud800"

    def test_streams(self, capfd):
        """
        Its standard input is empty and its output goes nowhere; what it complains of is seen beside the app's own.
        """
        run_hook(python("import sys; print(sys.stdin.read()); print('trouble', file=sys.stderr)"), timeout=60)
        assert capfd.readouterr() == ("", "trouble\n")

    @pytest.mark.parametrize(
        ("words", "clause"),
        [
            (python("raise SystemExit(3)"), "its exit code was 3"),
            (python("import os; os.kill(os.getpid(), 9)"), "signal 9 ended it"),
            (("/nowhere/at-all",), "it can't be run: No such file or directory"),
        ],
    )
    def test_fails(self, words, clause):
        """
        An exit code, a signal, or a program that is not there is a HookError that says so.
        """
        with pytest.raises(HookError, match=clause):
            run_hook(words, timeout=60)

    def test_takes_too_long(self, tmp_path):
        """
        A command that takes too long is killed together with what it started.
        """
        child = tmp_path / "child"
        text = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(tmp_path / "part")!r}, "w").write(str(child.pid))
import os; os.rename({str(tmp_path / "part")!r}, {str(child)!r})
child.wait()
"""
        start = time.monotonic()
        with pytest.raises(HookError, match="was killed"):
            run_hook(python(text), timeout=3)
        assert time.monotonic() - start < 30
        pid = int(wait_until(child.read_text))
        wait_until(lambda: not _runs(pid))

    def test_leaves_no_child_behind(self):
        """
        A command that was waited for is no zombie.
        """
        before = psutil.Process().children()
        run_hook(python("pass"), timeout=60)
        assert psutil.Process().children() == before


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
