"""
The peers: other loggers, each set up as its documentation says, for one record with five fields and a session.

Each is imported by the process that measures it, and by no other.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lines import json_numbers, text_numbers
from workload import (
    GIGABYTE,
    MESSAGE,
    NAME,
    TEXT_FIELDS,
    TEXT_NUMBER,
    Builder,
    Logging,
    Place,
    burst_by_extra,
    burst_by_names,
    fields_of,
    session_names,
)

# The fields as a format string of the standard library names them.
_PERCENT_FIELDS = TEXT_FIELDS.replace("{", "%(").replace("}", ")s")
STDLIB_TEXT = f"%(asctime)s %(levelname)s %(name)s %(message)s {_PERCENT_FIELDS}"
STDLIB_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"


def through(handler: logging.Handler) -> logging.Logger:
    """
    A logger whose records reach that handler by way of the root logger, as in an app.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    return logging.getLogger(NAME)


def call_with_extra(logger: logging.Logger, sessions: int) -> Callable[[int], None]:
    """
    A call of `Logger.info` whose fields, and the session's id, come by ``extra``.
    """
    names = session_names(sessions)
    info = logger.info

    def log(number: int) -> None:
        info(MESSAGE, extra={"session": names[number % sessions], **fields_of(number)})

    return log


def extra_of(number: int) -> dict[str, Any]:
    """
    The fields and the first session's id, for who times the bare call.
    """
    return {"session": "s0", **fields_of(number)}


def stdlib_file(place: Place) -> Logging:
    """FileHandler with text lines, in the caller's thread."""
    handler = logging.FileHandler(place.directory / "app.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter(STDLIB_TEXT))
    logger = through(handler)
    return Logging(
        call_with_extra(logger, place.sessions),
        handler.flush,
        handler.close,
        lambda: text_numbers(place.directory, TEXT_NUMBER),
        logger.info,
        item=extra_of,
        burst=burst_by_extra(logger.info, "session", session_names(place.sessions)),
    )


def stdlib_queue(place: Place) -> Logging:
    """QueueHandler, QueueListener and RotatingFileHandler with text lines."""
    handler = logging.handlers.RotatingFileHandler(
        place.directory / "app.log", maxBytes=GIGABYTE, backupCount=1, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter(STDLIB_TEXT))
    return _behind_queue(place, handler, lambda: text_numbers(place.directory, TEXT_NUMBER))


def obvious_stack(place: Place) -> Logging:
    """QueueHandler, QueueListener, concurrent-log-handler and python-json-logger."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler
    from pythonjsonlogger.json import JsonFormatter

    handler = ConcurrentRotatingFileHandler(str(place.directory / "app.log"), maxBytes=GIGABYTE, backupCount=1)
    handler.setFormatter(JsonFormatter(STDLIB_JSON))
    return _behind_queue(place, handler, lambda: json_numbers(place.directory, lambda line: line["pid"]))


def _behind_queue(place: Place, handler: logging.Handler, numbers: Callable[[], Iterator[int]]) -> Logging:
    # `SimpleQueue` is the fastest queue that a QueueHandler can be given.
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, handler)
    listener.start()
    logger = through(logging.handlers.QueueHandler(waiting))

    def finish() -> None:
        listener.stop()  # writes what is queued
        handler.flush()

    def drain() -> None:
        finish()
        listener.start()

    log = call_with_extra(logger, place.sessions)
    burst = burst_by_extra(logger.info, "session", session_names(place.sessions))
    return Logging(log, finish, handler.close, numbers, logger.info, item=extra_of, drain=drain, burst=burst)


def loguru_plain(place: Place) -> Logging:
    """loguru with a JSON sink for each session, in the caller's thread."""
    return _loguru(place, enqueue=False)


def loguru_enqueue(place: Place) -> Logging:
    """loguru with a JSON sink for each session and ``enqueue=True``: a queue and a thread for each of them."""
    return _loguru(place, enqueue=True)


def _loguru(place: Place, *, enqueue: bool) -> Logging:
    from loguru import logger

    def only(name: str) -> Callable[[Any], bool]:
        return lambda record: bool(record["extra"]["session"] == name)

    logger.remove()
    names = session_names(place.sessions)
    for name in names:
        path = place.directory / f"{name}.log"
        logger.add(path, level="INFO", serialize=True, enqueue=enqueue, filter=only(name))
    calls = [logger.bind(session=name).info for name in names]

    def log(number: int) -> None:
        calls[number % len(calls)](MESSAGE, **fields_of(number))

    def finish() -> None:
        logger.complete()

    return Logging(
        log,
        finish,
        logger.remove,
        lambda: json_numbers(place.directory, lambda line: line["record"]["extra"]["pid"]),
        calls[0],
        "names",
        burst=burst_by_names(calls, MESSAGE),
    )


def structlog_fastest(place: Place) -> Logging:
    """structlog as its page on performance has it, into one open file."""
    import orjson
    import structlog

    stream = (place.directory / "app.log").open("ab")
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Two processors of that page's example are left out, for exceptions and context variables: there are none.
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(stream),
    )
    calls = [structlog.get_logger().bind(session=name).info for name in session_names(place.sessions)]

    def log(number: int) -> None:
        calls[number % len(calls)](MESSAGE, **fields_of(number))

    return Logging(
        log,
        stream.flush,
        stream.close,
        lambda: json_numbers(place.directory, lambda line: line["pid"]),
        calls[0],
        "names",
        burst=burst_by_names(calls, MESSAGE),
    )


