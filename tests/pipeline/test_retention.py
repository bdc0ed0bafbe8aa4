from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.pipeline.layout import directory_name
from sessionlog_handlers.pipeline.metadata import Metadata
from sessionlog_handlers.pipeline.places import SessionInfo
from sessionlog_handlers.pipeline.retention import CRASH_GRACE, Disk, choose, is_removable
from sessionlog_handlers.settings.tables import DAY, Retention

NOW = 1_800_000_000.0
KIB = 1024


def session(
    id: str = "abc", *, age: float = 0.0, size: int = KIB, state: str = "ended", pinned: bool = False, name: str = ""
) -> SessionInfo:
    """
    A session that was over *age* seconds ago.
    """
    root = Path("/logs")
    directory = root / (name or directory_name(id))
    over = NOW - age
    return SessionInfo(
        id=id,
        root=root,
        directory=directory,
        log=directory / "session.log",
        files=(),
        metadata=None if state == "unknown" else Metadata(session=id, pinned=pinned),
        state=state,  # type: ignore[arg-type]  # a state
        start=over - 60,
        end=over if state == "ended" else None,
        reason=None,
        level="full",
        severity="",
        size=size,
        last_write=over,
    )


def ids(chosen) -> list[str]:
    """The ids of what was chosen."""
    return [one.session.id for one in chosen]


class TestRules:
    def test_days(self):
        """
        What ended longer ago than its time goes, the oldest first; a crashed one counts from its last write.
        """
        sessions = [
            session("new", age=6.9 * DAY),
            session("old", age=8 * DAY),
            session("crashed", age=9 * DAY, state="crashed"),
        ]
        chosen = choose(sessions, Retention(days=7), now=NOW)
        assert [(one.session.id, one.rule, one.reason) for one in chosen] == [
            ("crashed", "days", "crashed 9 days ago, kept for 7 days"),
            ("old", "days", "ended 8 days ago, kept for 7 days"),
        ]

    def test_count(self):
        """
        So many sessions that are over are kept, the last ones.
        """
        sessions = [session(f"s{age}", age=age) for age in (3, 1, 4, 2)]
        chosen = choose(sessions, Retention(count=2), now=NOW)
        assert [(one.session.id, one.reason) for one in chosen] == [
            ("s4", "4 sessions are over, the last 2 are kept"),
            ("s3", "3 sessions are over, the last 2 are kept"),
        ]

    def test_total(self):
        """
        The oldest go until the others hold no more than the total; those that run count, and stay.
        """
        sessions = [
            session("running", size=3 * KIB, state="running", age=9999),
            session("old", size=2 * KIB, age=20),
            session("new", size=2 * KIB, age=10),
        ]
        chosen = choose(sessions, Retention(total=5 * KIB), now=NOW)
        assert [(one.session.id, one.reason) for one in chosen] == [
            ("old", "all sessions hold 7.0 KB, 5.0 KB are kept")
        ]
        assert ids(choose(sessions, Retention(total=1), now=NOW)) == ["old", "new"]

    @pytest.mark.parametrize("keep_free", [10 * KIB, 0.1])
    def test_keep_free(self, keep_free):
        """
        The oldest go until so much of the disk is free, by the bytes that they hold; a share is one of the disk.
        """
        sessions = [session(f"s{age}", age=age, size=2 * KIB) for age in (1, 2, 3)]
        chosen = choose(sessions, Retention(keep_free=keep_free), now=NOW, disk=Disk(7 * KIB, 100 * KIB))
        assert [(one.session.id, one.rule, one.reason) for one in chosen] == [
            ("s3", "keep_free", "7.0 KB of the disk are free, 10.0 KB are to be"),
            ("s2", "keep_free", "9.0 KB of the disk are free, 10.0 KB are to be"),
        ]
        assert choose(sessions, Retention(keep_free=keep_free), now=NOW) == []

    def test_together(self):
        """
        Rules add up: each session is told by the first that wants it gone.
        """
        sessions = [session(f"s{age}", age=age * DAY) for age in range(1, 6)]
        chosen = choose(sessions, Retention(days=4.5, count=3, total=2 * KIB), now=NOW)
        assert [(one.session.id, one.rule) for one in chosen] == [("s5", "days"), ("s4", "count"), ("s3", "total")]

    def test_no_rules(self):
        """
        A size of one session alone removes none.
        """
        assert choose([session(age=9e9)], Retention(session_bytes=1), now=NOW) == []

    @pytest.mark.parametrize(
        ("age", "days", "reason"),
        [
            (1.5 * DAY, 1, "ended 36 hours ago, kept for 1 day"),
            (7300, 1 / 24, "ended 2 hours ago, kept for 1 hour"),
            (90, 1 / 86400, "ended 90 seconds ago, kept for 1 second"),
        ],
    )
    def test_reason_has_a_fitting_unit(self, age, days, reason):
        """
        Ages below some days are told in hours, minutes or seconds.
        """
        assert choose([session(age=age)], Retention(days=days), now=NOW)[0].reason == reason


