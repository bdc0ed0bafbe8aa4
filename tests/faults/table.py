"""
Results as a table: for the terminal, and for the documentation.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

COLUMNS = ("faults", "accepted", "found", "reported", "lost", "duplicated", "torn", "joined")


def cells(result: Mapping[str, Any]) -> list[str]:
    """
    One row: id, fault, the numbers, the method, the seconds.
    """
    numbers = {**result["tally"], "faults": result["faults"]}
    return [
        result["row"],
        result["fault"],
        *(f"{numbers[name]:,}" for name in COLUMNS),
        ", ".join(result["methods"]),
        f"{result['seconds']:.0f}",
        "yes" if result["passed"] else "no",
    ]


HEADS = ["row", "fault", "faults made", *COLUMNS[1:], "method", "seconds", "pass"]


def aligned(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    The lines of a table for a terminal.
    """
    rows = [HEADS, *map(cells, results)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    numbers = range(2, 2 + len(COLUMNS))
    return [
        "  ".join(
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(results: Iterable[Mapping[str, Any]]) -> str:
    """
    The table for a page; without the seconds, which differ from run to run.
    """
    at = HEADS.index("seconds")
    rules = ["---", "---", *("---:" for _ in COLUMNS), "---", "---"]
    rows = [[*cells(result)] for result in results]
    lines: list[Sequence[str]] = [HEADS[:at] + HEADS[at + 1 :], rules, *(row[:at] + row[at + 1 :] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> dict[str, Any]:
    """
    Where a run took place.
    """
    kernel = platform.release().split("-")[0]
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {kernel}",
        "root": os.geteuid() == 0,
    }
