"""
What holds when something goes wrong: files that can't be written, hostile ids and content, failing parts, a full queue.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from helpers import child_environment, read_lines, run_python, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionlog_handlers import InvalidSessionIdError, SessionHandler, start_session
from sessionlog_handlers.formats.jsonl import JsonLinesFormat

needs_root = pytest.mark.root


def events(path):
    """The names of a log's events."""
    return [line["event"] for line in read_lines(path)]


@pytest.fixture
def logger():
    """A logger that lets everything through and that only the test's handlers reach: pytest's own would raise."""
    return logging.Logger("app", 1)


class TestUnwritable:
    """PROMISES F11, F12, F13, F31: the app goes on, one line tells why, and the log is written once it can be."""

    def test_directory_in_the_way(self, tmp_path, capsys):
        """
        A file where the root should be is one line on stderr with the path; once it is gone, everything is written.
        """
        root = tmp_path / "logs"
        root.write_text("in the way")
        handler = SessionHandler(root)
        with start_session("s") as session:
            for _ in range(3):
                session.event("completion")
                session.flush(0.2)
            assert handler.stats()["pending"] == 3
            root.unlink()
            wait_until(lambda: (root / "s" / "session.log").exists())
        handler.close()
        assert events(root / "s" / "session.log") == ["session_start", *["completion"] * 3, "session_end"]
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        assert str(root) in told[0]

    @needs_root
    def test_read_only_file_system(self, tmp_path):
        """
        A root on a read-only file system is reported, and written to when it is made writable.
        """
        mount = tmp_path / "mount"
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", mount], check=True)
        try:
            handler = SessionHandler(mount / "logs")
            with start_session("s") as session:
                session.event("completion")
                handler.flush()
                assert "ead-only" in handler.stats()["last_error"]
                subprocess.run(["mount", "-o", "remount,rw", mount], check=True)
                wait_until(lambda: (mount / "logs" / "s" / "session.log").exists())
            handler.close()
            assert events(mount / "logs" / "s" / "session.log") == ["session_start", "completion", "session_end"]
        finally:
            subprocess.run(["umount", mount], check=True)

    @needs_root
    def test_full_disk_then_room_again(self, tmp_path, logger):
        """
        On a disk that is full and then is not, each record is found or counted, never both, and no line is torn.
        """
        mount = tmp_path / "mount"
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], check=True)
        try:
            handler = SessionHandler(mount / "logs", session_level="full", backlog="64 KB", overflow="wait")
            logger.addHandler(handler)
            (mount / "filler").write_bytes(b"x" * 100_000)
            with start_session("s"):
                for number in range(2000):
                    logger.info("x" * 100, extra={"number": number})
                handler.flush()
                assert handler.stats()["dropped"]["write_error"] > 0
                (mount / "filler").unlink()
                wait_until(lambda: handler.stats()["pending"] == 0)
                logger.info("again", extra={"number": 2000})
            handler.close()
            lines = read_lines(mount / "logs" / "s" / "session.log")
            numbers = [line["data"]["number"] for line in lines if line["event"] == "log"]
            dropped = [line["data"] for line in lines if line["event"] == "log_dropped"]
            assert numbers == sorted(set(numbers))
            assert numbers[-1] == 2000
            assert len(numbers) + sum(data["count"] for data in dropped) == 2001
            assert {data["reason"] for data in dropped} == {"write_error"}
        finally:
            subprocess.run(["umount", mount], check=True)

    def test_no_descriptors_left(self, tmp_path):
        """
        Without a free descriptor the app goes on, and everything is written once there are some.
        """
        text = """
import os, resource, sys, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
sessions = [start_session(f"s{n}") for n in range(5)]
for session in sessions:
    session.event("completion")
handler.flush()
assert handler.stats()["errors"] > 0 and handler.stats()["pending"] == 5, handler.stats()
for number in held:
    os.close(number)
deadline = time.monotonic() + 20
while handler.stats()["pending"] and time.monotonic() < deadline:
    time.sleep(0.05)
for session in sessions:
    session.end()
handler.close()
"""
        done = run_python(text, tmp_path, check=True)
        for number in range(5):
            assert events(tmp_path / f"s{number}" / "session.log") == ["session_start", "completion", "session_end"]
        assert "Too many open files" in done.stderr

    @pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "link", "dangling link"])
    def test_what_is_no_regular_file_stays_untouched(self, tmp_path, capsys, kind):
        """
        A FIFO, socket, directory or link in the log's place is neither written, followed, renamed nor removed.
        """
        directory = tmp_path / "logs" / "s"
        directory.mkdir(parents=True)
        log, target = directory / "session.log", tmp_path / "target"
        target.write_text("precious")
        if kind == "fifo":
            os.mkfifo(log)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                before = os.getcwd()
                os.chdir(directory)  # a socket's path is limited to about 100 characters
                listening.bind("session.log")
                os.chdir(before)
        elif kind == "directory":
            log.mkdir()
        else:
            log.symlink_to(target if kind == "link" else tmp_path / "nowhere")
        before = os.lstat(log)
        handler = SessionHandler(tmp_path / "logs")
        with start_session("s") as session:
            session.event("completion")
            session.flush(0.5)
        handler.close()
        after = os.lstat(log)
        assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
        assert target.read_text() == "precious"
        assert not (tmp_path / "nowhere").exists()
        told = capsys.readouterr().err
        assert str(log) in told
        assert "regular file" in told

    def test_link_in_the_place_of_a_sessions_directory(self, tmp_path, capsys):
        """
        A link planted where a session's directory should be is not followed.
        """
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "s").symlink_to(elsewhere)
        handler = SessionHandler(tmp_path / "logs")
        with start_session("s") as session:
            session.event("completion")
            session.flush(0.5)
        handler.close()
        assert list(elsewhere.iterdir()) == []
        assert "symbolic link" in capsys.readouterr().err

    @pytest.mark.parametrize("what", ["file", "directory"])
    def test_deleted_by_others(self, tmp_path, what):
        """
        A log or a session's directory that somebody deletes is made again with the next record.
        """
        import shutil

        handler = SessionHandler(tmp_path)
        with start_session("s") as session:
            session.event("completion", number=1)
            assert session.flush()
            if what == "file":
                (tmp_path / "s" / "session.log").unlink()
            else:
                shutil.rmtree(tmp_path / "s")
            session.event("completion", number=2)
            assert session.flush()
            assert json.loads((tmp_path / "s" / "metadata.json").read_text())["state"] == "running"
        handler.close()
        assert events(tmp_path / "s" / "session.log") == ["completion", "session_end"]
        assert json.loads((tmp_path / "s" / "metadata.json").read_text())["state"] == "ended"


