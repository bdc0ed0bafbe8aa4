"""
Run the rows and print the table: ``python -m faults [ROW …]``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from faults import disks, rows, strace, table
from faults.row import ROWS, Result, Row, Run

WORKERS = 2  # rows at a time, as many as the least machine has processors
GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"

assert rows.__path__  # imported for its rows


class Harness:
    """
    Runs rows, says what goes on, and keeps what came out.

    Args:
        quick: Whether few faults are enough.

        say: Takes each line.
    """

    def __init__(self, quick: bool, say: Callable[[str], None]) -> None:
        self.quick = quick
        self._say = say
        self._lock = threading.Lock()
        self._home = Path(tempfile.mkdtemp(prefix="faults-home-"))

    def close(self) -> None:
        """Remove what the children kept."""
        shutil.rmtree(self._home, ignore_errors=True)

    def run_rows(self, chosen: Iterable[Row]) -> list[Result]:
        """
        Run rows side by side, those that measure time alone, and give their results in the order of the table.
        """
        chosen = list(chosen)
        results = self._run([(row, "") for row in chosen], self._tell_row)
        return [results[row.id, ""] for row in chosen]

    def run_broken(self, chosen: Iterable[Row]) -> dict[tuple[str, str], Result]:
        """
        Run each row with each of its broken handlers.
        """
        return self._run([(row, name) for row in chosen for name in row.broken], self._tell_broken)

    def _run(
        self, wanted: Sequence[tuple[Row, str]], tell: Callable[[Result, str], None]
    ) -> dict[tuple[str, str], Result]:
        results: dict[tuple[str, str], Result] = {}

        def work(row: Row, broken: str) -> None:
            if not broken:
                self._print(f"{row.id:5} {row.fault} …")
            run = Run(row, quick=self.quick or bool(broken), broken=broken, home=self._home)
            result = run.carry_out()
            results[row.id, broken] = result
            tell(result, broken)

        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(work, row, broken) for row, broken in wanted if not row.alone]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                Run.stopped.set()
                raise
        for row, broken in wanted:
            if row.alone:
                work(row, broken)
        return results

    def _tell_row(self, result: Result, broken: str) -> None:
        self._print(
            f"{result.row:5} {colored(result.passed, 'pass' if result.passed else 'FAIL')} {result.seconds:.1f} s"
        )
        for text in result.problems:
            self._print(f"      {text}")
        for text in result.notes:
            self._print(f"      ({text})")

    def _tell_broken(self, result: Result, broken: str) -> None:
        found = is_found_out(result, broken)
        word = "found out" if found else "NOT FOUND OUT"
        words = ROWS[result.row].broken[broken]
        shown = next((problem for problem in result.problems if words in problem), "; ".join(result.problems))
        reason = f": {shown[:100]}" if shown else ""
        self._print(f"{result.row:5} {broken}: {colored(found, word)}{reason}")

    def _print(self, text: str) -> None:
        with self._lock:
            self._say(text)


def is_found_out(result: Result, broken: str) -> bool:
    """
    Whether a row saw what is broken in its handler, and not only that nothing ran or that something else is wrong.
    """
    words = ROWS[result.row].broken[broken].split("|")
    return result.began and result.faults > 0 and any(word in problem for word in words for problem in result.problems)


def colored(good: bool, text: str) -> str:
    """Green or red on a terminal."""
    return f"{GREEN if good else RED}{text}{PLAIN}" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def chosen_rows(names: Sequence[str]) -> list[Row]:
    """
    The rows of these names in the table's order, or all.
    """
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        sys.exit(f"faults: there is no row {unknown[0]!r}; there is {', '.join(in_order())}")
    return [ROWS[name] for name in in_order() if not names or name in names]


def in_order() -> list[str]:
    """
    The rows' ids: F1, F2, …, then those without a number.
    """
    return sorted(ROWS, key=lambda name: (not name[1:].isdigit(), int(name[1:]) if name[1:].isdigit() else 0, name))


def use_weak_methods() -> None:
    """
    Make the faults as a system does that lets nobody mount a disk or trace a process.
    """
    for module, names in ((disks, ("can_mount", "can_cut_power")), (strace, ("is_possible",))):
        for name in names:
            setattr(module, name, lambda: False)


def main() -> int:
    """
    Run rows, then their broken handlers; 1 if a promise does not hold or a broken handler is not found out.
    """
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("row", nargs="*", help="which rows (all)")
    parser.add_argument("--quick", action="store_true", help="few faults of each kind")
    parser.add_argument("--list", action="store_true", help="only list the rows")
    parser.add_argument("--no-broken", action="store_true", help="leave the broken handlers out")
    parser.add_argument("--only-broken", action="store_true", help="only the broken handlers")
    parser.add_argument("--weak", action="store_true", help="as if nobody could mount disks or trace processes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="keep the results in a file")
    arguments = parser.parse_args()
    chosen = chosen_rows(arguments.row)
    if arguments.list:
        for row in chosen:
            print(f"{row.id:5} {row.fault}: {row.promise}")
        return 0
    if arguments.weak:
        use_weak_methods()
    start = time.monotonic()
    harness = Harness(arguments.quick, lambda text: print(text, flush=True))
    try:
        results = [] if arguments.only_broken else harness.run_rows(chosen)
        broken = {} if arguments.no_broken else harness.run_broken(chosen)
    finally:
        harness.close()
    content = [result.as_dict() for result in results]
    if results:
        print("", *table.aligned(content), sep="\n")
    if arguments.json:
        about = {**table.machine(), "date": datetime.now(UTC).date().isoformat()}
        arguments.json.write_text(json.dumps({"about": about, "rows": content}, indent=1) + "\n", "utf-8")
    failed = [result.row for result in results if not result.passed]
    missed = [f"{row}: {name}" for (row, name), result in broken.items() if not is_found_out(result, name)]
    good = not failed and not missed
    print(colored(good, f"\n{len(results) - len(failed)} of {len(results)} rows hold"), end="")
    print(f"; {len(broken) - len(missed)} of {len(broken)} broken handlers found out; {time.monotonic() - start:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
