from __future__ import annotations

import calendar
import errno
import gzip
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.rotation import RotationPolicy, empty_slot, is_when, make_room, move_slot
from sessionlog_handlers.pipeline.writer import Writer


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """
    Sets the local time zone.
    """

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


# Rules spelled out, so that the machine's zone files do not matter.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
KOLKATA = "IST-5:30"


def _utc(text: str) -> float:
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


class TestBoundary:
    @pytest.mark.parametrize(
        ("when", "interval", "now", "expected"),
        [
            ("S", 1, "2026-01-08 12:34:56", "2026-01-08 12:34:56"),
            ("s", 10, "2026-01-08 12:34:56", "2026-01-08 12:34:50"),
            ("M", 1, "2026-01-08 12:34:56", "2026-01-08 12:34:00"),
            ("M", 15, "2026-01-08 12:34:56", "2026-01-08 12:30:00"),
            ("H", 1, "2026-01-08 12:34:56", "2026-01-08 12:00:00"),
            ("H", 6, "2026-01-08 17:34:56", "2026-01-08 12:00:00"),
            ("D", 1, "2026-01-08 12:34:56", "2026-01-08 00:00:00"),
            ("D", 1, "2026-01-08 00:00:00", "2026-01-08 00:00:00"),
            ("midnight", 1, "2026-01-08 23:59:59", "2026-01-08 00:00:00"),
            ("MIDNIGHT", 1, "2024-02-29 12:00:00", "2024-02-29 00:00:00"),
            ("W0", 1, "2026-01-08 12:34:56", "2026-01-05 00:00:00"),  # the 8th is a Thursday
            ("W3", 1, "2026-01-08 12:34:56", "2026-01-08 00:00:00"),
            ("w4", 1, "2026-01-08 12:34:56", "2026-01-02 00:00:00"),
            ("W6", 1, "2026-01-08 12:34:56", "2026-01-04 00:00:00"),
        ],
    )
    def test_utc(self, when, interval, now, expected):
        """
        The latest boundary is where the unit, counted in steps of the interval, began last.
        """
        policy = RotationPolicy(when=when, interval=interval)
        assert _text(policy.boundary(_utc(now))) == expected

    def test_days_between(self):
        """
        With an interval of several days, boundaries are so many days apart.
        """
        policy = RotationPolicy(when="midnight", interval=3)
        days = {policy.boundary(_utc("2026-01-01 12:00:00") + day * 86_400) for day in range(30)}
        steps = {later - earlier for earlier, later in zip(sorted(days), sorted(days)[1:], strict=False)}
        assert steps == {3 * 86_400.0}

    @pytest.mark.parametrize("when", ["D", "midnight"])
    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            ("2026-01-07 22:59:59", "2026-01-06 23:00:00"),
            ("2026-01-07 23:00:00", "2026-01-07 23:00:00"),
            ("2026-07-08 12:00:00", "2026-07-07 22:00:00"),
            ("2026-03-29 12:00:00", "2026-03-28 23:00:00"),  # the day has 23 hours
            ("2026-03-29 22:00:00", "2026-03-29 22:00:00"),
            ("2026-10-25 12:00:00", "2026-10-24 22:00:00"),  # the day has 25 hours
            ("2026-10-25 22:59:59", "2026-10-24 22:00:00"),
            ("2026-10-25 23:00:00", "2026-10-25 23:00:00"),
        ],
    )
    def test_local_days(self, zone, when, now, expected):
        """
        Local days begin at local midnight, also on the days on which the clocks change.
        """
        zone(BERLIN)
        assert _text(RotationPolicy(when=when, utc=False).boundary(_utc(now))) == expected

    def test_local_week(self, zone):
        """
        Local weeks begin at local midnight of the weekday, across a change of the clocks.
        """
        zone(BERLIN)
        policy = RotationPolicy(when="W5", utc=False)
        assert _text(policy.boundary(_utc("2026-03-30 12:00:00"))) == "2026-03-27 23:00:00"

    def test_local_hours(self, zone):
        """
        Local hours follow a zone that is half an hour off.
        """
        zone(KOLKATA)
        assert _text(RotationPolicy(when="H", utc=False).boundary(_utc("2026-01-08 12:34:56"))) == "2026-01-08 12:30:00"

    @given(
        st.sampled_from(["S", "M", "H", "D", "midnight", *(f"W{day}" for day in range(7))]),
        st.integers(1, 40),
        st.floats(0, 4e9),
    )
    def test_is_the_latest(self, when, interval, now):
        """
        A boundary is never in the future, is its own boundary, and moves forward only.
        """
        policy = RotationPolicy(when=when, interval=interval)
        boundary = policy.boundary(now)
        assert boundary <= now
        assert policy.boundary(boundary) == boundary
        assert policy.boundary(now + 1) >= boundary


