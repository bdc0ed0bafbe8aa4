"""
Build the wheel by way of the source archive, and test it where the checkout can't be seen.

First with its runtime dependencies alone: what it declares, what it holds, that the command and the API work. Then
tests, copied away from the checkout, against the installed package. Takes pytest's arguments, such as which tests.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What tests read beside themselves: all but the package.
COPIED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "docs",
    "benchmarks",
    "examples",
    "pyproject.toml",
    "scripts",
    "setup.cfg",
    "tests",
)

SMOKE_TEST = """
import logging, logging.config, pathlib, sys, tempfile
import sessionlog_handlers
from sessionlog_handlers import *

assert pathlib.Path(sessionlog_handlers.__file__).is_relative_to(sys.prefix), sessionlog_handlers.__file__
directory = pathlib.Path(tempfile.mkdtemp(dir="."))
logging.config.dictConfig({
    "version": 1,
    "handlers": {"sessions": {"class": "sessionlog_handlers.SessionHandler", "directory": str(directory)}},
    "root": {"level": "INFO", "handlers": ["sessions"]},
})
with start_session("first"):
    logging.getLogger("app").warning("from the wheel")
logging.shutdown()
assert "from the wheel" in (directory / "first" / "session.log").read_text("utf-8")
"""


def run(*command: str | Path, cwd: Path, quiet: bool = False) -> int:
    """
    Run a command without the variables that would show it the checkout; with *quiet*, print only what a failure says.
    """
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    output = subprocess.PIPE if quiet else None
    result = subprocess.run([*map(str, command)], cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT, text=True)
    if quiet and result.returncode:
        print(result.stdout, end="")
    return result.returncode


def must(*command: str | Path, cwd: Path) -> None:
    if code := run(*command, cwd=cwd, quiet=True):
        sys.exit(f"wheel-test: exit {code} from {' '.join(map(str, command)).splitlines()[0]}")


def requirement_name(text: str) -> str:
    return re.split(r"[\s<>=!~;\[]", text.strip(), maxsplit=1)[0].lower().replace("_", "-")


def check_contents(wheel: Path) -> list[str]:
    """
    What setup.cfg promises and the wheel does not hold.
    """
    setup = configparser.RawConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode("utf-8"))
        scripts = archive.read(f"{info}/entry_points.txt").decode("utf-8")
    wrong = []
    declared = {requirement_name(line) for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    for line in setup["options"]["install_requires"].split("\n"):
        if line.strip() and requirement_name(line) not in declared:
            wrong.append(f"Requires-Dist lacks {line.strip()}")
    for line in setup["options.entry_points"]["console_scripts"].split("\n"):
        if line.strip() and line.strip() not in scripts:
            wrong.append(f"entry_points.txt lacks {line.strip()}")
    if metadata["Requires-Python"] != setup["options"]["python_requires"]:
        wrong.append("Requires-Python is not that of setup.cfg")
    package = ROOT / "sessionlog_handlers"
    for path in [*package.rglob("*.py"), *package.rglob("*.yaml"), package / "py.typed"]:
        if str(path.relative_to(ROOT)) not in names:
            wrong.append(f"{path.relative_to(ROOT)} is not in the wheel")
    wrong += [
        f"{name} should not be in the wheel" for name in names if not name.startswith((f"{info}/", f"{package.name}/"))
    ]
    return wrong


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="wheel-test-") as name:
        directory = Path(name)
        print("building", flush=True)
        must(sys.executable, "-m", "build", "--outdir", directory / "dist", ROOT, cwd=directory)
        (wheel,) = (directory / "dist").glob("*.whl")

        print(f"checking what {wheel.name} holds", flush=True)
        if wrong := check_contents(wheel):
            sys.exit("\n".join(f"wheel-test: {line}" for line in wrong))

        print("testing it with its runtime dependencies alone", flush=True)
        must(sys.executable, "-m", "venv", directory / "venv", cwd=directory)
        programs = directory / "venv" / "bin"
        pip = (programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        must(*pip, wheel, cwd=directory)
        must(programs / "python", "-I", "-W", "error", "-c", SMOKE_TEST, cwd=directory)
        must(programs / "sessionlog", "--help", cwd=directory)
        must(programs / "sessionlog", "config", "show", "multiplexer", cwd=directory)

        print("running the tests on it", flush=True)
        must(*pip, f"{wheel}[test]", cwd=directory)
        elsewhere = directory / "elsewhere"
        elsewhere.mkdir()
        for item in COPIED:
            source = ROOT / item
            if source.is_dir():
                shutil.copytree(source, elsewhere / item, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, elsewhere / item)
        return run(programs / "python", "-P", "-m", "pytest", *sys.argv[1:], cwd=elsewhere)


if __name__ == "__main__":
    sys.exit(main())
