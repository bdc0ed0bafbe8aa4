"""
What it costs to begin: importing the package and other loggers, and `sessionlog --version` as a whole.

Each figure is the median over many processes of one round. The time of an import is taken inside of the process, after
``import logging``, so it is what an app that logs has to pay in addition. A first process writes the bytecode, and is
not counted. Ours is imported as an app does that uses it, with its handler and sessions, and once by its name alone:
its public names are loaded on first use. The rest is loaded with the first handler, and has a row of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import harness
from topic import BenchmarkError, Figure, Kind, Options, Run, Size, Topic, Variant

IMPORT = """
import logging, sys, time
before = {*sys.modules}
start = time.perf_counter()
%s
print((time.perf_counter() - start) * 1000, len(sys.modules.keys() - before))
"""


def answer_of(*command: str) -> str:
    """
    What an interpreter prints for that command.
    """
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if result.returncode:
        raise BenchmarkError(f"{' '.join(command)!r} failed: {result.stderr.strip()}")
    return result.stdout


def measure_import(statement: str) -> Run:
    """
    A round of processes that import.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        program = IMPORT % statement
        answer_of("-c", program)
        answers = [answer_of("-c", program).split() for _ in range(options["processes"])]
        return {
            "import": statistics.median(float(took) for took, _ in answers),
            "modules": statistics.median(int(modules) for _, modules in answers),
        }

    return run


def measure_command(*command: str) -> Run:
    """
    A round of processes, each timed from outside.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        answer_of(*command)
        took = []
        for _ in range(options["processes"]):
            start = time.perf_counter()
            answer_of(*command)
            took.append((time.perf_counter() - start) * 1000)
        return {"process": statistics.median(took)}

    return run


def importing(name: str, kind: Kind, statement: str, *needs: str) -> Variant:
    """
    A variant that imports.
    """
    return Variant(name, measure_import(statement), kind, needs, f"{statement!r}, after 'import logging'.")


def command(name: str, kind: Kind, *arguments: str) -> Variant:
    """
    A variant that runs a process.
    """
    return Variant(name, measure_command(*arguments), kind, (), f"python {' '.join(arguments)}, from outside.")


TOPIC = Topic(
    "startup",
    __doc__,
    (
        importing("import of ours", "ours", "from sessionlog_handlers import SessionHandler, start_session"),
        importing(
            "import and a handler of ours",
            "ours",
            "import tempfile; from sessionlog_handlers import SessionHandler; SessionHandler(tempfile.gettempdir())",
        ),
        importing("import of the package alone", "ours", "import sessionlog_handlers"),
        importing("import of concurrent-log-handler", "peer", "import concurrent_log_handler"),
        importing("import of python-json-logger", "peer", "from pythonjsonlogger.json import JsonFormatter"),
        importing("import of structlog", "peer", "import structlog", "structlog"),
        importing("import of loguru", "peer", "from loguru import logger", "loguru"),
        importing("import of Logbook", "peer", "import logbook", "logbook"),
        importing("import of picologging", "peer", "import picologging", "picologging"),
        command("sessionlog --version", "ours", "-m", "sessionlog_handlers", "--version"),
        command("python that logs", "floor", "-c", "import logging"),
    ),
    (
        Figure("import", "ms", "lower", ".1f", against=("import of concurrent-log-handler",)),
        Figure("modules", "", "lower", ".0f", against=(), in_chart=False),
        Figure("process", "ms", "lower", ".1f", against=("python that logs",)),
    ),
    bases={"import of concurrent-log-handler": "concurrent-log-handler", "python that logs": "python"},
    sizes={"processes": Size(20, 2, "processes of which each round takes the median")},
)

if __name__ == "__main__":
    harness.main(TOPIC)
