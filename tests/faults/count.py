"""
What became of the records: read through the public reader, compared with what was promised.
"""

from __future__ import annotations

import gzip
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from faults.acks import MANY, Slot, session_number
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.reading.reader import BadLine, LineReader, read_rotated
from sessionlog_handlers.reading.sessions import list_sessions

LINE = "line"  # the reason of log_dropped lines that count lines beside the log's: audit lines, starts and ends
OTHER_REASONS = ("sampling", LINE)  # of log_dropped lines: what they count are no accepted records
# Which audit file has the line of an event again, of those that the programs log.
AUDIT_FILES = {
    "state_change": "audit_system.log",
    "error": "audit_system.log",
    "initial_prompt": "audit_user.log",
    "client_attached": "audit_user.log",
}
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

        lost: accepted - found - reported, of the sessions where that is more than nothing.

        overtold: Records that were found and told of as lost, too: what it is below nothing in other sessions.

        unaudited: Audit lines that are missing although the log has the record, and that nobody told of.

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
    overtold: int = 0
    unaudited: int = 0
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
        names = ("lost", "overtold", "unaudited", "duplicated", "joined", "disordered", "ghosts", "orphans")
        wrong = {name: getattr(self, name) for name in names}
        found = [f"{number} {name}" for name, number in wrong.items() if number]
        if self.torn > torn:
            found.append(f"{self.torn} torn" + (f", {torn} allowed" if torn else ""))
        return found


@dataclass
class Place:
    """
    What the files of one session hold.

    Args:
        records: Writer → its records' numbers that are in the log.

        reported: What the log's `log_dropped` lines count.

        lines_reported: What those of them count that tell of other lines than records.

        to_audit: The records in the log that an audit file must have, too: file, writer and number.

        audited: Those that it has.

        has_ended: Whether its log has a `session_end`.
    """

    records: dict[int, set[int]] = field(default_factory=dict)
    reported: int = 0
    lines_reported: int = 0
    to_audit: set[tuple[str, int, int]] = field(default_factory=set)
    audited: set[tuple[str, int, int]] = field(default_factory=set)
    has_ended: bool = False

    def unaudited(self, promised: Mapping[int, int]) -> int:
        """
        How many audit lines are missing.

        Args:
            promised: Writer → how many of its records had to be there.
        """
        return sum(number < promised.get(writer, 0) for _, writer, number in self.to_audit - self.audited)


@dataclass
class Content:
    """
    What a root holds.

    Args:
        records: Writer → its records' numbers as they are read, over all sessions' logs.

        audited: The same for the audit files.

        reported: What `log_dropped` lines count.

        places: Session → what is in its files, by `acks.session_number`.

        lines: Every line of the logs.

        bad: What could not be read.

        orphans: Files that no reader reads: half-made ones, or an archive beside its plain file.

        unreadable: What is no file, or can't be opened.
    """

    records: dict[int, list[int]] = field(default_factory=dict)
    audited: dict[int, list[int]] = field(default_factory=dict)
    reported: int = 0
    places: dict[int, Place] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def lines_reported(self) -> int:
        """What `log_dropped` lines count of other lines than records."""
        return sum(place.lines_reported for place in self.places.values())


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
            place = content.places.setdefault(session_number(info.id), Place())
            for line in _lines(reader, content):
                if name == info.log.name:
                    _take(content, place, line)
                    if keep_lines:
                        content.lines.append(line)
                elif (record := _record(line)) is not None:
                    content.audited.setdefault(record[0], []).append(record[1])
                    place.audited.add((name, *record))
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


def _record(line: Line) -> tuple[int, int] | None:
    """The writer and the number of a program's record."""
    writer, number = line.data.get("writer"), line.data.get("number")
    return (writer, number) if isinstance(writer, int) and isinstance(number, int) else None


def _take(content: Content, place: Place, line: Line) -> None:
    """Count a line of the log."""
    if (record := _record(line)) is not None:
        writer, number = record
        content.records.setdefault(writer, []).append(number)
        place.records.setdefault(writer, set()).add(number)
        if line.event in AUDIT_FILES:
            place.to_audit.add((AUDIT_FILES[line.event], writer, number))
    elif line.event == "session_end":
        place.has_ended = True
    elif line.event == "log_dropped":
        number = int(line.data.get("count", 0))
        if line.data.get("reason") not in OTHER_REASONS:
            content.reported += number
            place.reported += number
        elif line.data.get("reason") == LINE:
            place.lines_reported += number


def _unread(directory: Path, log: str, read_names: set[str]) -> list[str]:
    """The log's files that the reader passed over, such as an archive beside its plain file."""
    return [str(path) for path in directory.iterdir() if _log_name(path.name) == log and path.name not in read_names]


def tally(
    content: Content,
    slots: Iterable[Slot],
    *,
    promise: Promise = "accepted",
    reported: int | None = None,
    lines_reported: int | None = None,
) -> Tally:
    """
    Compare what is there with what was promised, session by session: one that told of too many hides no other's loss.

    Args:
        content: What the root holds.

        slots: What each writer was promised.

        promise: Which of a writer's counters is the promise.

        reported: How many records were told of as lost, where that is known of all sessions together only; by default
            what the `log_dropped` lines of each say.

        lines_reported: The same for audit lines.
    """
    result = Tally(reported=content.reported if reported is None else reported)
    known = {slot.writer: slot for slot in slots}
    promised = {slot.writer: getattr(slot, promise) for slot in known.values()}
    for sessions, writers in _shares(content, known, reported is None):
        accepted = sum(promised[writer] for writer in writers)
        found = sum(number < promised[writer] for writer in writers for number in set(content.records.get(writer, ())))
        told = sum(content.places[each].reported for each in sessions) if reported is None else reported
        result.accepted += accepted
        result.found += found
        result.lost += max(accepted - found - told, 0)
        result.overtold += max(found + told - accepted, 0)
    missing = [(place.unaudited(promised), place.lines_reported) for place in content.places.values()]
    if lines_reported is None:
        result.unaudited = sum(max(number - told, 0) for number, told in missing)
    else:
        result.unaudited = max(sum(number for number, _ in missing) - lines_reported, 0)
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


def _shares(
    content: Content, known: Mapping[int, Slot], apart: bool
) -> Iterator[tuple[Collection[int], Collection[int]]]:
    """Sessions with the writers that logged to them alone; all together if somebody logged to more than one."""
    sessions = {*content.places, *(slot.session for slot in known.values())}
    if not apart or MANY in sessions:
        yield content.places.keys(), known.keys()
        return
    for session in sessions:
        writers = [writer for writer, slot in known.items() if slot.session == session]
        yield {session} & content.places.keys(), writers


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
