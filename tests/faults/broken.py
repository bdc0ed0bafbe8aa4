"""
Handlers that are broken on purpose, one fault each: what a row of the table must find out.

Each is put into the child by replacing a part of the package, after it was loaded and before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

BROKEN: dict[str, Callable[[], None]] = {}


def _broken(function: Callable[[], None]) -> Callable[[], None]:
    BROKEN[function.__name__] = function
    return function


def install(name: str) -> None:
    """
    Break the package in this process.
    """
    BROKEN[name]()


@_broken
def writes_twice() -> None:
    """Each seventh line is written twice."""
    from sessionlog_handlers.pipeline.writer import Writer

    write = Writer._write
    seen = 0

    def twice(self: Writer, lines: Any, joined: bytes, size: int, locked: bool) -> int:
        nonlocal seen
        more = []
        for line in lines:
            seen += 1
            more += [line, line] if seen % 7 == 0 else [line]
        return min(write(self, more, b"", size, locked), len(lines))

    Writer._write = twice  # type: ignore[method-assign]


@_broken
def forgets_after_errors() -> None:
    """What could not be written counts as written."""
    from sessionlog_handlers.pipeline.writer import Writer

    append = Writer.append

    def forgetting(self: Writer, lines: Any, **options: Any) -> int:
        append(self, lines, **options)
        self.error = None
        return len(lines)

    Writer.append = forgetting  # type: ignore[method-assign]


@_broken
def leaves_half_lines() -> None:
    """The part of a line that was written before an error stays, and the next line follows it."""
    from sessionlog_handlers.pipeline.writer import Writer

    keep = Writer._keep_whole_lines

    def leave(self: Writer, lines: Any, size: int, written: int, locked: bool) -> int:
        done = keep(self, lines, size, written, False)
        self._end = size + written
        return done

    Writer._keep_whole_lines = leave  # type: ignore[method-assign]


@_broken
def joins_torn_lines() -> None:
    """A torn last line is not ended before the next one."""
    from sessionlog_handlers.pipeline.writer import Writer

    ready = Writer.ready

    def careless(self: Writer) -> os.stat_result:
        found = ready(self)
        self._torn = False
        return found

    Writer.ready = careless  # type: ignore[method-assign]


@_broken
def says_flushed_at_once() -> None:
    """`flush` waits for nothing."""
    from sessionlog_handlers.pipeline.root import SessionRoot

    SessionRoot.flush = lambda *args, **options: True  # type: ignore[method-assign]


@_broken
def syncs_nothing() -> None:
    """The sync does nothing and says that it did."""
    from sessionlog_handlers.pipeline import sync

    sync._sync_data = lambda descriptor: None


@_broken
def hides_failed_syncs() -> None:
    """A sync that failed is nobody's business."""
    from sessionlog_handlers.pipeline.sync import Syncer

    real = Syncer._sync

    def hiding(self: Syncer, *args: Any) -> None:
        report, self._reporter.report = self._reporter.report, lambda *words: None  # type: ignore[method-assign]
        try:
            real(self, *args)
        finally:
            self._reporter.report = report  # type: ignore[method-assign]

    Syncer._sync = hiding  # type: ignore[method-assign]


@_broken
def deletes_full_files() -> None:
    """Rotation deletes instead of renaming."""
    from sessionlog_handlers.pipeline.writer import Writer

    Writer.rotate = lambda self, source, target: os.unlink(source)  # type: ignore[method-assign]


@_broken
def empties_what_it_cannot_rotate() -> None:
    """A file that can't be renamed is emptied."""
    from sessionlog_handlers.pipeline.writer import Writer

    real = Writer._try_rotation

    def empty(self: Writer) -> bool:
        done = real(self)
        if not done:
            os.truncate(self.baseFilename, 0)
        return done

    Writer._try_rotation = empty  # type: ignore[method-assign]


