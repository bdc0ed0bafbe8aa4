from __future__ import annotations

import threading
import time

import pytest
from helpers import wait_until

from sessionlog_handlers.pipeline import keeper as keeper_module
from sessionlog_handlers.pipeline import threads as threads_module
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.report import Reporter


@pytest.fixture
def ticks():
    """
    When the keeper looked around.
    """
    return []


@pytest.fixture
def keeper(ticks):
    """
    A keeper that has nothing to watch.
    """
    made = Keeper(lambda: bool(ticks.append(time.monotonic())), 0.02, Reporter())
    yield made
    made.stop(5)


class TestJobs:
    def test_in_order(self, keeper):
        """
        Jobs run one after the other, in the order of their submission, in one thread that is not the caller's.
        """
        done = []
        for number in range(20):
            keeper.submit(lambda number=number: done.append((number, threading.current_thread())))
        wait_until(lambda: len(done) == 20)
        assert [number for number, _ in done] == [*range(20)]
        assert len({thread for _, thread in done}) == 1
        assert done[0][1] is not threading.current_thread()

    def test_later(self, keeper):
        """
        A job for later runs when its time has come, after an earlier one that was submitted after it.
        """
        done = []
        start = time.monotonic()
        keeper.submit(lambda: done.append(("late", time.monotonic() - start)), 0.15)
        keeper.submit(lambda: done.append(("soon", time.monotonic() - start)), 0.05)
        keeper.submit(lambda: done.append(("now", time.monotonic() - start)))
        wait_until(lambda: len(done) == 3)
        assert [name for name, _ in done] == ["now", "soon", "late"]
        assert done[1][1] >= 0.05
        assert 0.15 <= done[2][1] < 1

    @pytest.mark.parametrize("error", [ValueError("bad"), OSError(28, "No space left on device")])
    def test_failing_job(self, keeper, capsys, error):
        """
        A job that fails is told of and ends neither the thread nor the jobs behind it.
        """
        done = []

        def fail() -> None:
            raise error

        keeper.submit(fail)
        keeper.submit(lambda: done.append(threading.current_thread()))
        wait_until(lambda: done)
        assert done[0].is_alive()
        assert type(error).__name__ in capsys.readouterr().err


class TestTicks:
    def test_only_while_watching(self, keeper, ticks):
        """
        With nothing to watch the keeper sleeps, after one look.
        """
        keeper.submit(lambda: None)
        wait_until(lambda: ticks)
        time.sleep(0.1)
        before = len(ticks)
        time.sleep(0.1)
        assert len(ticks) == before <= 3
        keeper.watch()
        wait_until(lambda: len(ticks) > before)

    def test_while_watching(self):
        """
        While there is something to watch, it looks around at each interval.
        """
        ticks = []
        keeper = Keeper(lambda: ticks.append(1) or True, 0.02, Reporter())
        keeper.watch()
        wait_until(lambda: len(ticks) >= 5, 5)
        keeper.stop(5)
        before = len(ticks)
        time.sleep(0.06)
        assert len(ticks) == before

    def test_failing_look(self, capsys):
        """
        A look that fails is told of, and jobs still run.
        """
        keeper = Keeper(lambda: 1 // 0 == 0, 0.02, Reporter())
        done = []
        keeper.watch()
        keeper.submit(lambda: done.append(1), 0.05)
        wait_until(lambda: done)
        keeper.stop(5)
        assert "ZeroDivisionError" in capsys.readouterr().err

    def test_failing_look_is_repeated(self, capsys):
        """
        After a look that failed there is still something to watch.
        """
        looks = []

        def look() -> bool:
            looks.append(1)
            if len(looks) == 2:
                raise OSError(24, "Too many open files")
            return True

        keeper = Keeper(look, 0.02, Reporter())
        keeper.watch()
        wait_until(lambda: len(looks) >= 5)
        keeper.stop(5)
        assert "Too many open files" in capsys.readouterr().err


class TestSlowJobs:
    def test_hold_nothing_up(self):
        """
        While a slow job runs, the keeper looks around and runs other jobs; slow jobs run one after the other.
        """
        ticks, done = [], []
        release = threading.Event()
        keeper = Keeper(lambda: ticks.append(1) or True, 0.02, Reporter())
        keeper.submit(lambda: done.append(("first", release.wait(20))), slow=True)
        keeper.submit(lambda: done.append(("second", True)), slow=True)
        keeper.submit(lambda: done.append(("quick", True)))
        wait_until(lambda: len(ticks) >= 5 and done)
        assert done == [("quick", True)]
        release.set()
        wait_until(lambda: len(done) == 3)
        assert done[1:] == [("first", True), ("second", True)]
        keeper.stop(5)

    def test_stop(self, keeper):
        """
        Stopping runs the slow jobs that wait and ends their thread, within the time that it has.
        """
        done = []
        for number in range(3):
            keeper.submit(lambda number=number: done.append(number), slow=True)
        keeper.stop(5)
        assert done == [0, 1, 2]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("sessionlog-keeper")]
        release = threading.Event()
        for _ in range(2):
            keeper.submit(lambda: release.wait(20), slow=True)
        start = time.monotonic()
        keeper.stop(0.1)
        assert time.monotonic() - start < 2
        release.set()

    def test_without_thread(self, keeper, monkeypatch):
        """
        Where there can be no thread, they run when the keeper is stopped.
        """
        monkeypatch.setattr(threads_module, "_forbidden", True)
        done = []
        keeper.submit(lambda: done.append(threading.current_thread()), slow=True)
        keeper.stop(5)
        assert done == [threading.current_thread()]


