"""
CPython's own tests of :mod:`logging`: with this package loaded, and with its handler in the stdlib's place.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from helpers import run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_logging") is None,
    reason="this interpreter was built without the package test, which holds CPython's own tests",
)

PROGRAM = """
import logging.handlers, sys, unittest
from sessionlog_handlers import *
{before}
from test import test_logging
suite = unittest.defaultTestLoader.loadTestsFrom{what}
result = unittest.TextTestRunner(sys.stdout, warnings="ignore").run(suite)
print(result.testsRun, "ran")
sys.exit(not result.wasSuccessful())
"""


def run_cpython_tests(what: str, before: str = "", *, directory: Path, timeout: float) -> int:
    """
    Run a part of ``test.test_logging`` in a child and give the number of its tests; fail unless all of them pass.
    """
    env = {"TMPDIR": str(directory)}
    result = run_python(PROGRAM.format(what=what, before=before), env=env, cwd=directory, timeout=timeout)
    assert result.returncode == 0, f"{result.stdout[-20_000:]}\n{result.stderr[-5_000:]}"
    return int(result.stdout.split()[-2])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_pass_with_the_package_loaded(tmp_path):
    """
    Every public name loaded: nothing that CPython promises about logging has changed.
    """
    assert run_cpython_tests("Module(test_logging)", directory=tmp_path, timeout=280) > 200


def test_rotating_handler_passes_for_the_stdlib_one(tmp_path):
    """
    The cases for ``RotatingFileHandler`` pass with ours in its place.
    """
    number = run_cpython_tests(
        "TestCase(test_logging.RotatingFileHandlerTest)",
        "logging.handlers.RotatingFileHandler = SessionRotatingFileHandler",
        directory=tmp_path,
        timeout=60,
    )
    assert number >= 6
