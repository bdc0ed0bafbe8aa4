"""
Removing one session: out of sight under its lock, by renames, and whatever takes longer after that, without it.

Each step leaves something from which whoever comes next can go on:

1. ``.pruning/{removal}/leaving.json`` says what is about to go.
2. The session's files are renamed into ``.pruning/{removal}/files``, its metadata last.
3. The record becomes ``gone.json``. From here on the session's place is free.
4. The files are moved to the trash, or deleted.
5. A line in ``.pruned.jsonl`` says so. The record goes after that.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msgspec import structs

from sessionlog_handlers.exceptions import SessionLogError
from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.pipeline.belongings import (
    Belongings,
    Listings,
    delete_belongings,
    find_belongings,
    remove_directories,
)
from sessionlog_handlers.pipeline.cleanup import is_written
from sessionlog_handlers.pipeline.files import make_directory, make_root, open_for_append, replace_file, write_all
from sessionlog_handlers.pipeline.hooks import HookError, kill_command, run_hook
from sessionlog_handlers.pipeline.layout import LOCKS_DIRECTORY, PRUNING_DIRECTORY
from sessionlog_handlers.pipeline.locks import FileLock, StripedLocks
from sessionlog_handlers.pipeline.metadata import load_metadata, read_metadata
from sessionlog_handlers.pipeline.moving import files_below, move_back, move_tree, sync_path
from sessionlog_handlers.pipeline.places import METADATA_NAMES, SessionInfo, is_place_of
from sessionlog_handlers.pipeline.pruning import (
    DIGITS,
    GONE,
    LEAVING,
    RemovalRecord,
    encode_record,
    identity_of,
    load_record,
)
from sessionlog_handlers.pipeline.retention import Chosen
from sessionlog_handlers.pipeline.tombstones import has_tombstone, write_tombstone
from sessionlog_handlers.settings.tables import Hook

ARCHIVE_TIMEOUT = 600.0  # seconds that an archive may take for one session
SESSION_VARIABLE = "SESSIONLOG_SESSION"  # where an archive command finds the id

_FILES = "files"
_OWNER = "lock"  # held by who is at work on a removal
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class RemovalError(SessionLogError):
    """
    A session could not be removed now. It is as it was, or out of sight and waits for the next run.
    """


def belongings_of(info: SessionInfo, listings: Listings | None = None) -> Belongings | None:
    """
    What a session has on the disk; None if its metadata does not say so, or is another session's.

    Raises:
        OSError: If a directory of it can't be read.
    """
    metadata = info.metadata
    names = [name for name in METADATA_NAMES if read_metadata(str(info.directory / name)) == metadata]
    if metadata is None or not names or not metadata.files or not is_place_of(metadata.session, info.directory.name):
        return None
    metadata_file = os.path.relpath(info.directory / names[-1], info.root)
    return find_belongings(str(info.root), metadata_file, metadata.files, listings)


class Remover:
    """
    Removes sessions of a root, one by one.

    Args:
        root: The root directory.

        trash: Where removed sessions go; None to delete them. (default: None)

        archive: What is given each session before, and has to succeed. (default: None)
    """

    def __init__(self, root: str, *, trash: Path | None = None, archive: Hook | None = None) -> None:
        self._root = root
        self._trash = trash
        self._archive = archive
        # Not those of who writes here: they may be replaced at any moment.
        self._locks = StripedLocks(os.path.join(root, LOCKS_DIRECTORY), keep_open=0)
        self._listings = Listings(root)
        self._owned: FileLock | None = None  # that of the removal at hand
        self._archiving: set[subprocess.Popen[bytes]] = set()

    def forget(self) -> None:
        """
        In a forked child: close what was inherited, so that a removal is nobody's if the parent dies.
        """
        self._locks.forget()
        if self._owned is not None:
            self._owned.forget()
        self._archiving = set()

    def give_up(self) -> None:
        """
        The process ends: kill the archive's command, which nobody would wait for. Its session stays.
        """
        for process in [*self._archiving]:
            kill_command(process)

    def look_anew(self) -> None:
        """
        Forget what was read of the root's directories before.
        """
        self._listings = Listings(self._root)

    def remove(self, chosen: Chosen) -> RemovalRecord | None:
        """
        Remove a session, unless it goes on or has changed since it was chosen; then give None.

        Raises:
            RemovalError: If it could not be archived or moved; the text is a sentence about it.

            OSError: Likewise.
        """
        info = chosen.session
        belongings = belongings_of(info, self._listings)
        if belongings is None or info.metadata is None:
            return None
        self.check_trash()
        self._run_archive(info, belongings)
        record = self._record_for(chosen, belongings)
        with ExitStack() as stack:
            try:
                place = stack.enter_context(self._place_for(record))
            except OSError as error:
                if error.errno not in _NO_ROOM or record.trash is not None:
                    raise
                return self._remove_without_room(record, belongings)
            try:
                moved = self._move_out(place, record, belongings)
            except BaseException:
                with suppress(OSError):
                    self._discard(place)
                raise
            if not moved:
                self._discard(place)
                return None
            self._complete(place, record)
        return record

    def finish(self, place: str) -> RemovalRecord | None:
        """
        Finish a removal that was cut short; None if its session stays, or somebody is at work on it.

        Args:
            place: Its directory below ``.pruning``.

        Raises:
            RemovalError: If it can't be finished yet.

            OSError: Likewise.
        """
        with self._own(place) as owned:
            return self._finish(place) if owned else None

    def check_trash(self) -> None:
        """
        Make the trash if it is not there, and see that it can be used: before anything is taken.

        Raises:
            OSError: If it can't be.
        """
        if self._trash is not None:
            make_root(str(self._trash))
            if not os.access(self._trash, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "the trash can't be written", str(self._trash))

    # -- before ------------------------------------------------------------------------------------------------------

    def _run_archive(self, info: SessionInfo, belongings: Belongings) -> None:
        if self._archive is None:
            return
        own = os.path.relpath(info.directory, self._root)
        beside = [path for path in belongings.files if not path.startswith(f"{own}/")]
        try:
            run_hook(
                self._archive,
                timeout=ARCHIVE_TIMEOUT,
                argument=info,
                arguments=[info.directory, *(os.path.join(self._root, path) for path in beside)],
                environment={SESSION_VARIABLE: info.id},
                running=self._archiving,
            )
        except HookError as error:
            raise RemovalError(f"session {info.id!r} stays, since it could not be archived: {error}") from error

    def _record_for(self, chosen: Chosen, belongings: Belongings) -> RemovalRecord:
        info = chosen.session
        removal = f"{info.directory.name}-{uuid.uuid4().hex[:DIGITS]}"
        metadata_file, metadata = list(belongings.files.items())[-1]
        return RemovalRecord(
            removal=removal,
            session=info.id,
            name=info.directory.name,
            flat=info.flat,
            metadata_file=metadata_file,
            metadata=metadata,
            rule=chosen.rule,
            reason=chosen.reason,
            state=info.state,
            start=None if info.start is None else format_ms(info.start),
            end=None if info.over is None else format_ms(info.over),
            bytes=belongings.size,
            files=len(belongings.files),
            trash=self._target(removal),
        )

    # -- the place below .pruning ------------------------------------------------------------------------------------

    @contextmanager
    def _own(self, place: str) -> Iterator[bool]:
        """Be the one who is at work on a removal; False if somebody else is. A killed process is nobody."""
        lock = FileLock(os.path.join(place, _OWNER), keep_open=False)
        with lock.hold(0.0) as owned:
            if lock.error is not None:
                raise lock.error
            self._owned = lock if owned else None
            try:
                yield owned
            finally:
                self._owned = None

    @contextmanager
    def _place_for(self, record: RemovalRecord) -> Iterator[str]:
        """Make the place of a removal, with its record on the disk. What could not be made is taken back."""
        place = os.path.join(self._root, PRUNING_DIRECTORY, record.removal)
        try:
            make_directory(place)
        except FileNotFoundError:  # another removal has just taken the directory above away
            make_directory(place)
        with ExitStack() as stack:
            try:
                if not stack.enter_context(self._own(place)):
                    raise RemovalError(f"session {record.session!r} stays: somebody else is at work in {place}")
                make_directory(os.path.join(place, _FILES))
                _write_durably(os.path.join(place, LEAVING), encode_record(record))
            except OSError:
                with suppress(OSError):
                    self._discard(place)
                raise
            yield place

    def _discard(self, place: str) -> None:
        """Remove the place of a removal, unless files are in it: those of one that was cut short in between."""
        files = os.path.join(place, _FILES)
        if any(files_below(files)):
            return
        if os.path.lexists(files):
            shutil.rmtree(files)
        for name in (LEAVING, GONE, _OWNER):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(place, name))
        for directory in (place, os.path.dirname(place)):
            with suppress(OSError):  # another removal is under way
                os.rmdir(directory)

    # -- the steps ---------------------------------------------------------------------------------------------------

    def _move_out(self, place: str, record: RemovalRecord, expected: Belongings | None) -> bool:
        """
        Move the session's files out of sight, if it still is what was chosen; else what was taken of it comes back.

        Args:
            place: Where to.

            record: The removal.

            expected: What it had then, before it was archived; None for a removal that was cut short.
        """
        files = os.path.join(place, _FILES)
        with self._locks.for_session(record.session).hold() as locked:
            if not locked:
                raise RemovalError(f"session {record.session!r} stays: its lock could not be had")
            found = None
            if not os.path.lexists(os.path.join(files, record.metadata_file)):  # else only the rest was cut short
                found = self._belongings_now(record)
                if found is None or (expected is not None and found.files != expected.files):
                    self._give_back(files)
                    return False
                # Of one that was cut short, part of the session's directory is there already.
                for path in found.moves() if expected is not None else found.files:
                    target = os.path.join(files, path)
                    make_directory(os.path.dirname(target))
                    os.rename(os.path.join(self._root, path), target)
            taken = self._settle(files, record, found)
            if taken is None:
                self._give_back(files)
                return False
            os.rename(os.path.join(place, LEAVING), os.path.join(place, GONE))
            remove_directories(self._root, taken)
        return True

    def _settle(self, files: str, record: RemovalRecord, found: Belongings | None) -> Belongings | None:
        """
        What was taken, after another look at it: files of others are given back. None if it is not what was to go.

        Writers wait for a lock two seconds and then go on. If this process stood still for longer between its look
        and the renames, the session may have been begun again, or somebody else's file be in its directory.
        """
        path = os.path.join(files, record.metadata_file)
        metadata = load_metadata(path) if identity_of(path) == record.metadata else None
        if metadata is None or metadata.pinned or is_written(self._root, metadata):
            return None
        taken = find_belongings(files, record.metadata_file, metadata.files)
        if found is not None and not found.files.items() <= taken.files.items():
            return None
        for path in [*files_below(files)]:
            below = os.path.relpath(path, files)
            if below not in taken.files:
                move_back(path, os.path.join(self._root, below))
        return taken

    def _give_back(self, files: str) -> None:
        """Put what was taken of a session back, since it goes on."""
        for name in sorted(os.listdir(files)) if os.path.lexists(files) else ():
            move_back(os.path.join(files, name), os.path.join(self._root, name))

    def _belongings_now(self, record: RemovalRecord) -> Belongings | None:
        """What the session has, looked at under its lock; None if it goes on, is pinned, or is gone."""
        path = os.path.join(self._root, record.metadata_file)
        metadata = load_metadata(path) if identity_of(path) == record.metadata else None
        if metadata is None or metadata.pinned or is_written(self._root, metadata):
            return None
        return find_belongings(self._root, record.metadata_file, metadata.files, self._listings)

    def _complete(self, place: str, record: RemovalRecord, *, again: bool = False) -> None:
        """What is left to do once the session is out of sight. *again*: somebody may have begun with it before."""
        files = os.path.join(place, _FILES)
        if not os.path.lexists(files):
            pass  # done before; the trash may have been emptied since
        elif record.trash is not None:
            move_tree(files, record.trash)
        else:
            shutil.rmtree(files)
        if not again or not has_tombstone(self._root, record.removal):
            write_tombstone(self._root, record, time.time())
        self._discard(place)

    def _remove_without_room(self, record: RemovalRecord, belongings: Belongings) -> RemovalRecord | None:
        """On a disk without room for a record, deleting is all that helps."""
        with self._locks.for_session(record.session).hold() as locked:
            found = self._belongings_now(record) if locked else None
            if found is None or found.files != belongings.files:
                return None
            delete_belongings(self._root, found)
        write_tombstone(self._root, record, time.time())
        return record

    # -- what was cut short ------------------------------------------------------------------------------------------

    def _finish(self, place: str) -> RemovalRecord | None:
        record = load_record(os.path.join(place, GONE))
        if record is None:
            record = load_record(os.path.join(place, LEAVING))
            if record is not None and not self._move_out(place, record, None):
                record = None
        if record is None:
            self._discard(place)
            return None
        try:
            self._complete(place, record, again=True)
        except OSError:
            target = self._target(record.removal)
            is_moved = not os.path.lexists(os.path.join(place, _FILES)) or os.path.lexists(record.trash or place)
            if is_moved or target is None or record.trash == target:
                raise
            # Its trash may never come back: the one that is in use now takes it.
            record = structs.replace(record, trash=target)
            self.check_trash()
            replace_file(os.path.join(place, GONE), encode_record(record))
            self._complete(place, record, again=True)
        return record

    def _target(self, removal: str) -> str | None:
        """Where a removed session goes; None to delete it."""
        return os.path.join(self._trash, removal) if self._trash is not None else None


def _write_durably(path: str, content: bytes) -> None:
    descriptor, _ = open_for_append(path, 0o600, extra_flags=os.O_EXCL)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_path(os.path.dirname(path))  # its name: the files that it tells of are about to lose theirs