class TestStop:
    def test_runs_what_is_due(self, keeper):
        """
        Stopping runs what is due and ends the thread; what is for later waits until the keeper runs again.
        """
        done = []
        for number in range(5):
            keeper.submit(lambda number=number: done.append(number))
        keeper.submit(lambda: done.append("later"), 0.3)
        keeper.stop(5)
        assert done == [*range(5)]
        assert not [thread for thread in threading.enumerate() if thread.name == "sessionlog-keeper"]
        keeper.watch()
        wait_until(lambda: done[-1] == "later", 5)

    def test_only_so_long(self, keeper):
        """
        A job that takes too long does not hold up stopping for longer than was asked.
        """
        release = threading.Event()
        started = threading.Event()

        def slow() -> None:
            started.set()
            release.wait(20)

        keeper.submit(slow)
        assert started.wait(5)
        start = time.monotonic()
        keeper.stop(0.1)
        assert time.monotonic() - start < 2
        release.set()

    def test_again(self, keeper):
        """
        After stopping, the next job starts the thread again; stopping twice is no error.
        """
        done = []
        for number in range(3):
            keeper.submit(lambda number=number: done.append(number))
            keeper.stop(5)
            keeper.stop(5)
        assert done == [0, 1, 2]

    def test_wanted_again(self, keeper):
        """
        A thread that did not stop in time goes on if it is wanted again before it has ended.
        """
        release, done = threading.Event(), []
        keeper.submit(lambda: release.wait(20))
        keeper.stop(0.05)
        keeper.submit(lambda: done.append(1))
        release.set()
        assert wait_until(lambda: done) == [1]

    def test_job_that_submits_another(self, keeper):
        """
        A job that asks for another one, now or later, does not keep the thread from ending.
        """
        stopping, done = threading.Event(), []

        def job() -> None:
            stopping.wait(20)
            time.sleep(0.1)
            keeper.submit(lambda: done.append("now"))
            keeper.submit(lambda: done.append("later"), delay=60.0)

        keeper.submit(job)
        thread = keeper._thread
        threading.Timer(0.05, stopping.set).start()
        keeper.stop(10)
        assert not thread.is_alive()
        assert done == ["now"]

    def test_started_by_many(self, keeper, monkeypatch):
        """
        However many threads want it at the same moment, one thread is started.
        """

        def slowly(*args: object) -> threading.Thread | None:
            time.sleep(0.02)
            return threads_module.start_thread(*args)

        monkeypatch.setattr(keeper_module, "start_thread", slowly)
        started = threading.Barrier(5)

        def want() -> None:
            started.wait()
            keeper.watch()

        threads = [threading.Thread(target=want) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(thread.name == "sessionlog-keeper" for thread in threading.enumerate()) == 1

    def test_without_thread(self, keeper, monkeypatch):
        """
        Where there can be no thread, jobs run when the keeper is stopped.
        """
        monkeypatch.setattr(threads_module, "_forbidden", True)
        done = []
        keeper.submit(lambda: done.append(threading.current_thread()))
        assert done == []
        keeper.stop(5)
        assert done == [threading.current_thread()]

    def test_reset(self, keeper, monkeypatch):
        """
        After a reset the jobs of before are forgotten.
        """
        done = []
        with monkeypatch.context() as patch:
            patch.setattr(threads_module, "_forbidden", True)
            keeper.submit(lambda: done.append("before"))
        keeper.reset()
        keeper.submit(lambda: done.append("after"))
        keeper.stop(5)
        assert done == ["after"]
