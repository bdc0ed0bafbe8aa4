"""
What may be wrong in one session's place: its metadata, its end, what stands in its files' stead, and who may read them.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Literal

from msgspec import structs

from sessionlog_handlers.care.case import Case
from sessionlog_handlers.care.logs import examine_log
from sessionlog_handlers.care.modes import told_modes, wrong_directories, wrong_files
from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.pipeline.cleanup import clean_up
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.leftovers import ORPHAN_AGE, find_leftovers
from sessionlog_handlers.pipeline.metadata import Metadata, load_metadata, write_metadata
from sessionlog_handlers.pipeline.places import METADATA_NAMES
from sessionlog_handlers.pipeline.pruning import Identity, identity_of
from sessionlog_handlers.pipeline.reconstruction import close_by_lines, rebuild
from sessionlog_handlers.pipeline.recovery import BROKEN_MODE, BROKEN_SUFFIX, Finding, is_broken, kept_aside, set_aside
from sessionlog_handlers.pipeline.rotation import GZIP_SUFFIX
from sessionlog_handlers.settings.layouts import FileSpec, Layout
from sessionlog_handlers.settings.model import Settings


def examine_place(case: Case) -> Iterator[Finding]:
    """
    Look at a session's place, in the order in which what is wrong should be mended. Nothing is opened for writing.
    """
    yield from _foreign(case)
    if not case.is_ours:
        wrong, remedy = (
            "it has logs, and none of their lines tells of which session",
            "nothing: it may be another program's",
        )
        yield case.finding("unknown", case.logs[0], wrong, remedy, harmless=True)
        return
    metadata = case.info.metadata
    if metadata is not None and metadata.session and not case.belongs_to(metadata.session):
        wrong = f"it says that this is session {metadata.session!r}, whose directory has another name"
        remedy = "nothing: the directory was renamed or copied"
        yield case.finding("misplaced", case.metadata_path, wrong, remedy)
        return
    yield from _leftovers(case)
    yield from _modes(case)  # before anything is renamed
    yield from _metadata(case)
    yield from _crashed(case)
    yield from _nameless(case)
    for path in case.logs:
        yield from examine_log(case, path)
    yield from _end(case)


def _foreign(case: Case) -> Iterator[Finding]:
    names = [os.path.join(case.directory, name) for name in METADATA_NAMES]
    for path in (*names, *case.logs, *(str(archive) for log in case.logs for _, archive in archives(log))):
        with suppress(OSError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                wrong = "it is no regular file, and only such a one is written or read"
                yield case.finding("foreign", path, wrong, "nothing: it is not ours")


def _leftovers(case: Case) -> Iterator[Finding]:
    names = [os.path.basename(log) for log in case.logs]
    for directory in case.directories:
        for path in find_leftovers(directory, [*names, *METADATA_NAMES]):
            yield case.finding(
                "leftover",
                path,
                "a copy that a killed process did not finish",
                "it is removed; what it was made of is there",
                partial(os.unlink, path),
                while_running=True,
            )


# -- metadata ----------------------------------------------------------------------------------------------------------


def _metadata(case: Case) -> Iterator[Finding]:
    if case.info.metadata is not None:
        return
    path = case.metadata_path
    broken = is_broken(path)
    if not broken and os.path.lexists(path):
        return  # something foreign stands in its place
    kind, wrong = ("broken_metadata", "it can't be made sense of") if broken else ("no_metadata", "it is missing")
    remedy = "it is made anew from the lines" + (f", and kept as {os.path.basename(path)}{BROKEN_SUFFIX}" * broken)
    yield case.finding(kind, path, wrong, remedy, lambda: _rebuild(case, path), reads=True)


def _rebuild(case: Case, path: str) -> Callable[[], object]:
    before = identity_of(path)
    metadata = rebuild(case.id_by_lines, case.log_files) if load_metadata(path) is None else None
    return lambda: _replace(path, before, metadata)


def _replace(path: str, before: Identity | None, metadata: Metadata | None) -> None:
    """Write metadata that was made of what was there before, unless somebody has written it since."""
    if metadata is None or identity_of(path) != before:
        return
    if before is not None and load_metadata(path) is None:
        set_aside(path)
    write_metadata(path, metadata, told_modes(metadata.config)[0])


def _crashed(case: Case) -> Iterator[Finding]:
    metadata = case.info.metadata
    if metadata is not None and metadata.state == "running" and not case.may_run:
        remedy = "it is marked as crashed, with the time of its last line; its next start says so in its log"
        yield case.finding(
            "crashed",
            case.metadata_path,
            "all its processes are gone, and none has ended it",
            remedy,
            lambda: _close(case),
            reads=True,
        )


def _close(case: Case) -> Callable[[], object]:
    path = case.metadata_path
    before, metadata = identity_of(path), load_metadata(path)
    if metadata is not None and metadata.state == "running":
        close_by_lines(metadata, case.log_files)
    else:
        metadata = None
    return lambda: _replace(path, before, metadata)


def _nameless(case: Case) -> Iterator[Finding]:
    metadata = case.info.metadata
    if metadata is not None and not metadata.session and case.id_by_lines:
        wrong, remedy = "it names no session", "it gets the id that the lines tell"
        yield case.finding("nameless_metadata", case.metadata_path, wrong, remedy, lambda: _name(case))


def _name(case: Case) -> None:
    path = case.metadata_path
    metadata = load_metadata(path)
    if metadata is not None and not metadata.session:
        write_metadata(path, structs.replace(metadata, session=case.id_by_lines), told_modes(metadata.config)[0])


# -- the end -----------------------------------------------------------------------------------------------------------


def _end(case: Case) -> Iterator[Finding]:
    """Whether what was to be done at the session's end was done."""
    metadata = case.info.metadata
    wish = _wish(metadata)
    if metadata is None or wish is None or case.may_run:
        return
    # Who leaves last does it, and is no writer any more while it is at it.
    last_was_killed = bool(metadata.writers) or not case.root_is_used
    if not last_was_killed and time.time() - (case.info.end or 0.0) < ORPHAN_AGE:
        return
    plain = [name for log in case.logs for name in (log, *_plain_slots(log)) if os.path.lexists(name)]
    if wish == "delete" or plain:
        word = {"compress": "compressed", "delete": "deleted"}[wish]
        yield case.finding(
            "unfinished_end",
            case.directory,
            f"its files were to be {word} at its end, and the process that would have done it was killed",
            f"they are {word}",
            lambda: _finish_end(case),
            locks=True,
        )


