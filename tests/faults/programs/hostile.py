"""
Texts, values and ids that are made to do harm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from faults.program import Job
from sessionlog_handlers import InvalidSessionIdError, start_session

UNSAFE = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029", "\u202e", "\u2066", "\u061c"]
TEXTS = [
    *(f"a{character}b" for character in UNSAFE),
    "\ud800",
    "\udfff\ud800",
    "\x1b]0;title\x07\x1b[2J",
    "\r\nFORGED 2026-01-01T00:00:00Z",
    '{"ts":"2026-01-01T00:00:00.000Z","level":"info"}\n',
    "|type|source|",
    "\\x1b \\n \\\\",
    'k=v "quoted" = ',
    "\ufeff\ufffe\U0010ffff",
    b"\xff\xfe\x80".decode("utf-8", "surrogateescape"),
    "%s %d %(name)s",
]
IDS = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    ".locks",
    ".leases",
    "a/b",
    "a\\b",
    "x" * 300,
    "nul\0byte",
    "\U0001f600",
    "CON",
    "con.txt",
    "LPT1",
    "trailing.",
    " ",
    "\ud800",
    "new\nline",
    "%s%n",
    "~root",
    "$HOME",
    "-rf",
    "planted",
    "metadata.json",
    "session.log",
)


def texts(job: Job) -> None:
    """
    Each text as a message, an argument, a field, a field's name and a logger's name.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    session = start_session("s")

    def call(number: int) -> None:
        text, place = TEXTS[number // 5], number % 5
        fields = {"writer": job.acks["base"], "number": number, "session_id": "s"}
        if place == 0:
            logger.info(text.replace("%", "%%"), extra=fields)
        elif place == 1:
            logger.info("text %s", text, extra=fields)
        elif place == 2:
            logger.info("field", extra={**fields, "text": text})
        elif place == 3:
            session.event("state_change", **{"writer": job.acks["base"], "number": number, f"k{text}": text})
        else:
            other = logging.Logger(text, 1)
            other.addHandler(handler)
            other.info("name", extra=fields)

    job.log(session, 0, 0, 5 * len(TEXTS), call)
    job.finish()


class _Angry:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def odd_values() -> Iterator[Any]:
    """
    What JSON lacks, and what can't be made a text.
    """
    cycle: list[Any] = []
    cycle.append(cycle)
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    deep: Any = 0
    for _ in range(2_000):
        deep = [deep]
    yield from (cycle, ring, _Angry(), float("nan"), float("inf"), -float("inf"), 10**5000, -(10**5000))
    yield from (b"\xff\x00", bytearray(b"x"), {1, 2}, frozenset({"a"}), 1 + 2j, object, len, lambda: None, deep)
    yield from ({1: 2, None: 3, (1, 2): 4}, {_Angry(): 1}, {"a": {_Angry()}}, range(10**9), iter([1]), NotImplemented)
    yield from (ValueError("x"), _Angry, "\ud800", {"\ud800": "\ud800"}, 2**64, -(2**63) - 1, memoryview(b"abc"))


def values(job: Job) -> None:
    """
    Each value as an extra, as a field of an event, and as an argument of a message.
    """
    handler = job.make_handler()
    job.ready()
    logger = logging.Logger("app", 1)
    logger.addHandler(handler)
    session = start_session("s")
    odd = [*odd_values()]

    def call(number: int) -> None:
        value, place = odd[number // 3], number % 3
        fields = {"writer": job.acks["base"], "number": number}
        if place == 0:
            logger.info("extra", extra={**fields, "session_id": "s", "value": value})
        elif place == 1:
            session.event("state_change", **fields, value=value)
        else:
            logger.info("argument %d", value, extra={**fields, "session_id": "s"})

    job.log(session, 0, 0, 3 * len(odd), call)
    job.finish()


def ids(job: Job) -> None:
    """
    A session for each hostile id, and none for what is no id.
    """
    job.make_handler()
    job.ready()
    refused = 0
    for index, name in enumerate(IDS):
        job.log(start_session(name), index, 0, job.get("events", 3))
    for name in ("", 5, b"bytes", ["list"]):
        try:
            start_session(name)  # type: ignore[arg-type]
        except InvalidSessionIdError:
            refused += 1
    job.acks.note(refused=refused)
    job.finish()
