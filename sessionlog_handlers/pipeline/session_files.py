"""
One session on the listener's side: numbers its lines, and keeps them until they are written.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

import msgspec

from sessionlog_handlers.formats.line import Lines
from sessionlog_handlers.pipeline.channel import Channel, Entry, entry_size
from sessionlog_handlers.pipeline.claim import claim
from sessionlog_handlers.pipeline.cleanup import compress_slots
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.routes import Route
from sessionlog_handlers.pipeline.session_record import SessionRecord, WriterState
from sessionlog_handlers.pipeline.shared import Shared
from sessionlog_handlers.settings.layouts import Layout

FIRST_RETRY = 0.1  # seconds after a failed write, doubled up to the longest
LONGEST_RETRY = 5.0
OWN = 0  # the number that our own lines have instead of a session's
ROUNDS = 3  # writing may rotate, which writes a line, which may rotate; the rest waits for the next batch


class Outcome(enum.Enum):
    """
    What became of an attempt to write.
    """

    WRITTEN = enum.auto()
    PUT_OFF = enum.auto()  # it is tried again; `SessionFiles.trouble` tells why
    OVER = enum.auto()  # the session is complete


class Pending:
    """
    Lines on their way to one file.

    Args:
        lines: Each with its line end.

        counts: For each line whether it counts as an entry: an audit line's twin in the log already does.

        joined: All lines at once, where somebody has joined them already; else empty.
    """

    __slots__ = ("counts", "durable", "joined", "lines")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.counts = bytearray()
        self.joined = b""
        self.durable = False


class SessionFiles:
    """
    The files of one session, as the listener's thread sees them.

    Args:
        channel: The session on the caller's side.

        shared: The root's means.

        start: When it started, in seconds since the epoch.

        begin: What to say in ``session_start``.

        inherited: Whether a parent process began it; then nothing is done for it before its first entry.
    """

    __slots__ = (
        "_begin",
        "_inherited",
        "_measured",
        "_pending",
        "_retry",
        "_says",
        "_shared",
        "_start",
        "after",
        "channel",
        "claimed",
        "dropped",
        "end",
        "entries",
        "is_over",
        "last_used",
        "lock",
        "owner",
        "pid",
        "record",
        "refused",
        "retry_at",
        "seq",
        "trouble",
        "written",
    )

    def __init__(
        self, channel: Channel, shared: Shared, start: float, begin: Mapping[str, Any], *, inherited: bool = False
    ) -> None:
        self.channel = channel
        self._shared = shared
        self._start = start
        self._begin = begin
        self._inherited = inherited
        self._pending: dict[int, Pending] = {}
        self.entries: list[Entry] = []  # no lines yet; the router puts them here
        self._measured = 0, 0  # how many of them were measured, and the bytes that they hold
        self._says = False  # some of them are lines of our own
        self.record = SessionRecord(channel, shared, start, begin)
        self._retry = FIRST_RETRY
        self.after: SessionFiles | None = None  # the same session's files before it was started again
        self.is_over = False
        self.refused = False  # the session was ended on purpose, and only a record that names it asked for it
        self.retry_at = 0.0
        self.trouble: BaseException | None = None  # why the last attempt to write was put off
        self.lock: FileLock = shared.lock_for(channel)
        self.claimed = ""  # the lease under which metadata.json knows this process
        self.owner = False
        self.pid = 0  # stands in the lines if this process did not begin the session
        self.seq = 0
        self.written = 0
        self.dropped = 0
        self.last_used = time.monotonic()
        self.end: dict[str, Any] | None = None  # what `session_end` will say, once it was called for

    # -- what arrives ------------------------------------------------------------------------------------------------

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
                counts = bytes(entry.session != OWN and entry.route in counting for entry in taken)
            else:
                counts = b"\1" * len(given.each)
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
        pending.counts += counts
        pending.durable |= durable

    def tell_losses(self) -> None:
        """
        Say what was lost of the session, and what sampling left out, if it is to end.
        """
        for reason, count in self._shared.losses.take(self.channel).items():
            self.dropped += count
            self.say("log_dropped", {"reason": reason, "count": count})
        if self.end is not None:
            for event, left_out in self.channel.take_left_out().items():
                self.say("log_dropped", {"reason": "sampling", "event": event, "count": left_out})

    def change_level(self, change: dict[str, Any], created: float) -> None:
        """
        Note a change of the session's level, in the log and in ``metadata.json``.

        Every process of a session takes a level that was set from outside; the one that began the session tells of it.
        """
        if change["by"] == "command" and self.claimed and not self.owner:
            return
        self.say("level_change", change, created)
        self.record.note_change(change, created)

    # -- writing -----------------------------------------------------------------------------------------------------

    def flush(self) -> Outcome:
        """
        Write what is pending, under the session's lock.
        """
        self.last_used = time.monotonic()
        if self._inherited and self.end is not None and not self.claimed and not self.entries:
            return Outcome.OVER  # a parent's session in which this process had nothing to say
        lock = self.lock
        locked = lock.acquire()
        self._shared.unlocked += not locked
        try:
            outcome = self._write(locked)
        except Exception as error:
            self.put_off(error)
            return Outcome.PUT_OFF
        finally:
            if locked:
                lock.release()
        self.trouble, self.retry_at, self._retry = None, 0.0, FIRST_RETRY
        return outcome

    def put_off(self, error: BaseException) -> None:
        """
        Try again later, because of that error.
        """
        self.trouble = error
        self.retry_at = time.monotonic() + self._retry
        self._retry = min(self._retry * 2, LONGEST_RETRY)

    def _write(self, locked: bool) -> Outcome:
        if (not self.claimed or self.claimed != self._shared.lease_name) and not self._claim():
            return Outcome.OVER
        self._write_rounds(locked)
        if self.end is not None:
            self._finish(self.end, locked)
            return Outcome.OVER
        if self.record.is_due or self.record.is_old:
            self._save_metadata()
        return Outcome.WRITTEN

    def _claim(self) -> bool:
        """
        Take the session's place on the disk, then make the lines of what came before it could be had.

        Gives False if the session was ended on purpose, and only a record that names it asks for it.
        """
        found = claim(self.channel, self._shared)
        if found.refused:
            self._refuse()
            return False
        self.owner = found.owner
        self.pid = 0 if found.owner else os.getpid()
        first = not self.claimed
        if first:
            self.seq = found.seq
            self.record.note_begin(resumed=found.resumed)
        # First: until others can know that the session runs here, nothing is written, and the place is looked at anew.
        self._save_metadata(self._shared.lease_name)
        self.claimed = self._shared.lease_name
        waiting, self.entries, self._measured = self.entries, [], (0, 0)
        if first:
            if found.crashed:
                self.say("session_crashed", found.crashed)
            if not found.goes_on:
                self.say("session_start", {**self._begin, **({"resumed": True} if found.resumed else {})}, self._start)
        self.entries += waiting
        return True

    def _refuse(self) -> None:
        self.channel.closed = self.refused = True
        self._shared.count_lost(None, "late", self.waiting_entries)
        self._shared.reporter.report(
            f"late {self.channel.id}", f"session {self.channel.id!r} has ended; records that still name it are left out"
        )

    def _write_rounds(self, locked: bool) -> None:
        for _ in range(ROUNDS):
            if self.entries:
                self.settle()
            if not self._pending:
                return
            error: OSError | None = None
            for index in sorted(self._pending):
                error = self._write_file(index, locked) or error
            if error:
                raise error

    def _write_file(self, index: int, locked: bool) -> OSError | None:
        pending = self._pending[index]
        path = self.channel.paths.file(index)
        writer = self._shared.open.writer(path)
        if pending.durable:
            self._shared.syncer.expect(path)
        done = writer.append(pending.lines, rotate=locked, joined=pending.joined)
        if writer.rotation_error:
            reason = writer.rotation_error.strerror or writer.rotation_error
            message = f"{path}: no new file can be started ({reason}); it grows on"
            self._shared.reporter.report(f"rotate {path}", message)
        elif writer.rotated:
            self._shared.reporter.over(f"rotate {path}")
        if done:
            entries = pending.counts.count(1, 0, done)
            self.written += entries
            self._shared.count_written(entries)
            if pending.durable:
                self._shared.syncer.add(path, writer.inode, new=writer.is_new)
                writer.is_new = False
        if done == len(pending.lines):
            del self._pending[index]
        else:
            del pending.lines[:done], pending.counts[:done]
            pending.joined = b""
        if writer.rotated:
            self._note_rotation(path, writer.rotated)
            writer.rotated = []
        return writer.error

    def _note_rotation(self, path: str, rotated: list[str]) -> None:
        name = os.path.basename(path)
        for archive in rotated:
            size = 0
            with suppress(OSError):
                size = os.stat(archive).st_size
            self.record.note_rotation(name, size)
            if self.end is None:  # nothing may follow the end line
                self.say("log_rotated", {"file": name, "archive": os.path.basename(archive), "bytes": size})
        shared = self._shared
        shared.rotations += len(rotated)
        shared.syncer.add_directory(os.path.dirname(path))  # the new names must be durable, too
        if shared.settings.compress == "gzip":
            settings, lock = shared.settings, self.lock
            shared.keeper.submit(lambda: compress_slots(path, lock, settings), slow=True)

    # -- trouble -----------------------------------------------------------------------------------------------------

    @property
    def waiting_entries(self) -> int:
        """How many entries wait to be written."""
        return sum(entry.session != OWN for entry in self.entries) + sum(
            sum(pending.counts) for pending in self._pending.values()
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
        return size + sum(sum(map(len, pending.lines)) for pending in self._pending.values())

    def trim(self, excess: int) -> int:
        """
        Give up the newest entries until *excess* bytes are free, count them as lost, and give their number.
        """
        lost = lines = freed = 0
        self._measured = 0, 0
        while self.entries and freed < excess:
            entry = self.entries.pop()
            freed += _size(entry)
            lost += entry.session != OWN
            lines += entry.session == OWN
        for pending in self._pending.values():
            while pending.lines and freed < excess:
                freed += len(pending.lines.pop())
                pending.joined = b""
                counted = pending.counts.pop()
                lost += counted
                lines += not counted
        self._pending = {index: pending for index, pending in self._pending.items() if pending.lines}
        if lost:
            self._shared.count_lost(self.channel, "write_error", lost)
        if lines:
            self._shared.losses.count_lines(self.channel, lines)
        return lost

    # -- metadata and the end ----------------------------------------------------------------------------------------

    def _save_metadata(self, claimed: str = "") -> None:
        """Bring our part of ``metadata.json`` up to date. The session's lock is held."""
        if not self._shared.settings.single_file:
            state = WriterState(claimed or self.claimed, self.owner, self.written, self.dropped, self.seq)
            self.record.save(state, None if claimed else self.end)

    def _finish(self, end: dict[str, Any], locked: bool) -> None:
        """The session's last lines, then its metadata. What can't be written yet is tried again like any other line."""
        if not end.get("said"):
            self.tell_losses()
            if self.owner:
                data = {"reason": end["reason"], "seconds": round(end["created"] - self._start, 3), **end["data"]}
                self.say("session_end", data, end["created"])
            end["said"] = True
        self._write_rounds(locked)
        self._save_metadata()


_route_of: Callable[[Entry], Route] = attrgetter("route")


def _part(entry: Entry, place: int) -> Entry:
    """What one of several formats makes a line from."""
    data, tail = (entry.data, None) if entry.tail is None else entry.data[place]
    return msgspec.structs.replace(entry, data=data, tail=tail)


def _size(entry: Entry) -> int:
    return entry_size(entry.data, entry.tail)
