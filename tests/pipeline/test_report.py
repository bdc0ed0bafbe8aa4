from __future__ import annotations

import sys
import threading

import pytest

from sessionlog_handlers.pipeline import report
from sessionlog_handlers.pipeline.report import MAX_EPISODES, Loss, Losses, Reporter


class TestReporter:
    def test_once_an_episode(self, capsys, monkeypatch):
        """
        A fault is told of once; when it is over or has gone on for a minute, again. Each time is counted.
        """
        now = [1000.0]
        monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
        reporter = Reporter()

        def told() -> int:
            reporter.report("write a", "a: can't be written")
            return capsys.readouterr().err.count("sessionlog: a: can't be written\n")

        assert [told(), told()] == [1, 0]
        assert reporter.over("write a")
        assert not reporter.over("write a")
        assert [told(), told()] == [1, 0]
        now[0] += report.EPISODE
        assert [told(), told()] == [1, 0]
        assert (reporter.errors, reporter.last_error) == (6, "a: can't be written")

    def test_faults_are_apart(self, capsys):
        """
        Another fault is told of by itself.
        """
        reporter = Reporter()
        reporter.report("a", "one")
        reporter.report("b", "two")
        assert capsys.readouterr().err == "sessionlog: one\nsessionlog: two\n"

    def test_safe_text(self, capsys):
        """
        A message is one line of text that is safe on a terminal, whatever is in it.
        """
        Reporter().report("a", "evil\x1b[2J\nid \ud800 \u202e")
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert err.isascii()
        assert "\x1b" not in err

    @pytest.mark.parametrize("stream", [None, "closed"])
    def test_without_stderr(self, monkeypatch, tmp_path, stream):
        """
        Without a usable stderr nothing happens but counting.
        """
        if stream:
            with open(tmp_path / "err", "w") as stream:
                pass
        monkeypatch.setattr(sys, "stderr", stream)
        reporter = Reporter()
        reporter.report("a", "one")
        assert reporter.errors == 1

    def test_bounded_memory(self, monkeypatch, capsys):
        """
        Very many different faults are not all remembered.
        """
        reporter = Reporter()
        for number in range(MAX_EPISODES * 2):
            reporter.report(str(number), "fault")
        assert len(reporter._told) <= MAX_EPISODES


class TestLosses:
    def test_by_session_and_reason(self):
        """
        Losses are counted by reason, and given for each session once, to be told of.
        """
        losses = Losses()
        for channel, reason, number in [("a", "full", 1), ("a", "full", 2), ("a", "error", 1), ("b", "full", 5)]:
            losses.count(channel, reason, number)
        losses.count("a", "full", 3, "output")
        losses.count(None, "late")
        assert sorted(losses.untold()) == ["a", "b"]
        assert losses.take("a") == [Loss("full", 3), Loss("error", 1), Loss("full", 3, "output")]
        assert losses.take("a") == []
        assert losses.untold() == ["b"]
        assert losses.take("b") == [Loss("full", 5)]
        assert losses.untold() == []
        assert losses.by_reason == {"full": 11, "error": 1, "late": 1}
        assert losses.total == 13
        losses.reset()
        assert losses.total == 0

    def test_threads(self):
        """
        Nothing is lost of the losses that threads count while others are taken.
        """
        losses = Losses()
        taken = []

        def count() -> None:
            for _ in range(2000):
                losses.count("a", "full")

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            taken += losses.take("a")
        taken += losses.take("a")
        assert sum(loss.number for loss in taken) == losses.total == 8000

    def test_growing_distances(self, monkeypatch):
        """
        The first loss is due at once; of a session that goes on losing, each line is twice as far away as the last one,
        up to a minute, and after a minute without a loss it begins anew.
        """
        now = [1000.0]
        monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
        losses = Losses()
        told = []
        for tenth in range(3000):
            now[0] = 1000.0 + tenth / 10
            losses.count("a", "full")
            if losses.due(now[0]):
                told.append((now[0] - 1000.0, *losses.take("a")))
        assert [at for at, _ in told] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 123.0, 183.0, 243.0]
        assert losses.next_due() == 1303.0
        now[0] = losses.next_due()
        told.append((303.0, *losses.take("a")))
        assert sum(loss.number for _, loss in told) == losses.total
        now[0] += report.LONGEST_DISTANCE + report.QUIET
        losses.count("a", "full")
        assert losses.due(now[0]) == ["a"]
        losses.take("a")
        assert losses.next_due() == float("inf")
        losses.count("a", "full")
        assert losses.next_due() == now[0] + report.FIRST_DISTANCE

    def test_wakes_for_news_only(self):
        """
        Whoever tells of losses is woken by the first one that is not told of, and by no further one.
        """
        calls = []
        losses = Losses(lambda: calls.append(1))
        for _ in range(5):
            losses.count("a", "full")
        assert len(calls) == 1
        losses.count(None, "late")
        assert len(calls) == 1
        losses.take("a")
        losses.count_lines("a", 1)
        assert len(calls) == 2

    def test_nothing_is_kept_of_a_session_that_is_over(self):
        """
        When a session's last line is written, nothing of it is remembered.
        """
        losses = Losses()
        losses.count("a", "full")
        losses.take("a")
        losses.count("a", "full")
        losses.forget("a")
        assert losses.untold() == []
        assert losses._accounts == {}
        assert losses.total == 2
