"""
A row of what is promised: the fault that is made, how it is judged, and what a run of it came to.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count as numbers_from
from pathlib import Path
from typing import Any

from faults import count
from faults.child import Child, Fault, NotBegunError
from faults.count import Content, Promise, Tally

MOST_PROBLEMS = 10  # of a row that are shown
MOST_POINTS = 2000  # of a loop over the n-th call: it has to end


class Stopped(Exception):
    """Somebody ended the run."""


@dataclass
class Result:
    """
    What a run of a row came to.

    Args:
        row: Its id.

        fault: What was done.

        faults: How often.

        tally: What became of the records.

        methods: How the faults were made.

        problems: What broke the promise; none means that it held.

        notes: What else was measured.

        seconds: How long it took.

        began: Whether its programs could be run at all.
    """

    row: str
    fault: str
    faults: int = 0
    tally: Tally = field(default_factory=Tally)
    methods: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    began: bool = True

    @property
    def passed(self) -> bool:
        """Whether the promise held, and a fault was made at all."""
        return not self.problems and self.faults > 0

    def as_dict(self) -> dict[str, Any]:
        """For a file of results."""
        return {**asdict(self), "passed": self.passed}


class Run:
    """
    One run of a row: places to log to, children, and the result.

    Args:
        row: The row.

        quick: Make few faults only.

        broken: The broken handler that is put into the children, by name.
    """

    stopped = threading.Event()

    def __init__(self, row: Row, *, quick: bool = False, broken: str = "", home: Path | None = None) -> None:
        self.row = row
        self.quick = quick
        self.broken = broken
        self.result = Result(row.id, row.fault)
        self._directory = tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True)
        self.directory = Path(self._directory.name)
        self._home = home or self.directory
        self._children: list[Child] = []
        self._places = numbers_from(1)

    def carry_out(self) -> Result:
        """
        Make the faults and judge.
        """
        start = time.monotonic()
        try:
            self.row.function(self)
        except Stopped:
            raise
        except NotBegunError as error:
            self.result.began = False
            self.problem(str(error))
        except Exception as error:
            self.problem(f"{type(error).__name__}: {error}")
        finally:
            self.close()
        self.result.seconds = time.monotonic() - start
        return self.result

    def close(self) -> None:
        """
        End what still runs, and delete what was logged.
        """
        for child in self._children:
            child.close()
        self._directory.cleanup()

    # -- what rows use -----------------------------------------------------------------------------------------------

    def times(self, many: int, few: int) -> int:
        """*few* in a quick run, else *many*."""
        return few if self.quick else many

    def place(self) -> Path:
        """A new directory; the root of a program is *logs* in it."""
        path = self.directory / str(next(self._places))
        path.mkdir()
        return path

    def start(
        self,
        program: str,
        place: Path,
        *,
        root: Path | None = None,
        fault: Fault | None = None,
        python: Sequence[str] = (),
        **options: Any,
    ) -> Child:
        """
        Start a program of `faults.programs`, by the name of its module and function. It waits for `Child.go`.

        Args:
            program: Such as ``plain.events``.

            place: A directory for its acknowledgements.

            root: Where it logs. (default: *logs* in its place)

            fault: What is to go wrong.

            python: Options of the interpreter.

            options: For the program.
        """
        if self.stopped.is_set():
            raise Stopped
        page = place / f"acks-{next(self._places)}"
        given = {"program": program, "root": str(root or place / "logs"), "acks": str(page), "broken": self.broken}
        child = Child({**given, **options}, self._home, fault, python)
        self._children = [each for each in self._children if each.process.poll() is None]
        self._children.append(child)
        return child

    def run(self, program: str, place: Path, *, fault: Fault | None = None, **options: Any) -> Child:
        """
        The same from start to end; what was made of the fault is counted.
        """
        child = self.start(program, place, fault=fault, **options).go().end()
        if fault is not None:
            self.made(child.faults_made, fault.method)
        return child

    def made(self, faults: int, method: str) -> None:
        """So many faults were made, by that method."""
        self.result.faults += faults
        if method not in self.result.methods:
            self.result.methods.append(method)

    def problem(self, text: str) -> None:
        """Something that breaks the promise."""
        if len(self.result.problems) < MOST_PROBLEMS:
            self.result.problems.append(text)

    def check(self, condition: object, text: str) -> None:
        """It is a problem if the condition does not hold."""
        if not condition:
            self.problem(text)

    def note(self, text: str) -> None:
        """Something worth to be shown beside the numbers."""
        self.result.notes.append(text)

    def judge(
        self,
        what: str,
        root: Path,
        children: Sequence[Child],
        *,
        promise: Promise = "accepted",
        reported: int | None = None,
        lines_reported: int | None = None,
        torn: int = 0,
        leftovers: bool = False,
    ) -> Content:
        """
        Count what is in a root, and add it to the result.

        Args:
            what: For the problems, such as at which call the fault was made.

            root: The root.

            children: Who logged there.

            promise: Which of their counters is the promise.

            reported: How many records were told of as lost; by default what `log_dropped` lines say.

            lines_reported: The same for audit lines.

            torn: How many torn lines are allowed.

            leftovers: Whether files count that no reader reads: a program that died may leave some, the next one to
                open the session may not.
        """
        content = count.read(root)
        slots = [slot for child in children for slot in child.acks.slots()]
        found = count.tally(content, slots, promise=promise, reported=reported, lines_reported=lines_reported)
        if not leftovers:
            found.orphans = 0
        self.result.tally.add(found)
        for wrong in found.faults(torn):
            names = [Path(name).name for name in content.orphans[:3]]
            detail = f" ({', '.join(names)})" if "orphan" in wrong else ""
            self.problem(f"{what}: {wrong}{detail}")
        return content

    def compare_told(self, what: str, content: Content, child: Child) -> None:
        """
        Compare what the logs tell of losses with `stats`. They may tell of less if one of them has no end: what was
        given up then has no line, for none could be written any more.
        """
        dropped, lines_lost = sum(child.stats.get("dropped", {}).values()), child.stats.get("lines_lost", 0)
        told, lines_told = content.reported, content.lines_reported
        has_ended = content.places and all(place.has_ended for place in content.places.values())
        self.check(
            told == dropped or (not has_ended and told < dropped),
            f"{what}: the log tells of {told}, stats of {dropped}",
        )
        self.check(lines_told <= lines_lost, f"{what}: the log tells of {lines_told} lines, stats of {lines_lost}")

    def discard(self, place: Path) -> None:
        """Delete a place that has been judged."""
        shutil.rmtree(place, ignore_errors=True)

    @property
    def is_decided(self) -> bool:
        """Whether a broken handler was found out, so that no more faults are needed."""
        return bool(self.broken and self.result.problems)

    def points(self) -> Iterator[int]:
        """
        1, 2, 3 … for a loop that fails the n-th call until a run is clean; a few of them in a quick run.
        """
        step = 1
        at = 1
        while at < MOST_POINTS and not self.is_decided:
            yield at
            at += step
            if self.quick:
                step = at


@dataclass(frozen=True)
class Row:
    """
    A row of the table.

    Args:
        id: As in the promises.

        fault: What is done, in a few words.

        promise: What has to hold.

        function: Does it.

        broken: Handlers that it must find out, by name, with words, "|" between them, of which a problem of theirs must
            contain one: any other problem shows nothing.

        alone: Whether it measures time, and wants the machine for itself.
    """

    id: str
    fault: str
    promise: str
    function: Callable[[Run], None]
    broken: Mapping[str, str]
    alone: bool = False


ROWS: dict[str, Row] = {}


def row(
    id: str, fault: str, promise: str, *, broken: Mapping[str, str], alone: bool = False
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """
    Make a function a row of the table.
    """

    def register(function: Callable[[Run], None]) -> Callable[[Run], None]:
        ROWS[id] = Row(id, fault, promise, function, dict(broken), alone)
        return function

    return register
