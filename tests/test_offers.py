from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle

from sessionlog_handlers import SessionHandler, offers, start_session
from sessionlog_handlers.events import EventCatalogue, EventType

PROMPT = EventCatalogue().get("prompt_change")


class Keeping(logging.Handler):
    """
    Keeps the records it is given.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """
        Keep it.
        """
        self.records.append(record)


class Value:
    """
    Counts how often its text is asked for.
    """

    asked = 0

    def __str__(self) -> str:
        self.asked += 1
        return "text"


def take_over(*handlers: logging.Handler) -> None:
    """
    Leave the root logger these handlers, without those that pytest puts there when a test begins.
    """
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger().handlers[:] = handlers


class TestTakers:
    def test_none(self, tmp_path, monkeypatch):
        """
        Where only handlers of ours would get it, no record is made of an event.
        """
        take_over(SessionHandler(tmp_path))
        monkeypatch.setattr(offers, "EventText", None)  # making a record would fail, and be reported
        with start_session("abc") as session:
            session.event("prompt_change", text="hello")
            assert session.root.reporter.last_error is None

    def test_too_high(self):
        """
        A handler that leaves records of that severity out is not offered any.
        """
        keeping = Keeping()
        take_over(keeping)
        keeping.setLevel(logging.ERROR)
        value = Value()
        offers.offer(PROMPT, "abc", {"value": value})
        assert not keeping.records
        assert value.asked == 0

    def test_behind_a_logger_that_keeps_to_itself(self):
        """
        Where the logger does not propagate, the handlers above it are not asked.
        """
        keeping = Keeping()
        take_over(keeping)
        logger = logging.getLogger("sessionlog.session")
        logger.propagate = False
        try:
            offers.offer(PROMPT, "abc", {})
        finally:
            logger.propagate = True
        assert not keeping.records


class TestRecords:
    def test_like_a_record_of_logging(self):
        """
        The record has every attribute of one that `logging` makes, with a value of the same type.
        """
        keeping = Keeping()
        take_over(keeping)
        offers.offer(PROMPT, "abc", {"text": "hello"})
        offers.offer(PROMPT, "abc", {"text": "again"})
        logging.getLogger("app").info("made by logging")
        *offered, made = keeping.records
        for record in offered:
            assert type(record) is logging.LogRecord
            assert set(record.__dict__) - {"session_id", "event", "event_data", "_sessionlog"} == set(made.__dict__)
            for name in ("created", "msecs", "relativeCreated", "thread", "threadName", "process", "processName"):
                assert type(getattr(record, name)) is type(getattr(made, name)), name
            assert abs(record.created - made.created) < 1
            assert abs(record.relativeCreated - made.relativeCreated) < 1000
            assert (record.thread, record.threadName) == (made.thread, made.threadName)
            assert (record.process, record.processName) == (made.process, made.processName)
        assert [record.getMessage() for record in offered] == ["prompt_change text=hello", "prompt_change text=again"]

    def test_task(self):
        """
        Where records tell the asyncio task, those of events do.
        """
        keeping = Keeping()
        take_over(keeping)

        async def work() -> None:
            offers.offer(PROMPT, "abc", {})
            logging.getLogger("app").info("made by logging")

        async def main() -> None:
            await asyncio.create_task(work(), name="worker")

        asyncio.run(main())
        offered, made = (record for record in keeping.records if record.name != "asyncio")
        assert getattr(offered, "taskName", None) == getattr(made, "taskName", None)

    def test_message_is_made_by_who_reads_it(self):
        """
        The message is worked out when a handler asks for it, and travels as text where the record is pickled.
        """
        keeping = Keeping()
        take_over(keeping)
        value = Value()
        offers.offer(PROMPT, "abc", {"value": value})
        assert value.asked == 0
        (record,) = keeping.records
        assert record.getMessage() == "prompt_change value=text"
        record.__dict__["event_data"] = {}
        assert pickle.loads(pickle.dumps(record)).msg == "prompt_change value=text"

    def test_one_name_in_two_catalogues(self):
        """
        An event that two handlers declare with different severities is offered with the severity of its own.
        """
        keeping = Keeping()
        take_over(keeping)
        for severity in (logging.INFO, logging.ERROR):
            offers.offer(EventType("deploy", severity=severity), "abc", {})
        assert [record.levelno for record in keeping.records] == [logging.INFO, logging.ERROR]
        assert [record.levelname for record in keeping.records] == ["INFO", "ERROR"]

    def test_many_names(self):
        """
        No more events are remembered than the limit, however many names an app makes up.
        """
        take_over(Keeping())
        for number in range(offers.MAX_TEMPLATES + 10):
            offers.offer(EventType(f"event{number}"), "abc", {})
        assert len(offers._templates) <= offers.MAX_TEMPLATES

    def test_in_a_forked_child(self):
        """
        In a forked child the record names the child.
        """
        keeping = Keeping()
        take_over(keeping)
        offers.offer(PROMPT, "abc", {})
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()

        def work() -> None:
            offers.offer(PROMPT, "abc", {})
            theirs.send((keeping.records[-1].process, keeping.records[-1].processName))

        child = context.Process(target=work, name="child")
        child.start()
        assert ours.recv() == (child.pid, "child")
        child.join()
