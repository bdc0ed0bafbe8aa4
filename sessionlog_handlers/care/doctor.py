"""
Look at sessions and roots for what crashes and others left, and mend what can be mended.

Looking opens nothing for writing. Mending takes the session's lock and looks again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sessionlog_handlers.care.case import Case
from sessionlog_handlers.care.places import examine_place
from sessionlog_handlers.care.roots import examine_root
from sessionlog_handlers.pipeline.places import SessionInfo, look_again
from sessionlog_handlers.pipeline.recovery import Finding
from sessionlog_handlers.reading.sessions import first_line, list_sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """
    What was found in one session's place, or in what belongs to a root.

    Args:
        root: The root.

        session: The session; None for what belongs to the root.

        findings: What is wrong with it now.

        mended: What was wrong with it and is not any more.

        failed: Why something could not be mended.
    """

    root: Path
    session: SessionInfo | None = None
    findings: list[Finding] = field(default_factory=list)
    mended: list[Finding] = field(default_factory=list)
    failed: list[OSError] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """Those findings that are not harmless."""
        return [finding for finding in self.findings if not finding.harmless]


def examine(roots: Iterable[Path], on_error: Callable[[OSError], object] = lambda error: None) -> Iterator[Checkup]:
    """
    Look at every session of these roots, and at what belongs to each root itself.

    Args:
        roots: Where to look.

        on_error: What is called with each error of a directory that can't be read. (default: nothing)
    """
    for root in roots:
        for info in list_sessions([root], on_error):
            yield examine_session(info)
        yield Checkup(root=root, findings=[*examine_root(root)])


def examine_session(info: SessionInfo) -> Checkup:
    """
    Look at one session.
    """
    return Checkup(root=info.root, session=info, findings=[*examine_place(Case(info))])


def mend(checkup: Checkup) -> Checkup:
    """
    Mend what can be mended of what was found, and look again: what is mended is what is not found any more.

    Under the session's lock. If somebody runs the session by now, only what does no harm to that is mended.
    """
    if not any(finding.mend for finding in checkup.findings):
        return checkup
    failed: list[OSError] = []
    if checkup.session is None:
        _do_all([finding.mend for finding in checkup.findings], failed)
        again = Checkup(root=checkup.root, findings=[*examine_root(checkup.root)])
    else:
        _mend_session(checkup.session, checkup.findings, failed)
        info = look_again(checkup.session, first_line)
        again = Checkup(root=checkup.root, session=checkup.session) if info is None else examine_session(info)
    mended = [finding for finding in checkup.findings if finding.mend and finding not in again.findings]
    return replace(again, mended=mended, failed=failed)


def _mend_session(session: SessionInfo, findings: list[Finding], failed: list[OSError]) -> None:
    # An app waits for the lock for a moment only, then it goes on without: nothing slow is done with it held.
    read = iter(_do_all([finding.mend for finding in findings if finding.reads], failed))
    steps = [(finding, next(read) if finding.reads else finding.mend) for finding in findings]
    lock = Case(session).lock
    with lock.hold() as locked:
        if not locked:
            failed.append(lock.error or OSError(errno.EAGAIN, "another process holds its lock", str(session.directory)))
            return
        info = look_again(session, first_line)
        may_run = info is None or Case(info).may_run
        now = [(finding, step) for finding, step in steps if finding.while_running or not may_run]
        _do_all([step for finding, step in now if not finding.locks], failed)
    _do_all([step for finding, step in now if finding.locks], failed)


def _do_all(steps: Iterable[Callable[[], Any] | None], failed: list[OSError]) -> list[Any]:
    """Take each step, and give what each gave; None for one that there is not, or that failed."""
    given = []
    for step in steps:
        found = None
        try:
            found = step() if step is not None else None
        except FileNotFoundError:
            pass  # it went meanwhile, and with it what was wrong
        except OSError as error:
            failed.append(error)
        given.append(found)
    return given