def _wish(metadata: Metadata | None) -> Literal["compress", "delete"] | None:
    """What was to be done as the session ended. What its start says of that may have changed by a reload."""
    if metadata is None or metadata.state != "ended":
        return None
    if metadata.on_end == "delete":
        return None if metadata.pinned else "delete"
    return "compress" if metadata.on_end == "compress" else None


def _plain_slots(log: str) -> list[str]:
    return [str(path) for _, path in archives(log) if path.suffix != GZIP_SUFFIX]


def _finish_end(case: Case) -> None:
    wish = _wish(load_metadata(case.metadata_path))
    if wish is not None:
        most = max((slot for log in case.logs for slot, _ in archives(log)), default=0)
        settings = Settings(on_end=wish, backup_count=most, file_mode=told_modes(case.config)[0])
        clean_up(_paths(case), case.lock, settings)


def _paths(case: Case) -> SessionPaths:
    """The session's place by what its metadata lists."""
    files = tuple(FileSpec(log.name, log.format.name, "level") for log in case.log_files)
    metadata = os.path.relpath(case.metadata_path, case.root)
    return SessionPaths(case.root, Layout("custom", files, metadata), case.info.directory.name)


# -- permissions -------------------------------------------------------------------------------------------------------


def _modes(case: Case) -> Iterator[Finding]:
    file_mode, directory_mode = told_modes(case.config)
    logs = [name for log in case.logs for name in (log, log + GZIP_SUFFIX, *(str(path) for _, path in archives(log)))]
    broken = kept_aside(case.metadata_path)
    wrong = [
        *wrong_directories(case.directories, directory_mode),
        *wrong_files([*logs, case.metadata_path], file_mode),
        *wrong_files(broken, BROKEN_MODE),
    ]
    for mode in wrong:
        yield case.finding("mode", mode.path, str(mode), mode.remedy, mode.mend, while_running=True)
