"""
One session on the caller's side: judges what it takes, freezes values, and puts entries into the root's queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from logging import LogRecord
from typing import Any, NamedTuple, Protocol

from sessionlog_handlers.events import ORDINARY_RECORD
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

    def end_idle(self, channel: Channel) -> None:
        """A session that began by a record alone had none for long."""
        ...

    def forget(self, channel: Channel, *, refused: bool = False) -> None:
        """A session's last line is written, or it was refused because it had been ended."""
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
        root = self.root  # once: it may change meanwhile, and what is frozen for one root is no good for another
        now = route if route.layout is root.plan.settings.layout else self._rerouted(root, route)
        if now is None or (now.sampled < 1.0 and not self._sample(now)):
            return False
        payload = self._freeze(root, now, now.event, data, msg, None, exc)
        return self._put(root, now, time.time(), now.type.level, payload)

    def accept_bytes(self, route: Route, content: bytes) -> bool:
        """
        Take a terminal's bytes as they are.
        """
        root = self.root
        now = route if route.layout is root.plan.settings.layout else self._rerouted(root, route)
        if now is None or (now.sampled < 1.0 and not self._sample(now)):
            return False
        if type(content) is not bytes:
            content = bytes(memoryview(content))  # its owner may fill the buffer anew before it is written
        entry = Entry(self, now, time.time(), now.type.level, content, time.monotonic() - self.started)
        return root.put(entry, len(content) + ENTRY_OVERHEAD)

    def replay(self, entry: Entry, root: Home) -> bool:
        """
        Give a root an entry that was frozen before the root and its formats were known. Its level judges anew.
        """
        table, frozen = self._table_of(root), entry.route
        route = table.event(frozen.event)
        if frozen.event == ORDINARY_RECORD:
            route = table.ordinary[frozen.type.session_level.rank]
        if route is None or (route.sampled < 1.0 and not self._sample(route)):
            return False
        payload = entry.payload[0] if isinstance(entry.payload, list) else entry.payload
        if isinstance(payload, bytes):
            return root.put(entry._replace(route=route), len(payload) + ENTRY_OVERHEAD)
        content = json.loads(payload.data)  # the faster decoder refuses halves of surrogate pairs
        values = content["data"], content["msg"], content["logger"], content["exc"]
        again = self._freeze(root, route, frozen.event, *values)
        return root.put(entry._replace(route=route, payload=again), _size(again) + ENTRY_OVERHEAD)

    def accept_record(self, record: LogRecord) -> bool:
        """
        Take a record of the app's loggers. Gives False if the level leaves it out or it was refused.
        """
        root = self.root
        route = self._route_of(self._table, record)
        if route is not None and route.layout is not root.plan.settings.layout:
            route = self._route_of(self._table_of(root), record)
        if route is None or (route.sampled < 1.0 and not self._sample(route)):
            return False
        frozen = self._freeze(root, route, *record_content(record))
        return self._put(root, route, record.created, severity_name(record.levelno), frozen)

    @staticmethod
    def _route_of(table: RouteTable, record: LogRecord) -> Route | None:
        event = record.__dict__.get("event")
        if isinstance(event, str) and event:
            return table.event(event)
        return table.ordinary[rank_of_record(record.levelno)] if record.levelno >= table.severity else None

    def _table_of(self, root: Home) -> RouteTable:
        """Its level's routes, as that root counts files and formats."""
        return root.plan.table(self._table.level, self._table.severity)

    def _rerouted(self, root: Home, route: Route) -> Route | None:
        """The route anew: since the caller looked it up, the session came to that root, or its settings changed."""
        return self._table_of(root).event(route.event)

    def _freeze(
        self,
        root: Home,
        route: Route,
        event: str,
        data: Mapping[str, Any],
        msg: str | None,
        logger: str | None,
        exc: str | None,
    ) -> Fields | list[Fields]:
        formats = root.plan.formats
        if len(route.formats) == 1:
            return formats[route.formats[0]].fields(event, data, msg, logger, exc)
        return [formats[index].fields(event, data, msg, logger, exc) for index in route.formats]

    def _put(self, root: Home, route: Route, created: float, level: str, payload: Fields | list[Fields]) -> bool:
        entry = Entry(self, route, created, level, payload, time.monotonic() - self.started)
        return root.put(entry, _size(payload) + ENTRY_OVERHEAD)

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


def _size(payload: Fields | list[Fields]) -> int:
    return sum(part.size for part in payload) if isinstance(payload, list) else payload.size
