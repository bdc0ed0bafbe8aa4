"""
Run the tests on every CPython 3.11, 3.12 and 3.13 of this machine, each in a virtual environment of its own.

Looks for python3.11 … python3.13 on the PATH and in pyenv's versions. Two installations of one version count once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = ((3, 11), (3, 12), (3, 13))

PROBE = """
import json, platform, sys
try:
    import ensurepip, venv
except ImportError:
    usable = False
else:
    usable = True
implementation = platform.python_implementation()
print(json.dumps([implementation, list(sys.version_info[:3]), sys.version_info[3], sys.executable, usable]))
"""


def candidates() -> list[str]:
    names = [f"python{major}.{minor}" for major, minor in WANTED] + ["python3"]
    paths = [Path(folder, name) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    paths += sorted(pyenv.glob("versions/*/bin/python3"))
    return [str(path) for path in paths if os.access(path, os.X_OK)]


def probe(executable: str) -> tuple[tuple[int, int, int], str, bool] | None:
    """
    Version, path and whether it can make virtual environments; None if it does not run, or is another implementation.
    """
    try:
        result = subprocess.run([executable, "-I", "-c", PROBE], capture_output=True, text=True, timeout=30)
        implementation, version, release, path, usable = json.loads(result.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None  # a pyenv shim of a version that is not switched on, for one
    if implementation != "CPython" or release != "final" or tuple(version[:2]) not in WANTED:
        return None
    return tuple(version), path, usable


def find_pythons() -> dict[tuple[int, int, int], str]:
    found: dict[tuple[int, int, int], str] = {}
    without_venv: dict[tuple[int, int, int], str] = {}
    for executable in candidates():
        if answer := probe(executable):
            version, path, usable = answer
            (found if usable else without_venv).setdefault(version, path)
    for version, path in sorted(without_venv.items()):
        if version not in found:
            print(f"left out: {path}, which has no venv (on Debian: apt-get install python3-venv)")
    return dict(sorted(found.items()))


def name_of(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def prepare(python: str, environment: Path) -> Path:
    """
    Make the environment, or bring it up to date if setup.cfg changed, and give its interpreter.
    """
    own = environment / "bin" / "python"
    stamp = environment / ".stamp"
    if not stamp.exists() or stamp.stat().st_mtime < (ROOT / "setup.cfg").stat().st_mtime:
        subprocess.run([python, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(own), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "--editable", f"{ROOT}[test]"], check=True)
        stamp.touch()
    return own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--except", dest="tested", metavar="PYTHON", help="leave out this interpreter's version")
    parser.add_argument("arguments", nargs="*", help="for pytest")
    options = parser.parse_args()

    found = find_pythons()
    for version, path in found.items():
        print(f"found {name_of(version)}: {path}")
    for minor in WANTED:
        if minor not in {version[:2] for version in found}:
            print(f"not found: CPython {name_of(minor)}")
    if options.tested and (answer := probe(options.tested)) and answer[0] in found:
        print(f"left out {name_of(answer[0])}: tested already")
        del found[answer[0]]

    failed = []
    for version, path in found.items():
        print(f"\n=== CPython {name_of(version)}", flush=True)
        started = time.monotonic()
        python = prepare(path, ROOT / ".venvs" / name_of(version))
        if subprocess.run([str(python), "-P", "-m", "pytest", *options.arguments], cwd=ROOT).returncode:
            failed.append(version)
        print(f"=== CPython {name_of(version)} took {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"failed on {', '.join(map(name_of, failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
