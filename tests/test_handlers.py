from __future__ import annotations

import logging
import logging.handlers
import os
import pickle
import sys
import threading

import pytest
from helpers import read_lines, registered, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.exceptions import ConfigurationError, HandlerNotFoundError, SessionLogWarning
from sessionlog_handlers.pipeline import lifecycle


@pytest.fixture
def logger():
    """
    A logger without handlers.
    """
    logger = logging.getLogger("test_handlers")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


@pytest.fixture
def handler(logger, tmp_path):
    """
    A handler on that logger, whose sessions keep all.
    """
    handler = SessionHandler(tmp_path / "logs", linger=0, session_level="full", default_session="abc")
    logger.addHandler(handler)
    return handler


@pytest.fixture
def lines(handler, tmp_path):
    """
    Gives the lines of the session to which all records go.
    """

    def read():
        handler.flush()
        return read_lines(tmp_path / "logs" / "abc" / "session.log")

    return read


def messages(lines):
    """The messages of the ordinary records among the lines."""
    return [line["msg"] for line in lines if line["event"] == "log"]


def our_threads():
    """The names of the package's running threads."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("sessionlog"))


class TestPlainHandler:
    def test_is_no_queue_handler(self, handler):
        """
        To `logging` it is a plain handler, which `dictConfig` treats alike on every Python; it needs no lock.
        """
        assert isinstance(handler, logging.Handler)
        assert not isinstance(handler, logging.handlers.QueueHandler)
        assert handler.lock is None
        handler.acquire()
        handler.release()

    def test_repr(self, handler, tmp_path):
        """
        Its repr names its root and its level.
        """
        handler.setLevel("WARNING")
        assert repr(handler) == f"<SessionHandler {tmp_path / 'logs'} (WARNING)>"

    def test_formatter(self, handler, logger, lines):
        """
        A formatter is a visible warning and has no effect; taking it away again is nothing to tell of.
        """
        with pytest.warns(SessionLogWarning, match=r"remove 'formatter:' \(Formatter\), or choose a format"):
            handler.setFormatter(logging.Formatter("XXX %(message)s"))
        handler.setFormatter(None)
        logger.info("hello")
        assert messages(lines()) == ["hello"]

    def test_level_is_a_floor_for_records(self, handler, logger, lines):
        """
        The handler's own level holds ordinary records back, never events.
        """
        handler.setLevel(logging.ERROR)
        with start_session("abc") as session:
            logger.warning("too low")
            logger.error("passes")
            session.event("state_change")
            session.prompt("hi")
        assert [line["event"] for line in lines()][1:-1] == ["log", "state_change", "initial_prompt"]
        assert messages(lines()) == ["passes"]

    def test_filters(self, handler, logger, lines):
        """
        Filters decide on records and may change them, before anything is judged.
        """

        def mark(record: logging.LogRecord) -> bool:
            record.marked = True
            return "secret" not in record.msg

        handler.addFilter(mark)
        handler.addFilter(logging.Filter("test_handlers.part"))
        logger.info("other logger")
        logging.getLogger("test_handlers.part").info("passes")
        logging.getLogger("test_handlers.part").info("secret")
        found = [line for line in lines() if line["event"] == "log"]
        assert [(line["msg"], line["data"]) for line in found] == [("passes", {"marked": True})]

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="filters give records from Python 3.12 on")
    def test_filter_gives_another_record(self, handler, logger, lines):
        """
        A filter may put another record in the place of the one that came; other handlers see the first.
        """
        seen = []

        class Other(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record.getMessage())

        def replace(record: logging.LogRecord) -> logging.LogRecord:
            return logging.LogRecord(record.name, record.levelno, record.pathname, 1, "replaced", (), None)

        handler.addFilter(replace)
        logger.addHandler(Other())
        logger.info("original")
        assert messages(lines()) == ["replaced"]
        assert seen == ["original"]

    def test_result_of_handle(self, handler):
        """
        `handle` tells whether the filters let the record pass, as the standard library's does.
        """
        record = logging.LogRecord("test_handlers", logging.INFO, __file__, 1, "hello", (), None)
        assert handler.handle(record)
        handler.addFilter(lambda record: False)
        assert not handler.handle(record)

    def test_never_needs_handle_error(self, handler, logger, lines, monkeypatch):
        """
        Records that a formatter of the standard library would stumble over are written.
        """
        monkeypatch.setattr(handler, "handleError", lambda record: pytest.fail("handleError was called"))

        class Mute:
            def __str__(self) -> str:
                raise RuntimeError("no text")

            __repr__ = __str__

        for message, *args in (("%d items", "many"), ("%s %s", "one"), (Mute(),), ("object %s", Mute()), ("last",)):
            handler.handle(logging.LogRecord("app", logging.INFO, __file__, 1, message, tuple(args), None))
        assert len(messages(lines())) == 5
        assert messages(lines())[-1] == "last"
        assert handler.stats()["dropped"] == {}

    def test_other_handlers_see_the_session(self, handler, logger, lines):
        """
        Handlers that come after it find the record's session in ``session_id``.
        """
        seen = []

        class Other(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record.session_id)

        logger.addHandler(Other())
        with start_session("xyz"):
            logger.info("inside")
        logger.info("outside")
        assert seen == ["xyz", "abc"]

    def test_once_for_each_root(self, logger, tmp_path):
        """
        A handler on two loggers takes a record once, also when one of another root has taken it in between.
        """
        second = SessionHandler(tmp_path / "second", linger=0, default_session="abc")
        first = SessionHandler(tmp_path / "first", linger=0, default_session="abc")
        child = logger.getChild("child")
        child.addHandler(first)
        logger.addHandler(second)
        logger.addHandler(first)
        child.warning("hello")
        for handler, name in ((first, "first"), (second, "second")):
            handler.flush()
            assert messages(read_lines(tmp_path / name / "abc" / "session.log")) == ["hello"]

    def test_record_can_be_pickled(self, handler, logger):
        """
        What a handler notes on a record goes with it to another process.
        """
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "hello", (), None)
        handler.handle(record)
        assert pickle.loads(pickle.dumps(record)).__dict__ == record.__dict__

    def test_two_files_of_one_directory(self, logger, tmp_path):
        """
        Handlers that write one file each take their records apart, though they have the same directory.
        """
        for name in ("a.log", "b.log"):
            logger.addHandler(
                SessionHandler(tmp_path / "logs", linger=0, default_session="abc", single_file=tmp_path / name)
            )
        logger.warning("hello")
        for handler in logger.handlers:
            handler.flush()
        assert [messages(read_lines(tmp_path / name)) for name in ("a.log", "b.log")] == [["hello"], ["hello"]]

    def test_stats(self, handler, logger, lines):
        """
        At rest, what was accepted is what was written and dropped, by reason, and nothing is pending.
        """
        session = start_session("other")
        for number in range(50):
            logger.info("record %d", number)
        session.event("completion")
        session.end()
        session.event("completion")
        handler.flush()
        stats = handler.stats()
        assert (stats["written"], stats["dropped"], stats["pending"]) == (51, {"late": 1}, 0)
        assert stats["accepted"] == 52
        assert {name: stats[name] for name in ("unrouted", "rotations", "unlocked", "sessions")} == {
            "unrouted": 0,
            "rotations": 0,
            "unlocked": 0,
            "sessions": 1,
        }
        assert stats["batches"] >= 1
        assert stats["open_files"] >= 1
        assert stats["last_error"] == "session 'other' has ended; what still names it is left out"

    @pytest.mark.parametrize("form", [str, os.fspath, lambda path: path])
    def test_forms_of_a_directory(self, tmp_path, form):
        """
        The root is given as text or as a path.
        """
        handler = SessionHandler(form(tmp_path / "logs"))
        start_session("abc").end()
        handler.close()
        assert (tmp_path / "logs" / "abc" / "session.log").exists()

    def test_directory_by_default(self, home):
        """
        Without a directory the root is in the home directory, and ``~`` is filled in.
        """
        for handler, name in ((SessionHandler(), ".sessionlog/logs"), (SessionHandler("~/mine"), "mine")):
            start_session("abc", handler=handler).end()
            handler.close()
            assert (home / name / "abc" / "session.log").exists()


class TestLife:
    def test_makes_nothing_before_the_first_record(self, tmp_path):
        """
        A handler that nobody uses costs no directory, descriptor or thread, however often it is closed.
        """
        handler = SessionHandler(tmp_path / "logs")
        for _ in range(3):
            handler.flush()
            handler.close()
        assert not (tmp_path / "logs").exists()
        assert our_threads() == []
        assert handler.stats()["open_files"] == 0

    def test_closes_and_lives_again(self, handler, logger, lines):
        """
        Closing writes what is queued and gives all back, any number of times; the next record starts it again.
        """
        for number in range(3):
            logger.info("record %d", number)
            assert our_threads()
            handler.close()
            handler.close()
            assert our_threads() == []
            assert handler.stats()["open_files"] == 1  # the lease: a session is open, and must not look crashed
        assert messages(lines()) == ["record 0", "record 1", "record 2"]
        assert [line["seq"] for line in lines()] == [1, 2, 3, 4]

    def test_lives_again_with_an_event(self, handler, lines):
        """
        An event of the API starts a closed handler too.
        """
        session = start_session("abc")
        handler.close()
        session.event("completion")
        assert [line["event"] for line in lines()] == ["session_start", "completion"]

    def test_closing_an_older_handler(self, handler, logger, lines, tmp_path):
        """
        Of two handlers of one root the newest counts: closing the older one takes nothing from it.
        """
        newer = SessionHandler(tmp_path / "logs", linger=0, default_session="abc")
        logger.info("1")
        wait_until(our_threads)
        handler.close()
        assert our_threads()
        newer.handle(logging.LogRecord("test_handlers", logging.ERROR, __file__, 1, "2", (), None))
        newer.close()
        assert our_threads() == []

    def test_looked_for_while_it_is_made(self, tmp_path, monkeypatch):
        """
        Whoever looks for a handler by its name finds nothing strange in one that another thread is making.
        """
        asked = []

        def look() -> None:
            with pytest.raises(LookupError, match="'other'") as caught:
                start_session("abc", handler="other")
            asked.append(caught.type)

        monkeypatch.setattr(lifecycle, "capture_signals", look)
        SessionHandler(tmp_path / "logs", capture_signals=True)
        assert asked == [HandlerNotFoundError]

    def test_root_that_cannot_be_made(self, tmp_path):
        """
        With ``on_error: raise`` a root that can't be made is an `OSError` at once, and no handler is left behind.
        """
        (tmp_path / "file").write_text("in the way")
        before = registered()
        with pytest.raises(OSError, match="file"):
            SessionHandler(tmp_path / "file" / "logs", on_error="raise")
        assert registered() == before
        assert SessionHandler(tmp_path / "new" / "logs", on_error="raise").stats()["errors"] == 0
        assert (tmp_path / "new" / "logs").is_dir()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"max_byte": 1}, "did you mean 'max_bytes'"),
            ({"layout": "multiplex"}, "did you mean 'multiplexer'"),
            ({"session_level": "loud"}, "choose one of spawns, signals, prompts, full"),
            ({"max_bytes": "5 MB", "backup_count": 0}, "would throw the log away"),
            ({"single_file": "x.log", "layout": "fugue"}, "writes one file for all sessions"),
        ],
    )
    def test_wrong_settings(self, tmp_path, options, words):
        """
        A wrong setting is one sentence with the key and what is allowed, and no handler is left behind.
        """
        before = registered()
        with pytest.raises(ConfigurationError, match=words) as caught:
            SessionHandler(tmp_path / "logs", **options)
        assert caught.value.key
        del caught
        assert registered() == before
        assert not (tmp_path / "logs").exists()
        with pytest.raises(LookupError):
            start_session(handler="any")