class TestIsOver:
    def test_between(self):
        """
        A file is over when a boundary lies between its last write and now.
        """
        policy = RotationPolicy(when="H", clock=lambda: _utc("2026-01-08 12:34:56"))
        assert policy.is_over(_utc("2026-01-08 11:59:59"))
        assert not policy.is_over(_utc("2026-01-08 12:00:00"))
        assert not policy.is_over(_utc("2026-01-08 12:34:56"))

    @pytest.mark.parametrize(("when", "now", "expected"), [("H", 3600.0, True), ("H", 3600.2, False), ("", 0.0, False)])
    def test_has_just_begun(self, when, now, expected):
        """
        For a moment after a boundary, and only then, a file's time may be before it.
        """
        assert RotationPolicy(when=when).has_just_begun(now) is expected

    def test_without_time(self):
        """
        Without a time unit no file is ever over.
        """
        assert not RotationPolicy(clock=lambda: 1e10).is_over(0.0)

    def test_clock_set_back(self):
        """
        A file written in what is now the future is not over: a clock that is set back causes no rotations.
        """
        policy = RotationPolicy(when="S", clock=lambda: _utc("2026-01-08 11:00:00"))
        assert not policy.is_over(_utc("2026-01-08 12:00:00"))

    @pytest.mark.parametrize("text", ["S", "m", "h", "D", "midnight", "MidNight", "W0", "w6"])
    def test_known_units(self, text):
        """
        The standard library's words are understood in any case.
        """
        assert is_when(text)

    @pytest.mark.parametrize("text", ["", "W", "W7", "W00", "Y", "daily", "SS", "MIDNIGHT "])
    def test_unknown_units(self, text):
        """
        Other words are not.
        """
        assert not is_when(text)

    def test_room(self):
        """
        Room is what is left of the size limit; without a limit there is no end of it.
        """
        assert RotationPolicy(max_bytes=100).room(30) == 70
        assert RotationPolicy().room(10**15) > 10**15


def _slots(directory: Path) -> Callable[[int], str]:
    return lambda slot: str(directory / f"a.log.{slot}")