class TestHostileIds:
    """PROMISES F21: one directory below the root for each id, or `InvalidSessionIdError`."""

    IDS = (
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        ".locks",
        "a/b",
        "a\\b",
        "x" * 300,
        "nul\0byte",
        "\U0001f600",
        "CON",
        "con.txt",
        "LPT1",
        "trailing.",
        " ",
        "\ud800",
        "new\nline",
        "%s%n",
        "~root",
        "$HOME",
        "-rf",
    )

    def test_each_gets_one_directory_below_the_root(self, tmp_path):
        """
        Whatever an id looks like, its files are in one directory of its own below the root, and its lines carry the id.
        """
        root = tmp_path / "a" / "logs"
        handler = SessionHandler(root)
        for session_id in self.IDS:
            with start_session(session_id) as session:
                session.event("completion")
        handler.close()
        found = {}
        for directory in root.iterdir():
            if not directory.name.startswith("."):
                found[read_lines(directory / "session.log")[0]["session"]] = directory
        assert set(found) == set(self.IDS)
        assert {path.name for path in tmp_path.iterdir()} == {"a"}
        assert {path.name for path in (tmp_path / "a").iterdir()} == {"logs"}
        for session_id, directory in found.items():
            assert json.loads((directory / "metadata.json").read_text())["session"] == session_id

    @pytest.mark.parametrize("session_id", ["", 5, b"bytes", ["list"]])
    def test_what_is_no_id_is_an_error(self, tmp_path, session_id):
        """
        An empty id, or one that is no text, is refused when the session is started.
        """
        SessionHandler(tmp_path)
        with pytest.raises(InvalidSessionIdError) as caught:
            start_session(session_id)
        assert caught.value.session_id == session_id

    def test_ids_of_records_are_any_objects(self, tmp_path, logger):
        """
        A `session_id` in `extra` that is no text is taken by its text.
        """
        import uuid

        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        name = uuid.uuid4()
        logger.info("x", extra={"session_id": name})
        logger.info("x", extra={"session_id": 17})
        handler.flush()
        assert (tmp_path / str(name) / "session.log").exists()
        assert (tmp_path / "17" / "session.log").exists()


