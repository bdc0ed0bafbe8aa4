"""
What ``import sessionlog_handlers`` gives, and what it leaves alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest
from helpers import run_python

import sessionlog_handlers
from sessionlog_handlers import exceptions

# Each of them costs an app that only writes more than this package itself does.
HEAVY = ["asyncio", "click", "concurrent_log_handler", "msgspec", "psutil", "pythonjsonlogger", "sqlite3", "yaml"]

# What only a handler that is made needs, or a rarer use still. Most of them cost a millisecond or more.
NOT_FOR_AN_IMPORT = [
    "asyncio",
    "click",
    "concurrent.futures",
    "concurrent_log_handler",
    "dataclasses",
    "difflib",
    "fractions",
    "gzip",
    "hashlib",
    "importlib.metadata",
    "locale",
    "logging.handlers",
    "pathlib",
    "pickle",
    "portalocker",
    "psutil",
    "pythonjsonlogger",
    "shutil",
    "socket",
    "ssl",
    "tempfile",
    "urllib.parse",
    "yaml",
    "sessionlog_handlers.pipeline.root",
    "sessionlog_handlers.settings.model",
]


def names_for_type_checkers() -> dict[str, str]:
    """
    Name → module, as the imports under ``if TYPE_CHECKING`` have it.
    """
    tree = ast.parse(inspect.getsource(sessionlog_handlers))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.asname or alias.name: (node.module or "").removeprefix("sessionlog_handlers.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


class TestNames:
    def test_are_sorted(self):
        """
        ``__all__`` is in order and holds no name twice.
        """
        assert list(sessionlog_handlers.__all__) == sorted(set(sessionlog_handlers.__all__))

    @pytest.mark.parametrize("name", sessionlog_handlers.__all__)
    def test_can_be_imported(self, name):
        """
        Each public name is there, and stays the same object.
        """
        value = getattr(sessionlog_handlers, name)
        assert value is getattr(
            importlib.import_module(f"sessionlog_handlers.{sessionlog_handlers._MODULE_OF[name]}"), name
        )

    def test_type_checkers_see_the_same(self):
        """
        The two lists of the package's ``__init__`` agree in names and modules.
        """
        assert names_for_type_checkers() == sessionlog_handlers._MODULE_OF

    def test_every_exception_is_public(self):
        """
        Whatever is raised or warned about can be caught by a public name.
        """
        defined = {
            name for name, value in vars(exceptions).items() if inspect.isclass(value) and issubclass(value, Exception)
        }
        assert defined <= set(sessionlog_handlers.__all__)

    def test_dir_lists_them_unloaded(self):
        """
        ``dir()`` shows every public name, loaded or not.
        """
        assert set(dir(sessionlog_handlers)) >= {*sessionlog_handlers.__all__, "__version__"}

    def test_unknown_name_is_an_attribute_error(self):
        """
        A misspelt name fails as in any other module.
        """
        with pytest.raises(AttributeError, match="has no attribute 'Sesion'"):
            sessionlog_handlers.Sesion  # noqa: B018 - reading it is the test

    @pytest.mark.parametrize("name", sessionlog_handlers.__all__)
    def test_are_documented(self, name):
        """
        Each public class and function has a docstring.
        """
        value = getattr(sessionlog_handlers, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value)

    def test_version_is_that_of_the_metadata(self):
        """
        ``__version__`` comes from the installed distribution, the one place that has it.
        """
        metadata = importlib.import_module("importlib.metadata")
        try:
            expected = metadata.version("sessionlog_handlers")
        except metadata.PackageNotFoundError:
            pytest.skip("runs from a checkout that is not installed")
        assert sessionlog_handlers.__version__ == expected

    def test_package_is_typed(self, package_directory):
        """
        Type checkers are told that the package has types of its own.
        """
        assert (package_directory / "py.typed").exists()


class TestImport:
    def test_loads_nothing_heavy(self):
        """
        Importing the package loads none of its dependencies and no large part of the standard library.
        """
        program = "import json, sys, sessionlog_handlers; print(json.dumps(sorted(sys.modules)))"
        loaded = json.loads(run_python(program, check=True).stdout)
        assert [name for name in HEAVY if name in loaded] == []
        ours = [name for name in loaded if name.startswith("sessionlog_handlers.")]
        assert ours == ["sessionlog_handlers.exceptions", "sessionlog_handlers.levels"]

    def test_handler_and_sessions_load_little(self):
        """
        Who imports the handler, and starts no session yet, has not loaded what only writing takes, nor much of the
        standard library.
        """
        program = (
            "import json, logging, sys\n"
            "before = {*sys.modules}\n"
            "from sessionlog_handlers import SessionHandler, start_session\n"
            "print(json.dumps(sorted({*sys.modules} - before)))"
        )
        loaded = json.loads(run_python(program, check=True).stdout)
        assert [name for name in NOT_FOR_AN_IMPORT if name in loaded] == []

    def test_session_without_a_handler_loads_no_writer(self):
        """
        Before there is a handler nothing can be written, so nothing is loaded that would, nor what makes loggers: in
        another thread `logging` may just be configured, under its lock, and wait for the same import.
        """
        program = (
            "import logging, sys, threading\n"
            "import sessionlog_handlers.session\n"
            "held, done = threading.Event(), threading.Event()\n"
            "def configure():\n"
            "    with logging._lock:\n"
            "        held.set()\n"
            "        done.wait()\n"
            "thread = threading.Thread(target=configure)\n"
            "thread.start()\n"
            "held.wait()\n"
            "import sessionlog_handlers.pipeline.parking\n"
            "done.set()\n"
            "thread.join()\n"
            "sessionlog_handlers.session.start_session('abc')\n"
            "assert 'concurrent_log_handler' not in sys.modules\n"
        )
        run_python(program, check=True, timeout=20)

    def test_registers_level_names(self):
        """
        The four session levels have names in :mod:`logging` as soon as the package is imported.
        """
        program = "import logging, sessionlog_handlers; print(*map(logging.getLevelName, (26, 23, 16, 6)))"
        assert run_python(program, check=True).stdout.split() == ["SPAWNS", "SIGNALS", "PROMPTS", "FULL"]

    def test_changes_nothing_of_logging(self):
        """
        Importing every public name leaves root logger, classes and level numbers alone, and starts no thread.
        """
        program = (
            "import logging, threading\n"
            "def state():\n"
            "    root = logging.root\n"
            "    return root.level, root.handlers[:], logging.getLogRecordFactory(), logging.getLoggerClass()\n"
            "before, levels = state(), dict(logging._nameToLevel)\n"
            "from sessionlog_handlers import *\n"
            "assert state() == before\n"
            "assert levels.items() <= logging._nameToLevel.items()\n"
            "assert threading.active_count() == 1\n"
        )
        run_python(program, options=["-W", "error"], check=True)

    def test_no_metadata_in_pyproject(self):
        """
        A ``[project]`` table beside setup.cfg would drop the dependencies from the wheel without a word.
        """
        text = (Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8")
        assert not re.search(r"^\s*\[project", text, re.MULTILINE)
