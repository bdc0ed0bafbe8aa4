from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.levels import LEVELS_BY_RANK
from sessionlog_handlers.pipeline import channel as module
from sessionlog_handlers.pipeline.channel import Channel, Entry
from sessionlog_handlers.pipeline.layout import SessionPaths
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.routes import Plan
from sessionlog_handlers.settings.layouts import LAYOUTS, FileSpec, Layout
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.tables import Flood

SPAWNS, SIGNALS, PROMPTS, FULL = LEVELS_BY_RANK


class Root:
    """
    Takes entries, up to a number.
    """

    def __init__(self, settings: Settings, most: int = 1_000_000) -> None:
        self.plan = Plan(settings)
        self.queue = BoundedQueue()
        self.queue.slot_bytes = 0  # so that every entry comes through `put`
        self.entries: list[tuple[Entry, int]] = []
        self.most = most
        self.losses: Counter[str] = Counter()  # by event, to the flood guard

    def refuses(self, channel: Channel, priority: int) -> bool:
        """
        As the real one.
        """
        return self.queue.refuses(priority)

    def flooded(self, channel: Channel, event: str, excess: int) -> None:
        """
        As the real one.
        """
        self.losses[event] += 1

    def put(self, channel: Channel, entry: Entry, size: int) -> bool:
        """
        As the real one.
        """
        if len(self.entries) >= self.most:
            return False
        self.entries.append((entry, size))
        return True


def _channel(level=FULL, severity: int = 0, most: int = 1_000_000, **settings: object) -> Channel:
    given = Settings(**settings)
    root = Root(given, most)
    paths = SessionPaths("/logs", given.layout, "abc")
    return Channel(root, "abc", paths, root.plan.table(level, severity))


