from __future__ import annotations

import errno
import os
import threading
import time

import pytest
from helpers import wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import sync
from sessionlog_handlers.pipeline import threads as threads_module
from sessionlog_handlers.pipeline.listener import Barrier
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.sync import Syncer


@pytest.fixture
def make():
    """
    Makes syncers that are stopped after the test.
    """
    made = []

    def make(interval: float = 60.0) -> Syncer:
        made.append(Syncer(interval, Reporter()))
        return made[-1]

    yield make
    for syncer in made:
        syncer.stop(5)


@pytest.fixture
def synced(monkeypatch):
    """
    What was synced, by its path.
    """
    paths = []
    for name in ("_sync_data", "os.fsync"):
        module, _, attribute = name.rpartition(".")
        owner = sync.os if module else sync
        call = getattr(owner, attribute)

        def noting(descriptor: int, call=call) -> None:
            paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            call(descriptor)

        monkeypatch.setattr(owner, attribute, noting)
    return paths


@pytest.fixture
def path(tmp_path):
    """
    A file to sync.
    """
    (tmp_path / "a.log").write_bytes(b"line\n")
    return str(tmp_path / "a.log")


class TestSyncer:
    def test_groups(self, make, path, synced, tmp_path):
        """
        However often a file is named within the interval, it is synced once, and its directory if its name is new.
        """
        syncer = make(0.1)
        for _ in range(100):
            syncer.add(path, new=True)
        wait_until(lambda: syncer.syncs == 2)
        time.sleep(0.15)
        assert synced == [path, str(tmp_path)]
        syncer.add(path)
        wait_until(lambda: syncer.syncs == 3)
        assert synced[2:] == [path]

    def test_within_the_interval(self, make, path, synced):
        """
        A file is synced at most the interval later.
        """
        syncer = make(0.1)
        start = time.monotonic()
        syncer.add(path)
        wait_until(lambda: synced, interval=0.001)
        assert 0.05 <= time.monotonic() - start < 1

    def test_barrier(self, make, path, synced):
        """
        Who waits gets all that was named before synced at once, whatever the interval.
        """
        syncer = make(60)
        syncer.add(path)
        barriers = [Barrier() for _ in range(3)]
        start = time.monotonic()
        for barrier in barriers:
            syncer.sync_for(barrier)
        assert all(barrier.wait(5) for barrier in barriers)
        assert time.monotonic() - start < 2
        assert synced == [path]
        assert [barrier.error for barrier in barriers] == [None] * 3

    def test_barrier_without_files(self, make):
        """
        Where nothing waits to be synced, a barrier is reached at once.
        """
        barrier = Barrier()
        make(60).sync_for(barrier)
        assert barrier.wait(5)

    def test_stop(self, make, path, synced):
        """
        Stopping syncs what waits, is idempotent, and the next request starts the thread again.
        """
        syncer = make(60)
        for _ in range(2):
            syncer.add(path)
            syncer.stop(5)
            syncer.stop(5)
        assert synced == [path] * 2

    def test_renamed(self, make, path, synced):
        """
        A file that gets another name before it was synced is synced under the new one.
        """
        syncer = make(60)
        syncer.add(path)
        os.rename(path, f"{path}.1")
        with open(path, "w"):
            pass
        syncer.stop(5)
        assert synced == [f"{path}.1"]

    def test_renamed_while_others_are_synced(self, make, path, synced, monkeypatch):
        """
        A file that gets another name when its turn is about to come is synced under the new one.
        """
        first = f"{path}.other"
        with open(first, "w"):
            pass
        call = sync._sync_data

        def rotating(descriptor: int) -> None:
            if not synced:
                os.rename(path, f"{path}.1")
                with open(path, "w"):
                    pass
            call(descriptor)

        monkeypatch.setattr(sync, "_sync_data", rotating)
        syncer = make(60)
        syncer.add(first)
        syncer.add(path)
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert barrier.error is None
        assert synced == [first, f"{path}.1"]

    def test_full_while_written(self, make, path, synced):
        """
        Durable lines may fill a file before they are all written: then it is synced as well as the next one.
        """
        syncer = make(60)
        syncer.expect(path)
        descriptor = os.open(path, os.O_RDONLY)
        syncer.adopt(path, descriptor)
        syncer.adopt("never named", descriptor)
        os.close(descriptor)
        os.rename(path, f"{path}.1")
        with open(path, "w"):
            pass
        syncer.add(path)
        syncer.stop(5)
        assert synced == [f"{path}.1", path]
        before = len(os.listdir("/proc/self/fd"))
        descriptor = os.open(path, os.O_RDONLY)
        syncer.adopt(path, descriptor)  # nothing durable is being written
        os.close(descriptor)
        syncer.stop(5)
        assert synced == [f"{path}.1", path]
        assert len(os.listdir("/proc/self/fd")) == before

    def test_directory(self, make, tmp_path, synced):
        """
        A directory alone is synced within the interval, too.
        """
        syncer = make(0.05)
        syncer.add_directory(str(tmp_path))
        assert wait_until(lambda: synced) == [str(tmp_path)]

    @pytest.mark.parametrize("waited_for", [True, False])
    def test_many(self, make, tmp_path, synced, monkeypatch, waited_for):
        """
        Many files are synced with their file system as a whole, unless somebody relies on the answer.
        """
        whole = []
        monkeypatch.setattr(sync, "_file_system_sync", lambda: lambda path: whole.append(path) or True)
        syncer = make(60)
        for number in range(sync.MANY + 1):
            (tmp_path / f"{number}.log").touch()
            syncer.add(str(tmp_path / f"{number}.log"))
        if waited_for:
            barrier = Barrier()
            syncer.sync_for(barrier)
            assert barrier.wait(10)
        else:
            syncer.stop(10)
        assert (whole, len(synced)) == (([], sync.MANY + 1) if waited_for else ([str(tmp_path)], 0))

    def test_started_by_many(self, make, path, monkeypatch):
        """
        However many threads want it at the same moment, one thread is started.
        """

        def slowly(*args: object) -> threading.Thread | None:
            time.sleep(0.02)
            return threads_module.start_thread(*args)

        monkeypatch.setattr(sync, "start_thread", slowly)
        syncer = make(60)
        threads = [threading.Thread(target=lambda: syncer.add(path)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(thread.name == "sessionlog-sync" for thread in threading.enumerate()) == 1

    def test_deleted(self, make, path):
        """
        A file that is gone is no failure: there is nothing left to lose.
        """
        syncer = make(60)
        syncer.add(path)
        os.unlink(path)
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert barrier.error is None
        assert syncer.failed == set()

    def test_failure(self, make, path, monkeypatch, capsys):
        """
        A failed sync is told of, the file is listed as failed, who waits hears of it, and the other files are synced.
        """
        other = f"{path}.other"
        os.link(path, other)
        calls = []

        def failing(descriptor: int) -> None:
            calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            if calls[-1] == path:
                raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(sync, "_sync_data", failing)
        syncer = make(60)
        syncer.add(path)
        syncer.add(other)
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert barrier.error.errno == errno.EIO
        assert syncer.failed == {path}
        assert calls == [path, other]
        assert syncer.syncs == 1
        assert "could not be synced to the disk: Input/output error" in capsys.readouterr().err
        again = Barrier()
        syncer.sync_for(again)
        assert again.wait(5)
        assert calls == [path, other]  # never tried again

    def test_directory_that_can_not_be_read(self, make, path, monkeypatch):
        """
        A file that was rotated and can't be looked for is no file that was deleted: who waits learns of it.
        """
        syncer = make(60)
        inode = os.stat(path).st_ino
        os.rename(path, f"{path}.1")

        def failing(directory):
            raise OSError(errno.EIO, "Input/output error", directory)

        monkeypatch.setattr(sync.os, "scandir", failing)
        syncer.add(path, inode)
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert isinstance(barrier.error, OSError)

    def test_without_thread(self, make, path, synced, monkeypatch):
        """
        Where there can be no thread, syncing happens at once.
        """
        monkeypatch.setattr(threads_module, "_forbidden", True)
        syncer = make(60)
        syncer.add(path)
        assert synced == [path]
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(0)

    def test_reset(self, make, path, synced, monkeypatch):
        """
        A reset forgets what waited.
        """
        syncer = make(60)
        with monkeypatch.context() as patch:
            patch.setattr(syncer, "start", lambda: None)
            syncer.add(path)
        syncer.reset()
        syncer.stop(5)
        assert synced == []


class TestNoted:
    """Files with lines that need not be durable."""

    def test_are_synced_for_who_waits(self, make, path, synced):
        """
        What was noted is left alone until somebody waits, and its directory is synced if its name is new.
        """
        syncer = make(0.001)
        syncer.note(path, os.stat(path).st_ino, new=True)
        syncer.stop(5)
        assert synced == []
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert synced == [path, os.path.dirname(path)]

    def test_come_before_a_durable_line_of_their_log(self, make, path, synced):
        """
        A full file is synced before a durable line in the next one: what a power loss leaves of a log has no gaps.
        """
        syncer = make(60)
        syncer.note(path, os.stat(path).st_ino)
        os.rename(path, f"{path}.1")
        with open(path, "wb") as file:
            file.write(b"durable\n")
        syncer.add(path)
        syncer.stop(5)
        assert synced == [f"{path}.1", path]

    def test_too_many_to_remember(self, make, tmp_path, monkeypatch, synced):
        """
        Of more files than are remembered, the file system is synced as a whole, once for everybody who waits then.
        """
        monkeypatch.setattr(sync, "MOST_NOTED", 3)
        paths = [tmp_path / f"{number}.log" for number in range(5)]
        syncer = make(60)
        for each in paths:
            each.write_bytes(b"line\n")
            syncer.note(str(each), os.stat(each).st_ino)
        for expected in (1, 0):
            before = syncer.syncs
            barrier = Barrier()
            syncer.sync_for(barrier)
            assert barrier.wait(5)
            assert barrier.error is None
            assert syncer.syncs - before == expected + len(synced)
            synced.clear()

    def test_failure_is_told(self, make, tmp_path, monkeypatch):
        """
        If the file system can't be synced, who waits learns of it.
        """
        monkeypatch.setattr(sync, "MOST_NOTED", 0)
        monkeypatch.setattr(sync, "_file_system_sync", lambda: lambda path: False)
        syncer = make(60)
        syncer.note(str(tmp_path / "a.log"), 1)
        barrier = Barrier()
        syncer.sync_for(barrier)
        assert barrier.wait(5)
        assert "could not be synced" in str(barrier.error)


class TestHandler:
    def test_durable_flush(self, tmp_path, synced):
        """
        A durable event is on the disk when a durable flush returns: its file and its directory were synced.
        """
        handler = SessionHandler(tmp_path, sync_interval=60)
        session = start_session("abc", handler=handler)
        session.error("broken")
        assert session.flush(durable=True)
        assert {str(tmp_path / "abc" / "session.log"), str(tmp_path / "abc")} <= set(synced)
        before = len(synced)
        session.event("completion")  # not durable
        assert session.flush()
        assert len(synced) == before

    def test_durable_flush_of_other_lines(self, tmp_path, synced):
        """
        A durable flush waits for lines, too, that nobody else wants durable, in files that were full meanwhile as well.
        """
        handler = SessionHandler(tmp_path, sync_interval=60, session_level="full", max_bytes="1 KB", backup_count=50)
        session = start_session("abc", handler=handler)
        assert session.flush(durable=True)
        synced.clear()
        for _ in range(30):
            session.output(b"x" * 100)
        assert session.flush()
        assert not [path for path in synced if "session.log" in path]
        assert session.flush(durable=True)
        names = [str(found) for found in (tmp_path / "abc").glob("session.log*")]
        assert len(names) > 5
        assert set(names) <= set(synced)

    def test_durable_across_rotations(self, tmp_path, synced):
        """
        However often files fill while durable events are written, each of them is on the disk when the flush returns.
        """
        handler = SessionHandler(tmp_path, sync_interval=60, max_bytes="1 KB", backup_count=50)
        session = start_session("abc", handler=handler)
        for number in range(30):
            session.error("broken", number=number)
        assert session.flush(durable=True)
        names = [str(found) for found in (tmp_path / "abc").glob("session.log*")]
        assert len(names) > 5
        assert set(names) <= set(synced)

    def test_durable_within_a_second(self, tmp_path, synced):
        """
        Without anybody waiting, a durable event is synced within a second.
        """
        handler = SessionHandler(tmp_path)
        start_session("abc", handler=handler)
        start = time.monotonic()
        wait_until(lambda: str(tmp_path / "abc" / "session.log") in synced, interval=0.002)
        assert time.monotonic() - start < 1

    def test_failure_that_nobody_waited_for(self, tmp_path, monkeypatch):
        """
        A sync that failed while nobody waited makes the next durable flush say so, once.
        """
        handler = SessionHandler(tmp_path, linger=0, sync_interval=0.01)
        session = start_session("abc", handler=handler)
        assert session.flush(durable=True)
        failed = threading.Event()

        def failing(descriptor: int) -> None:
            failed.set()
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(sync, "_sync_data", failing)
            session.error("the kernel dropped it")
            assert failed.wait(10)
            wait_until(lambda: handler.root.syncer.failed)
        assert not session.flush(durable=True)
        assert session.flush(durable=True)

    def test_failed_descriptor_is_abandoned(self, tmp_path, monkeypatch):
        """
        After a failed sync the file is opened anew, and later events are synced through the new descriptor.
        """
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", handler=handler)
        assert session.flush(durable=True)
        path = str(tmp_path / "abc" / "session.log")
        writer = handler.root.shared.open.writer(path)
        stream = writer.stream

        def failing(descriptor: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(sync, "_sync_data", failing)
            session.error("one")
            assert not session.flush(durable=True) or handler.root.syncer.failed
            assert path in handler.root.syncer.failed
        session.error("two")
        assert session.flush(durable=True)
        assert stream.closed
        assert writer.stream is not stream
        assert path not in handler.root.syncer.failed


def test_lock_is_not_held_while_syncing(make, path, monkeypatch):
    """
    While a slow disk syncs, others can name more files.
    """
    inside, release = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        inside.set()
        release.wait(10)

    monkeypatch.setattr(sync, "_sync_data", slow)
    syncer = make(0.01)
    syncer.add(path)
    assert inside.wait(5)
    start = time.monotonic()
    syncer.add(path)
    syncer.add_directory(os.path.dirname(path))
    assert time.monotonic() - start < 1
    release.set()
