"""
The benchmarks run, and print a figure only when every record landed. No time is judged here.
"""

from __future__ import annotations

from pathlib import Path

from helpers import run_python

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_throughput_prints_a_row_for_each_variant():
    """
    Each variant's records all land, and the table has a row with a ratio for each of them.
    """
    arguments = ["--records", "500", "--rounds", "1", "--sessions", "3"]
    rows = run_python(BENCHMARKS / "bench_throughput.py", *arguments, check=True).stdout.splitlines()[2:]
    assert [row[:36].strip() for row in rows] == [
        "standard library, one text file",
        "usual stack, one JSON file",
        "logger.info, a log per session",
        "session.event, a log per session",
    ]
    assert all(float(row.split()[-1]) > 0 for row in rows)