def _record(level: int = logging.INFO, message: str = "hello", **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord("app", level, __file__, 1, message, (), None)
    made.__dict__.update(attributes)
    return made


class TestEvents:
    def test_frozen_at_the_call(self):
        """
        An entry holds bytes and numbers only: what the caller changes later is not in it.
        """
        channel = _channel()
        values = {"list": [1]}
        before = time.time()
        assert channel.accept_event(channel.table.event("error"), values)
        values["list"].append(2)
        ((entry, size),) = channel.root.entries
        assert (entry.session, entry.data, entry.tail, entry.elapsed) == (channel.number, b'{"list":[1]}', b"", 0.0)
        assert before <= entry.created <= time.time()
        assert (entry.route.level, entry.route.event) == ("error", "error")
        assert size > len(entry.data)

    def test_refused(self):
        """
        What the root refuses is told to the caller.
        """
        channel = _channel(most=1)
        route = channel.table.event("error")
        assert channel.accept_event(route, {})
        assert not channel.accept_event(route, {})
        assert not channel.accept_bytes(channel.table.event("output"), b"x")

    def test_bytes_as_they_are(self):
        """
        A terminal's bytes are not copied, and carry the time since the start.
        """
        channel = _channel(layout=LAYOUTS["terminal"])
        channel.started -= 2.0
        content = bytes(range(256))
        assert channel.accept_bytes(channel.table.event("output"), content)
        ((entry, size),) = channel.root.entries
        assert entry.data is content
        assert entry.tail is None
        assert 2 <= entry.elapsed < 7
        assert size >= 256

    def test_one_payload_a_format(self):
        """
        Files of several formats get one payload for each.
        """
        channel = _channel(layout=LAYOUTS["terminal"])
        channel.accept_bytes(channel.table.event("input"), b"x")
        channel.accept_event(channel.table.event("completion"), {"a": 1})
        (terminal, event) = [entry for entry, _ in channel.root.entries]
        assert (terminal.data, terminal.tail) == (b"x", None)
        assert (event.data, event.tail) == (b'{"a":1}', b"")

    def test_several_formats(self):
        """
        An event whose files have several formats is frozen once for each of them.
        """
        files = (FileSpec("{id}/a", "jsonl", "level"), FileSpec("{id}/b", "text", "level"))
        channel = _channel(layout=Layout("custom", files))
        channel.accept_event(channel.table.event("completion"), {"a": 1})
        ((entry, _),) = channel.root.entries
        assert entry.data == ((b'{"a":1}', b""), (b"sessionlog.session: completion a=1", b""))

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    def test_refused_before_it_is_made(self, overflow):
        """
        For what a full queue refuses nothing is formatted; what may wait for room is.
        """

        class Costly:
            made = 0

            def __str__(self) -> str:
                self.made += 1
                return "text"

        channel = _channel(overflow=overflow)
        channel.root.queue = BoundedQueue(10, overflow=overflow)
        channel.root.queue.slot_bytes = 0
        for number in range(9):
            channel.root.queue.put_always(number)
        text = Costly()
        waits = overflow == "wait"
        assert channel.accept_record(_record(logging.DEBUG, text)) == waits
        assert channel.accept_record(_record(logging.INFO, text)) == waits
        assert channel.accept_event(channel.table.event("output"), {"text": text}) == waits
        assert channel.accept_bytes(channel.table.event("output"), b"x") == waits
        assert text.made == (2 if waits else 0)
        assert channel.accept_record(_record(logging.ERROR, text))  # it may wait for room


class TestRecords:
    @pytest.mark.parametrize(
        ("level", "taken"),
        [
            (SPAWNS, []),
            (SIGNALS, [30, 40, 50]),
            (PROMPTS, [20, 30, 40, 50]),
            (FULL, [10, 20, 30, 40, 50]),
        ],
    )
    def test_judged_by_class(self, level, taken):
        """
        Ordinary records are taken by the session's level.
        """
        channel = _channel(level)
        assert [number for number in (10, 20, 30, 40, 50) if channel.accept_record(_record(number))] == taken

    def test_judged_by_severity(self):
        """
        Below the session's threshold a record is left out, whatever its class.
        """
        channel = _channel(FULL, logging.WARNING)
        assert [number for number in (10, 20, 30, 40) if channel.accept_record(_record(number))] == [30, 40]

    def test_event_of_a_record(self):
        """
        A record that names an event goes where that event goes, with its own severity and its extra as data.
        """
        channel = _channel(SIGNALS)
        assert channel.accept_record(_record(logging.DEBUG, event="completion", event_data={"a": 1}))
        ((entry, _),) = channel.root.entries
        assert (entry.route.event, entry.route.level) == ("completion", "debug")
        assert entry.data == b'{"a":1}'

    @pytest.mark.parametrize("event", ["", None, 3, ["x"]])
    def test_event_that_is_no_name(self, event):
        """
        What is no name leaves the record an ordinary one.
        """
        channel = _channel(SIGNALS)
        assert channel.accept_record(_record(logging.ERROR, event=event))
        assert channel.root.entries[0][0].route.event == "log"

    def test_own_time(self):
        """
        A record keeps the time of its making.
        """
        channel = _channel()
        channel.accept_record(_record(created=1_700_000_000.5))
        assert channel.root.entries[0][0].created == 1_700_000_000.5

    @pytest.mark.parametrize("created", [None, "2024-01-01", [], 10**400, float("nan"), 5])
    def test_time_that_is_none(self, created):
        """
        A record whose time is none is taken all the same, with a number for its line to begin with.
        """
        channel = _channel()
        assert channel.accept_record(_record(created=created))
        assert type(channel.root.entries[0][0].created) is float

    def test_content_is_no_obstacle(self):
        """
        A record whose arguments can't be put into its message is taken all the same.
        """
        channel = _channel()
        record = _record(message="%d items")
        record.args = ("many",)
        assert channel.accept_record(record)
        assert b"many" in channel.root.entries[0][0].tail


class TestSampling:
    def test_share(self):
        """
        Of sampled events the share is kept, of bytes and of others, and the rest is counted by name until it is taken.
        """
        channel = _channel(sampling={"output": 0.1, "state_change": 0.5})
        kept = sum(channel.accept_bytes(channel.table.event("output"), b"x") for _ in range(100))
        kept_others = sum(channel.accept_event(channel.table.event("state_change"), {}) for _ in range(100))
        assert (kept, kept_others) == (10, 50)
        assert channel.take_left_out() == {"output": 90, "state_change": 50}
        assert channel.take_left_out() == {}

    def test_records(self):
        """
        Records that name a sampled event are sampled with it.
        """
        channel = _channel(sampling={"state_change": 0.5})
        assert sum(channel.accept_record(_record(event="state_change")) for _ in range(10)) == 5


class TestFlood:
    def test_each_event_by_itself(self, monkeypatch):
        """
        Beyond the rate an event is only counted until its time is over; bytes, events and records each by their name.
        """
        now = [100.0]
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
        channel = _channel(flood=Flood(3, 2.0))
        for _ in range(2):
            kept = [
                sum(channel.accept_bytes(channel.table.event("output"), b"x") for _ in range(10)),
                sum(channel.accept_event(channel.table.event("error"), {}) for _ in range(4)),
                sum(
                    channel.accept_record(_record(level)) for level in (logging.INFO, logging.ERROR, logging.DEBUG, 30)
                ),
                sum(channel.accept_record(_record(event="retry")) for _ in range(5)),
            ]
            assert kept == [3, 3, 3, 3]
            now[0] += 1.999
            assert not channel.accept_event(channel.table.event("error"), {})
            now[0] += 0.001
        assert channel.root.losses == {"output": 14, "error": 4, "log": 2, "retry": 4}
        assert len(channel.root.entries) == 24

    def test_who_is_never_held_back(self):
        """
        Events at spawns, changes of level and our own lines pass, however many they are.
        """
        channel = _channel(flood=Flood(1, 3600.0))
        for name in ("session_created", "window_closed", "level_change", "log_dropped", "log_degraded"):
            assert all(channel.accept_event(channel.table.event(name), {}) for _ in range(5))
        assert not channel.root.losses

    def test_after_sampling(self):
        """
        What sampling leaves out does not count for the rate.
        """
        channel = _channel(sampling={"output": 0.1}, flood=Flood(10, 3600.0))
        assert sum(channel.accept_bytes(channel.table.event("output"), b"x") for _ in range(200)) == 10
        assert channel.root.losses == {"output": 10}
        assert channel.take_left_out() == {"output": 180}

    @given(st.lists(st.tuples(st.sampled_from(["output", "error", "log"]), st.floats(0, 0.5)), max_size=60))
    def test_sent_is_admitted_and_counted(self, sent):
        """
        Whatever comes at whatever times, each event is either admitted or counted.
        """
        now = [0.0]
        channel = _channel(flood=Flood(2, 0.7))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "monotonic", lambda: now[0])
            for event, gap in sent:
                now[0] += gap
                if event == "log":
                    channel.accept_record(_record())
                else:
                    channel.accept_event(channel.table.event(event), {})
        for event in ("output", "error", "log"):
            admitted = sum(entry.route.event == event for entry, _ in channel.root.entries)
            assert admitted + channel.root.losses[event] == sum(name == event for name, _ in sent)

    @pytest.mark.filterwarnings("ignore::sessionlog_handlers.SessionLogWarning")
    def test_many_names(self, monkeypatch):
        """
        Very many event names share one guard, so a session's memory is bounded; they are counted without a name.
        """
        monkeypatch.setattr(module, "MOST_GUARDS", 4)
        channel = _channel(flood=Flood(2, 3600.0))
        for number in range(20):
            channel.accept_event(channel.table.event(f"unheard_{number}"), {})
        assert len(channel._guards) == 5
        assert len(channel.root.entries) == 4 + 2
        assert channel.root.losses == {"": 14}

    def test_forked_child(self):
        """
        In a child that was forked while a thread held a guard's lock, nothing hangs.
        """
        channel = _channel(flood=Flood(1, 3600.0))
        route = channel.table.event("error")
        channel.accept_event(route, {})
        inside, gate = threading.Event(), threading.Event()

        def hold() -> None:
            with channel._guards["error"]._lock:
                inside.set()
                gate.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        inside.wait(10)
        child = os.fork()
        if not child:
            signal.alarm(10)
            channel.after_fork()
            os._exit(not channel.accept_event(route, {}))
        gate.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestLevelChanges:
    def test_one_level_for_each_event(self):
        """
        While another thread flips the level, each record is judged by exactly one of the two.
        """
        channel = _channel(SIGNALS)
        tables = [channel.root.plan.table(level, 0) for level in (SIGNALS, FULL)]
        over = threading.Event()

        def flip() -> None:
            while not over.is_set():
                for table in tables:
                    channel.use_table(table)

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        thread = threading.Thread(target=flip)
        thread.start()
        try:
            errors = sum(channel.accept_record(_record(logging.ERROR)) for _ in range(2000))
            taken = sum(channel.accept_record(_record(logging.DEBUG)) for _ in range(2000))
        finally:
            over.set()
            thread.join()
            sys.setswitchinterval(before)
        assert errors == 2000
        assert len(channel.root.entries) == 2000 + taken
        assert {entry.route.files for entry, _ in channel.root.entries} == {(0,)}


def test_entries_do_not_burden_the_collector():
    """
    What waits in the queue holds no objects of the app, and is nothing that the garbage collector looks at.
    """

    class OfTheApp:
        pass

    channel = _channel()
    channel.accept_event(channel.table.event("error"), {"object": OfTheApp()})
    gc.collect()
    assert not [found for found in gc.get_objects() if type(found) is OfTheApp]
    ((entry, _),) = channel.root.entries
    assert not gc.is_tracked(entry)