class TestHostileContent:
    """PROMISES F20, F26: one record is one line of valid UTF-8 and strict JSON, and says what was logged."""

    NASTY = "\0\r\n\x1b[31m\x7f\x85\x9b\u2028\u2029\u202e\ud800 \udfff end"

    def test_comes_back_from_json(self, tmp_path, logger):
        """
        Control characters, separators, lone surrogates and reversed text are one line each and come back as they were.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        with start_session("s") as session:
            logger.info(self.NASTY, extra={"field": self.NASTY, self.NASTY: 1})
            session.event("state_change", **{self.NASTY: self.NASTY})
        handler.close()
        raw = (tmp_path / "s" / "session.log").read_bytes()
        assert raw.count(b"\n") == 4
        raw.decode("utf-8")
        lines = read_lines(tmp_path / "s" / "session.log")
        assert lines[1]["msg"] == self.NASTY
        assert lines[1]["data"] == {"field": self.NASTY, self.NASTY: 1}
        assert lines[2]["data"] == {self.NASTY: self.NASTY}
        assert not any(byte in raw for byte in (b"\x1b", b"\x7f", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xae"))

    def test_values_that_json_lacks(self, tmp_path, logger):
        """
        Cycles, values whose text can't be made, not-a-number, huge numbers and wrong arguments are written anyway.
        """

        class Angry:
            def __str__(self):
                raise RuntimeError("no text")

            __repr__ = __str__

        cycle: list = []
        cycle.append(cycle)
        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        with start_session("s") as session:
            logger.info("cycle", extra={"value": cycle})
            logger.info("angry %s", Angry())
            logger.info("angry", extra={"value": Angry()})
            logger.info("numbers", extra={"nan": float("nan"), "inf": float("-inf"), "huge": 10**5000})
            logger.info("wrong %d", "text")
            logger.info("bytes", extra={"value": b"\xff\x00", "path": tmp_path, "set": {1}})
            session.event("state_change", value=cycle, angry=Angry(), nan=float("nan"))
            session.error(Angry)
            deep: dict = {}
            for _ in range(100_000):
                deep = {"deeper": deep}
            session.event("state_change", deep=deep)
            while deep:  # taken apart step by step: freeing it in one go would recurse, too
                deep = deep.pop("deeper")
        handler.close()

        def refuse(name):
            raise AssertionError(f"{name} is not strict JSON")

        raw = (tmp_path / "s" / "session.log").read_text().splitlines()
        lines = [json.loads(line, parse_constant=refuse) for line in raw]
        assert [line["event"] for line in lines] == [
            "session_start",
            *["log"] * 6,
            "state_change",
            "error",
            "state_change",
            "session_end",
        ]
        assert lines[4]["data"]["nan"] == "NaN"
        assert handler.stats()["dropped"] == {}

    def test_extra_forges_nothing(self, tmp_path, logger):
        """
        Fields named like those of the line stay inside `data`, and names that `logging` refuses work in our own calls.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        with start_session("s") as session:
            logger.info("x", extra={"level": "error", "ts": "1999", "session": "other", "seq": -1, "data": 1, "pid": 0})
            session.event(
                "state_change", name="n", message="m", args=1, self="me", event="e", level="l", session_id="x"
            )
        handler.close()
        lines = read_lines(tmp_path / "s" / "session.log")
        assert (lines[1]["level"], lines[1]["session"], lines[1]["seq"]) == ("info", "s", 2)
        assert lines[1]["data"] == {"level": "error", "ts": "1999", "session": "other", "seq": -1, "data": 1, "pid": 0}
        assert lines[2]["data"] == {
            "name": "n",
            "message": "m",
            "args": 1,
            "self": "me",
            "event": "e",
            "level": "l",
            "session_id": "x",
        }

    def test_values_are_those_of_the_call(self, tmp_path):
        """
        What the app changes after the call is not in the line.
        """
        handler = SessionHandler(tmp_path)
        value = {"n": 1}
        with start_session("s") as session:
            session.event("completion", value=value)
            value["n"] = 2
        handler.close()
        assert read_lines(tmp_path / "s" / "session.log")[1]["data"] == {"value": {"n": 1}}

    def test_a_huge_record_is_cut(self, tmp_path, logger):
        """
        A record of 50 MB becomes a line of about 1 MiB that tells the original length; its neighbours are whole.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        with start_session("s"):
            logger.info("before")
            logger.info("x" * 50_000_000)
            logger.info("after")
        handler.close()
        raw = (tmp_path / "s" / "session.log").read_bytes().splitlines()
        assert [json.loads(line).get("msg", "")[:6] for line in raw[1:4]] == ["before", "xxxxxx", "after"]
        assert len(raw[2]) < 1_100_000
        assert b"50000000" in raw[2]

    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists)), max_size=5)
    )
    def test_any_event_is_a_line(self, tmp_path, datas):
        """
        Whatever text an event's fields hold, each event is one line that gives the fields back.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        session = start_session()
        for data in datas:
            session.event("state_change", **data)
        session.end()
        handler.close()
        lines = read_lines(session.log_path)
        assert [line["data"] for line in lines[1:-1]] == datas