def logbook_file(place: Place) -> Logging:
    """Logbook's FileHandler with text lines, in the caller's thread."""
    return _logbook(place, _logbook_handler(place.directory))


def logbook_threaded(place: Place) -> Logging:
    """Logbook's FileHandler in a ThreadedWrapperHandler."""
    from logbook.queues import ThreadedWrapperHandler

    return _logbook(place, ThreadedWrapperHandler(_logbook_handler(place.directory)))


def _logbook_handler(directory: Path) -> Any:
    import logbook

    fields = TEXT_FIELDS.replace("{", "{record.extra[").replace("}", "]}")
    form = f"{{record.time:%Y-%m-%d %H:%M:%S.%f}} {{record.level_name}} {{record.channel}} {{record.message}} {fields}"
    return logbook.FileHandler(str(directory / "app.log"), level=logbook.INFO, format_string=form)


def _logbook(place: Place, handler: Any) -> Logging:
    import logbook

    names = session_names(place.sessions)
    info = logbook.Logger(NAME).info
    handler.push_application()

    def log(number: int) -> None:
        info(MESSAGE, extra={"session": names[number % len(names)], **fields_of(number)})

    return Logging(
        log,
        handler.close,  # ends the thread, if there is one, after all that is queued
        handler.pop_application,
        lambda: text_numbers(place.directory, TEXT_NUMBER),
        info,
        item=extra_of,
        burst=burst_by_extra(info, "session", names),
    )


def picologging_file(place: Place) -> Logging:
    """picologging's FileHandler with text lines, in the caller's thread."""
    import picologging

    handler = picologging.FileHandler(str(place.directory / "app.log"))
    # A format for the date, because without one release 0.9.3 puts bytes that are no text in its place.
    text = "%(asctime)s %(levelname)s %(name)s %(message)s"
    handler.setFormatter(picologging.Formatter(text, datefmt="%Y-%m-%d %H:%M:%S"))
    root = picologging.getLogger()
    root.setLevel(picologging.INFO)
    root.addHandler(handler)
    info = picologging.getLogger(NAME).info
    names = session_names(place.sessions)
    # It takes *extra* and leaves it out, so the fields are arguments of the message.
    message = f"{MESSAGE} {_PERCENT_FIELDS}"

    def log(number: int) -> None:
        info(message, {"session": names[number % len(names)], **fields_of(number)})

    return Logging(
        log,
        handler.flush,
        handler.close,
        lambda: text_numbers(place.directory, TEXT_NUMBER),
        info,
        "argument",
        message,
        extra_of,
    )


PEERS: tuple[Builder, ...] = (
    Builder("obvious stack", obvious_stack, "peer", is_slow=True),
    Builder("stdlib FileHandler", stdlib_file, "peer", is_slow=True),
    Builder("stdlib QueueHandler", stdlib_queue, "peer", is_slow=True),
    Builder("loguru", loguru_plain, "peer", ("loguru",), is_slow=True),
    Builder("loguru enqueue", loguru_enqueue, "peer", ("loguru",), is_slow=True),
    Builder("structlog", structlog_fastest, "peer", ("structlog", "orjson")),
    Builder("Logbook", logbook_file, "peer", ("logbook",)),
    Builder("Logbook threaded", logbook_threaded, "peer", ("logbook",)),
    Builder("picologging", picologging_file, "peer", ("picologging",)),
)
