"""
Nanoseconds of a call that is refused because of a level: what it costs to leave a call in the code.

A session at level spawns refuses its output, and its events of higher classes; beside it stand empty methods with the
same arguments. (No level refuses what is audited, so the event of class prompts is one of the app's own.) A logger at
INFO refuses ``debug``; beside ours, with the handler on the root logger, stand other loggers. Last comes what is no
switch: a session's level that refuses a record which `logging` has made already, and a filter of a handler.

Each figure is the least of some loops, as `timeit` advises, less an empty loop. Nothing may have been written.
"""

from __future__ import annotations

import json
import logging
import statistics
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness
from floors import Empty, NothingHandler
from lines import check_count, raw_lines
from ours import FULL_EVENT, Ours, logger_info, output_of
from peers import PEERS, logbook_file, stdlib_file, through
from sessionlog_handlers import SessionHandler, start_session
from topic import Figure, Options, Run, Size, Topic, Variant
from workload import MESSAGE, NAME, Logging, Place

OUTPUT = "target.output(content)"
EVENT = "target.event(name, command='ls -la', pid=1, status='running', code=1, ratio=0.5)"
DEBUG = "target.debug(message)"
INFO = "target.info(message)"

STDLIB, EMPTY_BYTES, EMPTY_FIELDS = "stdlib", "empty method, bytes", "empty method, fields"
PEERS_COMPARED = ("loguru", "structlog", "picologging")
DEBUG_SAID = "debug of a logger at INFO."
OWN_EVENT = "step_done"
FRAME = frozenset({"session_start", "level_change", "session_end"})  # lines that no level refuses


def time_call(statement: str, options: Options, **names: object) -> dict[str, float]:
    """
    Nanoseconds of a statement. The garbage collector is off meanwhile, as `timeit` has it.
    """
    loops, repeats = options["loops"], options["repeats"]
    known = {"content": output_of(1), "message": MESSAGE, **names}
    took = timeit.Timer(statement, globals=known).repeat(repeats, loops)
    empty = min(timeit.Timer("pass", globals=known).repeat(repeats, loops))
    return {
        "refused call": (min(took) - empty) / loops * 1e9,
        "refused call, median": (statistics.median(took) - empty) / loops * 1e9,
        "empty loop": empty / loops * 1e9,
    }


def written(directory: Path) -> int:
    """
    How many lines there are, but for those that frame a session's log.
    """
    return sum(json.loads(line)["event"] not in FRAME for _, line in raw_lines(directory))


def refused_by_session(statement: str, name: str = "") -> Run:
    """
    A call of a session at level spawns.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        handler = SessionHandler(directory, events={OWN_EVENT: "prompts"})
        session = start_session("s0", level="spawns", handler=handler)
        figures = time_call(statement, options, target=session, name=name)
        session.end()
        handler.close()
        check_count(written(directory), 0, "refused events")
        return figures

    return run


def refused_by_logger(build: Callable[[Place], Logging]) -> Run:
    """
    ``debug`` of a logger at INFO.
    """

    def run(directory: Path, options: Options) -> Mapping[str, float]:
        built = build(Place(directory, 1, 1))
        logging.getLogger().setLevel(logging.INFO)
        figures = time_call(DEBUG, options, target=_logger_of(built))
        built.finish()
        built.close()
        check_count(written(directory), 0, "refused records")
        return figures

    return run


def logbook_at_info(place: Place) -> Logging:
    """Logbook, with the level at the logger too: at the handler alone it is no switch."""
    import logbook

    built = logbook_file(place)
    _logger_of(built).level = logbook.INFO
    return built


def _logger_of(built: Logging) -> Any:
    """The logger whose method is called."""
    return getattr(built.call, "__self__")  # noqa: B009  # a method, which the type of a call does not say


def refused_after_logging(directory: Path, options: Options) -> Mapping[str, float]:
    """``logger.info`` where only the session's level refuses it: `logging` has made the record by then."""
    ours = Ours(Place(directory, 1, 1))
    ours.sessions[0].set_level("spawns")
    with ours.sessions[0]:
        figures = time_call(INFO, options, target=logging.getLogger(NAME))
    ours.close()
    check_count(written(directory), 0, "refused records")
    return figures


def rejected_by_filter(directory: Path, options: Options) -> Mapping[str, float]:
    """``logger.info`` where a filter of the only handler refuses it."""
    handler = NothingHandler()
    handler.addFilter(lambda record: False)
    return time_call(INFO, options, target=through(handler))


def empty_method(statement: str) -> Run:
    """
    A method that does nothing.
    """
    return lambda directory, options: time_call(statement, options, target=Empty(), name=FULL_EVENT)


def _variants() -> list[Variant]:
    full, rare = refused_by_session(EVENT, FULL_EVENT), refused_by_session(EVENT, OWN_EVENT)
    peers = [builder for builder in PEERS if builder.name in PEERS_COMPARED]
    return [
        Variant("session.output", refused_by_session(OUTPUT), "ours", (), "Output of a session at spawns."),
        Variant("session.event full", full, "ours", (), "An event of class full of a session at spawns."),
        Variant("session.event rare", rare, "ours", (), "An event of class prompts of a session at spawns."),
        Variant("logger.debug", refused_by_logger(logger_info), "ours", (), DEBUG_SAID),
        Variant("logger.info, session at spawns", refused_after_logging, "ours"),
        Variant(STDLIB, refused_by_logger(stdlib_file), "peer", (), DEBUG_SAID),
        *(Variant(each.name, refused_by_logger(each.build), "peer", each.needs, DEBUG_SAID) for each in peers),
        Variant("Logbook", refused_by_logger(logbook_at_info), "peer", ("logbook",), DEBUG_SAID),
        Variant("stdlib, a filter that rejects", rejected_by_filter, "peer"),
        Variant(EMPTY_BYTES, empty_method(OUTPUT), "floor", (), "An empty method with the arguments of output."),
        Variant(EMPTY_FIELDS, empty_method(EVENT), "floor", (), "An empty method with the arguments of event."),
    ]


TOPIC = Topic(
    "disabled",
    __doc__,
    tuple(_variants()),
    (
        Figure("refused call", "ns", "lower", ",.1f"),
        Figure("refused call, median", "ns", "lower", ",.1f", in_chart=False),
        Figure("empty loop", "ns", "none", ",.1f", against=(), in_chart=False),
    ),
    bases={STDLIB: "stdlib", EMPTY_BYTES: "empty, bytes", EMPTY_FIELDS: "empty, fields"},
    sizes={
        "loops": Size(100_000, 1_000, "calls of a loop"),
        "repeats": Size(9, 3, "loops, of which the least counts"),
    },
    rounds=7,
)

if __name__ == "__main__":
    harness.main(TOPIC)