class TestFailingParts:
    """PROMISES F17: what fails is reported, the others land, and the thread goes on."""

    @pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), MemoryError()])
    def test_a_failing_format_costs_its_own_entry_only(self, tmp_path, monkeypatch, capsys, error):
        """
        An exception of any kind in the listener costs the entry it came with, which is counted and reported.
        """
        assemble_all = JsonLinesFormat.assemble_all

        def failing(self, entries, *others):
            if any(b"poison" in entry.data for entry in entries):
                raise error
            return assemble_all(self, entries, *others)

        monkeypatch.setattr(JsonLinesFormat, "assemble_all", failing)
        handler = SessionHandler(tmp_path, session_level="full")
        with start_session("s") as session:
            for number in range(100):
                session.event("state_change", number=number, what="poison" if number % 10 == 0 else "fine")
        handler.close()
        lines = read_lines(tmp_path / "s" / "session.log")
        assert [line["data"]["number"] for line in lines if line["event"] == "state_change"] == [
            number for number in range(100) if number % 10
        ]
        assert handler.stats()["dropped"] == {"error": 10}
        assert type(error).__name__ in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_dead_thread_is_started_again(self, tmp_path):
        """
        A listener whose thread is gone is replaced, and nothing is lost.
        """
        handler = SessionHandler(tmp_path)
        with start_session("s") as session:
            assert session.flush()
            listener = handler.root.listener
            first = listener._worker
            listener._due = lambda: 1 / 0  # no code of ours fails there; this kills the thread
            session.event("completion", number=1)
            wait_until(lambda: not first.is_alive())
            listener._due = handler.root.router.due
            session.event("completion", number=2)
            wait_until(lambda: handler.stats()["written"] == 2)
        handler.close()
        assert events(tmp_path / "s" / "session.log") == ["session_start", "completion", "completion", "session_end"]

    def test_a_failing_filter_reaches_nobody(self, tmp_path, logger, capsys):
        """
        An exception in a filter of the app's own does not come out of the logging call.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        handler.addFilter(lambda record: 1 / 0)
        logger.addHandler(handler)
        logger.info("x", extra={"session_id": "s"})
        assert "ZeroDivisionError" in capsys.readouterr().err

    def test_near_the_end_of_the_stack(self, tmp_path, logger):
        """
        A record that is logged where hardly any stack is left does not raise, and later ones are written as ever.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        logger.addHandler(handler)
        logger.info("first", extra={"session_id": "s"})
        record = logger.makeRecord("app", logging.INFO, __file__, 1, "deep", (), None)
        record.session_id = "s"

        def dive():
            try:
                dive()
            except RecursionError:
                handler.handle(record)

        dive()
        logger.info("last", extra={"session_id": "s"})
        handler.flush()
        assert [line["msg"] for line in read_lines(tmp_path / "s" / "session.log") if "msg" in line][-1] == "last"
        stats = handler.stats()
        assert stats["accepted"] == stats["written"] + sum(stats["dropped"].values())

    def test_offering_never_raises(self, tmp_path, monkeypatch):
        """
        A record factory of the app that fails does not come out of an event, and the event is in its log.
        """
        handler = SessionHandler(tmp_path)
        logging.getLogger("sessionlog.session").setLevel(1)
        monkeypatch.setattr(logging, "_logRecordFactory", lambda *a, **k: 1 / 0)
        with start_session("s") as session:
            session.event("completion")
        handler.close()
        assert events(tmp_path / "s" / "session.log") == ["session_start", "completion", "session_end"]


