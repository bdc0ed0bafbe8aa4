"""
Puts the results of the last whole run into the documentation: ``python -m faults.report``.

    <!-- begin: faults -->              the table
    <!-- begin: faults: machine -->     where it was made

``--check`` only says whether the page is current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from faults import table
from pages import rewrite

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"


def load(path: Path = RESULTS) -> dict[str, Any]:
    """
    The results of the last run that was kept.
    """
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def block(results: dict[str, Any], detail: str) -> str:
    """
    The text between a pair of markers.
    """
    if detail != "machine":
        return table.markdown(results["rows"])
    about = results["about"]
    rights = "as root" if about["root"] else "without root"
    return f"{about['python']} on {about['system']}, {rights}, {about['date']}.\n"


def main() -> int:
    """
    Rewrite the page, or with ``--check`` say whether it would change.
    """
    parser = argparse.ArgumentParser(prog="faults.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is not current")
    arguments = parser.parse_args()
    results = load()
    before = PAGE.read_text("utf-8")
    after = rewrite(before, lambda name, detail: block(results, detail))
    if before == after:
        return 0
    print(f"{PAGE.name} {'is not current: make faults-report' if arguments.check else 'rewritten'}")
    if not arguments.check:
        PAGE.write_text(after, "utf-8")
    return int(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
