from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import portalocker
import pytest
from helpers import child_environment, run_python

from sessionlog_handlers.pipeline.locks import STRIPES, FileLock, StripedLocks

HOLDER = """
import sys
from sessionlog_handlers.pipeline.locks import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire(5)
print("held", flush=True)
sys.stdin.readline()
"""

COUNTER = """
import os, sys
from sessionlog_handlers.pipeline.locks import FileLock
lock, path = FileLock(sys.argv[1]), sys.argv[2]
for _ in range(200):
    with lock.hold(30) as locked:
        assert locked
        number = int(open(path).read())
        open(path, "w").write(str(number + 1))
"""


@pytest.fixture
def lock(tmp_path):
    """
    A lock that gives its descriptor back.
    """
    made = FileLock(str(tmp_path / ".locks" / "00"))
    yield made
    made.close()


@pytest.fixture
def holder(lock):
    """
    A process that holds the lock.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
    ) as child:
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


class TestFileLock:
    def test_makes_its_file(self, lock):
        """
        The lock's file and directory are made when first needed, and stay.
        """
        assert not os.path.exists(lock.path)
        with lock.hold() as locked:
            assert locked
            assert lock.is_open
        lock.close()
        assert not lock.is_open
        assert os.path.exists(lock.path)

    def test_gives_its_descriptor_back(self, tmp_path):
        """
        A lock that need not stay open has no descriptor between uses.
        """
        lock = FileLock(str(tmp_path / "lock"), keep_open=False)
        for _ in range(2):
            with lock.hold() as locked:
                assert locked
                assert lock.is_open
            assert not lock.is_open

    def test_excludes_threads(self, lock):
        """
        Threads that share one lock object exclude each other.
        """
        inside = []
        most = []

        def work() -> None:
            for _ in range(50):
                with lock.hold(30) as locked:
                    assert locked
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(most) == 400
        assert max(most) == 1

    def test_excludes_processes(self, lock, tmp_path):
        """
        Processes that add to a number in a file under the lock lose no addition.
        """
        number = tmp_path / "number"
        number.write_text("0")
        children = [
            subprocess.Popen([sys.executable, "-c", COUNTER, lock.path, str(number)], env=child_environment())
            for _ in range(4)
        ]
        assert [child.wait(60) for child in children] == [0] * 4
        assert number.read_text() == "800"

    def test_waits_only_so_long(self, lock, holder):
        """
        While another process holds it, it is not had, and the wait ends in time.
        """
        start = time.monotonic()
        assert not lock.acquire(0.2)
        assert 0.2 <= time.monotonic() - start < 1.5
        with lock.hold(0.0) as locked:
            assert not locked
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        assert lock.acquire(10)
        lock.release()

    def test_gives_its_descriptor_back_in_vain_too(self, lock, holder):
        """
        A lock that is not to stay open is closed as well when it could not be had.
        """
        other = FileLock(lock.path, keep_open=False)
        assert not other.acquire(0.0)
        assert not other.is_open

    def test_dead_holder_holds_nothing(self, lock, holder):
        """
        A holder that was killed leaves a free lock.
        """
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert lock.acquire(1)
        lock.release()

    def test_waits_only_so_long_for_a_thread(self, lock):
        """
        While another thread of this process holds it, the wait ends in time, too.
        """
        results = []
        with lock.hold():
            thread = threading.Thread(target=lambda: results.append(lock.acquire(0.05)))
            thread.start()
            thread.join()
        assert results == [False]
        assert lock.acquire(0)
        lock.release()

    def test_unopenable_file(self, tmp_path):
        """
        Where the lock's file can't be opened it is not had, without an exception and without a wait.
        """
        (tmp_path / "file").write_bytes(b"")
        lock = FileLock(str(tmp_path / "file" / "lock"))
        start = time.monotonic()
        with lock.hold(5) as locked:
            assert not locked
        assert time.monotonic() - start < 1
        (tmp_path / "link").symlink_to(tmp_path / "file")
        assert not FileLock(str(tmp_path / "link")).acquire(5)

    def test_released_by_an_exception(self, lock):
        """
        An exception in the block gives the lock back.
        """
        with pytest.raises(ZeroDivisionError), lock.hold():
            1 / 0  # noqa: B018  # the exception is wanted
        assert lock.acquire(0)
        lock.release()

    def test_close_leaves_a_held_lock(self, lock):
        """
        Closing waits for whoever holds the lock.
        """
        assert lock.acquire()
        closer = threading.Thread(target=lock.close)
        closer.start()
        closer.join(0.05)
        assert closer.is_alive()
        assert lock.is_open
        lock.release()
        closer.join()
        assert not lock.is_open

    def test_portalocker_sees_it(self, lock):
        """
        portalocker, and so concurrent-log-handler, and this lock exclude each other both ways.
        """
        with lock.hold(), open(lock.path, "a") as other, pytest.raises(portalocker.LockException):
            portalocker.lock(other, portalocker.LOCK_EX | portalocker.LOCK_NB)
        with open(lock.path, "a") as other:
            portalocker.lock(other, portalocker.LOCK_EX | portalocker.LOCK_NB)
            assert not lock.acquire(0.05)
            portalocker.unlock(other)
        assert lock.acquire(0)
        lock.release()

    def test_forgetting_in_a_child_keeps_the_parents_lock(self, tmp_path):
        """
        A forked child that forgets the lock does not release it for its parent, and can wait for it itself.
        """
        program = """
import os, sys
from sessionlog_handlers.pipeline.locks import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire()
child = os.fork()
if child == 0:
    lock.forget()
    os._exit(0 if not lock.is_open and not lock.acquire(0.1) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert not FileLock(sys.argv[1]).acquire(0.05), "still ours"
lock.release()
assert FileLock(sys.argv[1]).acquire(0)
"""
        run_python(program, tmp_path / "lock", check=True)


class TestStripedLocks:
    def test_bounded_descriptors(self, tmp_path):
        """
        However many sessions there are, at most *keep_open* descriptors stay open between uses.
        """
        locks = StripedLocks(str(tmp_path / "locks"), keep_open=8)
        for number in range(500):
            with locks.for_session(f"session-{number}").hold() as locked:
                assert locked
        assert locks.open_count == 8
        assert len(os.listdir(tmp_path / "locks")) == STRIPES
        locks.close()
        assert locks.open_count == 0

    def test_same_session_same_lock(self, tmp_path):
        """
        An id has the same lock in every process, and ids that differ in case share it.
        """
        one, other = (StripedLocks(str(tmp_path)) for _ in range(2))
        assert one.for_session("Abc").path == other.for_session("aBC").path
        assert one.for_session("Abc") is one.for_session("aBC")
        assert one.for_session("\ud800") is one.for_session("\ud800")
        assert len({one.for_session(str(number)).path for number in range(2000)}) == STRIPES

    def test_forget(self, tmp_path):
        """
        Forgetting closes what is open.
        """
        locks = StripedLocks(str(tmp_path))
        assert locks.for_session("a").acquire()
        locks.forget()
        assert locks.open_count == 0
        assert locks.for_session("a").acquire(0)
        locks.for_session("a").release()
        locks.close()