def stop_listener(handler):
    """Let the listener stand still with what it takes next, until the event is set."""
    gate = threading.Event()
    write = handler.root.router.write
    handler.root.listener._sink = lambda batch: (gate.wait(20), write(batch))
    return gate


class TestFullQueue:
    """PROMISES F18: the policy holds and the counters are exact."""

    @pytest.mark.parametrize("overflow", ["shed", "wait"])
    def test_sent_is_written_plus_counted(self, tmp_path, logger, overflow):
        """
        With a queue of 64 and a slow disk, what was sent is written or counted, and each session's log tells the count.
        """
        handler = SessionHandler(tmp_path, session_level="full", queue_size=64, overflow=overflow, linger=0)
        logger.addHandler(handler)
        write = handler.root.router.write

        def slowly(batch):
            time.sleep(0.002)
            write(batch)

        handler.root.listener._sink = slowly

        def send(name):
            with start_session(name) as session:
                for number in range(256):
                    logger.info("ordinary", extra={"number": number})
                    session.output(b"bytes")
                    session.event("initial_prompt", number=number)
                    session.event("error", number=number)

        threads = [threading.Thread(target=send, args=(f"s{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handler.close()
        stats = handler.stats()
        assert stats["accepted"] == 4 * 256 * 4
        assert stats["written"] + sum(stats["dropped"].values()) == stats["accepted"]
        written = told = 0
        for name in ("s0", "s1", "s2", "s3"):
            lines = read_lines(tmp_path / name / "session.log")
            written += sum(line["event"] in ("log", "output", "initial_prompt", "error") for line in lines)
            told += sum(line["data"]["count"] for line in lines if line["event"] == "log_dropped")
            assert lines[-1]["event"] == "session_end"
        assert written == stats["written"]
        assert told == sum(stats["dropped"].values())
        assert (told == 0) == (overflow == "wait")

    def test_audited_rare_events_are_refused_last(self, tmp_path, logger):
        """
        While the queue stands still, bytes are refused first and audited rare events last of all.
        """
        handler = SessionHandler(tmp_path, session_level="full", queue_size=100, linger=0)
        logger.addHandler(handler)
        gate = stop_listener(handler)
        with start_session("s") as session:
            time.sleep(0.2)  # the listener has the start in hand now, where it still takes room
            for _ in range(200):
                session.output(b"x")
            outputs = handler.stats()["dropped"]["queue_full"]
            for _ in range(100):
                logger.debug("x")
            for _ in range(100):
                logger.info("x")
            for number in range(80):
                session.event("initial_prompt", number=number)
            lost = handler.stats()["dropped"]["queue_full"]
            gate.set()
        handler.close()
        lines = read_lines(tmp_path / "s" / "session.log")
        assert outputs == 200 - (80 - 1)
        assert lost == outputs + (100 - 10) + (100 - 5)
        assert sum(line["event"] == "initial_prompt" for line in lines) == 80
        assert sum(line["data"]["count"] for line in lines if line["event"] == "log_dropped") == lost

    def test_large_entries_fill_the_queue_by_their_bytes(self, tmp_path):
        """
        Entries of 100 KB are bounded by the queue's bytes, though their number is small.
        """
        handler = SessionHandler(tmp_path, session_level="full", queue_bytes="1 MB", linger=0)
        gate = stop_listener(handler)
        with start_session("s") as session:
            time.sleep(0.2)
            for _ in range(100):
                session.output(b"x" * 100_000)
            lost = handler.stats()["dropped"]["queue_full"]
            gate.set()
        handler.close()
        assert lost == 100 - 8  # at 80 % of 1 MiB

    def test_never_waits_in_a_running_loop(self, tmp_path):
        """
        In a running loop a full queue refuses at once, also with `overflow: wait`.
        """
        text = """
import asyncio, sys, threading, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], queue_size=16, overflow="wait", linger=0)
gate = threading.Event()
write = handler.root.router.write
handler.root.listener._sink = lambda batch: (gate.wait(20), write(batch))
async def main():
    session = start_session("s")
    start = time.monotonic()
    for number in range(100):
        session.event("completion", number=number)
    print(time.monotonic() - start)
    gate.set()
asyncio.run(main())
handler.flush()
print(handler.stats()["dropped"]["queue_full"])
"""
        took, dropped = run_python(text, tmp_path, check=True).stdout.split()
        assert float(took) < 1.0
        assert int(dropped) > 20


class TestPrivacy:
    def test_files_are_their_owners_alone(self, tmp_path):
        """
        Under any umask directories are 0700 and files 0600, locks and leases included, and the umask stays as it is.
        """
        root = tmp_path / "logs"
        before = os.umask(0)
        try:
            handler = SessionHandler(root, session_level="full", max_bytes=2000, compress="gzip")
            with start_session("s") as session:
                for _ in range(100):
                    session.event("state_change", text="x" * 100)
                session.input(b"x")
                assert session.flush(durable=True)
                assert os.umask(0) == 0
            handler.close()
            modes = {path: path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}
        finally:
            os.umask(before)
        assert len(modes) > 8
        for path, mode in modes.items():
            assert mode == (0o700 if path.is_dir() else 0o600), path


class TestKilledAnywhere:
    def test_random_kills_tear_nothing(self, tmp_path):
        """
        Over 20 kills at any moment, rotation included, no line but the last one at the kill is torn, none is joined.
        """
        text = """
import sys
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], session_level="full", max_bytes=20_000, backup_count=50, linger=0)
session = start_session("s")
print("go", flush=True)
number = 0
while True:
    session.event("state_change", run=int(sys.argv[2]), number=number, text="x" * 50)
    number += 1
    if number % 20 == 0:
        session.flush()
        print(number, flush=True)
"""
        flushed = {}
        for run in range(20):
            child = subprocess.Popen(
                [sys.executable, "-c", text, str(tmp_path), str(run)],
                stdout=subprocess.PIPE,
                env=child_environment(),
                text=True,
            )
            with child:
                assert child.stdout.readline() == "go\n"
                time.sleep(0.005 + 0.007 * run)
                child.kill()
                rest = [line for line in child.stdout.read().split("\n")[:-1] if line]
                flushed[run] = int(rest[-1]) if rest else 0
        files = [*(tmp_path / "s").glob("session.log*")]
        found, bad = {}, 0
        for file in files:
            for raw in file.read_bytes().splitlines():
                try:
                    data = json.loads(raw)["data"]
                except ValueError:
                    bad += 1
                    continue
                if "run" in data:
                    found.setdefault(data["run"], []).append(data["number"])
        assert bad <= 20
        for run, number in flushed.items():
            numbers = sorted(found.get(run, []))
            assert numbers == sorted(set(numbers))
            oldest_kept = len(files) >= 50
            assert oldest_kept or numbers[:number] == list(range(number))
