"""
One record into the bytes of a line: each formatter of ours, others, and a bare call of an encoder.

Every record is formatted once, so that nothing is found in it that an earlier call has left there. All lines that were
made from a second set of the same records are read back, and must hold what was logged. The encoders' row is what is
left when there is no record to be read: they are given the line's content as a dict, its time included.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

import harness
from lines import check_count
from sessionlog_handlers import (
    EventLineFormatter,
    FugueFormatter,
    JsonLinesFormatter,
    PtyFormatter,
    TextFormatter,
)
from topic import Figure, Kind, Options, Run, Size, Topic, Variant
from workload import COMMAND, NAME, fields_of

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TEXT_FIELDS = " command=%(command)s pid=%(pid)s status=%(status)s code=%(code)s ratio=%(ratio)s"

Make = Callable[[], Callable[[Any], bytes]]


def make_records(number: int) -> list[logging.LogRecord]:
    """
    Records as `Logger.info` makes them, numbered from 0.
    """
    logger = logging.getLogger(NAME)
    return [
        logger.makeRecord(
            NAME,
            logging.INFO,
            __file__,
            1,
            "command %d done",
            (each,),
            None,
            "main",
            {"session_id": "s1", **fields_of(each)},
        )
        for each in range(number)
    ]


def make_contents(number: int) -> list[dict[str, Any]]:
    """
    What a line of ours holds, as dicts.
    """
    return [
        {
            "ts": "2026-01-01T00:00:00.000Z",
            "level": "info",
            "session": "s1",
            "event": "log",
            "data": fields_of(each),
            "msg": f"command {each} done",
            "logger": NAME,
        }
        for each in range(number)
    ]


def with_formatter(make: Callable[[], logging.Formatter]) -> Make:
    """
    How that formatter makes bytes: handlers encode what it gives.
    """

    def build() -> Callable[[logging.LogRecord], bytes]:
        form = make().format
        return lambda record: form(record).encode("utf-8")

    return build


def json_text(line: bytes) -> str:
    """What a JSON line says: its message, or the bytes of a terminal that it holds, and its command."""
    content = json.loads(line)
    if "direction" in content:
        return base64.b64decode(content["data"]).decode("utf-8") + COMMAND
    payload = content.get("payload", content)
    fields = payload.get("data", payload)
    return f"{payload.get('msg', payload.get('message'))} {fields['command']} pid={fields['pid']}"


def plain_text(line: bytes) -> str:
    """What a line of text says."""
    return line.decode("utf-8")


def measure(make: Make, source: Callable[[int], Iterable[Any]], read: Callable[[bytes], str]) -> Run:
    """
    A round of that formatter over such records; *read* gives what a line says.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        form = make()
        timed, checked = source(options["records"]), source(options["records"])
        start = time.perf_counter_ns()
        for item in timed:
            form(item)
        took = time.perf_counter_ns() - start
        texts = [read(form(item)) for item in checked]
        whole = sum(f"command {number} done" in text and COMMAND in text for number, text in enumerate(texts))
        check_count(whole, options["records"])
        return {"per record": took / options["records"]}

    return run


def json_logger() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(TEXT)


def json_logger_msgspec() -> logging.Formatter:
    from pythonjsonlogger.msgspec import MsgspecFormatter

    return MsgspecFormatter(TEXT)


def formatter(
    name: str, kind: Kind, make: Callable[[], logging.Formatter], read: Callable[[bytes], str], description: str
) -> Variant:
    """
    A variant that formats records.
    """
    return Variant(name, measure(with_formatter(make), make_records, read), kind, description=description)


def encoder(name: str, encode: Callable[[Any], bytes]) -> Variant:
    """
    A variant that encodes what a line holds.
    """
    run = measure(lambda: encode, make_contents, json_text)
    return Variant(name, run, "floor", description="A call of the encoder with the line's content as a dict.")


TOPIC = Topic(
    "format",
    __doc__,
    (
        formatter("JsonLinesFormatter", "ours", JsonLinesFormatter, json_text, "A line of session.log."),
        formatter("FugueFormatter", "ours", FugueFormatter, json_text, "A line of system.jsonl."),
        formatter("TextFormatter", "ours", TextFormatter, plain_text, "A readable line."),
        formatter("EventLineFormatter", "ours", EventLineFormatter, plain_text, "An event line."),
        formatter("PtyFormatter", "ours", PtyFormatter, json_text, "A line of a recording: the message alone."),
        formatter("python-json-logger", "peer", json_logger, json_text, "Its JsonFormatter."),
        formatter("python-json-logger msgspec", "peer", json_logger_msgspec, json_text, "Its MsgspecFormatter."),
        formatter(
            "stdlib Formatter",
            "peer",
            lambda: logging.Formatter(TEXT + TEXT_FIELDS),
            plain_text,
            "A line of text with the same fields.",
        ),
        encoder("msgspec.json.encode", msgspec.json.encode),
        encoder("json.dumps", lambda content: json.dumps(content).encode("utf-8")),
    ),
    (Figure("per record", "ns", "lower"),),
    bases={"python-json-logger": "python-json-logger"},
    sizes={"records": Size(50_000, 500, "records")},
)

if __name__ == "__main__":
    harness.main(TOPIC)
