"""
A run of retention over a root: look, choose, and remove one session after the other. One process does that at a time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sessionlog_handlers.pipeline.cleanup import is_written
from sessionlog_handlers.pipeline.files import free_space
from sessionlog_handlers.pipeline.layout import LOCKS_DIRECTORY, PRUNING_DIRECTORY
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.places import RootPlaces, SessionInfo
from sessionlog_handlers.pipeline.pruning import RemovalRecord, places_of_removals
from sessionlog_handlers.pipeline.removal import RemovalError, Remover
from sessionlog_handlers.pipeline.retention import Chosen, Disk, choose
from sessionlog_handlers.settings.tables import Hook, Retention

LOCK_NAME = "retention"  # beside the sessions' locks; its time is that of the last run
MOST_FAILURES = 10  # in a row, after which a run gives up: an archive that is down, a trash that can't be written


class Step(NamedTuple):
    """
    What became of one session.

    Args:
        chosen: The session; None for a removal that was cut short before.

        record: What was removed; None if the session stays.

        failure: Why it could not be removed, a sentence; empty if it goes on, or has changed since it was chosen.
    """

    chosen: Chosen | None
    record: RemovalRecord | None = None
    failure: str = ""


class Pruner:
    """
    Retention of one root.

    Args:
        root: The root directory.

        retention: The rules.

        pinned: Patterns of ids that are never removed. (default: none)

        trash: Where removed sessions go; None to delete them. (default: None)

        archive: What is given each session before, and has to succeed. (default: None)

        is_open: Whether this process has a session of that id open. Such a one stays, even if all that proves it on
            the disk was lost. (default: it has none)
    """

    def __init__(
        self,
        root: str,
        retention: Retention,
        *,
        pinned: Sequence[str] = (),
        trash: Path | None = None,
        archive: Hook | None = None,
        is_open: Callable[[str], bool] = lambda session_id: False,
    ) -> None:
        self.root = root
        self.retention = retention
        self._pinned = pinned
        self.trash = trash
        self._is_open = is_open
        self._remover = Remover(root, trash=trash, archive=archive)
        self._lock = FileLock(os.path.join(root, LOCKS_DIRECTORY, LOCK_NAME), keep_open=False)

    def forget(self) -> None:
        """
        In a forked child: close what was inherited.
        """
        self._lock.forget()
        self._remover.forget()

    def check_trash(self) -> None:
        """
        See that the trash can be used, and make it if it is not there.

        Raises:
            OSError: If it can't be used.
        """
        self._remover.check_trash()

    def give_up(self) -> None:
        """
        The process ends: wait for no archive any more.
        """
        self._remover.give_up()

    @contextmanager
    def alone(self, timeout: float = 0.0) -> Iterator[bool]:
        """
        Be the only one who prunes this root; False if another process is at it.

        Raises:
            OSError: If nobody can, since nothing may be written there for example.
        """
        with self._lock.hold(timeout) as locked:
            if self._lock.error is not None:
                raise self._lock.error
            try:
                yield locked
            finally:
                if locked:
                    with suppress(OSError):
                        os.utime(self._lock.path)

    def age_of_last_run(self) -> float:
        """
        Seconds since anybody pruned this root, as far as can be known; infinity if nobody ever did.
        """
        with suppress(OSError):
            age = time.time() - os.stat(self._lock.path).st_mtime
            return age if age >= 0 else float("inf")  # the clock was set back
        return float("inf")

    @property
    def frees_disk(self) -> bool:
        """Whether removing makes room on the root's disk: a trash on the same one does not."""
        trash = self.trash
        if trash is None:
            return True
        there = next((path for path in (trash, *trash.parents) if path.exists()), Path(os.sep))
        return os.stat(there).st_dev != os.stat(self.root).st_dev

    def disk(self) -> Disk | None:
        """
        The room on the root's disk; None if it does not matter, or can't be known.
        """
        if self.retention.keep_free is not None:
            with suppress(OSError):
                return Disk(*free_space(self.root))
        return None

    def choose(self, goes_on: Callable[[], bool] = lambda: True) -> list[Chosen]:
        """
        The sessions that have to go now, the oldest first. Nothing is touched.

        Args:
            goes_on: Asked now and then; when it says no, the look is given up and nothing has to go.
        """
        found: list[SessionInfo] = []
        places = RootPlaces(Path(self.root))
        for place in places.all():
            if not goes_on():
                return []
            info = places.look(place)
            if info is not None:
                found.append(replace(info, state="running") if self._goes_on(info) else info)
        disk = self.disk()
        if disk is not None and not self.frees_disk:
            disk = None
        return choose(found, self.retention, now=time.time(), disk=disk, pinned=self._pinned)

    def _goes_on(self, info: SessionInfo) -> bool:
        if self._is_open(info.id):
            return True
        return info.state == "crashed" and info.metadata is not None and is_written(self.root, info.metadata)

    def finish(self) -> Iterator[Step]:
        """
        Finish what was cut short before. Only while `alone`.
        """
        self._remover.look_anew()
        for place in places_of_removals(self.root):
            try:
                record = self._remover.finish(place)
            except (RemovalError, OSError) as error:
                yield Step(None, failure=_sentence(error, f"{place} is what was left of a session"))
            else:
                if record is not None:
                    yield Step(None, record)
        with suppress(OSError):  # not there, or one can't be finished yet
            os.rmdir(os.path.join(self.root, PRUNING_DIRECTORY))

    def remove(self, chosen: Iterable[Chosen]) -> Iterator[Step]:
        """
        Remove these sessions, one a step. Only while `alone`. After many failures in a row the rest is left.
        """
        self._remover.look_anew()
        failures = 0
        for one in chosen:
            try:
                record = None if self._is_open(one.session.id) else self._remover.remove(one)
            except (RemovalError, OSError) as error:
                failures += 1
                yield Step(one, failure=_sentence(error, f"session {one.session.id!r} could not be removed"))
                if failures >= MOST_FAILURES:
                    return
            else:
                failures = 0
                yield Step(one, record)


def _sentence(error: Exception, what: str) -> str:
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{what}: {error.strerror or error}{where}"
    return str(error)
