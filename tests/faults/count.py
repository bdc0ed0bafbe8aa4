"""
What became of the records: read through the public reader, compared with what was promised.
"""

from __future__ import annotations

import gzip
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from faults.acks import Slot
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.reading.reader import BadLine, LineReader, read_rotated
from sessionlog_handlers.reading.sessions import list_sessions

OTHER_REASONS = ("sampling", "line")  # of log_dropped lines: what they count are no accepted records
_HEAD = b'{"ts":'  # what a line of ours begins with
_LEFTOVER = re.compile(r"\..*\.tmp|\..*\.[0-9a-f]{12}\.tmp")

Promise = Literal["accepted", "acknowledged"]


@dataclass
class Tally:
    """
    What the table shows of a row.

    Args:
        accepted: Records whose fate was promised: the call returned, or for sudden ends, `flush` did.

        found: Those of them that are in the files.

        reported: Those that were told of instead.

        lost: accepted - found - reported; below zero if one was found and told of as lost.

        duplicated: Records that are there again.

        torn: Lines without their end or their beginning.

        joined: Lines that hold more than one.

        disordered: Records after a later one of the same writer.

        ghosts: Records that nobody ever logged.

        orphans: Files that no reader reads.
    """

    accepted: int = 0
    found: int = 0
    reported: int = 0
    lost: int = 0
    duplicated: int = 0
    torn: int = 0
    joined: int = 0
    disordered: int = 0
    ghosts: int = 0
    orphans: int = 0

    def add(self, other: Tally) -> None:
        """
        Count another place, too.
        """
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def faults(self, torn: int = 0) -> list[str]:
        """
        What breaks the promises that hold everywhere.

        Args:
            torn: How many torn lines are allowed.
        """
        wrong = {
            name: getattr(self, name) for name in ("lost", "duplicated", "joined", "disordered", "ghosts", "orphans")
        }
        found = [f"{number} {name}" for name, number in wrong.items() if number]
        if self.torn > torn:
            found.append(f"{self.torn} torn" + (f", {torn} allowed" if torn else ""))
        return found


@dataclass
class Content:
    """
    What a root holds.

    Args:
        records: Writer → its records' numbers as they are read, over all sessions' logs.

        audited: The same for the audit files.

        reported: What `log_dropped` lines count.

        lines: Every line of the logs.

        bad: What could not be read.

        orphans: Files that no reader reads: half-made ones, or an archive beside its plain file.

        unreadable: What is no file, or can't be opened.
    """

    records: dict[int, list[int]] = field(default_factory=dict)
    audited: dict[int, list[int]] = field(default_factory=dict)
    reported: int = 0
    lines: list[Line] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def read(root: Path, keep_lines: bool = False) -> Content:
    """
    Read all sessions of a root.

    Args:
        root: The root.

        keep_lines: Whether the lines themselves are wanted.
    """
    content = Content()
    if not root.is_dir():
        return content
    for info in list_sessions([root]):
        logs = {info.log.name, *(name for name in map(_log_name, os.listdir(info.directory)) if name)}
        for name in sorted(logs):
            reader = read_rotated(info.directory / name)
            target = content.records if name == info.log.name else content.audited
            for line in _lines(reader, content):
                _take(target, line)
                if name == info.log.name:
                    content.reported += _dropped(line)
                    if keep_lines:
                        content.lines.append(line)
            content.bad += reader.bad
            content.orphans += _unread(info.directory, name, {path.name for path in reader.paths})
        content.orphans += [str(path) for path in info.directory.iterdir() if _LEFTOVER.fullmatch(path.name)]
    return content


def _lines(reader: LineReader, content: Content) -> Iterator[Line]:
    try:
        yield from reader
    except FileNotFoundError:
        return  # a session whose log was never begun
    except OSError as error:
        content.unreadable.append(f"{error.filename}: {error.strerror}")


def _log_name(name: str) -> str:
    found = re.fullmatch(r"(?P<log>[^.].*\.(?:log|jsonl))(?:\.[0-9]+)?(?:\.gz)?", name)
    return found["log"] if found else ""


def _take(target: dict[int, list[int]], line: Line) -> None:
    writer, number = line.data.get("writer"), line.data.get("number")
    if isinstance(writer, int) and isinstance(number, int):
        target.setdefault(writer, []).append(number)


def _dropped(line: Line) -> int:
    if line.event != "log_dropped" or line.data.get("reason") in OTHER_REASONS:
        return 0
    return int(line.data.get("count", 0))


def _unread(directory: Path, log: str, read_names: set[str]) -> list[str]:
    """The log's files that the reader passed over, such as an archive beside its plain file."""
    return [str(path) for path in directory.iterdir() if _log_name(path.name) == log and path.name not in read_names]


def tally(
    content: Content, slots: Iterable[Slot], *, promise: Promise = "accepted", reported: int | None = None
) -> Tally:
    """
    Compare what is there with what was promised.

    Args:
        content: What the root holds.

        slots: What each writer was promised.

        promise: Which of a writer's counters is the promise.

        reported: How many records were told of as lost; by default what `log_dropped` lines say.
    """
    result = Tally(reported=content.reported if reported is None else reported)
    known = {slot.writer: slot for slot in slots}
    for slot in known.values():
        promised = getattr(slot, promise)
        result.accepted += promised
        result.found += sum(number < promised for number in set(content.records.get(slot.writer, ())))
    result.lost = result.accepted - result.found - result.reported
    for writer, numbers in content.records.items():
        attempted = known[writer].attempted if writer in known else 0
        result.ghosts += sum(not 0 <= number < attempted for number in numbers)
    for place in (content.records, content.audited):
        for numbers in place.values():
            result.duplicated += len(numbers) - len(set(numbers))
            result.disordered += _disordered(numbers)
    kinds = Counter(_is_joined(bad) for bad in content.bad)
    result.joined, result.torn = kinds[True], kinds[False]
    result.orphans = len(content.orphans)
    return result


def _disordered(numbers: list[int]) -> int:
    """How many come after a larger one."""
    largest, count = -1, 0
    for number in numbers:
        count += number < largest
        largest = max(largest, number)
    return count


def holes(content: Content) -> int:
    """
    How many records are missing before the last that is there, of all writers: a prefix has none.
    """
    return sum(max(numbers) + 1 - len(set(numbers)) for numbers in content.records.values() if numbers)


def _is_joined(bad: BadLine) -> bool:
    """Whether a bad line holds the beginning of more than one, or of one behind something else."""
    raw = _raw(Path(bad.path), bad.lineno) or bad.head
    return raw.find(_HEAD, 1) > 0


def _raw(path: Path, lineno: int) -> bytes:
    try:
        if not path.is_file():
            return b""  # a pipe would be waited for
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        return raw.split(b"\n")[lineno - 1]
    except (OSError, EOFError, IndexError):
        return b""
