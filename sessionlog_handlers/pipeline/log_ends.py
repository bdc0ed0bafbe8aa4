"""
The first and the last lines of a log, read without all that is between them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Line, LineFormat
from sessionlog_handlers.pipeline.files import is_missing, open_regular
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX

CHUNK = 64 * 1024  # bytes of a log's end that are read at a time
TAIL = 1024 * 1024  # bytes of a log's end in which a line is looked for
HEAD = 64 * 1024  # bytes of a log's beginning in which a line is looked for

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with gzip's header and checksum


def newest_first(path: str, log_format: LineFormat, most: int = TAIL, unpack: int | None = None) -> Iterator[Line]:
    """
    The lines at a file's end, those left out that are none.

    Args:
        path: The file.

        log_format: What its lines are written in.

        most: How many of its last bytes are looked at. (default: 1 MiB)

        unpack: How many bytes a compressed file may hold, which has to be read whole; None for any number. One with
            more has no lines.

    Raises:
        OSError: If it is there and can't be read now.
    """
    try:
        descriptor = open_regular(path)
    except OSError as error:
        if is_missing(error):
            return
        raise
    with open(descriptor, "rb") as log:
        if path.endswith(GZIP_SUFFIX):
            yield from _parse_backwards(_unpack_end(log, most, unpack).split(b"\n"), log_format)
            return
        start = log.seek(0, os.SEEK_END)
        end = max(start - most, 0)
        rest = b""
        while start > end:
            begin = max(start - CHUNK, end)
            log.seek(begin)
            pieces = (log.read(start - begin) + rest).split(b"\n")
            rest = pieces.pop(0) if begin else b""
            yield from _parse_backwards(pieces, log_format)
            start = begin


def _parse_backwards(pieces: Sequence[bytes], log_format: LineFormat) -> Iterator[Line]:
    for raw in filter(None, reversed(pieces)):
        with suppress(InvalidLineError):
            yield log_format.parse(raw)


def _unpack_end(packed: BinaryIO, most: int, unpack: int | None) -> bytes:
    """The last bytes of what a compressed file holds, as far as it can be read; none if it holds too many."""
    unpacker, end, taken, given = zlib.decompressobj(_GZIP), b"", 0, 0
    with suppress(zlib.error):
        while not unpacker.eof and (raw := unpacker.unconsumed_tail or packed.read(CHUNK)):
            piece = unpacker.decompress(raw, most)
            taken += len(raw) - len(unpacker.unconsumed_tail)
            given += len(piece)
            if unpack is not None and max(taken, given) > unpack:
                return b""
            end = (end + piece)[-most:]
    return end


def first_line(path: str, log_format: LineFormat) -> Line | None:
    """
    The first line in a file's beginning that can be read, plain or compressed.
    """
    *whole, _ = read_head(path).split(b"\n")
    for raw in filter(None, whole):
        with suppress(InvalidLineError):
            return log_format.parse(raw.lstrip(b"\0"))
    return None


def read_head(path: str) -> bytes:
    """
    The first bytes of a file, plain or compressed, as far as they can be had; empty if there are none.
    """
    try:
        with open(open_regular(path), "rb") as log:
            raw = log.read(HEAD)
        return zlib.decompressobj(_GZIP).decompress(raw, HEAD) if path.endswith(GZIP_SUFFIX) else raw
    except (OSError, zlib.error):
        return b""
