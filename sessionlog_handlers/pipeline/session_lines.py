"""
A session's entries on their way to its files: numbered, made into lines, and kept until they are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

import msgspec

from sessionlog_handlers.formats.line import Lines
from sessionlog_handlers.pipeline.channel import Channel, Entry, entry_size
from sessionlog_handlers.pipeline.routes import Route
from sessionlog_handlers.pipeline.shared import Shared
from sessionlog_handlers.settings.layouts import Layout

FIRST_RETRY = 0.1  # seconds after a failed write, doubled up to the longest
LONGEST_RETRY = 5.0
NOTHING, ENTRY, TELLS = 0, 1, 2  # what a line is, see `Pending`
OWN = 0  # the number that our own lines have instead of a session's


class Pending:
    """
    Lines on their way to one file.

    Args:
        lines: Each with its line end.

        counts: For each line what it is: an entry, a line that tells of losses, or one that does not count, as an audit
            line does whose twin is in the log.

        joined: All lines at once, where somebody has joined them already; else empty.

        size: The bytes of them all.

        error: Why the file could not be written; None if nobody has tried in vain.

        retry_at: When it is tried again, on the monotonic clock.
    """

    __slots__ = ("_retry", "counts", "durable", "error", "joined", "lines", "retry_at", "size")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.counts = bytearray()
        self.joined = b""
        self.size = 0
        self.durable = False
        self.error: OSError | None = None
        self.retry_at = 0.0
        self._retry = FIRST_RETRY

    def give_up(self, excess: int) -> tuple[bytearray, int]:
        """
        Take the newest lines out until *excess* bytes are free, but for those that tell of losses. Gives what each of
        them was, and their bytes.
        """
        given_up, freed, at = bytearray(), 0, len(self.lines)
        while at > 0 and freed < excess:
            at -= 1
            if self.counts[at] != TELLS:
                freed += len(self.lines.pop(at))
                given_up.append(self.counts.pop(at))
        if given_up:
            self.size -= freed
            self.joined = b""
        return given_up, freed

    def written(self, number: int) -> None:
        """
        So many of the lines, the first ones, are in the file.
        """
        self.size -= sum(map(len, self.lines[:number]))
        del self.lines[:number], self.counts[:number]
        self.joined = b""

    def put_off(self, error: OSError) -> None:
        """
        Try again later, because of that error.
        """
        self.error = error
        self.retry_at = time.monotonic() + self._retry
        self._retry = min(self._retry * 2, LONGEST_RETRY)


class SessionLines:
    """
    What of a session is not written yet: entries as they came, and lines by the files that they go to.

    Args:
        channel: The session on the caller's side.

        shared: The root's means.
    """

    __slots__ = ("_measured", "_pending", "_says", "_shared", "channel", "entries", "pid", "seq")

    def __init__(self, channel: Channel, shared: Shared) -> None:
        self.channel = channel
        self._shared = shared
        self._pending: dict[int, Pending] = {}
        self.entries: list[Entry] = []  # no lines yet; the router puts them here, and touches a session that has any
        self._measured = 0, 0  # how many of them were measured, and the bytes that they hold
        self._says = False  # some of them are lines of our own
        self.pid = 0  # stands in the lines if this process did not begin the session
        self.seq = 0

    def say(self, event: str, data: Mapping[str, Any], created: float = 0.0) -> None:
        """
        Add a line of our own, such as ``log_rotated``. It is not counted as an entry.
        """
        # By the settings that are in force here: on the callers' side newer ones may be.
        plan = self._shared.plan
        route = plan.table(self.channel.session_level, self.channel.severity).event(event)
        if route is not None:
            payloads = tuple(plan.formats[index].fields(event, data) for index in route.formats)
            fields, tail = payloads[0] if len(payloads) == 1 else (payloads, b"")
            self.entries.append(Entry(OWN, route, created or time.time(), fields, tail))
            self._says = True

    def settle(self) -> None:
        """
        Make the lines of what came, and put them before the files that they go to.
        """
        entries, self.entries, self._measured = self.entries, [], (0, 0)
        routes = set(map(_route_of, entries))
        layout = self._shared.settings.layout
        if any(route.layout is not layout and route.layout != layout for route in routes):
            entries = self._leave_out_others(entries, layout)
            routes = set(map(_route_of, entries))
        if len({route.formats for route in routes}) == 1:
            self._put_down(entries, routes)
        else:
            for _, run in groupby(entries, key=lambda entry: entry.route.formats):
                part = [*run]
                self._put_down(part, set(map(_route_of, part)))
        self._says = False

    def _leave_out_others(self, entries: list[Entry], layout: Layout) -> list[Entry]:
        """Count what was frozen for files that there are no more as lost, and give the rest."""
        kept = [entry for entry in entries if entry.route.layout == layout]
        lost = sum(entry.session != OWN for entry in entries) - sum(entry.session != OWN for entry in kept)
        if lost:
            self._shared.count_lost(self.channel, "reconfigured", lost)
        if len(entries) - len(kept) > lost:
            self._shared.losses.count_lines(self.channel, len(entries) - len(kept) - lost)
        return kept

    def give_up_lines(self) -> None:
        """
        Count the lines that are kept for files of the layout until now as lost, since others take their place.
        """
        kept = [*self._pending.values()]
        self._pending = {}
        entries = sum(pending.counts.count(ENTRY) for pending in kept)
        others = sum(len(pending.lines) for pending in kept) - entries
        if entries:
            self._shared.count_lost(self.channel, "reconfigured", entries)
        if others:
            self._shared.losses.count_lines(self.channel, others)

    def _put_down(self, entries: list[Entry], routes: set[Route]) -> None:
        """Number a run of entries for the same formats, make their lines, and spread them over the files."""
        try:
            lines = self._make_lines(entries)
        except BaseException as error:
            # One entry must not take others along, and nothing may silence the log of a whole application.
            if len(entries) == 1:
                self._shared.entry_failed(self.channel, error, int(entries[0].session != OWN))
            else:
                for entry in entries:
                    self._put_down([entry], {entry.route})
            return
        self.seq += len(entries)
        try:
            parts = self._spread(entries, routes, lines)
        except BaseException as error:  # out of memory, for example
            self._shared.entry_failed(self.channel, error, sum(entry.session != OWN for entry in entries))
            return
        for part in parts:
            self._append(*part)

    def _make_lines(self, entries: list[Entry]) -> dict[int, Lines]:
        """The lines of a run of entries, once for each of their formats."""
        formats = entries[0].route.formats
        lines: dict[int, Lines] = {}
        for place, index in enumerate(formats):
            parts = entries if len(formats) == 1 else [_part(entry, place) for entry in entries]
            line_format = self._shared.plan.formats[index]
            lines[index] = line_format.assemble_all(parts, self.channel.id, self.pid, self.seq + 1)
        return lines

    def _spread(
        self, entries: list[Entry], routes: set[Route], lines: dict[int, Lines]
    ) -> list[tuple[int, Lines, bytes, bool]]:
        """What each file gets: lines, for each whether it counts as an entry, and whether they are durable."""
        format_of_file = self._shared.plan.format_of_file
        parts = []
        for index in sorted({index for route in routes for index in route.files}):
            takers = {route for route in routes if index in route.files}
            counting = {route for route in takers if route.files[0] == index}
            given = lines[format_of_file[index]]
            taken = entries
            if len(takers) < len(routes):
                each = [line for line, entry in zip(given.each, entries, strict=True) if entry.route in takers]
                given = Lines(each, b"".join(each))
                taken = [entry for entry in entries if entry.route in takers]
            if not counting:
                counts = bytes(len(given.each))
            elif self._says or len(counting) < len(takers):
                counts = bytes(_worth(entry) if entry.route in counting else NOTHING for entry in taken)
            else:
                counts = bytes((ENTRY,)) * len(given.each)
            parts.append((index, given, counts, any(route.durable for route in takers)))
        return parts

    def _append(self, index: int, lines: Lines, counts: bytes, durable: bool) -> None:
        pending = self._pending.get(index)
        if pending is None:
            pending = self._pending[index] = Pending()
            pending.joined = lines.joined
        else:
            pending.joined = b""
        pending.lines += lines.each
        pending.size += len(lines.joined)
        pending.counts += counts
        pending.durable |= durable

    @property
    def waiting_entries(self) -> int:
        """How many entries wait to be written."""
        return sum(entry.session != OWN for entry in self.entries) + sum(
            pending.counts.count(ENTRY) for pending in self._pending.values()
        )

    @property
    def held(self) -> int:
        """The bytes of what waits."""
        number, size = self._measured
        if number > len(self.entries):
            number = size = 0
        # In trouble this is asked for with each batch, and there may be very many.
        size += sum(map(_size, islice(self.entries, number, None)))
        self._measured = len(self.entries), size
        return size + sum(pending.size for pending in self._pending.values())

    def trim(self, excess: int) -> int:
        """
        Give up the newest entries until *excess* bytes are free, count them as lost, and give their number.

        Lines that tell of earlier losses stay: they are few and short, and nothing else in the log has those numbers.
        """
        lost = lines = freed = 0
        self._measured = 0, 0
        telling: list[Entry] = []
        while self.entries and freed < excess:
            entry = self.entries.pop()
            if _worth(entry) == TELLS:
                telling.append(entry)
                continue
            freed += _size(entry)
            lost += entry.session != OWN
            lines += entry.session == OWN
        self.entries += reversed(telling)
        for pending in self._pending.values():
            given_up, size = pending.give_up(excess - freed)
            freed += size
            lost += given_up.count(ENTRY)
            lines += given_up.count(NOTHING)
        self._pending = {index: pending for index, pending in self._pending.items() if pending.lines}
        if lost:
            self._shared.count_lost(self.channel, "write_error", lost)
        if lines:
            self._shared.losses.count_lines(self.channel, lines)
        return lost


_route_of: Callable[[Entry], Route] = attrgetter("route")


def _worth(entry: Entry) -> int:
    """What an entry's line in the log is."""
    if entry.session != OWN:
        return ENTRY
    return TELLS if entry.route.event == "log_dropped" else NOTHING


def _part(entry: Entry, place: int) -> Entry:
    """What one of several formats makes a line from."""
    data, tail = (entry.data, None) if entry.tail is None else entry.data[place]
    return msgspec.structs.replace(entry, data=data, tail=tail)


def _size(entry: Entry) -> int:
    return entry_size(entry.data, entry.tail)
