from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest
from helpers import child_environment, run_python, wait_until

from sessionlog_handlers.pipeline import leases as module
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.leases import MOST_SWEPT, Lease, is_alive, read_lease, sweep

HOLDER = """
import sys
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.leases import Lease
print(Lease(sys.argv[1]).take(), flush=True)
"""


@pytest.fixture
def directory(tmp_path):
    """
    A root's folder of leases.
    """
    return str(tmp_path / ".leases")


class TestLease:
    def test_lives_as_long_as_its_process(self, directory):
        """
        A lease is alive until its process is killed.
        """
        program = f"{HOLDER}\nsys.stdin.readline()"
        with subprocess.Popen(
            [sys.executable, "-c", program, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
        ) as child:
            name = child.stdout.readline().decode().strip()
            assert is_alive(directory, name)
            assert read_lease(directory, name)["pid"] == child.pid
            child.send_signal(signal.SIGKILL)
            child.wait()
            wait_until(lambda: not is_alive(directory, name))
        assert sweep(directory) == 1
        assert os.listdir(directory) == []

    def test_taken_once(self, directory):
        """
        Taking a lease twice gives the same one; given back, its file is gone and the next one has another name.
        """
        lease = Lease(directory)
        name = lease.take()
        assert lease.take() == name
        assert lease.is_held
        assert os.listdir(directory) == [name]
        assert is_alive(directory, name)
        assert sweep(directory) == 0
        lease.give_back()
        lease.give_back()
        assert not lease.is_held
        assert os.listdir(directory) == []
        assert not is_alive(directory, name)
        assert lease.take() != name
        lease.give_back()

    def test_looking_does_not_take(self, directory):
        """
        Many may look at a dead lease at the same time, and none of them makes it look alive.
        """
        lease = Lease(directory)
        name = lease.take()
        lease.forget()
        descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
        try:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_SH)
            assert not is_alive(directory, name)
        finally:
            os.close(descriptor)

    def test_counters(self, directory):
        """
        What a process writes into its lease others can read, also after it became shorter.
        """
        lease = Lease(directory)
        lease.write({"stats": {}})  # without a lease there is nowhere to write to
        name = lease.take()
        lease.write({"stats": {"written": 10**12, "last_error": "x" * 1000}})
        lease.write({"stats": {"written": 1}})
        assert read_lease(directory, name)["stats"] == {"written": 1}
        assert read_lease(directory, name)["pid"] == os.getpid()
        lease.give_back()

    def test_written_for_news_only(self, directory):
        """
        What changes without being worth a write is told with the next counter that is.
        """
        lease = Lease(directory)
        name = lease.take()
        for free, written in ((100, 1), (90, 1), (80, 2), (70, 2)):
            lease.write({"stats": {"disk_free": free, "written": written}}, {"written": written})
        assert read_lease(directory, name)["stats"] == {"disk_free": 80, "written": 2}
        lease.give_back()

    def test_dead_ones_go(self, directory):
        """
        Whoever takes a lease removes those of dead processes, once, and not more than a few at a time.
        """
        os.mkdir(directory)
        for number in range(MOST_SWEPT + 10):
            with open(os.path.join(directory, f"dead{number}"), "wb"):
                pass
        other, lease = Lease(directory), Lease(directory)
        other.take()
        assert len(os.listdir(directory)) == 11
        lease.take()
        assert sorted(os.listdir(directory)) == sorted([other.name, lease.name])
        lease.give_back()
        with open(os.path.join(directory, "dead"), "wb"):
            pass
        lease.take()
        assert len(os.listdir(directory)) == 3
        lease.give_back()
        other.give_back()

    def test_no_descriptor_is_no_death(self, directory, monkeypatch):
        """
        A process whose lease can't be looked at, for want of a descriptor, is not taken for dead.
        """
        lease = Lease(directory)
        name = lease.take()

        def fail(path: str) -> int:
            raise OSError(errno.EMFILE, "Too many open files", path)

        with monkeypatch.context() as patch:
            patch.setattr(module, "open_regular", fail)
            assert is_alive(directory, name)
            assert sweep(directory) == 0
        lease.give_back()

    def test_given_back_while_written(self, directory, tmp_path, monkeypatch):
        """
        A lease that is given back while its counters are written never cuts the file that gets its descriptor next.
        """
        lease = Lease(directory)
        lease.take()
        truncate = os.ftruncate
        other = tmp_path / "other"
        other.write_bytes(b"x" * 10_000)
        opened = []

        def give_back() -> None:
            lease.give_back()
            opened.append(os.open(other, os.O_RDWR))

        thread = threading.Thread(target=give_back)

        def slow(descriptor: int, size: int) -> None:
            thread.start()
            thread.join(0.2)
            truncate(descriptor, size)

        monkeypatch.setattr(module.os, "ftruncate", slow)
        lease.write({"stats": {}})
        thread.join()
        os.close(opened[0])
        assert len(other.read_bytes()) == 10_000
        assert not lease.is_held

    def test_forgotten_while_written(self, directory):
        """
        A child that was forked while another thread wrote the lease forgets it without waiting for that thread.
        """
        lease = Lease(directory)
        lease.take()
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with lease._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        lease.forget()
        assert lease.take()
        done.set()
        thread.join()
        lease.give_back()

    def test_child_leaves_the_parents_lease(self, directory):
        """
        A forked child that forgets the lease does not end it, and does not keep it alive after the parent.
        """
        program = """
import os, sys, time
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.leases import Lease, is_alive
lease = Lease(sys.argv[1])
name = lease.take()
parent = os.getpid()
ready, done = os.pipe()
if os.fork() == 0:
    lease.forget()
    answers = [is_alive(sys.argv[1], name)]
    os.write(done, b"x")
    while os.getppid() == parent:
        time.sleep(0.01)
    answers.append(is_alive(sys.argv[1], name))
    print(answers, flush=True)
    os._exit(0)
os.read(ready, 1)
os.kill(parent, 9)
"""
        assert run_python(program, directory).stdout == "[True, False]\n"

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "absent", "\0", "\ud800", "x" * 300])
    def test_hostile_name(self, directory, name):
        """
        A name that can't be a lease's is dead, never an error and never a path.
        """
        lease = Lease(directory)
        lease.take()
        assert not is_alive(directory, name)
        lease.give_back()

    @pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
    def test_what_is_not_regular_is_dead(self, directory, kind):
        """
        A FIFO, a link or a directory in a lease's place is dead, and looking at it does not hang.
        """
        lease = Lease(directory)
        name = lease.take()
        path = os.path.join(directory, "other")
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "link":
            os.symlink(name, path)
        else:
            os.mkdir(path)
        assert not is_alive(directory, "other")
        assert read_lease(directory, "other") == {}
        lease.give_back()

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "\xff"}', b"[" * 10_000])
    def test_unreadable_content(self, directory, content):
        """
        A lease with broken content says nothing.
        """
        os.mkdir(directory)
        with open(os.path.join(directory, "broken"), "wb") as broken:
            broken.write(content)
        assert read_lease(directory, "broken") == {}

    def test_no_room(self, tmp_path):
        """
        Where no lease can be written, taking one raises, holds nothing and leaves nothing behind.
        """
        (tmp_path / "file").write_bytes(b"")
        lease = Lease(str(tmp_path / "file"))
        with pytest.raises(NotRegularError, match="a file, and a directory is needed"):
            lease.take()
        assert not lease.is_held
        assert sweep(str(tmp_path / "nowhere")) == 0