@_broken
def forgets_after_errors_in_rotation() -> None:
    """An error in the rotation takes the batch along."""
    from sessionlog_handlers.pipeline.writer import Writer

    append = Writer.append

    def forgetting(self: Writer, lines: Any, **options: Any) -> int:
        done = append(self, lines, **options)
        return len(lines) if self.rotation_error else done

    def failing(self: Writer) -> bool:
        try:
            self.rotate_file()
        except OSError as error:
            self.rotation_error = error
            raise
        return True

    Writer.append = forgetting  # type: ignore[method-assign]
    Writer._try_rotation = failing  # type: ignore[method-assign]


@_broken
def deletes_before_gzip_is_there() -> None:
    """The plain file goes before its gzip has its name."""
    from sessionlog_handlers.pipeline import compression

    def commit(temporary: str, before: os.stat_result, lock: Any, names: Any, allowed: Any) -> str | None:
        for name in names:
            if os.path.lexists(name) and os.lstat(name).st_ino == before.st_ino:
                os.unlink(name)
                os.replace(temporary, name + ".gz")
                return str(name) + ".gz"
        return None

    compression._commit = commit


@_broken
def tells_of_no_losses() -> None:
    """What had to be given up is told of nowhere."""
    from sessionlog_handlers.pipeline.report import Losses

    Losses.count = lambda *args: None  # type: ignore[method-assign]


@_broken
def never_tries_again() -> None:
    """What can't be written once is never written."""
    from sessionlog_handlers.pipeline.session_files import SessionFiles

    real = SessionFiles.put_off

    def for_ever(self: SessionFiles, error: BaseException) -> None:
        real(self, error)
        self.retry_at = float("inf")

    SessionFiles.put_off = for_ever  # type: ignore[method-assign]


@_broken
def trusts_the_descriptor() -> None:
    """An open file is the right one, whatever has its name."""
    from sessionlog_handlers.pipeline.writer import Writer

    Writer._state_of_file = lambda self: os.fstat(self.descriptor)  # type: ignore[method-assign]


@_broken
def forgets_the_metadata() -> None:
    """`metadata.json` is written at the start only."""
    from sessionlog_handlers.pipeline.session_files import SessionFiles

    real = SessionFiles._save_metadata

    def once(self: SessionFiles, locked: bool, claimed: str = "") -> None:
        if claimed:
            real(self, locked, claimed)

    SessionFiles._save_metadata = once  # type: ignore[method-assign]


@_broken
def writes_to_anything() -> None:
    """Links are followed, and whatever has the log's name is written to and renamed."""
    import stat

    from sessionlog_handlers.pipeline import files, rotation, writer

    def open_anything(path: str, mode: int, **options: Any) -> tuple[int, os.stat_result]:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, mode)
        return descriptor, os.fstat(descriptor)

    writer.open_for_append = open_anything
    for module in (writer, rotation):
        module.check_regular = lambda path: None
    files._SAFE_FLAGS = 0
    stat.S_ISREG = lambda mode: True


@_broken
def overwrites_old_files() -> None:
    """The youngest old file is replaced by each new one."""
    from sessionlog_handlers.pipeline import writer

    writer.make_room = lambda slot_name, backup_count: None


@_broken
def rotates_at_every_look() -> None:
    """A time boundary seems to lie before each write."""
    from sessionlog_handlers.pipeline.rotation import RotationPolicy

    RotationPolicy.is_over = lambda self, last_write: bool(self.when)  # type: ignore[method-assign]


@_broken
def forgets_the_fork() -> None:
    """Nothing happens in a forked child."""
    from sessionlog_handlers.pipeline.root import SessionRoot

    SessionRoot.after_fork_in_child = lambda self: None  # type: ignore[method-assign]


@_broken
def takes_no_lock() -> None:
    """Each process believes that it has the lock."""
    from sessionlog_handlers.pipeline import locks

    locks._try_lock = lambda descriptor: True


