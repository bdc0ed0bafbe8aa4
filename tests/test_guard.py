"""
The guards of `conftest.py` and the tools of `helpers.py` themselves.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import child_environment, read_lines, run_python, wait_until, watchdog

TESTS = Path(__file__).parent

Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_tests(tmp_path: Path) -> Runner:
    """
    Run test source in a pytest of its own, in the order written, under our conftest.
    """

    def run(source: str, env: dict[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
        for name in ("conftest.py", "helpers.py", "programs.txt"):
            shutil.copy(TESTS / name, tmp_path / name)
        (tmp_path / "test_it.py").write_text(source, "utf-8")
        (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n", "utf-8")
        arguments = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--import-mode=importlib", "test_it.py"]
        program = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
        return run_python(program, *arguments, env={"CI": None, **(env or {})}, cwd=tmp_path)

    return run


class TestEnvironment:
    def test_home_is_empty_and_temporary(self, home):
        """
        ``~`` is an empty folder, not that of the person who runs the tests.
        """
        assert Path("~").expanduser() == home
        assert list(home.iterdir()) == []

    def test_own_folder_is_below_home(self, home):
        """
        SESSIONLOG_HOME points into the temporary home.
        """
        assert Path(os.environ["SESSIONLOG_HOME"]).parent == home

    def test_no_variable_of_ours_comes_through(self, run_tests):
        """
        Variables that would change levels or folders are gone, whoever runs the tests has set them.
        """
        result = run_tests(
            "import os\n"
            "def test_it():\n"
            "    ours = ('SESSIONLOG_', 'FUGUE_', 'CCMUX_', 'XDG_')\n"
            "    assert [name for name in os.environ if name.startswith(ours)] == ['SESSIONLOG_HOME']\n",
            {
                "SESSIONLOG_LEVEL": "full",
                "SESSIONLOG_DIR": "/",
                "FUGUE_SESSION_LOG": "full",
                "CCMUX_SESSION_LOG": "full",
                "XDG_STATE_HOME": "/",
            },
        )
        assert result.returncode == 0, result.stdout

    def test_children_have_the_same_home(self, home):
        """
        A program that a test starts has the temporary home too.
        """
        assert run_python("import os; print(os.path.expanduser('~'))").stdout.strip() == str(home)


class TestLogging:
    def test_is_restored(self, run_tests):
        """
        Levels, handlers, filters and switches that a test changes are back in the next one, its handlers closed.
        """
        result = run_tests(
            "import logging, sys\n"
            "made = []\n"
            "before = (logging.root.handlers[:], logging.root.level, logging.getLogRecordFactory())\n"
            "def test_changes(tmp_path):\n"
            "    made.append(logging.FileHandler(tmp_path / 'x.log'))\n"
            "    logging.root.addHandler(made[0])\n"
            "    logging.root.setLevel(3)\n"
            "    logging.getLogger('app').setLevel(7)\n"
            "    logging.getLogger('app').propagate = False\n"
            "    logging.getLogger('app').disabled = True\n"
            "    logging.getLogger('app').addFilter(print)\n"
            "    logging.setLogRecordFactory(print)\n"
            "    logging.disable(50)\n"
            "    logging.addLevelName(26, 'OTHER')\n"
            "    logging.raiseExceptions = False\n"
            "    logging.captureWarnings(True)\n"
            "def test_is_as_before():\n"
            "    assert made[0].stream is None\n"
            "    assert made[0] not in logging.root.handlers\n"
            "    assert (logging.root.level, logging.getLogRecordFactory()) == before[1:]\n"
            "    app = logging.getLogger('app')\n"
            "    assert (app.level, app.propagate, app.disabled, app.filters) == (0, True, False, [])\n"
            "    assert logging.root.manager.disable == 0\n"
            "    assert logging.getLevelName(26) == 'SPAWNS'\n"
            "    assert logging.raiseExceptions\n"
        )
        assert result.returncode == 0, result.stdout

    def test_survives_dict_config(self, run_tests):
        """
        A test may replace the whole configuration; pytest's own handlers are back afterwards.
        """
        result = run_tests(
            "import logging, logging.config\n"
            "def test_replaces():\n"
            "    handlers = {'h': {'class': 'logging.NullHandler'}}\n"
            "    logging.config.dictConfig({'version': 1, 'handlers': handlers, 'root': {'handlers': ['h']}})\n"
            "def test_captures(caplog):\n"
            "    logging.getLogger('app').warning('seen')\n"
            "    assert caplog.messages == ['seen']\n"
        )
        assert result.returncode == 0, result.stdout

    def test_level_names_are_registered(self):
        """
        Importing the package is enough for the names of the session levels.
        """
        assert logging.getLevelName(26) == "SPAWNS"


class TestContext:
    def test_is_cleared(self, run_tests):
        """
        A session that a test left current, or as the default, is not the next test's.
        """
        result = run_tests(
            "from sessionlog_handlers import context\n"
            "def test_leaves_sessions():\n"
            "    context.set_default_session('a')\n"
            "    context.enter('b')\n"
            "def test_has_none():\n"
            "    assert context.current_session_id() is None\n"
        )
        assert result.returncode == 0, result.stdout


class TestLeaks:
    def test_open_file_is_an_error(self, run_tests):
        """
        A file of the test that stays open is named.
        """
        result = run_tests(
            "import os\ndef test_it(tmp_path):\n    os.open(tmp_path / 'left', os.O_CREAT | os.O_RDWR)\n"
        )
        assert result.returncode == 1
        assert re.search(r"files left open: .*left", result.stdout)

    def test_running_thread_is_an_error(self, run_tests):
        """
        A thread of the package that goes on after the test is named.
        """
        result = run_tests(
            "import threading, time\n"
            "def test_it():\n"
            "    threading.Thread(target=time.sleep, args=[30], name='sessionlog-x', daemon=True).start()\n"
        )
        assert result.returncode == 1
        assert "threads left running: ['sessionlog-x']" in result.stdout


class TestPrograms:
    SOURCE = "import pytest\n@pytest.mark.needs_program('jq')\ndef test_it():\n    pass\n"

    def test_missing_one_is_skipped_by_name(self, run_tests):
        """
        The summary lists the program, the test and the line that cures it.
        """
        result = run_tests(self.SOURCE, {"PATH": "/nonexistent"})
        assert result.returncode == 0
        assert "jq is needed by:" in result.stdout
        assert "test_it.py::test_it" in result.stdout
        assert "apt-get install jq" in result.stdout

    def test_missing_one_fails_in_ci(self, run_tests):
        """
        With CI set, the same is a failure.
        """
        result = run_tests(self.SOURCE, {"PATH": "/nonexistent", "CI": "true"})
        assert result.returncode == 1
        assert "needs jq" in result.stdout

    def test_unknown_one_fails(self, run_tests):
        """
        A program that is not in the list fails, so that the list and CI stay whole.
        """
        result = run_tests(self.SOURCE.replace("jq", "no-such-program"))
        assert result.returncode == 1
        assert "add it with its package" in result.stdout


class TestHelpers:
    def test_run_python_runs_files_with_arguments(self, tmp_path):
        """
        A path is run as a script, with its arguments and its standard input.
        """
        script = tmp_path / "script.py"
        script.write_text("import sys; print(sys.argv[1:], sys.stdin.read())", "utf-8")
        assert run_python(script, "a", tmp_path, input="text").stdout == f"{['a', str(tmp_path)]} text\n"

    def test_run_python_finds_the_package(self, tmp_path, package_directory):
        """
        The child imports the package that the tests import, wherever it starts.
        """
        result = run_python("import sessionlog_handlers; print(sessionlog_handlers.__file__)", cwd=tmp_path, check=True)
        assert Path(result.stdout.strip()).parent == package_directory

    def test_run_python_shows_where_a_child_hangs(self):
        """
        After the time-out the failure holds the child's traceback.
        """
        with pytest.raises(pytest.fail.Exception, match=r"more than 1 s(?s:.*)in hang"):
            run_python("import time\ndef hang():\n    time.sleep(60)\nhang()", timeout=1)

    def test_run_python_can_insist_on_success(self):
        """
        With *check* the child's own words are in the failure.
        """
        with pytest.raises(pytest.fail.Exception, match=r"exited with 3(?s:.*)broken"):
            run_python("import sys; print('broken'); sys.exit(3)", check=True)

    def test_child_environment_takes_variables_away(self, monkeypatch):
        """
        None removes a variable, text sets it.
        """
        monkeypatch.setenv("GONE", "1")
        env = child_environment({"GONE": None, "SET": "2"})
        assert "GONE" not in env
        assert env["SET"] == "2"

    def test_wait_until_gives_the_answer(self):
        """
        The first true answer is handed on.
        """
        answers = iter([0, "", "yes"])
        assert wait_until(lambda: next(answers)) == "yes"

    def test_wait_until_gives_up(self):
        """
        After the time-out the test fails.
        """
        with pytest.raises(pytest.fail.Exception, match="in vain"):
            wait_until(lambda: False, 0.05)

    def test_read_lines_refuses_a_torn_line(self, tmp_path):
        """
        A line without its end is a failure, not a line.
        """
        path = tmp_path / "x.jsonl"
        path.write_bytes(b'{"a":1}\n')
        assert read_lines(path) == [{"a": 1}]
        path.write_bytes(b'{"a":1}\n{"b"')
        with pytest.raises(AssertionError, match="torn"):
            read_lines(path)

    def test_watchdog_ends_a_deadlock(self):
        """
        A block that never ends is ended, with the traceback on the terminal.
        """
        program = "import sys, threading; sys.path.insert(0, sys.argv[1])\nfrom helpers import watchdog\n"
        program += "def hang():\n    lock = threading.Lock(); lock.acquire(); lock.acquire()\n"
        program += "with watchdog(0.5):\n    hang()\n"
        result = run_python(program, TESTS, timeout=30)
        assert result.returncode == 1
        assert "in hang" in result.stderr

    def test_watchdog_lets_others_pass(self):
        """
        As a decorator, it changes nothing for what ends in time.
        """
        assert watchdog(5)(len)("abc") == 3
