"""
Ours, set up for the same records: a log per session, with audit files and metadata, in the ways that events come in.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from floors import NothingHandler
from lines import AUDIT_LOGS, SESSION_LOGS, check_metadata, json_numbers
from sessionlog_handlers import Session, SessionHandler, start_session
from topic import BenchmarkError
from workload import (
    COMMAND,
    MESSAGE,
    NAME,
    Builder,
    Logging,
    Place,
    burst_by_extra,
    burst_by_item,
    burst_by_names,
    fields_of,
    session_names,
)

Overflow = Literal["wait", "shed"]

PATIENCE = 300.0  # seconds
REFUSED = "is full; entries are left out and counted"

RARE_EVENT = "command_started"  # of class prompts, and in the user's audit trail
FULL_EVENT = "state_change"  # of class full, and in the system's audit trail


class Ours:
    """
    A `SessionHandler` on the root logger, and sessions at level full.

    Args:
        place: Where, and how many.

        overflow: ``wait`` or ``shed``, as in the handler's settings.
    """

    def __init__(self, place: Place, overflow: Overflow = "wait") -> None:
        self.directory = place.directory
        self.handler = SessionHandler(place.directory, session_level="full", overflow=overflow, max_bytes="1 GB")
        root = logging.getLogger()
        root.setLevel(logging.DEBUG)
        root.addHandler(self.handler)
        self.sessions: list[Session] = [
            start_session(name, handler=self.handler) for name in session_names(place.sessions)
        ]
        self.finish()  # what a start costs is a topic of its own

    def finish(self) -> None:
        """Wait until all that was logged is in its files."""
        if not self.handler.root.flush(PATIENCE):
            raise BenchmarkError(f"not all was written within {PATIENCE:g} s: {self.handler.stats()}")

    def close(self) -> None:
        """End the sessions and stop the threads."""
        for session in self.sessions:
            session.end()
        self.finish()
        self.handler.close()

    def dropped(self) -> int:
        """How many events were refused because the queue was full; any other loss is a fault."""
        dropped: dict[str, int] = self.handler.stats()["dropped"]
        if others := dropped.keys() - {"queue_full"}:
            raise BenchmarkError(f"entries were dropped for other reasons than a full queue: {sorted(others)}")
        return dropped.get("queue_full", 0)

    def numbers(self) -> Iterator[int]:
        """The numbers in the sessions' logs."""
        check_metadata(self.directory, len(self.sessions))
        return json_numbers(self.directory, number_of, SESSION_LOGS)

    def audited_numbers(self) -> Iterator[int]:
        """The numbers in the audit files; raises unless they are those of the sessions' logs."""
        numbers = [*self.numbers()]
        audited = [*json_numbers(self.directory, number_of, AUDIT_LOGS)]
        if sorted(numbers) != sorted(audited):
            raise BenchmarkError(f"{len(numbers):,} events in the sessions' logs, and {len(audited):,} audited")
        return iter(numbers)


def number_of(line: dict[str, Any]) -> int | None:
    """
    The number in a line, or None if it is none of the records, such as the session's start.
    """
    data = line["data"]
    if line["event"] == "output":
        found = _OUTPUT_NUMBER.search(base64.b64decode(data["base64"]))
        return int(found[1]) if found else None
    number: int | None = data.get("pid")
    return number


_OUTPUT_NUMBER = re.compile(rb" pid=(\d+) ")


def output_of(number: int) -> bytes:
    """
    What a terminal puts out, with a number in it.
    """
    return b"\x1b[1m%s\x1b[0m pid=%d running\r\n" % (COMMAND.encode(), number)


def logger_info(place: Place, overflow: Overflow = "wait") -> Logging:
    """``logger.info`` with the session's id and five fields in ``extra``."""
    ours = Ours(place, overflow)
    names = session_names(place.sessions)
    info = logging.getLogger(NAME).info

    def log(number: int) -> None:
        info(MESSAGE, extra={"session_id": names[number % len(names)], **fields_of(number)})

    def extra_of(number: int) -> dict[str, Any]:
        return {"session_id": names[0], **fields_of(number)}

    burst = burst_by_extra(info, "session_id", names)
    return Logging(log, ours.finish, ours.close, ours.numbers, info, item=extra_of, dropped=ours.dropped, burst=burst)


def logger_info_json(place: Place) -> Logging:
    """``logger.info`` as above, with the standard library's ``json`` in the place of msgspec's encoder."""
    import sessionlog_handlers.formats.encoding
    import sessionlog_handlers.formats.jsonl

    to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    def encode(value: object) -> bytes:
        return to_text(value).encode()

    # In the process of this variant alone. What is measured is the way around the encoder, without its help.
    for module in (sessionlog_handlers.formats.encoding, sessionlog_handlers.formats.jsonl):
        setattr(module, "encode_fast", encode)  # noqa: B010 - a type checker would miss the type of the other one
    return logger_info(place)


def rare_event(place: Place) -> Logging:
    """``session.event`` of a rare class, audited, and offered to one more handler on the root logger."""
    ours = Ours(place)
    logging.getLogger().addHandler(NothingHandler())
    return _events(ours, RARE_EVENT)


def full_event(place: Place, overflow: Overflow = "wait") -> Logging:
    """``session.event`` of class full with five fields, audited."""
    return _events(Ours(place, overflow), FULL_EVENT)


def _events(ours: Ours, name: str) -> Logging:
    calls = [session.event for session in ours.sessions]

    def log(number: int) -> None:
        calls[number % len(calls)](
            name,
            command=COMMAND,
            pid=number,
            status="running" if number & 1 else "waiting",
            code=number & 3,
            ratio=number * 0.5,
        )

    return Logging(
        log,
        ours.finish,
        ours.close,
        ours.audited_numbers,
        calls[0],
        "names",
        name,
        dropped=ours.dropped,
        burst=burst_by_names(calls, name),
    )


def session_output(place: Place) -> Logging:
    """``session.output`` with some bytes of a terminal."""
    ours = Ours(place)
    calls = [session.output for session in ours.sessions]
    contents = [output_of(number) for number in range(place.records)]

    def log(number: int) -> None:
        calls[number % len(calls)](contents[number])

    return Logging(
        log,
        ours.finish,
        ours.close,
        ours.numbers,
        calls[0],
        "item",
        item=output_of,
        dropped=ours.dropped,
        burst=burst_by_item(calls, contents),
    )


OURS: tuple[Builder, ...] = (
    Builder("logger.info", logger_info, "ours"),
    Builder("session.event rare", rare_event, "ours"),
    Builder("session.event full", full_event, "ours"),
    Builder("session.output", session_output, "ours"),
)


JSON_ALONE = Builder("logger.info, json alone", logger_info_json, "ours")


def _shedding(build: Callable[[Place, Overflow], Logging]) -> Callable[[Place], Logging]:
    def build_shedding(place: Place) -> Logging:
        return build(place, "shed")

    build_shedding.__doc__ = f"{(build.__doc__ or '').removesuffix('.')}, where a full queue refuses."
    return build_shedding


OURS_SHEDDING: tuple[Builder, ...] = (
    Builder("logger.info, shedding", _shedding(logger_info), "ours", expected=REFUSED),
    Builder("session.event full, shedding", _shedding(full_event), "ours", expected=REFUSED),
)