@_broken
def judges_twice() -> None:
    """The listener judges once more, by the level that is in force then."""
    from sessionlog_handlers.pipeline.session_lines import SessionLines

    real = SessionLines.settle

    def settle(self: SessionLines) -> None:
        table = self._shared.plan.table(self.channel.session_level, self.channel.severity)
        self.entries = [entry for entry in self.entries if table.event(entry.route.event) is not None]
        real(self)

    SessionLines.settle = settle  # type: ignore[method-assign]


@_broken
def dies_of_errors() -> None:
    """The listener's thread ends with the first exception, and what it had in hand is gone."""
    from sessionlog_handlers.pipeline.listener import BatchingQueueListener
    from sessionlog_handlers.pipeline.session_lines import SessionLines

    def batch(self: BatchingQueueListener) -> int:
        taken = self.queue.take(65_536)
        self._sink(taken)
        self.queue.done()
        if self._on_done:
            self._on_done(taken)
        return len(taken)

    def put_down(self: SessionLines, entries: Any, routes: Any) -> None:
        lines = self._make_lines(entries)
        self.seq += len(entries)
        for part in self._spread(entries, routes, lines):
            self._append(*part)

    BatchingQueueListener._batch = batch  # type: ignore[method-assign]
    SessionLines._put_down = put_down  # type: ignore[method-assign]


@_broken
def stays_dead() -> None:
    """A listener whose thread has died is never replaced, not even at the end."""
    from sessionlog_handlers.pipeline.listener import BatchingQueueListener

    real, started = BatchingQueueListener.start, []

    def start(self: BatchingQueueListener) -> None:
        if not started:
            started.append(self)
            real(self)

    BatchingQueueListener.start = start  # type: ignore[method-assign]
    BatchingQueueListener.drain = lambda self, timeout=0.0: True  # type: ignore[method-assign]


@_broken
def refuses_silently() -> None:
    """What a full queue refuses is not counted."""
    from sessionlog_handlers.pipeline.root import SessionRoot

    SessionRoot._count_refused = lambda self, *about: None  # type: ignore[method-assign]


@_broken
def loses_the_oldest() -> None:
    """A full queue makes room by forgetting what is in it."""
    from sessionlog_handlers.pipeline.channel import Entry
    from sessionlog_handlers.pipeline.queue import BoundedQueue

    def evict(self: BoundedQueue[Any], item: Any, priority: int, size: int) -> bool:
        oldest = next((each for each in list(self.items) if type(each) is Entry), None)
        if oldest is not None:
            self.items.remove(oldest)
        self.put_always(item)
        return True

    BoundedQueue._put_slowly = evict  # type: ignore[method-assign]
    BoundedQueue.refuses = lambda self, priority: False  # type: ignore[method-assign]


@_broken
def writes_in_the_callers_thread() -> None:
    """Each call waits until its line is in the file."""
    from sessionlog_handlers.handlers import SessionHandler

    emit = SessionHandler.emit

    def waiting(self: SessionHandler, record: Any) -> None:
        emit(self, record)
        self.flush()

    SessionHandler.emit = waiting  # type: ignore[method-assign]


@_broken
def cuts_nothing() -> None:
    """A record has no greatest length."""
    from sessionlog_handlers.formats import jsonl

    encode_object, encode_text = jsonl.encode_object, jsonl.encode_text
    jsonl.encode_object = lambda fields, max_bytes=0: encode_object(fields)
    jsonl.encode_text = lambda text, max_bytes=0: encode_text(text)


@_broken
def escapes_nothing() -> None:
    """Characters that a terminal acts on are written as they are."""
    from sessionlog_handlers.formats import encoding, escaping, jsonl

    jsonl.escape_unsafe = encoding.escape_unsafe = lambda encoded: encoded
    escaping._UNSAFE = escaping._ESCAPED = escaping.re.compile("(?!)")


