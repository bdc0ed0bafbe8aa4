"""
Files to typed lines, tolerantly: every whole line is given, what is torn or foreign is counted and named.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.formats.line import Line, LineFormat
from sessionlog_handlers.formats.registry import detect_format, get_format

CHUNK_BYTES = 64 * 1024  # read at a time
MAX_LINE_BYTES = 16 * 1024 * 1024  # of a line that is kept in memory; a longer one is bad and skipped
TORN = "torn: no line end"  # the reason for a last line that only began
MAX_BAD_LINES = 1000  # named; all are counted
MAX_SHOWN_BYTES = 200  # of a bad line, kept with its name
MAX_LOOKS = 3  # times that a rotated file is looked for again when it has just moved

StrPath: TypeAlias = str | os.PathLike[str]

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with gzip's header and checksum

# A line of these may be cut anywhere and still look like one: it is whole only with its line end. JSON proves itself.
_UNPROVEN_FORMATS = frozenset({"text", "event_line"})


@dataclass(frozen=True, slots=True)
class BadLine:
    """
    A place in a file that could not be read.

    Args:
        path: The file.

        lineno: The line, counted from 1.

        reason: What is wrong with it.

        head: Its first bytes, at most 200.
    """

    path: str
    lineno: int
    reason: str
    head: bytes = b""

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: {self.reason}"


class LineReader:
    """
    The lines of one or more files, read as they are asked for. Each iteration starts anew.

    Memory does not grow with the files. Blank lines are passed over. A last line without its line end is given if it
    proves itself whole, which JSON does; in the other formats it is torn.

    Args:
        paths: The files, oldest first.

        format: The format of all of them, or its name. None finds it out for each file. (default: None)

        strict: Whether to raise at the first bad line, instead of counting it. (default: False)

    Raises:
        InvalidLineError: From the iteration, with *strict*.

        OSError: From the iteration, if a file can't be opened or read.
    """

    def __init__(
        self, paths: Iterable[StrPath], *, format: LineFormat | str | None = None, strict: bool = False
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self.strict = strict
        self.bad: list[BadLine] = []
        self.bad_count = 0
        self.line_count = 0
        self._format = get_format(format) if isinstance(format, str) else format

    def __iter__(self) -> Iterator[Line]:
        self._start()
        for path in self.paths:
            with _open(path) as file:
                yield from self._read(path, file)

    def _start(self) -> None:
        self.bad.clear()
        self.bad_count = self.line_count = 0

    def _read(self, path: Path, file: BinaryIO) -> Iterator[Line]:
        source = _Source(file)
        line_format = self._format
        for lineno, raw, flaw in _split(source.chunks()):
            if flaw == _TOO_LONG:
                self._note(path, lineno, flaw, raw)
                continue
            if lineno == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")  # the mark that some editors put before UTF-8
            text = raw.lstrip(b"\0")
            if len(text) < len(raw):
                # A file system that lost its power fills up with NULs what was never written; a whole line may follow.
                count = len(raw) - len(text)
                self._note(path, lineno, "1 NUL byte" if count == 1 else f"{count} NUL bytes", raw)
            if not text or text.isspace():
                continue
            if line_format is None:
                line_format = detect_format(source.head) or detect_format(text)
            if line_format is None:
                self._note(path, lineno, "of no known format", raw)
                continue
            if flaw and line_format.name in _UNPROVEN_FORMATS:
                self._note(path, lineno, flaw, raw)
                continue
            try:
                line = line_format.parse(text, lineno)
            except InvalidLineError as error:
                # The beginning of a line is torn. What is none would be damage with a line end as well.
                only_began = flaw and any(word in error.message for word in _BEGUN)
                self._note(path, lineno, flaw if only_began else "; ".join(filter(None, (flaw, error.message))), raw)
                continue
            self.line_count += 1
            yield line
        if source.error:
            self._note(path, source.lineno_hint, source.error, b"")

    def _note(self, path: Path, lineno: int, reason: str, raw: bytes) -> None:
        if self.strict:
            raise InvalidLineError(reason, raw, str(path), lineno)
        self.bad_count += 1
        if len(self.bad) < MAX_BAD_LINES:
            self.bad.append(BadLine(str(path), lineno, reason, raw[:MAX_SHOWN_BYTES]))


class RotatedReader(LineReader):
    """
    The lines of a log and of its rotated files, oldest first. Each iteration looks anew which files there are.

    Args:
        path: The log itself; it may be missing while rotated files are there.

        format, strict: As of `LineReader`.
    """

    def __init__(self, path: StrPath, *, format: LineFormat | str | None = None, strict: bool = False) -> None:
        super().__init__([path], format=format, strict=strict)
        self._log = Path(path)

    def __iter__(self) -> Iterator[Line]:
        self._start()
        with ExitStack() as stack:
            files = self._open_all(stack)
            self.paths = [path for path, _ in files]
            for path, file in files:
                yield from self._read(path, file)

    def _open_all(self, stack: ExitStack) -> list[tuple[Path, BinaryIO]]:
        """
        Open all there is before the first line is read, the newest first.

        A rotation in between moves files to higher slots: in this order one that was opened may be met again, which its
        inode tells, but none is missed.
        """
        files: list[tuple[Path, BinaryIO]] = []
        seen: set[tuple[int, int]] = set()
        slot = 0
        while slot <= max(slots := self._list()):
            opened = self._open_slot(slot, slots)
            slot += 1
            if opened is None:
                continue
            stack.callback(opened[1].close)
            status = os.fstat(opened[1].fileno())
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                files.append(opened)
        if not files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._log))
        return files[::-1]

    def _list(self) -> dict[int, Path]:
        log = self._log
        compressed = log.with_name(f"{log.name}.gz")  # what cleaning up at the session's end may leave
        if compressed.exists() and not log.exists():
            log = compressed
        return {0: log, **dict(archives(self._log))}

    def _open_slot(self, slot: int, slots: dict[int, Path]) -> tuple[Path, BinaryIO] | None:
        """Open what a slot has; it may turn from a plain file into an archive in between, so look again."""
        for _ in range(MAX_LOOKS):
            path = slots.get(slot)
            if path is None:
                return None
            try:
                return path, _open(path)
            except FileNotFoundError:
                slots = self._list()
            except OSError as error:
                if slot == 0 or _is_regular(path):
                    raise
                # What somebody put in an old file's place hides none of the others.
                self._note(path, 1, error.strerror or str(error), b"")
                return None
        return None


def read_path(path: StrPath, *, format: LineFormat | str | None = None, strict: bool = False) -> LineReader:
    """
    The lines of one file, plain or gzip, of any of our formats or any JSON Lines.

    Args:
        path: The file.

        format: Its format, or the name of it. None finds it out. (default: None)

        strict: Whether to raise `InvalidLineError` at the first bad line, instead of counting it. (default: False)
    """
    return LineReader([path], format=format, strict=strict)


def read_rotated(path: StrPath, *, format: LineFormat | str | None = None, strict: bool = False) -> LineReader:
    """
    The lines of a log and of its rotated files ``path.N`` and ``path.N.gz``, oldest first.

    Where a slot has both a plain file and a compressed one, the plain one is read.

    Args:
        path: The log itself.

        format: The files' format, or the name of it. None finds it out for each. (default: None)

        strict: Whether to raise `InvalidLineError` at the first bad line, instead of counting it. (default: False)
    """
    return RotatedReader(path, format=format, strict=strict)


def _open(path: Path) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe that somebody put there would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


class _Source:
    """A file's bytes, decompressed if need be, as far as they go."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = b""  # the first chunk, by which the format is told
        self.error = ""  # why the bytes ended before the file's own end
        self.lineno_hint = 1  # the line that the bytes ended in

    def chunks(self) -> Iterator[bytes]:
        raw = iter(lambda: self._file.read(CHUNK_BYTES), b"")
        first = next(raw, b"")
        chunks = _chain(first, raw)
        if first.startswith(_GZIP_MAGIC):
            chunks = self._gunzip(chunks)
        for chunk in chunks:
            if not self.head:
                self.head = chunk
            self.lineno_hint += chunk.count(b"\n")
            yield chunk

    def _gunzip(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        decompressor = zlib.decompressobj(_GZIP)
        for chunk in chunks:
            pending = chunk
            while pending:
                if decompressor.eof:
                    pending = pending.lstrip(b"\0")  # padding behind a member is allowed
                    if not pending:
                        break
                    decompressor = zlib.decompressobj(_GZIP)
                # A call that fails gives nothing of what it had decompressed before the fault.
                before = decompressor.copy()
                try:
                    text = decompressor.decompress(pending, CHUNK_BYTES)
                except zlib.error as error:
                    yield from _salvage(before, pending)
                    self.error = f"damaged archive: {error}"
                    return
                if text:
                    yield text
                pending = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
        if not decompressor.eof:
            yield decompressor.flush()
            self.error = "archive cut short"


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from rest


def _salvage(decompressor: zlib._Decompress, pending: bytes) -> Iterator[bytes]:
    """What comes out before the byte at which decompression fails."""
    try:
        for position in range(len(pending)):
            text = decompressor.decompress(pending[position : position + 1])
            if text:
                yield text
    except zlib.error:
        return


_BEGUN = ("truncated", "invalid number")  # what decoders say of JSON that only began, such as `{"n":1.`
_TOO_LONG = f"longer than {MAX_LINE_BYTES} bytes"


def _split(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes, str]]:
    """
    Number, bytes and flaw of each line. A line that is too long is given as its head.
    """
    lineno = 1
    parts: list[bytes] = []  # of the line that goes on; joined once, for a long line has many
    size = 0
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            if size:
                parts.append(line)
                size += len(line)
                line = b"".join(parts) if size <= MAX_LINE_BYTES else parts[0]
            yield lineno, line, _TOO_LONG if size > MAX_LINE_BYTES else ""
            lineno += 1
            parts.clear()
            size = 0
        if rest:
            size += len(rest)
            if size <= MAX_LINE_BYTES or not parts:
                parts.append(rest)
            else:
                del parts[1:]
    if size:
        too_long = size > MAX_LINE_BYTES
        yield lineno, parts[0] if too_long else b"".join(parts), _TOO_LONG if too_long else TORN
