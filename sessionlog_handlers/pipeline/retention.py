"""
Which sessions go: decided by what their metadata says, by the rules, the time and the disk. Nothing is touched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from sessionlog_handlers.pipeline.places import SessionInfo, is_place_of
from sessionlog_handlers.settings.tables import DAY, Retention
from sessionlog_handlers.settings.values import human_size, matches_any

# Seconds since its last write for which a session that seems to have crashed is left alone. A child whose parent began
# the session and left may have nothing to say yet, and is not known as its writer until then.
CRASH_GRACE = 600.0

Rule: TypeAlias = Literal["days", "count", "total", "keep_free"]


class Disk(NamedTuple):
    """
    The file system of a root, in bytes.

    Args:
        free: What may still be written.

        total: What it holds.
    """

    free: int
    total: int

    def floor(self, keep_free: int | float) -> int:
        """How many bytes have to be free: a share is one of all that the disk holds."""
        return int(keep_free * self.total) if isinstance(keep_free, float) else keep_free


class Chosen(NamedTuple):
    """
    A session that is to go.

    Args:
        session: The session, as it was looked at.

        rule: What wants it gone.

        reason: Why, in a few words.
    """

    session: SessionInfo
    rule: Rule
    reason: str


def choose(
    sessions: Iterable[SessionInfo],
    retention: Retention,
    *,
    now: float,
    disk: Disk | None = None,
    pinned: Sequence[str] = (),
) -> list[Chosen]:
    """
    The sessions that have to go, those that ended first at the beginning.

    Never one that runs, one that is pinned, or one of which nobody can tell whether it is over. These count for
    ``total``, since they take room, and not for ``count``.

    Args:
        sessions: All sessions of a root.

        retention: The rules.

        now: Seconds since the epoch.

        disk: The room there is; without it ``keep_free`` says nothing. (default: None)

        pinned: Patterns of ids that are never removed. (default: none)
    """
    everyone = list(sessions)
    left = sorted((info for info in everyone if is_removable(info, now, pinned)), key=_age_order)
    chosen: list[Chosen] = []
    held = sum(info.size for info in everyone)
    free = disk.free if disk else 0
    # Each rule wants the oldest, so what they choose together is always the oldest of all.
    for rule, reason in _reasons(left, retention, now, disk, held, free):
        chosen.append(Chosen(left[len(chosen)], rule, reason))
    return chosen


def is_removable(info: SessionInfo, now: float, pinned: Sequence[str] = ()) -> bool:
    """
    Whether a rule may choose that session.
    """
    if info.over is None or info.pinned or matches_any(info.id, pinned):
        return False
    if info.state == "crashed" and info.over > now - CRASH_GRACE:
        return False
    # The metadata of one that was renamed by hand names the files of another.
    return info.metadata is not None and is_place_of(info.metadata.session, info.directory.name)


def _age_order(info: SessionInfo) -> tuple[float, str]:
    return info.over or 0.0, info.id


def _reasons(
    left: list[SessionInfo], retention: Retention, now: float, disk: Disk | None, held: int, free: int
) -> Iterator[tuple[Rule, str]]:
    """Why the first of these sessions goes, then the second, and so on, until no rule wants another one gone."""
    for number, info in enumerate(left):
        age = now - (info.over or now)
        kept = len(left) - number
        if retention.days is not None and age > retention.days * DAY:
            yield "days", f"{info.state} {_days(age)} ago, kept for {_days(retention.days * DAY)}"
        elif retention.count is not None and kept > retention.count:
            last = "one is" if retention.count == 1 else f"{retention.count} are"
            yield "count", f"{kept} sessions are over, the last {last} kept"
        elif retention.total is not None and held > retention.total:
            yield "total", f"all sessions hold {human_size(held)}, {human_size(retention.total)} are kept"
        elif retention.keep_free is not None and disk and free < (floor := disk.floor(retention.keep_free)):
            yield "keep_free", f"{human_size(free)} of the disk are free, {human_size(floor)} are to be"
        else:
            return
        held -= info.size
        free += info.size


def _days(seconds: float) -> str:
    """A time span in one unit: days, or smaller ones where it is less than two of them."""
    for length, name in ((DAY, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second")):
        if seconds >= 2 * length or seconds == length:
            number = int(seconds // length)
            return f"{number} {name}{'s' * (number != 1)}"
    return f"{max(seconds, 0.0):.3g} seconds"