class TestNever:
    @pytest.mark.parametrize(
        "info",
        [
            session(age=9e8, state="running"),
            session(age=9e8, state="unknown"),
            session(age=9e8, pinned=True),
            session("keep-me", age=9e8),
            session(age=9e8, name="renamed-by-hand"),
            session(age=CRASH_GRACE - 1, state="crashed"),
            replace(session(age=9e8), metadata=Metadata(files=["abc/session.log"])),
        ],
        ids=["running", "unknown", "pinned", "pinned by pattern", "renamed", "crashed just now", "without a name"],
    )
    def test_is_chosen(self, info):
        """
        Running, unknown, pinned and renamed sessions stay, and those whose metadata names none; one that crashed just
        now may yet be a living one.
        """
        rules = Retention(days=1e-9, count=1, total=1, keep_free=10)
        chosen = choose([info, session("other", age=1)], rules, now=NOW, disk=Disk(0, 100), pinned=["keep-*"])
        assert ids(chosen) == ["other"]

    def test_clock_set_back(self):
        """
        A session that ended in the future is no old one.
        """
        assert choose([session(age=-1e6)], Retention(days=0.001), now=NOW) == []


infos = st.builds(
    session,
    st.integers(0, 20).map(lambda number: f"s{number}"),
    age=st.floats(0, 100 * DAY),
    size=st.integers(0, 100 * KIB),
    state=st.sampled_from(["ended", "running", "crashed", "unknown"]),
    pinned=st.booleans(),
)
rules = st.builds(
    Retention,
    days=st.none() | st.floats(0.1, 50),
    count=st.none() | st.integers(1, 10),
    total=st.none() | st.integers(0, 500 * KIB),
    keep_free=st.none() | st.integers(0, 500 * KIB) | st.floats(0, 1),
)


@given(
    st.lists(infos, unique_by=lambda info: info.id),
    rules,
    st.integers(0, 500 * KIB),
    st.lists(st.sampled_from(["s1*", "s2", "*7"])),
)
def test_any_root(sessions, retention, free, pinned):
    """
    Whatever there is, nothing that must stay is chosen, and each bound holds afterwards or nothing removable is left;
    nor is anything chosen that no bound wanted gone.
    """
    disk = Disk(free, 1000 * KIB)
    chosen = choose(sessions, retention, now=NOW, disk=disk, pinned=pinned)
    gone = {one.session.id for one in chosen}
    assert len(gone) == len(chosen)
    assert all(is_removable(one.session, NOW, pinned) for one in chosen)
    assert [one.session.over for one in chosen] == sorted(one.session.over for one in chosen)

    def holds(removed: set[str]) -> bool:
        left = [info for info in sessions if info.id not in removed]
        free_then = free + sum(info.size for info in sessions if info.id in removed)
        over = [info for info in left if is_removable(info, NOW, pinned)]
        return (
            (retention.days is None or all(NOW - info.over <= retention.days * DAY for info in over))
            and (retention.count is None or len(over) <= retention.count)
            and (retention.total is None or sum(info.size for info in left) <= retention.total)
            and (retention.keep_free is None or free_then >= disk.floor(retention.keep_free))
        )

    assert holds(gone) or all(info.id in gone for info in sessions if is_removable(info, NOW, pinned))
    if chosen:
        assert not holds(gone - {chosen[-1].session.id})
