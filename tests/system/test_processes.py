"""
Several processes, many sessions: each record once, descriptors under the cap, no child that hangs.
"""

from __future__ import annotations

import concurrent.futures
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from helpers import child_environment, read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session, watch
from sessionlog_handlers.formats.archives import archives
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.locks import STRIPES

WRITER = """
import logging, sys
from sessionlog_handlers import SessionHandler, start_session

root, worker, count, session = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
handler = SessionHandler(root, max_bytes=200_000, backup_count=500, compress="gzip", overflow="wait")
logger = logging.getLogger("app")
logger.setLevel("INFO")
logger.addHandler(handler)
with start_session(session, level="prompts"):
    for number in range(count):
        logger.info("record", extra={"worker": worker, "number": number})
"""


def ordinary(path):
    """What the ordinary records of a log say, over all its rotated files."""
    files = [*(file for _, file in archives(path)), path]
    return [line["data"] for file in files for line in read_lines(file) if line["event"] == "log"]


def open_descriptors():
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


class TestOneSessionManyProcesses:
    def test_eight_processes_lose_and_double_nothing(self, tmp_path):
        """
        8 processes with 5,000 records each, rotating one log with gzip: each record once, in its process's order.
        """
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), str(worker), "5000", "shared"], env=child_environment()
            )
            for worker in range(8)
        ]
        for worker in workers:
            with worker:
                assert worker.wait(100) == 0
        records = ordinary(tmp_path / "shared" / "session.log")
        for worker in range(8):
            assert [data["number"] for data in records if data["worker"] == worker] == list(range(5000))
        metadata = json.loads((tmp_path / "shared" / "metadata.json").read_text())
        assert metadata["rotations"]["session.log"]["count"] > 10
        assert metadata["state"] == "ended"
        assert metadata["writers"] == {}

    def test_only_the_one_that_began_it_ends_a_session(self, tmp_path):
        """
        A process that joins a running session leaves it without an end line, and its lines carry its pid.
        """
        handler = SessionHandler(tmp_path, session_level="prompts")
        session = start_session("shared")
        assert session.flush()
        run_python(WRITER, tmp_path, 1, 3, "shared", check=True)
        session.end("done")
        assert session.flush()
        handler.close()
        lines = read_lines(tmp_path / "shared" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "log", "log", "log", "session_end"]
        assert all(("pid" in line) == (line["event"] == "log") for line in lines)
        assert lines[-1]["data"]["reason"] == "done"

    def test_level_of_an_outside_request_reaches_the_writer(self, tmp_path):
        """
        A level that another process asks for is in force within a second, and its change is in the log.
        """
        from sessionlog_handlers.pipeline.control import ControlFile

        handler = SessionHandler(tmp_path)
        with start_session("s") as session:
            assert session.flush()
            ControlFile(str(tmp_path)).request("s", "full")
            wait_until(lambda: session.level.value == "full", 1.0)
            session.event("state_change")
        handler.close()
        events = [line["event"] for line in read_lines(tmp_path / "s" / "session.log")]
        assert events == ["session_start", "level_change", "state_change", "session_end"]

    def test_level_of_a_shared_configuration_is_told_once(self, tmp_path):
        """
        When several processes of a session watch one file, each takes the new level, and its owner tells of it once:
        beside one that joined, one that has just joined, and a forked child that has nothing to say.
        """
        path = tmp_path / "logging.yaml"
        text = """
version: 1
handlers: {sessions: {class: sessionlog_handlers.SessionHandler, directory: %s, session_level: signals}}
root: {handlers: [sessions]}
""" % (tmp_path / "logs")
        path.write_text(text)
        other = """
import os, sys, time
from sessionlog_handlers import start_session, watch
watching = watch(sys.argv[1], interval=0.02)
session = start_session("s")
session.event("completion")
session.flush()
child = os.fork()
if child:
    print("joined", flush=True)
deadline = time.monotonic() + 20
while session.level.value != "full" and time.monotonic() < deadline:
    time.sleep(0.02)
if child:
    os.waitpid(child, 0)
    session.event("state_change", who="other")
    session.flush()
else:
    time.sleep(0.2)  # in which it could tell of the change
    os._exit(0)
"""
        hasty = """
import sys
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], linger=0.5)
session = start_session("s")
if sys.argv[2] == "config":
    SessionHandler(sys.argv[1], linger=0.5, session_level="prompts")
else:
    handler.root.set_level_by_name(session, "prompts", by=sys.argv[2])
session.flush()
"""
        with watch(path, interval=0.02), start_session("s") as session:
            assert session.flush()
            command = [sys.executable, "-c", other, str(path)]
            with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout.readline() == "joined\n"
                run_python(hasty, tmp_path / "logs", "config", check=True)
                run_python(hasty, tmp_path / "logs", "command", check=True)
                new = path.with_name("new")
                new.write_text(text.replace("signals", "full"))
                new.replace(path)
                wait_until(lambda: session.level.value == "full")
                assert child.wait(30) == 0
        logging.shutdown()
        lines = read_lines(tmp_path / "logs" / "s" / "session.log")
        changes = [line for line in lines if line["event"] == "level_change"]
        assert [(line.get("pid"), line["data"]["by"]) for line in changes] == [(None, "config")]
        assert [line["data"] for line in lines if line["event"] == "state_change"] == [{"who": "other"}]

    def test_level_of_an_outside_request_is_told_once(self, tmp_path):
        """
        A level that is set from outside is taken by every process of the session, and told of in its log once.
        """
        from sessionlog_handlers.pipeline.control import ControlFile

        joiner = """
import sys, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1])
session = start_session("s")
session.event("completion")
session.flush()
print("joined", flush=True)
deadline = time.monotonic() + 20
while session.level.value != "full" and time.monotonic() < deadline:
    time.sleep(0.02)
session.event("state_change", who="joiner")
"""
        handler = SessionHandler(tmp_path)
        with start_session("s") as session:
            assert session.flush()
            child = subprocess.Popen(
                [sys.executable, "-c", joiner, str(tmp_path)],
                env=child_environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            with child:
                assert child.stdout.readline() == "joined\n"
                ControlFile(str(tmp_path)).request("s", "full")
                wait_until(lambda: session.level.value == "full")
                assert child.wait(30) == 0
        handler.close()
        events = [line["event"] for line in read_lines(tmp_path / "s" / "session.log")]
        assert events.count("level_change") == 1
        assert events.count("state_change") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # 3.12+ warns of fork with threads: the point here
class TestFork:
    def test_fork_storm(self, tmp_path):
        """
        40 forks while 3 threads log: no child hangs, and each record of parents and children is there once.
        """
        handler = SessionHandler(tmp_path, overflow="wait")
        logger = logging.Logger("app")  # with no other handler: pytest's hang forked children on a buffer's lock
        logger.addHandler(handler)
        session = start_session("s", level="prompts")
        counts, stop = [0, 0, 0], threading.Event()

        def log(thread):
            while not stop.is_set():
                logger.info("t", extra={"session_id": "s", "worker": f"t{thread}", "number": counts[thread]})
                counts[thread] += 1
                if counts[thread] % 50 == 0:
                    time.sleep(0.001)

        threads = [threading.Thread(target=log, args=(thread,)) for thread in range(3)]
        for thread in threads:
            thread.start()
        children = [_fork_and_log(logger, handler, child) for child in range(40)]
        hung = [pid for pid in children if not _exits(pid, 20)]
        stop.set()
        for thread in threads:
            thread.join()
        session.end()
        handler.close()
        assert hung == []
        records = ordinary(tmp_path / "s" / "session.log")
        for thread in range(3):
            assert [r["number"] for r in records if r["worker"] == f"t{thread}"] == list(range(counts[thread]))
        for child in range(40):
            assert [r["number"] for r in records if r["worker"] == f"c{child}"] == list(range(20))

    def test_children_of_multiprocessing_write_what_they_queued(self, tmp_path):
        """
        A forked child of multiprocessing leaves without exit functions, and its records land all the same.
        """
        handler = SessionHandler(tmp_path, session_level="prompts")
        logging.getLogger("app").addHandler(handler)
        logging.getLogger("app").setLevel("INFO")
        with start_session("s") as session:
            workers = [multiprocessing.get_context("fork").Process(target=_log_in_child, args=(n,)) for n in range(4)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
                assert worker.exitcode == 0
            assert session.flush()
        handler.close()
        records = ordinary(tmp_path / "s" / "session.log")
        assert sorted(data["worker"] for data in records) == [n for n in range(4) for _ in range(100)]

    def test_daemon_goes_on_with_the_session_of_its_parent(self, tmp_path):
        """
        A child whose parent has left owns the session: it is no crash, and the child's end is the session's end.
        """
        text = """
import os, sys, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1])
session = start_session("s")
session.flush()
if os.fork():
    os._exit(0)
time.sleep(0.3)
session.event("completion")
session.end("daemon")
"""
        run_python(text, tmp_path, check=True, options=["-W", "ignore"])
        log = tmp_path / "s" / "session.log"
        wait_until(lambda: b"session_end" in log.read_bytes())
        assert [line["event"] for line in read_lines(log)] == ["session_start", "completion", "session_end"]

    def test_descriptors_of_the_parent_are_not_kept(self, tmp_path):
        """
        A child holds neither the parent's lock descriptors nor its lease after the fork.
        """
        handler = SessionHandler(tmp_path)
        with start_session("s") as session:
            assert session.flush()
            root = lifecycle.all_roots()[0]
            assert root.shared.open_files > 2
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.write(writing, str(root.shared.open_files).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            assert os.read(reading, 10) == b"0"
            os.close(reading)
            os.close(writing)
        handler.close()


def _fork_and_log(logger, handler, child):
    pid = os.fork()
    if not pid:
        for number in range(20):
            logger.info("c", extra={"session_id": "s", "worker": f"c{child}", "number": number})
        handler.flush()
        os._exit(0)
    time.sleep(0.005)
    return pid


def _exits(pid, timeout):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


def _log_in_child(worker):
    for number in range(100):
        logging.getLogger("app").info("record", extra={"worker": worker, "number": number})


@pytest.fixture
def memory_path(tmp_path):
    """A directory in memory where there is one: making 40,000 files is a test of the disk otherwise."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


class TestManySessions:
    def test_ten_thousand_sessions_stay_under_the_cap(self, memory_path):
        """
        10,000 open sessions cost no more descriptors than the cap and no thread each; closing gives all back.
        """
        tmp_path = memory_path
        before, threads = open_descriptors(), threading.active_count()
        handler = SessionHandler(tmp_path, max_open_files=100, session_level="signals", overflow="wait")
        sessions = [start_session(f"s{number}") for number in range(10_000)]
        most = 0
        for turn in range(2):
            for number, session in enumerate(sessions):
                session.event("completion", turn=turn)
                if number % 1000 == 0:
                    most = max(most, open_descriptors() - before)
        assert sessions[0].flush(120)
        most = max(most, open_descriptors() - before)
        assert most <= 100 + 10
        assert threading.active_count() - threads <= 3
        assert handler.stats()["open_files"] <= 100
        handler.close()
        assert open_descriptors() == before + 1  # the lease: 10,000 sessions are open, and none of them crashed
        for number in (0, 1, 5000, 9999):
            events = [line["event"] for line in read_lines(tmp_path / f"s{number}" / "session.log")]
            assert events == ["session_start", "completion", "completion"]
        for session in sessions:
            session.end()
        assert sessions[0].flush(60)
        handler.close()
        assert open_descriptors() == before

    def test_default_cap_follows_the_limit_of_the_process(self, tmp_path):
        """
        Without a setting the cap is a quarter of the process's limit, 256 at most.
        """
        text = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1])
sessions = [start_session(f"s{n}") for n in range(100)]
for session in sessions:
    session.event("completion")
sessions[0].flush(60)
print(handler.stats()["open_files"], handler.stats()["errors"])
"""
        opened, errors = run_python(text, tmp_path, check=True).stdout.split()
        assert int(opened) <= 20
        assert int(errors) == 0
        assert len(list(tmp_path.glob("*/session.log"))) == 100

    def test_lock_files_do_not_grow_with_sessions(self, tmp_path):
        """
        Any number of sessions share 64 lock files.
        """
        handler = SessionHandler(tmp_path)
        for number in range(300):
            with start_session(f"s{number}"):
                pass
        handler.close()
        assert len(list((tmp_path / ".locks").iterdir())) <= STRIPES + 1  # and the control file's


class TestExecutors:
    def test_process_pool_children_write_by_spawn(self, tmp_path):
        """
        Workers of a process pool that are spawned configure for themselves and share the session.
        """
        context = multiprocessing.get_context("spawn")
        with start_session_in(tmp_path) as session:
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                results = list(pool.map(_log_in_pool, [str(tmp_path)] * 4, range(4)))
            assert session.flush()
        assert results == [0, 1, 2, 3]
        assert sorted(data["worker"] for data in ordinary(tmp_path / "s" / "session.log")) == [0, 1, 2, 3]


def start_session_in(root):
    """A session on a fresh handler."""
    SessionHandler(root, session_level="prompts")
    return start_session("s")


def _log_in_pool(root, worker):
    handler = SessionHandler(root, session_level="prompts")
    logger = logging.getLogger(f"app.{worker}")
    logger.setLevel("INFO")
    logger.addHandler(handler)
    logger.info("record", extra={"session_id": "s", "worker": worker, "number": 0})
    handler.flush()
    return worker