@_broken
def takes_ids_for_paths() -> None:
    """A session's directory is called as its id says."""
    from sessionlog_handlers.pipeline import claim, layout, open_sessions

    for module in (claim, layout, open_sessions):
        if hasattr(module, "directory_name"):
            module.directory_name = lambda session_id, distinct=False: session_id  # type: ignore[attr-defined]


@_broken
def gives_up_on_odd_values() -> None:
    """A value that the fast encoder does not know is an error."""
    from sessionlog_handlers.formats import encoding, jsonl

    def encode_object(fields: Any, max_bytes: int = 0) -> bytes:
        return encoding.encode_fast(fields)

    jsonl.encode_object = encode_object


@_broken
def ends_at_once() -> None:
    """The end of the process waits for nothing."""
    from sessionlog_handlers.pipeline.root import SessionRoot

    SessionRoot.finish = lambda self, reason: None  # type: ignore[method-assign]


@_broken
def knows_no_reason() -> None:
    """Every end is just an end."""
    from sessionlog_handlers.pipeline.open_sessions import OpenSessions

    real = OpenSessions.end

    def end(self: OpenSessions, channel: Any, reason: str, *others: Any, **options: Any) -> bool:
        return real(self, channel, "end", *others, **options)

    OpenSessions.end = end  # type: ignore[method-assign]


@_broken
def waits_in_loops() -> None:
    """A running loop is held up like any other caller."""
    from sessionlog_handlers import session
    from sessionlog_handlers.pipeline import queue

    session.in_running_loop = queue.in_running_loop = lambda: False


@_broken
def swallows_cancellation() -> None:
    """A task that is cancelled while it waits for the disk goes on."""
    import asyncio

    from sessionlog_handlers.session import Session

    real = Session.aevent

    async def aevent(self: Session, name: str, /, **data: Any) -> None:
        try:
            await real(self, name, **data)
        except asyncio.CancelledError:
            return

    Session.aevent = aevent  # type: ignore[method-assign]


@_broken
def keeps_every_file_open() -> None:
    """No file gives way to another."""
    from sessionlog_handlers.pipeline.open_files import OpenFiles

    real = OpenFiles.close
    OpenFiles.close = lambda self, keep=0: None if keep else real(self)  # type: ignore[method-assign]


@_broken
def takes_the_old_one_away_first() -> None:
    """The loggers lose their handlers before it is known whether there will be others."""
    import importlib
    import logging

    configure = importlib.import_module("sessionlog_handlers.config.configure")  # its name is also a function's
    real = configure.apply

    def apply(*args: Any) -> None:
        for logger in (logging.root, logging.getLogger("app")):
            logger.handlers = []
        real(*args)

    configure.apply = apply  # type: ignore[attr-defined]


@_broken
def sees_no_marks() -> None:
    """The disk is never looked at."""
    from sessionlog_handlers.pipeline.marks import DiskMarks

    DiskMarks.look = DiskMarks.look_if_due = lambda self: None  # type: ignore[method-assign]


@_broken
def takes_everybody_for_dead() -> None:
    """Retention takes any session, whoever writes it."""
    from sessionlog_handlers.pipeline import removal, retention

    removal.is_written = lambda root, metadata: False
    retention.is_removable = lambda info, now, pinned=(): True


@_broken
def writes_no_audit_files() -> None:
    """Lines for audit files go nowhere."""
    from sessionlog_handlers.pipeline.session_lines import SessionLines

    append = SessionLines._append

    def logs_only(self: SessionLines, index: int, *part: Any) -> None:
        if not self._shared.settings.layout.files[index].audits:
            append(self, index, *part)

    SessionLines._append = logs_only  # type: ignore[method-assign]


@_broken
def tells_of_no_losses_in_the_log() -> None:
    """What is lost is counted, but no line says so."""
    from sessionlog_handlers.pipeline.report import Losses

    Losses._note = lambda *args: False  # type: ignore[method-assign]
