"""
What may be wrong with what belongs to a whole root: leases of dead processes, copies, removals cut short, permissions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from sessionlog_handlers.care.modes import DIRECTORY_MODE, FILE_MODE, wrong_directories, wrong_files
from sessionlog_handlers.pipeline.layout import CONTROL_FILE, LEASES_DIRECTORY, LOCKS_DIRECTORY, PRUNING_DIRECTORY
from sessionlog_handlers.pipeline.leases import is_alive
from sessionlog_handlers.pipeline.leftovers import is_orphan, temporary_of
from sessionlog_handlers.pipeline.locks import LOCK_TIMEOUT
from sessionlog_handlers.pipeline.places import is_log
from sessionlog_handlers.pipeline.pruner import Pruner
from sessionlog_handlers.pipeline.recovery import Finding
from sessionlog_handlers.settings.tables import Retention


def examine_root(root: Path) -> Iterator[Finding]:
    """
    Look at what belongs to a root and to none of its sessions. Nothing is opened for writing.
    """
    yield from _leases(str(root))
    yield from _leftovers(str(root))
    yield from _removals(str(root))
    yield from _modes(str(root))


def _leases(root: str) -> Iterator[Finding]:
    directory = os.path.join(root, LEASES_DIRECTORY)
    dead = [entry.name for entry in _entries(directory) if _is_dead(directory, entry)]
    if dead:
        yield Finding(
            kind="leases",
            path=directory,
            wrong="1 process was killed" if len(dead) == 1 else f"{len(dead)} processes were killed",
            remedy="what proved that they live is removed",
            while_running=True,
            mend=lambda: _remove_leases(directory, dead),
        )


def _is_dead(directory: str, entry: os.DirEntry[str]) -> bool:
    # A new lease has a temporary name for a moment before it is locked.
    return (not entry.name.startswith(".") or is_orphan(entry)) and not is_alive(directory, entry.name)


def _remove_leases(directory: str, names: list[str]) -> None:
    for name in names:
        if not is_alive(directory, name):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))


def _leftovers(root: str) -> Iterator[Finding]:
    for entry in _entries(root):
        of = temporary_of(entry.name)
        if of and (of == CONTROL_FILE or is_log(of)) and is_orphan(entry):
            yield Finding(
                kind="leftover",
                path=entry.path,
                wrong="a copy that a killed process did not finish",
                remedy="it is removed; what it was made of is there",
                while_running=True,
                mend=partial(os.unlink, entry.path),
            )


def _removals(root: str) -> Iterator[Finding]:
    for entry in _entries(os.path.join(root, PRUNING_DIRECTORY)):
        yield Finding(
            kind="removal",
            path=entry.path,
            wrong="the removal of a session was cut short, or is under way",
            remedy="it is finished, or the session is given back",
            while_running=True,
            mend=lambda: _finish_removals(root),
        )


def _finish_removals(root: str) -> None:
    pruner = Pruner(root, Retention())
    with pruner.alone(LOCK_TIMEOUT) as alone:
        failures = [step.failure for step in pruner.finish() if step.failure] if alone else []
    if failures:
        raise OSError(failures[0])


def _modes(root: str) -> Iterator[Finding]:
    directories = [os.path.join(root, name) for name in (LOCKS_DIRECTORY, LEASES_DIRECTORY)]
    files = [entry.path for directory in directories for entry in _entries(directory)]
    control = os.path.join(root, CONTROL_FILE)
    for mode in (*wrong_directories(directories, DIRECTORY_MODE), *wrong_files([control, *files], FILE_MODE)):
        yield Finding(
            kind="mode", path=mode.path, wrong=str(mode), remedy=mode.remedy, while_running=True, mend=mode.mend
        )


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []
