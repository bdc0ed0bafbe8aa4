"""
What may be wrong with one log and its rotated files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from sessionlog_handlers.care.case import Case
from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.pipeline.pruning import identity_of
from sessionlog_handlers.pipeline.recovery import (
    Finding,
    Twins,
    close_gaps,
    compare_twins,
    end_last_line,
    has_torn_end,
    missing_slots,
    put_behind,
    remove_twin,
)
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX
from sessionlog_handlers.reading.reader import TORN, BadLine, read_path

_TRUNCATED = "truncated"  # what decoders say of JSON that only began


class _Look(NamedTuple):
    """What reading a file showed."""

    cut: int  # lines that only began
    bad: list[BadLine]  # others that are none, the first of them
    bad_count: int
    state: tuple[int, int]  # inode and size, by which it is known again


def examine_log(case: Case, path: str) -> Iterator[Finding]:
    """
    Look at a log and at its rotated and compressed files. Every line is read.

    Args:
        case: The session.

        path: The log itself; it may be missing.
    """
    if not case.may_run:
        # In a log that is written to, each of these may be a rotation or a compression on its way.
        yield from _twins(case, path)
        yield from _numbers(case, path)
    for archive in _archives(path):
        yield from _archive(case, archive)
    yield from _active(case, path)


def _archives(path: str) -> list[str]:
    packed = path + GZIP_SUFFIX
    compressed = [packed] if os.path.lexists(packed) and not os.path.lexists(path) else []
    return [*(str(archive) for _, archive in archives(path)), *compressed]


def _twins(case: Case, path: str) -> Iterator[Finding]:
    for name in (path, *(str(archive).removesuffix(GZIP_SUFFIX) for _, archive in archives(path))):
        if not (_is_file(name) and _is_file(name + GZIP_SUFFIX)):
            continue
        try:
            found = compare_twins(name)
        except OSError as error:
            yield unreadable(case, name, error)
            continue
        if found is Twins.DIFFERENT and name == path:
            # The log was begun anew before the compressed one became an old file.
            yield case.finding(
                "twins",
                path + GZIP_SUFFIX,
                "a log of before, which is left out of reading",
                "it becomes the youngest of the old files",
                lambda: put_behind(path, packed=True),
            )
            continue
        remedy = {
            Twins.SAME: "the compressed one is removed; the plain one holds all that it does",
            Twins.PLAIN_IS_CUT: "the plain one is removed; the compressed one holds all that it does, and more",
            Twins.DIFFERENT: "nothing: each holds what the other lacks, and the plain one is read",
        }[found]
        mend = None if found is Twins.DIFFERENT else partial(_compare_again, name)
        yield case.finding("twins", name, "there both plain and compressed", remedy, mend, reads=True)


def _compare_again(name: str) -> Callable[[], object]:
    both = (name, name + GZIP_SUFFIX)
    before = [identity_of(path) for path in both]
    found = compare_twins(name)

    def remove() -> None:
        if [identity_of(path) for path in both] == before:
            remove_twin(name, found)

    return remove


def _numbers(case: Case, path: str) -> Iterator[Finding]:
    missing, slots = missing_slots(path), [slot for slot, _ in archives(path)]
    if missing:
        numbers = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        remedy = "the files move up in their order; none is deleted"
        yield case.finding("gap", path, f"no old file has number {numbers}", remedy, lambda: close_gaps(path))
    count = case.config.get("backup_count")
    if isinstance(count, int) and max(slots, default=0) > count > 0:
        remedy = "nothing: a rotation that finds no free number deletes the oldest"
        text = f"old files up to number {max(slots)}, and {count} are to be kept"
        yield case.finding("surplus", path, text, remedy, harmless=True)
    if slots and not os.path.lexists(path) and not os.path.lexists(path + GZIP_SUFFIX):
        remedy = "nothing: the next line makes a new one"
        yield case.finding("moved", path, "a rotation moved it away and nothing came after it", remedy, harmless=True)


def _archive(case: Case, path: str) -> Iterator[Finding]:
    if not _is_file(path):
        return
    try:
        found = _read(path, running=False)
    except FileNotFoundError:  # a rotation or a compression moved it
        return
    except OSError as error:
        yield unreadable(case, path, error)
        return
    yield from _torn_lines(case, path, found)
    if found.bad:
        yield case.finding("damaged_archive", path, _damage(found), "nothing: what is whole in it is read")


def _active(case: Case, path: str) -> Iterator[Finding]:
    if not _is_file(path):
        return
    try:
        found, torn = _read(path, running=case.may_run), not case.may_run and has_torn_end(path)
    except FileNotFoundError:
        return
    except OSError as error:
        yield unreadable(case, path, error)
        return
    if found.bad:
        remedy = "it becomes the youngest old file, so that nothing is written behind the damage; all of it is kept"
        yield case.finding("damaged_log", path, _damage(found), remedy, lambda: _put_damaged_behind(path, found.state))
    elif torn:
        remedy = "a line end is appended, as the next line would do; nothing is cut"
        yield case.finding("torn_tail", path, "its last line has no line end", remedy, lambda: end_last_line(path))
        return
    yield from _torn_lines(case, path, found)


def _torn_lines(case: Case, path: str, found: _Look) -> Iterator[Finding]:
    if found.cut:
        text = f"{_lines(found.cut)} only began when a process was killed"
        yield case.finding("torn_line", path, text, "nothing: all others are whole", harmless=True)


def _put_damaged_behind(path: str, state: tuple[int, int]) -> None:
    found = os.lstat(path)
    if (found.st_ino, found.st_size) == state:  # else somebody went on with it
        put_behind(path)


def _read(path: str, *, running: bool) -> _Look:
    """Read a whole file, and sort what can't be read."""
    found = os.stat(path)
    reader = read_path(path)
    for _ in reader:
        pass
    bad = [line for line in reader.bad if not (running and line.reason.startswith(TORN))]
    damage = [line for line in bad if not _is_cut(line)]
    unnamed = reader.bad_count - len(reader.bad)
    return _Look(len(bad) - len(damage), damage, len(damage) + unnamed, (found.st_ino, found.st_size))


def _is_cut(bad: BadLine) -> bool:
    """Whether a line is only the beginning of one, as a killed process leaves it."""
    try:
        text = bad.head.decode("utf-8", "strict" if len(bad.head) < 100 else "ignore")
    except UnicodeDecodeError as error:
        if error.end < len(bad.head):
            return False
        text = bad.head[: error.start].decode()  # cut within a character
    if not text or not text.isprintable():
        return False
    if bad.reason.startswith(TORN):
        return bad.reason == TORN
    return _TRUNCATED in bad.reason if text.startswith("{") else text[0].isdigit()


def _damage(found: _Look) -> str:
    first = found.bad[0]
    return f"{_lines(found.bad_count)} can't be read; the first is number {first.lineno}: {first.reason}"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def unreadable(case: Case, path: str, error: OSError) -> Finding:
    """
    The finding for what is there and can't be read.
    """
    return case.finding("unreadable", path, f"it can't be read ({error.strerror or error})", "nothing")
