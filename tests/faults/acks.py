"""
What a logging program was promised, in a mapped file: it survives the program's death, however sudden.

Each counter has one writer, so plain stores do. All numbers are how many: records 0 to n-1 of a writer.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZE = 128 * 1024  # bytes of the file
NOTES = 4096  # where the notes begin; before them are the header's numbers
SLOTS = 64 * 1024  # where the writers' slots begin
SLOT = struct.Struct("qqqq")  # attempted, accepted, acknowledged, session
MOST_WRITERS = (SIZE - SLOTS) // SLOT.size

_NUMBER = struct.Struct("q")
_HEADER = ("pid", "state", "go", "done", "base", "writers", "injected", "notes")

READY, DONE = 1, 2  # states of a program
MANY = 0  # instead of a session's number: the writer logs to more than one, or to nobody knows which


def session_number(session_id: str) -> int:
    """
    A number for a session, as the page can hold it.
    """
    return zlib.crc32(session_id.encode("utf-8", "surrogatepass")) or 1


@dataclass(frozen=True, slots=True)
class Slot:
    """
    What one writer was promised.

    Args:
        writer: Its number, as its records carry it.

        attempted: How many logging calls it began.

        accepted: How many of them returned.

        acknowledged: How many records are known to be in the file, or on the disk: `flush` said so, or the call waited.

        session: Where it logs, by `session_number`.
    """

    writer: int
    attempted: int
    accepted: int
    acknowledged: int
    session: int = MANY


class Acks:
    """
    A page of acknowledgements, seen by the program and by the harness.

    Args:
        path: The file; it is made if it is not there.

        base: The number of the first writer, where several programs log to one place.
    """

    def __init__(self, path: Path | str, base: int | None = None) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self.path = Path(path)
        if base is not None:
            self["base"] = base

    def __getitem__(self, name: str) -> int:
        number: int = _NUMBER.unpack_from(self._map, _HEADER.index(name) * _NUMBER.size)[0]
        return number

    def __setitem__(self, name: str, value: int) -> None:
        _NUMBER.pack_into(self._map, _HEADER.index(name) * _NUMBER.size, value)

    def add(self, name: str) -> None:
        """
        Count one more. One thread at a time.
        """
        self[name] += 1

    def bind(self, index: int, session_id: str) -> None:
        """That writer logs to this session, and to no other."""
        _NUMBER.pack_into(self._map, SLOTS + index * SLOT.size + 24, session_number(session_id))

    def attempt(self, index: int, number: int) -> None:
        """That writer begins its call number *number*, counted from 1."""
        _NUMBER.pack_into(self._map, SLOTS + index * SLOT.size, number)

    def accept(self, index: int, number: int) -> None:
        """That call returned."""
        _NUMBER.pack_into(self._map, SLOTS + index * SLOT.size + 8, number)

    def acknowledge(self, index: int, number: int) -> None:
        """That writer's records up to that one were promised to be where they belong."""
        _NUMBER.pack_into(self._map, SLOTS + index * SLOT.size + 16, number)

    def slot(self, index: int) -> Slot:
        """One writer's counters."""
        return Slot(self["base"] + index, *SLOT.unpack_from(self._map, SLOTS + index * SLOT.size))

    def slots(self) -> Iterator[Slot]:
        """The counters of every writer that began a call."""
        for index in range(MOST_WRITERS):
            slot = self.slot(index)
            if slot.attempted:
                yield slot

    @property
    def notes(self) -> dict[str, Any]:
        """What the program has to say beside numbers."""
        length = self["notes"]
        return json.loads(self._map[NOTES : NOTES + length]) if length else {}

    def note(self, **values: Any) -> None:
        """Add to the notes."""
        encoded = json.dumps({**self.notes, **values}).encode()
        self._map[NOTES : NOTES + len(encoded)] = encoded
        self["notes"] = len(encoded)

    def close(self) -> None:
        """Give the mapping back."""
        self._map.close()
