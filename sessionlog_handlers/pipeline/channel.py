"""
One session on the caller's side: judges what it takes, freezes values, and puts entries into the root's queue.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from logging import LogRecord
from typing import Any, NamedTuple, Protocol

import msgspec

from sessionlog_handlers.filters import Sampler
from sessionlog_handlers.formats.line import Fields, Payload
from sessionlog_handlers.formats.records import record_content
from sessionlog_handlers.levels import SessionLevel, rank_of_record, severity_name
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.routes import Plan, Route, RouteTable

ENTRY_OVERHEAD = 64  # bytes counted for an entry beside its payload


class Entry(NamedTuple):
    """
    One event on its way through the queue: values only, nothing that the caller could still change.

    Args:
        channel: The session.

        route: Its event and the files it goes to.

        created: Seconds since the epoch, at the call.

        level: The severity's word.

        payload: Encoded fields, one for each of the route's formats if there are several; or a terminal's bytes.

        elapsed: Seconds since the session's start on the monotonic clock.
    """

    channel: Channel
    route: Route
    created: float
    level: str
    payload: Payload | list[Fields]
    elapsed: float


class Home(Protocol):
    """
    What a session needs of the root it belongs to.
    """

    plan: Plan

    def put(self, entry: Entry, size: int) -> bool:
        """Queue an entry, or count it as lost and give False."""
        ...

    def end(self, channel: Channel, reason: str) -> bool:
        """End a session, and tell whether it still ran."""
        ...

    def forget(self, channel: Channel) -> None:
        """A session's last line is written."""
        ...


class Channel:
    """
    A session as the pipeline knows it. `Session` is its face for apps.

    Args:
        root: Where it belongs.

        session_id: Its id.

        paths: Where its files are.

        table: The routes of its level.

        implicit: Whether it began by its first record.
    """

    __slots__ = (
        "__weakref__",
        "_samplers",
        "_table",
        "app_metadata",
        "closed",
        "ending",
        "id",
        "implicit",
        "opened",
        "over",
        "paths",
        "root",
        "started",
    )

    def __init__(
        self, root: Home, session_id: str, paths: SessionPaths, table: RouteTable, implicit: bool = False
    ) -> None:
        self.root = root
        self.id = session_id
        self.paths = paths
        self.implicit = implicit
        self.app_metadata: dict[str, Any] = {}
        self.closed = False  # refuses everything from now on
        self.over = False  # its last line is written
        self.ending: dict[str, Any] | None = None  # the end that was called for, while late lines are still let in
        self.opened = time.time()
        self.started = time.monotonic()
        self._table = table
        self._samplers: dict[str, Sampler] | None = None

    def use_table(self, table: RouteTable) -> None:
        """
        Judge everything by another level from now on. One assignment, so each event is judged by exactly one level.
        """
        self._table = table

    @property
    def table(self) -> RouteTable:
        """The routes of its level."""
        return self._table

    @property
    def session_level(self) -> SessionLevel:
        """Its level now."""
        return self._table.level

    @property
    def severity(self) -> int:
        """Its severity threshold now, 0 for none."""
        return self._table.severity

    def accept_event(
        self, route: Route, data: Mapping[str, Any], exc: str | None = None, msg: str | None = None
    ) -> bool:
        """
        Take an event of the API. Gives False if it was refused.
        """
        if route.sampled < 1.0 and not self._sample(route):
            return False
        return self._put(route, time.time(), route.type.level, self._freeze(route, route.event, data, msg, None, exc))

    def accept_bytes(self, route: Route, content: bytes) -> bool:
        """
        Take a terminal's bytes as they are.
        """
        if route.sampled < 1.0 and not self._sample(route):
            return False
        if type(content) is not bytes:
            content = bytes(memoryview(content))  # its owner may fill the buffer anew before it is written
        entry = Entry(self, route, time.time(), route.type.level, content, time.monotonic() - self.started)
        return self.root.put(entry, len(content) + ENTRY_OVERHEAD)

    def replay(self, entry: Entry) -> None:
        """
        Take an entry again that was frozen before the root and its formats were known.
        """
        route = self._table.event(entry.route.event)
        if route is None:
            return
        payload = entry.payload
        if isinstance(payload, Fields):
            content = msgspec.json.decode(payload.data)
            payload = self._freeze(route, entry.route.event, content["data"], content["msg"], None, content["exc"])
        size = len(payload) if isinstance(payload, bytes) else ENTRY_OVERHEAD
        self.root.put(entry._replace(route=route, payload=payload), size)

    def accept_record(self, record: LogRecord) -> bool:
        """
        Take a record of the app's loggers. Gives False if the level leaves it out or it was refused.
        """
        table = self._table
        event = record.__dict__.get("event")
        route: Route | None
        if isinstance(event, str) and event:
            route = table.event(event)
        else:
            route = table.ordinary[rank_of_record(record.levelno)] if record.levelno >= table.severity else None
        if route is None or (route.sampled < 1.0 and not self._sample(route)):
            return False
        frozen = self._freeze(route, *record_content(record))
        return self._put(route, record.created, severity_name(record.levelno), frozen)

    def _freeze(
        self, route: Route, event: str, data: Mapping[str, Any], msg: str | None, logger: str | None, exc: str | None
    ) -> Fields | list[Fields]:
        formats = self.root.plan.formats
        if len(route.formats) == 1:
            return formats[route.formats[0]].fields(event, data, msg, logger, exc)
        return [formats[index].fields(event, data, msg, logger, exc) for index in route.formats]

    def _put(self, route: Route, created: float, level: str, payload: Fields | list[Fields]) -> bool:
        size = sum(part.size for part in payload) if isinstance(payload, list) else payload.size
        entry = Entry(self, route, created, level, payload, time.monotonic() - self.started)
        return self.root.put(entry, size + ENTRY_OVERHEAD)

    def _sample(self, route: Route) -> bool:
        samplers = self._samplers
        if samplers is None:
            samplers = self._samplers = {}
        sampler = samplers.get(route.event) or samplers.setdefault(route.event, Sampler(route.sampled))
        return sampler.admit()

    def after_fork(self) -> None:
        """
        In a forked child: another thread of the parent may have held a sampler's lock.
        """
        self._samplers = None

    def take_left_out(self) -> dict[str, int]:
        """
        How many events sampling left out since the last call, by name.
        """
        if not self._samplers:
            return {}
        left_out = {event: sampler.take_left_out() for event, sampler in self._samplers.copy().items()}
        return {event: number for event, number in left_out.items() if number}