def _fill(directory: Path, *names: str) -> None:
    for name in names:
        content = name.encode()
        (directory / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def _contents(directory: Path) -> dict[str, str]:
    """What is where: the name that each file had at first."""
    return {
        path.name: (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
        for path in sorted(directory.iterdir())
    }


class TestMakeRoom:
    @pytest.mark.parametrize(
        ("before", "count", "after"),
        [
            ([], 3, {}),
            (["a.log.1"], 3, {"a.log.2": "a.log.1"}),
            (["a.log.2"], 3, {"a.log.2": "a.log.2"}),
            (["a.log.1", "a.log.3"], 3, {"a.log.2": "a.log.1", "a.log.3": "a.log.3"}),
            (["a.log.1", "a.log.2", "a.log.3"], 3, {"a.log.2": "a.log.1", "a.log.3": "a.log.2"}),
            (["a.log.1"], 1, {}),
            (
                ["a.log.1", "a.log.2.gz", "a.log.3.gz"],
                4,
                {"a.log.2": "a.log.1", "a.log.3.gz": "a.log.2.gz", "a.log.4.gz": "a.log.3.gz"},
            ),
            (["a.log.1.gz", "a.log.2"], 2, {"a.log.2.gz": "a.log.1.gz"}),
            (["a.log.1", "a.log.1.gz"], 3, {"a.log.2": "a.log.1", "a.log.2.gz": "a.log.1.gz"}),
            (
                ["a.log.1", "a.log.2", "a.log.2.gz"],
                3,
                {"a.log.2": "a.log.1", "a.log.3": "a.log.2", "a.log.3.gz": "a.log.2.gz"},
            ),
            (["a.log.1", "a.log.2", "a.log.2.gz"], 2, {"a.log.2": "a.log.1"}),
            (["a.log.1", "a.log.2", "a.log.3", "a.log.4.gz", "a.log.5"], 2, {"a.log.2": "a.log.1"}),
            (["a.log.1", "a.log.2", "a.log.4"], 2, {"a.log.2": "a.log.1", "a.log.4": "a.log.4"}),
            (["a.log.1", "a.log.1000"], 2, {"a.log.2": "a.log.1", "a.log.1000": "a.log.1000"}),
        ],
    )
    def test_listing(self, tmp_path, before, count, after):
        """
        Files move up to the first gap, plain or compressed; only when there is no gap does the oldest go.
        """
        _fill(tmp_path, *before)
        make_room(_slots(tmp_path), count)
        assert _contents(tmp_path) == after

    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    @pytest.mark.parametrize("crash_at", range(6))
    def test_crash_loses_nothing(self, tmp_path, monkeypatch, count, crash_at):
        """
        Stopped before any of its renames, it leaves every file that was to be kept, and the next call goes on.
        """
        _fill(tmp_path, *(f"a.log.{slot}" for slot in range(1, count + 1)))
        calls = []
        replace = os.replace

        def stopping(source: str, target: str) -> None:
            if len(calls) == crash_at:
                raise KeyboardInterrupt
            calls.append(source)
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            try:
                make_room(_slots(tmp_path), count)
            except KeyboardInterrupt:
                assert sorted(_contents(tmp_path).values()) == [f"a.log.{slot}" for slot in range(1, count)]
        make_room(_slots(tmp_path), count)
        kept = [f"a.log.{slot}" for slot in range(1, count)]
        assert list(_contents(tmp_path).values()) == kept
        assert not (tmp_path / "a.log.1").exists()

    @pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
    @pytest.mark.parametrize("name", ["a.log.1", "a.log.1.gz"])
    def test_moves_only_regular_files(self, tmp_path, kind, name):
        """
        What is no regular file is never renamed: there is no room then, and the caller hears why.
        """
        path = tmp_path / name
        if kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/etc/passwd")
        before = path.lstat()
        with pytest.raises(NotRegularError, match=name):
            make_room(_slots(tmp_path), 3)
        assert os.listdir(tmp_path) == [name]
        assert path.lstat().st_ino == before.st_ino

    def test_failed_rename_is_told(self, tmp_path, monkeypatch):
        """
        An error of the system comes out as it is.
        """

        def failing(source: str, target: str) -> None:
            raise PermissionError(1, "Operation not permitted", source)

        _fill(tmp_path, "a.log.1")
        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(PermissionError):
            make_room(_slots(tmp_path), 3)
        assert _contents(tmp_path) == {"a.log.1": "a.log.1"}

    @given(st.lists(st.sampled_from(["rotate", "compress", "lose", "crash"]), max_size=25), st.integers(1, 5))
    def test_any_sequence(self, tmp_path_factory, steps, count):
        """
        Whatever happens between rotations, no file is lost while there is room, none is doubled, and the order stays.
        """
        directory = tmp_path_factory.mktemp("logs")
        slot_name = _slots(directory)
        expected: list[int] = []  # the youngest first
        number = 0
        for step in steps:
            present = [path for path in sorted(directory.iterdir()) if not path.name.endswith(".gz")]
            if step == "rotate":
                make_room(slot_name, count)
                occupied = len({name.removesuffix(".gz") for name in os.listdir(directory)})
                expected = expected[:occupied]
                number += 1
                Path(slot_name(1)).write_text(str(number))
                expected.insert(0, number)
            elif step == "compress" and present:
                path = present[-1]
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
            elif step == "crash" and present:  # in the midst of compressing
                path = present[0]
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            elif step == "lose" and expected:
                slots = [slot for slot in range(1, count + 1) if os.path.exists(slot_name(slot))]
                if slots:
                    expected.remove(int(Path(slot_name(slots[0])).read_text()))
                    empty_slot(slot_name(slots[0]))
            found = []
            for slot in range(1, count + 1):
                if os.path.exists(slot_name(slot)):
                    found.append(int(Path(slot_name(slot)).read_text()))
                elif os.path.exists(slot_name(slot) + ".gz"):
                    found.append(int(gzip.decompress(Path(slot_name(slot) + ".gz").read_bytes())))
            assert found == expected
            assert found == sorted(found, reverse=True)
            assert len(found) >= min(count, len(expected))


class TestSlots:
    def test_twins(self, tmp_path):
        """
        Where a crash left a file and a compressed one, both are moved: nobody has looked whether they are the same.
        """
        _fill(tmp_path, "a.log.1", "a.log.1.gz")
        move_slot(str(tmp_path / "a.log.1"), str(tmp_path / "a.log.2"))
        assert _contents(tmp_path) == {"a.log.2": "a.log.1", "a.log.2.gz": "a.log.1.gz"}

    def test_empty_slot(self, tmp_path):
        """
        Emptying a slot deletes both kinds, and an empty slot is no error.
        """
        _fill(tmp_path, "a.log.1", "a.log.1.gz", "a.log.2")
        empty_slot(str(tmp_path / "a.log.1"))
        empty_slot(str(tmp_path / "a.log.1"))
        assert _contents(tmp_path) == {"a.log.2": "a.log.2"}


def test_failing_rotation_is_told(tmp_path, monkeypatch, capfd):
    """
    While no new file can be started, lines go on into the full one, and the fault is told of once an episode.
    """
    handler = SessionHandler(tmp_path, max_bytes=1024, backup_count=3, linger=0)
    session = start_session("abc", handler=handler)
    log = tmp_path / "abc" / "session.log"

    def write(count: int = 20) -> None:
        for number in range(count):
            session.event("completion", number=number, text="x" * 100)
            handler.flush()

    def refuse(self: Writer, source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "rotate", refuse)
            write()
        told = capfd.readouterr().err
        assert told.count(f"{log}: no new file can be started (Operation not permitted)") == 1
        assert log.stat().st_size > 2000
        write(1)
        assert log.stat().st_size < 1024
    session.end()
    handler.close()
    assert handler.stats()["dropped"] == {}
