"""
What has landed: reading back every line that a variant wrote, in current, rotated and gzipped files, and counting it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from topic import BenchmarkError

LOGS = "**/*.log*"
SESSION_LOGS = "**/session.log*"
AUDIT_LOGS = "**/audit_*.log*"
NAMED = 5  # numbers that a message names


def raw_lines(directory: Path, pattern: str = LOGS) -> Iterator[tuple[str, bytes]]:
    """
    Every line of every file that matches, as ``path:number`` and its bytes.

    Raises:
        BenchmarkError: If a file does not end with a line end.
    """
    for path in sorted(directory.glob(pattern)):
        if not path.is_file() or path.suffix == ".lock":
            continue
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        name = str(path.relative_to(directory))
        if content and not content.endswith(b"\n"):
            raise BenchmarkError(f"{name}: the last line is torn: {content[-60:]!r}")
        for number, line in enumerate(content.splitlines(), 1):
            yield f"{name}:{number}", line


def json_lines(directory: Path, pattern: str = LOGS) -> Iterator[dict[str, Any]]:
    """
    Every line of every file that matches, parsed by the standard library: by none of the encoders that are measured.

    Raises:
        BenchmarkError: If a line is not whole, or no JSON object.
    """
    for place, line in raw_lines(directory, pattern):
        try:
            content = json.loads(line)
        except ValueError as error:
            raise BenchmarkError(f"{place}: no JSON ({error}): {line[:80]!r}") from error
        if not isinstance(content, dict):
            raise BenchmarkError(f"{place}: no object: {line[:80]!r}")
        yield content


def text_numbers(directory: Path, expression: str, pattern: str = LOGS) -> Iterator[int]:
    """
    The number in each line of a log of text, which *expression*'s first group matches.

    Raises:
        BenchmarkError: If a line has none.
    """
    search = re.compile(expression.encode()).search
    for place, line in raw_lines(directory, pattern):
        found = search(line)
        if found is None:
            raise BenchmarkError(f"{place}: not the line that was logged: {line[:80]!r}")
        yield int(found[1])


def json_numbers(
    directory: Path, number_of: Callable[[dict[str, Any]], int | None], pattern: str = LOGS
) -> Iterator[int]:
    """
    The number that *number_of* finds in each line; it gives None for lines that are no records, such as a start.
    """
    for line in json_lines(directory, pattern):
        number = number_of(line)
        if number is not None:
            yield number


def check_numbers(found: Iterable[int], expected: int | Iterable[int], what: str = "records") -> int:
    """
    See to it that each number landed once, and give how many there are.

    Args:
        found: The numbers that were read back.

        expected: Those that were sent; a plain number n means 0 to n - 1.

        what: What a message calls them.

    Raises:
        BenchmarkError: If one is missing, doubled, or was never sent.
    """
    sent = {*range(expected)} if isinstance(expected, int) else {*expected}
    landed = Counter(found)
    problems = [
        _told("missing", sent - landed.keys()),
        _told("doubled", {number for number, times in landed.items() if times > 1}),
        _told("never sent", landed.keys() - sent),
    ]
    if any(problems):
        told = "; ".join(filter(None, problems))
        raise BenchmarkError(f"{landed.total():,} of {len(sent):,} {what} landed: {told}")
    return len(sent)


def check_rest(found: Iterable[int], sent: int, refused: int) -> int:
    """
    See to it that what landed and what was refused is together all that was sent, from 0 on.

    Raises:
        BenchmarkError: If it is not, or if a number is doubled or was never sent.
    """
    landed = [*found]
    check_numbers(landed, {number for number in landed if 0 <= number < sent})
    check_count(len(landed) + refused, sent, f"records, {refused:,} of them as refused,")
    return len(landed)


def check_metadata(directory: Path, sessions: int) -> int:
    """
    See to it that each session has its ``metadata.json``, and that it is whole.

    Raises:
        BenchmarkError: If one is missing or is not JSON.
    """
    found = 0
    for path in directory.glob("*/metadata.json"):
        try:
            found += json.loads(path.read_bytes())["session"] == path.parent.name
        except ValueError as error:
            raise BenchmarkError(f"{path.relative_to(directory)}: no JSON ({error})") from error
    return check_count(found, sessions, "metadata files")


def check_count(found: int, expected: int, what: str = "lines") -> int:
    """
    See to it that a number of lines is the one that was sent, where lines have no number of their own.

    Raises:
        BenchmarkError: If it is not.
    """
    if found != expected:
        raise BenchmarkError(f"{found:,} of {expected:,} {what} landed")
    return found


def _told(what: str, numbers: set[int]) -> str:
    if not numbers:
        return ""
    first = ", ".join(map(str, sorted(numbers)[:NAMED]))
    return f"{len(numbers):,} {what} ({first}{', …' if len(numbers) > NAMED else ''})"
