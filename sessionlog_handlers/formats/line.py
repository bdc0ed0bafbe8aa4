"""
`Line`, the one typed object that every format is written from and read into, and what a format must be able to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """
    One stored event of a session, whichever format holds it.

    A format fills what it has: event lines carry no severity of their own, PTY lines no logger. `docs/format.md` says
    how each format maps to these fields.

    Args:
        ts: Seconds since the epoch, whole milliseconds (whole seconds in the text format).

        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.

        session: The session's id, empty where the format does not store it.

        event: The event's name; ``log`` for an ordinary record.

        data: The named fields. For ``output`` and ``input``: ``bytes`` (their number) and ``base64``.

        seq: The line's number within its session and process, counted from 1. None where the format has none.

        pid: The writing process, when it is not the one that began the session.

        msg: The message of an ordinary record.

        logger: The logger's name; in event lines the source.

        exc: The traceback's text.
    """

    ts: float
    level: str
    session: str
    event: str
    data: Mapping[str, Any] = {}
    seq: int | None = None
    pid: int | None = None
    msg: str | None = None
    logger: str | None = None
    exc: str | None = None

    @property
    def time(self) -> datetime:
        """*ts* as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.ts, UTC)


# What a line says beside its head, encoded at the moment of the call, so that later changes of a caller's object can't
# reach it: the named fields, and what follows the sequence number (message, logger, traceback), which may be empty. A
# plain tuple, since one is made for every call.
Fields: TypeAlias = "tuple[bytes, bytes]"

# The payload of an entry on its way to the file: encoded fields, or a terminal's bytes as they are.
Payload: TypeAlias = "Fields | bytes"


class Head(NamedTuple):
    """
    What a line begins with. Made in the listener's thread.

    Args:
        ts: Seconds since the epoch, at the call.

        level: The severity's word.

        session: The session's id.

        event: The event's name; ``log`` for an ordinary record.

        seq: The line's number; 0 leaves it out.

        pid: The writing process, when it is not the one that began the session; 0 leaves it out.

        elapsed: Seconds since the session's start on the monotonic clock; only the PTY format stores it.
    """

    ts: float
    level: str
    session: str
    event: str
    seq: int = 0
    pid: int = 0
    elapsed: float = 0.0


class Kind(Protocol):
    """
    What many lines have in common.

    Args:
        event: The event's name; ``log`` for an ordinary record.

        level: The severity's word.
    """

    @property
    def event(self) -> str: ...

    @property
    def level(self) -> str: ...


class LineParts(Protocol):
    """
    What a line is made from.

    Args:
        route: What it has in common with others.

        created: Seconds since the epoch, at the call.

        data: The encoded fields; or, where *tail* is None, a terminal's bytes as they are.

        tail: What follows the sequence number, encoded.

        elapsed: Seconds since the session's start, for formats that store them.
    """

    @property
    def route(self) -> Kind: ...

    @property
    def created(self) -> float: ...

    @property
    def data(self) -> Any: ...

    @property
    def tail(self) -> bytes | None: ...

    @property
    def elapsed(self) -> float: ...


class Lines(NamedTuple):
    """
    Lines that were made together.

    Args:
        each: One by one, with their line ends.

        joined: All of them, since most often they are written at once.
    """

    each: list[bytes]
    joined: bytes


class LineFormat(Protocol):
    """
    One line format: the two halves of writing a line, and reading it back.

    Subclasses need not define `assemble_all`. Writing is split so that the caller's thread only freezes values
    (`fields`) and the listener's thread does the rest (`assemble`). Neither half ever raises for what a record
    contains.
    """

    name: ClassVar[str]
    clocked: ClassVar[bool] = False  # whether its lines say how long after the session's start they are

    def fields(
        self,
        event: str,
        data: Mapping[str, Any],
        msg: str | None = None,
        logger: str | None = None,
        exc: str | None = None,
    ) -> Fields:
        """Encode the values as they are now. *event* is the event's name (``log`` for an ordinary record)."""
        ...

    def simple_bytes(self, event: str) -> int:
        """
        Up to how many bytes `encode_fast` is all that `fields` needs for an event's named fields, if they are whole; 0
        if it never is.
        """
        return 0

    def assemble(self, head: Head, payload: Payload) -> bytes:
        """The whole line, line end included. A *payload* of plain bytes is a terminal's input or output."""
        ...

    def assemble_all(self, entries: Sequence[LineParts], session: str, pid: int, seq: int) -> Lines:
        """
        The lines of one session's entries in their order, numbered from *seq* on: many at once cost less than each.
        """
        lines = [
            self.assemble(
                Head(entry.created, entry.route.level, session, entry.route.event, number, pid, entry.elapsed),
                entry.data if entry.tail is None else (entry.data, entry.tail),
            )
            for number, entry in enumerate(entries, seq)
        ]
        return Lines(lines, b"".join(lines))

    def format(self, line: Line) -> bytes:
        """The whole line for a typed one: ``parse(format(line)) == line``, for lines that the format can hold."""
        ...

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end.

        Raises:
            InvalidLineError: If it is torn or of another format.
        """
        ...
