from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import json
import logging
import sys
import threading
import time
import tracemalloc
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import read_lines, run_python, wait_until, watchdog
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts

from sessionlog_handlers import (
    SessionExecutor,
    SessionHandler,
    SessionLevel,
    SessionNotFoundError,
    bind,
    current_session,
    read_path,
    read_session,
    set_default_session,
    start_session,
    use_session,
)
from sessionlog_handlers.events import RESERVED_EVENTS
from sessionlog_handlers.exceptions import AuditWriteError, ConfigurationError, InvalidSessionIdError
from sessionlog_handlers.formats.encoding import freeze
from sessionlog_handlers.pipeline import sync

SPAWNS, SIGNALS, PROMPTS, FULL = SessionLevel


@pytest.fixture
def logger():
    """
    The app's logger, which passes everything on to the handlers that a test makes.
    """
    logger = logging.getLogger("app")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


@pytest.fixture
def make(tmp_path, logger):
    """
    Makes handlers below the test's directory that do not linger, on the app's logger.
    """

    def make_handler(directory: str = "logs", **options: object) -> SessionHandler:
        handler = SessionHandler(tmp_path / directory, **{"linger": 0, **options})
        logger.addHandler(handler)
        return handler

    return make_handler


@pytest.fixture
def handler(make):
    """
    A handler whose sessions are at level prompts.
    """
    return make(session_level="prompts")


@pytest.fixture
def logs(tmp_path):
    """
    The root.
    """
    return tmp_path / "logs"


@pytest.fixture
def quick_switches():
    """
    Lets threads take turns a hundred times as often as usual.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


def lines_of(directory, file: str = "session.log"):
    """The lines of a session's file."""
    return read_lines(directory / file)


def events_of(directory, file: str = "session.log"):
    """The names of the events in a session's file."""
    return [line["event"] for line in lines_of(directory, file)]


def told(directory, file: str = "session.log"):
    """What a session's file tells of ordinary records, and the names of its events."""
    return [line.get("msg", line["event"]) for line in lines_of(directory, file)]


def metadata_of(directory):
    """What is in metadata.json."""
    return json.loads((directory / "metadata.json").read_text("utf-8"))


class TestStart:
    def test_new_id(self, handler, logs):
        """
        Without an id a session gets a UUID4, a new one each time, which names its directory.
        """
        first, second = start_session(), start_session()
        assert first.id != second.id
        assert uuid.UUID(first.id).version == 4
        assert str(uuid.UUID(first.id)) == first.id
        handler.flush()
        assert events_of(logs / first.id) == ["session_start"]

    def test_joins_what_is_open(self, handler, logs):
        """
        Starting an open session gives the same object, as it is, and writes no second start.
        """
        first = start_session("abc", level="full", metadata={"user": "ada"})
        assert start_session("abc", level="spawns", metadata={"user": "bob"}) is first
        assert (first.level, first.metadata) == (FULL, {"user": "ada"})
        handler.flush()
        assert events_of(logs / "abc") == ["session_start"]

    def test_again_after_its_end(self, handler, logs):
        """
        A session that has ended is started anew: its log goes on, and says so.
        """
        first = start_session("abc")
        first.end()
        second = start_session("abc")
        assert second is not first
        second.event("completion")
        handler.flush()
        lines = lines_of(logs / "abc")
        assert [line["event"] for line in lines] == ["session_start", "session_end", "session_start", "completion"]
        assert [line["data"].get("resumed") for line in lines] == [None, None, True, None]
        assert [line["seq"] for line in lines] == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        ("level", "expected"),
        [("full", FULL), (" Spawns", SPAWNS), (SIGNALS, SIGNALS), (None, PROMPTS)],
    )
    def test_level(self, handler, logs, level, expected):
        """
        The level is a name in any case or a `SessionLevel`; without one the handler's counts.
        """
        session = start_session("abc", level=level)
        assert session.level is expected
        handler.flush()
        assert lines_of(logs / "abc")[0]["data"]["level"] == metadata_of(logs / "abc")["level"] == expected.value

    def test_severity(self, handler, logger, logs):
        """
        A severity of its own leaves out what is below, but not the frame of the log.
        """
        with start_session("abc", level="full", severity="warning") as session:
            logger.info("info")
            logger.warning("warning")
            session.event("prompt_detected")
            session.event("process_started")
            session.error("broken")
        handler.flush()
        expected = ["session_start", "log", "process_started", "error", "session_end"]
        assert events_of(logs / "abc") == expected
        assert metadata_of(logs / "abc")["severity"] == "warning"

    def test_metadata_and_command(self, handler, logs):
        """
        The app's metadata and command stand in the first line and metadata.json; the session shows the former, frozen.
        """
        given = {"user": "ada", "tags": ["a", "b"]}
        session = start_session("abc", metadata=given, command=["bash", "-l"])
        given["user"] = "bob"
        assert session.metadata == {"user": "ada", "tags": ["a", "b"]}
        with pytest.raises(TypeError):
            session.metadata["user"] = "eve"
        handler.flush()
        start = lines_of(logs / "abc")[0]["data"]
        assert start["metadata"] == {"user": "ada", "tags": ["a", "b"]}
        assert start["command"] == ["bash", "-l"]
        metadata = metadata_of(logs / "abc")
        assert (metadata["metadata"], metadata["command"]) == (start["metadata"], start["command"])

    def test_metadata_is_that_of_the_call(self, handler, logs):
        """
        What is in the metadata is made plain by the caller, so later changes don't show and no other thread sees it.
        """
        threads = []

        class Value:
            def __repr__(self) -> str:
                threads.append(threading.current_thread())
                return "a value"

        given = {"list": [1], "value": Value(), "surrogate": "\ud800", "number": float("nan"), 7: (1, 2)}
        command = ["bash"]
        session = start_session("abc", metadata=given, command=command)
        given["list"].append("too late")
        command.append("too late")
        plain = {"list": [1], "value": "a value", "surrogate": "\ud800", "number": "NaN", "7": [1, 2]}
        assert session.metadata == plain
        handler.flush()
        start = lines_of(logs / "abc")[0]["data"]
        assert (start["metadata"], start["command"]) == (plain, ["bash"])
        assert set(threads) == {threading.main_thread()}

    def test_handler_by_object_and_name(self, make, tmp_path):
        """
        A session is served by the handler that is given, by its name or itself; by default by the newest.
        """
        older, newer = make("older"), make("newer")
        older.name = "first"
        sessions = start_session("named", handler="first"), start_session("given", handler=older), start_session("any")
        assert [session.directory.parent.name for session in sessions] == ["older", "older", "newer"]
        for handler in (older, newer):
            handler.flush()
        assert (tmp_path / "older" / "named" / "session.log").exists()
        assert (tmp_path / "newer" / "any" / "session.log").exists()

    def test_unknown_handler(self, make):
        """
        A name that no handler has is a `LookupError` that lists those there are; nothing is started.
        """
        with pytest.raises(LookupError, match="no SessionHandler is called 'sesions'; there is none yet"):
            start_session("abc", handler="sesions")
        make("a").name, make("b").name = "sessions", "others"
        with pytest.raises(LookupError, match="there is others, sessions"):
            start_session("abc", handler="sesions")
        assert current_session() is None

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"level": "loud"}, "'loud' is not a session level; choose one of spawns, signals, prompts, full"),
            ({"level": 3}, "3 is not a session level"),
            ({"severity": "loud"}, "'loud' is none of debug, info, warning, error, off"),
            ({"metadata": ["user"]}, r"metadata is a mapping, and \['user'\] is list"),
        ],
    )
    def test_bad_arguments(self, handler, logs, options, words):
        """
        An unknown level or severity and metadata that is no mapping are errors that say what is allowed.
        """
        with pytest.raises(ConfigurationError, match=words):
            start_session("abc", **options)
        handler.flush()
        assert handler.stats()["sessions"] == 0
        assert not (logs / "abc").exists()

    @pytest.mark.parametrize("session_id", ["", 7, b"abc"])
    def test_bad_id(self, handler, session_id):
        """
        What is no text, or empty, is no id.
        """
        with pytest.raises(InvalidSessionIdError) as caught:
            start_session(session_id)
        assert caught.value.session_id == session_id

    def test_properties(self, handler, logs):
        """
        A session tells its id, its place, its level and whether it has ended; its repr is one short line.
        """
        session = start_session("abc")
        assert (session.id, session.directory, session.log_path) == ("abc", logs / "abc", logs / "abc" / "session.log")
        assert (session.level, session.metadata, session.closed) == (PROMPTS, {}, False)
        assert repr(session) == "<Session 'abc' prompts>"
        session.end()
        assert session.closed
        assert repr(session) == "<Session 'abc' ended>"


class TestBlocks:
    def test_with(self, handler, logger, logs):
        """
        A session is current in its block, ends with it and says so.
        """
        assert current_session() is None
        with start_session("abc") as session:
            assert current_session() is session
            logger.info("inside")
        assert current_session() is None
        logger.info("outside")
        handler.flush()
        lines = lines_of(logs / "abc")
        assert told(logs / "abc") == ["session_start", "inside", "session_end"]
        assert lines[-1]["data"]["reason"] == "return"
        assert handler.stats()["unrouted"] == 1

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ValueError("x"), "exception ValueError"),
            (SystemExit(3), "exit 3"),
            (SystemExit(None), "exit 0"),
            (SystemExit("sorry"), "exit 1"),
            (KeyboardInterrupt(), "signal SIGINT"),
            (asyncio.CancelledError(), "exception CancelledError"),
        ],
    )
    def test_reason_of_an_exception(self, handler, logs, error, reason):
        """
        What leaves the block is the reason of the end, and is passed on.
        """
        with pytest.raises(type(error)), start_session("abc"):
            raise error
        handler.flush()
        assert lines_of(logs / "abc")[-1]["data"]["reason"] == metadata_of(logs / "abc")["reason"] == reason

    def test_same_session_nested(self, handler, logger, logs):
        """
        A session whose blocks are nested ends once, with the outermost.
        """
        with start_session("abc") as session:
            with session, start_session("abc"):
                logger.info("inner")
            assert not session.closed
            assert current_session() is session
            logger.info("outer")
        assert session.closed
        handler.flush()
        assert told(logs / "abc") == ["session_start", "inner", "outer", "session_end"]

    def test_tasks_that_share_a_session(self, handler, logs):
        """
        Each task goes back to what was current in itself, in whatever order they leave, and the last one ends it.
        """
        back = {}

        async def visit(name: str, *, enters: float, leaves: float) -> None:
            await asyncio.sleep(enters)
            async with start_session("room") as room:
                await asyncio.sleep(leaves - enters)
                assert current_session() is room
                assert not room.closed
            back[name] = current_session(), room.closed

        async def main() -> None:
            with start_session("outer") as outer:
                await asyncio.gather(visit("a", enters=0, leaves=0.05), visit("b", enters=0.02, leaves=0.1))
                assert back == {"a": (outer, False), "b": (outer, True)}
                assert not outer.closed

        asyncio.run(main())
        handler.flush()
        assert events_of(logs / "room") == ["session_start", "session_end"]
        assert events_of(logs / "outer") == ["session_start", "session_end"]

    def test_threads_that_share_a_session(self, handler, logs, quick_switches):
        """
        Threads that enter and leave a session all the time leave it open as long as one of them is in it.
        """

        def work() -> None:
            for _ in range(200):
                with session:
                    assert not session.closed

        with watchdog(60), start_session("abc") as session, SessionExecutor(8) as executor:
            for job in [executor.submit(work) for _ in range(8)]:
                job.result()
            assert not session.closed
        assert session.closed

    def test_left_in_another_context(self, handler):
        """
        A block that is left where it was not entered ends its session, and leaves alone what is current there.
        """
        session = start_session("abc")
        contextvars.Context().run(session.__enter__)
        with start_session("here") as here:
            session.__exit__(None, None, None)
            assert current_session() is here
        assert session.closed

    def test_two_sessions_nested(self, handler, logger, logs):
        """
        Records belong to the inner session in its block, and to the outer one again after it.
        """
        with start_session("outer"):
            logger.info("1")
            with start_session("inner"):
                logger.info("2")
            logger.info("3")
        handler.flush()
        assert told(logs / "outer") == ["session_start", "1", "3", "session_end"]
        assert told(logs / "inner") == ["session_start", "2", "session_end"]

    def test_async_with(self, handler, logger, logs):
        """
        Tasks of one loop each have a session of their own, across awaits and in the tasks that they start.
        """

        async def child(name: str) -> None:
            await asyncio.sleep(0)
            logger.info("child of %s", name)

        async def work(name: str) -> None:
            async with start_session(name) as session:
                for number in range(5):
                    logger.info("%s %d", name, number)
                    await asyncio.sleep(0)
                    assert current_session() is session
                await asyncio.create_task(child(name))

        async def main() -> None:
            await asyncio.gather(*(work(f"s{number}") for number in range(10)))

        asyncio.run(main())
        handler.flush()
        for name in (f"s{number}" for number in range(10)):
            ordinary = [f"{name} {number}" for number in range(5)]
            assert told(logs / name) == ["session_start", *ordinary, f"child of {name}", "session_end"]

    def test_cancelled_task(self, handler, logs):
        """
        A cancelled task ends its session, and its cancellation is not swallowed.
        """

        async def work() -> None:
            async with start_session("abc"):
                await asyncio.sleep(30)

        async def main() -> None:
            task = asyncio.create_task(work())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

        asyncio.run(main())
        handler.flush()
        assert lines_of(logs / "abc")[-1]["data"]["reason"] == "exception CancelledError"

    def test_generator(self, handler, logger, logs):
        """
        A generator's block ends when the generator is closed, as by return.
        """

        def generate():
            with start_session("abc"):
                logger.info("first")
                yield 1
                yield 2

        generator = generate()
        next(generator)
        generator.close()
        assert current_session() is None
        handler.flush()
        lines = lines_of(logs / "abc")
        assert told(logs / "abc") == ["session_start", "first", "session_end"]
        assert lines[-1]["data"]["reason"] == "return"

    def test_threads(self, handler, logger, logs):
        """
        A plain thread has no session; `bind` and `SessionExecutor` take the current one along.
        """
        with start_session("abc"):
            threads = [
                threading.Thread(target=logger.info, args=("plain",)),
                threading.Thread(target=bind(logger.info), args=("bound",)),
            ]
            for thread in threads:
                thread.start()
                thread.join()
            with SessionExecutor(2) as executor:
                executor.submit(logger.info, "submitted").result()
        handler.flush()
        assert told(logs / "abc") == ["session_start", "bound", "submitted", "session_end"]
        assert handler.stats()["unrouted"] == 1

    def test_used_without_ending(self, handler, logger, logs):
        """
        `use_session` makes a session current, by itself or its id, and leaves it open.
        """
        session = start_session("abc")
        with use_session(session):
            logger.info("1")
            assert current_session() is session
        with use_session("abc"):
            logger.info("2")
            assert current_session() is session
        with use_session("nobody's"):
            assert current_session() is None
        assert not session.closed
        handler.flush()
        assert told(logs / "abc") == ["session_start", "1", "2"]


class TestFinding:
    def test_default_of_the_process(self, make, logger, logs):
        """
        What no session is named for goes to the process's default, else to the one of the settings.
        """
        handler = make(default_session="settings", session_level="prompts")
        logger.info("1")
        set_default_session(start_session("process"))
        logger.info("2")
        with start_session("block"):
            logger.info("3")
        set_default_session(None)
        logger.info("4")
        handler.flush()
        assert told(logs / "settings") == ["session_start", "1", "4"]
        assert told(logs / "process") == ["session_start", "2"]
        assert told(logs / "block") == ["session_start", "3", "session_end"]

    def test_logger_prefixes(self, make, logs):
        """
        The name behind a configured prefix is the session's id, dots included; loggers below it belong to it too.
        """
        handler = make(session_level="prompts", logger_prefixes=["rec.session"])
        base = logging.getLogger("rec")
        base.addHandler(handler)
        base.setLevel(logging.DEBUG)
        base.propagate = False
        start_session("2024.12")
        start_session("plain")
        logging.getLogger("rec.session.2024.12").info("of dots")
        logging.getLogger("rec.session.2024.12.ffmpeg").info("of a child")
        logging.getLogger("rec.session.plain.ffmpeg.stderr").info("of a grandchild")
        with start_session("current"):
            logging.getLogger("rec.session.plain").info("by name")
            logging.getLogger("rec.session.plain").info("by record", extra={"session_id": "current"})
            logging.getLogger("rec.sessions").info("no prefix")
        logging.getLogger("rec.session.new").info("first")
        handler.flush()
        assert told(logs / "2024.12") == ["session_start", "of dots", "of a child"]
        assert told(logs / "plain") == ["session_start", "of a grandchild", "by name"]
        assert told(logs / "current") == ["session_start", "by record", "no prefix", "session_end"]
        assert told(logs / "new") == ["session_start", "first"]
        assert sorted(path.name for path in logs.iterdir() if path.name[0] != ".") == [
            "2024.12",
            "current",
            "new",
            "plain",
        ]

    def test_begins_by_its_first_record(self, handler, logger, logs):
        """
        A record that names a session begins it; its start line and metadata say that nobody called for it.
        """
        logger.info("first", extra={"session_id": "abc"})
        handler.flush()
        lines = lines_of(logs / "abc")
        assert told(logs / "abc") == ["session_start", "first"]
        assert lines[0]["data"]["implicit"] is True
        assert metadata_of(logs / "abc")["implicit"] is True
        with use_session("abc"):
            assert current_session().id == "abc"

    def test_idle_end(self, make, logger, logs):
        """
        A session that began by a record ends when it is idle, and goes on with the next one; a started one stays.
        """
        handler = make(idle_end=0.05, session_level="prompts")
        started = start_session("started")
        logger.info("1", extra={"session_id": "abc"})
        wait_until(lambda: handler.stats()["sessions"] == 1)
        assert not started.closed
        logger.info("2", extra={"session_id": "abc"})
        handler.flush()
        lines = lines_of(logs / "abc")[:5]
        assert [line.get("msg", line["event"]) for line in lines] == [
            "session_start",
            "1",
            "session_end",
            "session_start",
            "2",
        ]
        assert lines[2]["data"]["reason"] == "idle"
        assert lines[3]["data"]["resumed"] is True
        assert handler.stats()["dropped"] == {}


class TestEvents:
    def test_fields_of_any_name(self, handler, logs):
        """
        An event's fields may have any names and values, those of the line and of `logging` included.
        """
        given = {"name": "n", "level": "l", "ts": 0, "message": "m", "self": 1, "args": [1], "event": "e", "seq": -1}
        session = start_session("abc")
        session.event("completion", **given)
        handler.flush()
        line = lines_of(logs / "abc")[1]
        assert line["data"] == given
        assert (line["event"], line["level"], line["session"], line["seq"]) == ("completion", "info", "abc", 2)

    @pytest.mark.parametrize("name", [None, 7, ["x"], {}])
    def test_name_that_is_none(self, handler, logs, name, capsys):
        """
        A name that is no text reaches neither the app as an exception nor its neighbours.
        """
        session = start_session("abc")
        session.event(name, a=1)
        session.event("completion")
        handler.flush()
        assert "completion" in events_of(logs / "abc")

    def test_bytes(self, make, logs):
        """
        Output and input are kept as they are, and only at level full.
        """
        handler = make(session_level="full")
        session = start_session("abc")
        content = bytes(range(256))
        session.output(content)
        session.input(b"ls\r")
        session.set_level("prompts")
        session.output(b"left out")
        session.input(b"left out")
        handler.flush()
        found = [line.data for line in read_session("abc", directory=logs) if line.event in ("output", "input")]
        assert [data["bytes"] for data in found] == [256, 3]
        raw = lines_of(logs / "abc")
        assert [line["event"] for line in raw] == ["session_start", "output", "input", "level_change"]
        assert base64.b64decode(raw[1]["data"]["base64"]) == content
        assert base64.b64decode(raw[2]["data"]["base64"]) == b"ls\r"

    @pytest.mark.parametrize("method", ["output", "input"])
    @pytest.mark.parametrize(
        ("text", "content"), [("grün", "grün".encode()), ("", b""), ("\ud800 half", b"\\ud800 half")]
    )
    def test_text(self, make, logs, method, text, content):
        """
        Text is taken as UTF-8, and half of a surrogate pair in it as an escape.
        """
        handler = make(session_level="full")
        session = start_session("abc")
        getattr(session, method)(text)
        handler.flush()
        data = lines_of(logs / "abc")[1]["data"]
        assert base64.b64decode(data["base64"]) == content
        assert handler.stats()["dropped"] == {}

    @pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
    def test_names_that_are_the_sessions_own(self, handler, logs, name, capsys):
        """
        An app can't say that the session began, ended or crashed: it is told once, and each attempt is counted.
        """
        session = start_session("abc")
        session.event(name, reason="forged")
        asyncio.run(session.aevent(name, reason="forged"))
        session.event("completion")
        session.end("done")
        handler.flush()
        lines = lines_of(logs / "abc")
        assert "forged" not in str(lines)
        assert [line["event"] for line in lines if line["event"] != "log_dropped"] == [
            "session_start",
            "completion",
            "session_end",
        ]
        assert handler.stats()["dropped"] == {"reserved": 2}
        assert sum(line["data"]["count"] for line in lines if line["event"] == "log_dropped") == 2
        assert capsys.readouterr().err.count("see Session.end") == 1

    @pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
    def test_record_with_such_a_name(self, handler, logger, logs, name):
        """
        A record that names such an event is an ordinary one, and tells which event it claimed to be.
        """
        with start_session("abc"):
            logger.info("ended, it says", extra={"event": name, "event_data": {"reason": "forged"}, "user": "ada"})
        handler.flush()
        lines = lines_of(logs / "abc")
        assert [line["event"] for line in lines] == ["session_start", "log", "session_end"]
        assert lines[1]["msg"] == "ended, it says"
        assert lines[1]["data"]["claimed_event"] == name
        assert lines[1]["data"]["user"] == "ada"

    @pytest.mark.parametrize("method", ["output", "input"])
    def test_bytes_that_are_none(self, make, logs, method, capsys):
        """
        What is no bytes costs its own line at most, never an exception or a neighbour.
        """
        handler = make(session_level="full")
        session = start_session("abc")
        for content in (None, 7, object()):
            getattr(session, method)(content)
        getattr(session, method)(bytearray(b"array"))
        session.output(memoryview(b"view"))
        session.event("completion")
        handler.flush()
        assert "completion" in events_of(logs / "abc")
        sizes = [line["data"]["bytes"] for line in lines_of(logs / "abc") if line["event"] in ("output", "input")]
        assert sizes[-2:] == [5, 4]

    def test_without_content(self, make, logs):
        """
        With ``content: false`` the bytes are nowhere in the line, but their number is.
        """
        handler = make(session_level="full", content=False)
        session = start_session("abc")
        session.output(b"password")
        handler.flush()
        assert lines_of(logs / "abc")[1]["data"] == {"bytes": 8}

    def test_prompts(self, handler, logs):
        """
        The first prompt is the initial one, those after it are changes; other fields come along, the text wins.
        """
        session = start_session("abc")
        session.prompt("one", model="m")
        session.prompt("two")
        session.prompt("three")
        handler.flush()
        lines = lines_of(logs / "abc")[1:]
        assert [line["event"] for line in lines] == ["initial_prompt", "prompt_change", "prompt_change"]
        assert [line["data"] for line in lines] == [{"model": "m", "text": "one"}, {"text": "two"}, {"text": "three"}]
        assert events_of(logs / "abc", "audit_user.log") == [line["event"] for line in lines]

    def test_prompts_of_threads(self, handler, logs):
        """
        However many threads prompt at once, exactly one prompt is the initial one, and none is lost.
        """
        session = start_session("abc")
        barrier = threading.Barrier(16)

        def prompt(number: int) -> None:
            barrier.wait()
            session.prompt(str(number))

        threads = [threading.Thread(target=prompt, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handler.flush()
        lines = lines_of(logs / "abc")[1:]
        assert sorted(line["event"] for line in lines) == ["initial_prompt", *["prompt_change"] * 15]
        assert {line["data"]["text"] for line in lines} == {str(number) for number in range(16)}

    def test_error(self, handler, logs):
        """
        An exception brings its type, text, traceback and cause; a text is an error too.
        """
        session = start_session("abc")
        try:
            try:
                raise KeyError("inner")
            except KeyError as cause:
                raise ValueError("outer") from cause
        except ValueError as error:
            session.error(error, step=3)
        session.error("only text", step=4)
        session.error(OSError("never raised"))
        handler.flush()
        raised, text, bare = lines_of(logs / "abc")[1:]
        assert raised["data"] == {"step": 3, "type": "ValueError", "error": "outer"}
        assert {raised["level"], text["level"]} == {"error"}
        assert "KeyError: 'inner'" in raised["exc"]
        assert "direct cause" in raised["exc"]
        assert raised["exc"].endswith("ValueError: outer")
        assert text["data"] == {"step": 4, "error": "only text"}
        assert "exc" not in text
        assert (bare["data"]["type"], bare["exc"]) == ("OSError", "OSError: never raised")

    def test_error_without_a_text(self, handler, logs):
        """
        An exception whose text can't be made is logged with its type.
        """

        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

            __repr__ = __str__

        session = start_session("abc")
        try:
            raise Mute
        except Mute as error:
            session.error(error)
        session.error("next")
        handler.flush()
        line, following = lines_of(logs / "abc")[1:]
        assert line["data"]["type"] == "Mute"
        assert "Mute" in line["exc"]
        assert following["data"]["error"] == "next"

    def test_events_of_the_app(self, make, logs):
        """
        Events that the configuration declares are of the class, severity and audit side that it says.
        """
        handler = make(
            session_level="signals",
            events={
                "tool_used": "prompts",
                "paid": {"session_level": "spawns", "severity": "warning", "audit": "user", "durable": True},
                "completion": "full",
            },
        )
        with start_session("abc", level="spawns") as session:
            for name in ("tool_used", "paid", "completion"):
                session.event(name)
            session.set_level("prompts")
            for name in ("tool_used", "paid", "completion"):
                session.event(name)
        handler.flush()
        events = ["session_start", "paid", "level_change", "tool_used", "paid", "session_end"]
        assert events_of(logs / "abc") == events
        assert [line["level"] for line in lines_of(logs / "abc") if line["event"] == "paid"] == ["warning"] * 2
        assert events_of(logs / "abc", "audit_user.log") == ["paid", "level_change", "paid"]

    def test_unknown_event(self, handler, logs):
        """
        An event that nobody declared is of class signals, in no audit file, and warned of once.
        """
        session = start_session("abc", level="signals")
        with pytest.warns(UserWarning, match="unknown event 'brewed' is logged at session level signals"):
            session.event("brewed")
        session.event("brewed")
        session.set_level("spawns")
        session.event("brewed")
        handler.flush()
        assert events_of(logs / "abc").count("brewed") == 2
        assert "brewed" not in events_of(logs / "abc", "audit_user.log") + events_of(logs / "abc", "audit_system.log")


class TestLevels:
    def test_both_vocabularies(self, handler, logger, logs):
        """
        A session level and a severity are set by the same call, side by side; ``off`` ends the severity.
        """

        def log_all() -> None:
            for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logger.log(number, logging.getLevelName(number).lower())

        taken = {}
        with start_session("abc") as session:
            for step in (FULL, "spawns", "Signals", "full", "warning", "ERROR", "off"):
                session.set_level(step)
                before = len(told(logs / "abc")) if session.flush() else 0
                log_all()
                session.flush()
                taken[str(step) if isinstance(step, str) else step] = told(logs / "abc")[before:]
        assert taken == {
            FULL: ["debug", "info", "warning", "error"],
            "spawns": [],
            "Signals": ["warning", "error"],
            "full": ["debug", "info", "warning", "error"],
            "warning": ["warning", "error"],
            "ERROR": ["error"],
            "off": ["debug", "info", "warning", "error"],
        }
        handler.flush()
        changes = [line["data"] for line in lines_of(logs / "abc") if line["event"] == "level_change"]
        assert [change["from"] for change in changes[:4]] == ["prompts", "full", "spawns", "signals"]
        assert [change.get("severity") for change in changes] == [None, None, None, None, "warning", "error", "off"]
        assert {change["by"] for change in changes} == {"app"}
        assert [change["to"] for change in metadata_of(logs / "abc")["level_history"]] == [
            change["to"] for change in changes
        ]

    def test_unknown(self, handler):
        """
        An unknown word is an error that lists both vocabularies, and changes nothing.
        """
        session = start_session("abc")
        for word in ("loud", "", None, 3):
            with pytest.raises(
                ConfigurationError, match=r"spawns, signals, prompts, full.*debug, info, warning, error"
            ):
                session.set_level(word)
        assert session.level is PROMPTS

    def test_ended(self, handler):
        """
        The level of an ended session can't change: that is an error of its own kind, with the id.
        """
        session = start_session("abc")
        session.end()
        for level in ("full", FULL, "error"):
            with pytest.raises(SessionNotFoundError, match="session 'abc' has ended") as caught:
                session.set_level(level)
            assert caught.value.session_id == "abc"

    def test_order_of_the_line(self, handler, logs):
        """
        A raised level's line precedes all lines of the new level; a lowered one's follows all of the old.
        """
        session = start_session("abc", level="signals")
        for number in range(3):
            session.event("prompt_detected", number=number)
            session.set_level("prompts")
            session.event("prompt_detected", number=number + 10)
            session.set_level("signals")
            session.event("prompt_detected", number=number + 20)
        handler.flush()
        seen = [line["data"].get("number", line["data"].get("to")) for line in lines_of(logs / "abc")[1:]]
        assert seen == ["prompts", 10, "signals", "prompts", 11, "signals", "prompts", 12, "signals"]

    def test_flipped_while_threads_log(self, make, logs, quick_switches):
        """
        16 threads flip a level 1,000 times each while others log: each event is judged by exactly one level.

        What no level leaves out (the audit file) has every event, the log only such as were judged while it was
        raised. Judging and queueing are two steps, so after the line of a lowered level each logging thread may have
        one event in flight, and no more.
        """
        handler = make(overflow="wait", linger=0.02)
        session = start_session("abc", level="signals")
        start = threading.Barrier(20)
        done = threading.Event()
        logged = [0] * 4

        def flip() -> None:
            start.wait()
            for number in range(1_000):
                session.set_level("signals" if number % 2 else "prompts")

        def log(who: int) -> None:
            start.wait()
            while not done.is_set() and logged[who] < 10_000:
                session.event("prompt_change", who=who, number=logged[who])
                logged[who] += 1

        with watchdog(60):
            flippers = [threading.Thread(target=flip) for _ in range(16)]
            writers = [threading.Thread(target=log, args=(who,)) for who in range(4)]
            for thread in (*flippers, *writers):
                thread.start()
            for thread in flippers:
                thread.join()
            done.set()
            for thread in writers:
                thread.join()
            session.end()
            assert handler.root.flush(30)
        assert handler.stats()["dropped"] == {}
        audit = [line for line in lines_of(logs / "abc", "audit_user.log") if line["event"] == "prompt_change"]
        for who in range(4):
            assert [line["data"]["number"] for line in audit if line["data"]["who"] == who] == [*range(logged[who])]
        level, in_flight, kept = "signals", set(), 0
        for line in read_session("abc", directory=logs):
            if line.event == "level_change":
                assert line.data["from"] == level
                level, in_flight = line.data["to"], set()
            elif line.event == "prompt_change":
                kept += 1
                if level == "signals":
                    assert line.data["who"] not in in_flight
                    in_flight.add(line.data["who"])
        assert level == session.level.value
        assert 0 < kept < len(audit)


class TestEnd:
    def test_last_line(self, handler, logs):
        """
        The last line has the reason, the time it took and what the app adds; a second end changes nothing.
        """
        session = start_session("abc")
        session.end("done", turns=3)
        session.end("again", turns=4)
        handler.flush()
        lines = lines_of(logs / "abc")
        assert [line["event"] for line in lines] == ["session_start", "session_end"]
        data = lines[-1]["data"]
        assert (data["reason"], data["turns"]) == ("done", 3)
        assert 0 <= data["seconds"] < 10
        metadata = metadata_of(logs / "abc")
        assert (metadata["state"], metadata["reason"], metadata["end"]) == ("ended", "done", lines[-1]["ts"])

    def test_with_data_of_any_name(self, handler, logs):
        """
        Fields of the end may be called like those that the line has by itself.
        """
        session = start_session("abc")
        session.end("done", seconds="mine", level="l", data={"a": 1})
        handler.flush()
        data = lines_of(logs / "abc")[-1]["data"]
        assert data["reason"] == "done"
        assert (data["seconds"], data["level"], data["data"]) == ("mine", "l", {"a": 1})

    def test_data_is_that_of_the_call(self, make, logs):
        """
        What changes after the call does not show in the last line, however late that is written.
        """
        handler = make(end_linger=0.1)
        session = start_session("abc")
        pictures = ["a.png"]
        session.end("converted", pictures=pictures)
        pictures.append("too late")
        wait_until(lambda: session.closed)
        handler.flush()
        assert lines_of(logs / "abc")[-1]["data"]["pictures"] == ["a.png"]

    def test_reason_without_a_text(self, handler, logs):
        """
        A reason of any type is its text, also where that can't be made.
        """

        class Reason:
            def __str__(self) -> str:
                raise ValueError

            __repr__ = __str__

        start_session("a").end(Reason())
        start_session("b").end(7)
        handler.flush()
        assert [lines_of(logs / name)[-1]["data"]["reason"] for name in "ab"] == ["<unprintable Reason object>", "7"]

    def test_ended_in_its_block(self, handler, logs):
        """
        A session that is ended by hand in its block is not ended again when it is left.
        """
        with start_session("abc") as session:
            session.end("early")
        handler.flush()
        lines = lines_of(logs / "abc")
        assert [line["event"] for line in lines] == ["session_start", "session_end"]
        assert lines[-1]["data"]["reason"] == "early"

    def test_late(self, handler, logger, logs, capsys):
        """
        Whatever comes after the end is refused, counted and told of once; nothing opens the session again.
        """
        session = start_session("abc")
        session.end()
        session.event("completion")
        session.error("late")
        session.prompt("late")
        session.output(b"not at this level")
        with use_session(session):
            logger.warning("late")
        logger.warning("late", extra={"session_id": "abc"})
        asyncio.run(session.aevent("completion"))
        handler.flush()
        handler.close()
        assert handler.stats()["dropped"] == {"late": 6}
        assert events_of(logs / "abc") == ["session_start", "session_end"]
        told_of = [line for line in capsys.readouterr().err.splitlines() if "has ended" in line]
        assert len(told_of) == 1
        assert told_of[0].startswith("sessionlog: session 'abc' has ended")

    def test_linger(self, make, logger, logs):
        """
        With ``end_linger`` late lines are let in while the window is open, and the end line is the last, as called for.
        """
        handler = make(end_linger=0.15, session_level="prompts")
        session = start_session("abc")
        session.end("done", turns=3)
        session.end("again")
        session.event("completion")
        logger.info("late", extra={"session_id": "abc"})
        wait_until(lambda: session.closed)
        session.event("completion")
        handler.flush()
        lines = lines_of(logs / "abc")
        assert told(logs / "abc") == ["session_start", "completion", "late", "session_end"]
        assert (lines[-1]["data"]["reason"], lines[-1]["data"]["turns"]) == ("done", 3)
        assert handler.stats()["dropped"] == {"late": 1}

    def test_linger_until_the_exit(self, tmp_path):
        """
        A program that ends in the window does not wait for it, and the end line is the last, with its own reason.
        """
        run_python(
            """
            import logging, sys, time
            from sessionlog_handlers import SessionHandler, start_session
            handler = SessionHandler(sys.argv[1], end_linger="10 min")
            session = start_session("abc")
            session.end("done", turns=3)
            session.event("completion")
            """.replace("            ", ""),
            tmp_path,
            timeout=20,
            check=True,
        )
        lines = lines_of(tmp_path / "abc")
        assert [line["event"] for line in lines] == ["session_start", "completion", "session_end"]
        assert (lines[-1]["data"]["reason"], lines[-1]["data"]["turns"]) == ("done", 3)

    def test_flush(self, make, logs, monkeypatch):
        """
        After `flush` the line is in its file; after a durable one it was synced, too.
        """
        make(linger=5.0, sync_interval=30.0, session_level="prompts")
        synced = []
        real = sync._sync_data
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: (synced.append(1), real(descriptor)))
        session = start_session("abc")
        assert session.flush(durable=True)
        before = len(synced)
        assert before
        session.event("completion")
        assert session.flush()
        assert told(logs / "abc") == ["session_start", "completion"]
        assert len(synced) == before
        assert session.flush(durable=True)
        assert len(synced) > before

    def test_flush_that_takes_too_long(self, make, monkeypatch):
        """
        A flush gives up after its time, and says so.
        """
        make()
        session = start_session("abc")
        assert session.flush(durable=True)
        gate = threading.Event()
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: gate.wait(10))
        session.event("completion")
        begin = time.monotonic()
        assert not session.flush(0.1, durable=True)
        assert time.monotonic() - begin < 2
        gate.set()
        assert session.flush(5, durable=True)


class TestSampling:
    def test_exact_share(self, make, logs):
        """
        Of a sampled event exactly the share is kept, other events all; at the end the log says what was left out.
        """
        handler = make(session_level="full", sampling={"output": 0.1, "input": "25%"})
        with start_session("abc") as session:
            for _ in range(200):
                session.output(b"x")
                session.input(b"y")
                session.event("state_change")
        handler.flush()
        events = events_of(logs / "abc")
        assert [events.count(name) for name in ("output", "input", "state_change")] == [20, 50, 200]
        left_out = {
            line["data"]["event"]: line["data"]["count"]
            for line in lines_of(logs / "abc")
            if line["event"] == "log_dropped" and line["data"]["reason"] == "sampling"
        }
        assert left_out == {"output": 180, "input": 150}
        assert events[-1] == "session_end"
        assert handler.stats()["dropped"] == {}


class TestFlood:
    def test_is_counted_and_told(self, make, logs, logger, capsys):
        """
        What goes beyond the rate is counted, told in the session's log by event, and once on stderr; starts, ends and
        other sessions are not held back.
        """
        handler = make(session_level="full", flood={"rate": 10, "per": "1h"})
        for name in ("abc", "other"):
            with start_session(name) as session:
                for _ in range(100):
                    session.output(b"x")
                    session.event("state_change")
                    session.event("completion")
                    logger.warning("w")
        handler.close()
        for name in ("abc", "other"):
            lines = lines_of(logs / name)
            events = [line["event"] for line in lines if line["event"] != "log_dropped"]
            assert [events.count(event) for event in ("output", "state_change", "completion", "log")] == [10] * 4
            assert (events[0], events[-1]) == ("session_start", "session_end")
            told = Counter()
            for line in lines:
                if line["event"] == "log_dropped":
                    assert line["data"]["reason"] == "flood"
                    told[line["data"]["event"]] += line["data"]["count"]
            assert told == dict.fromkeys(("output", "state_change", "completion", "log"), 90)
        stats = handler.stats()
        assert (stats["written"], stats["dropped"]) == (80, {"flood": 720})
        assert stats["accepted"] == 800
        assert stats["errors"] == 8  # one a session and event, not one for each that is held back
        (line,) = capsys.readouterr().err.splitlines()
        assert "session 'abc' logs 'output' faster than 'flood' allows" in line

    def test_a_moment_and_then_silence(self, make, logs):
        """
        A session that floods for a moment and says nothing more tells of it at once, and of the rest after a second.
        """
        handler = make(session_level="full", flood={"rate": 1, "per": "1h"})
        session = start_session("abc")
        session.event("state_change")
        handler.flush()  # the listener sleeps from here on
        for _ in range(500):
            session.event("state_change")

        def told():
            return sum(line["data"]["count"] for line in lines_of(logs / "abc") if line["event"] == "log_dropped")

        wait_until(lambda: told() == 500)
        session.end()
        handler.close()
        assert (told(), handler.stats()["dropped"]) == (500, {"flood": 500})

    def test_threads(self, make, logs, logger, quick_switches):
        """
        Of what many threads log to one session at once, each record is admitted or counted, and no more than the rate.
        """
        handler = make(session_level="full", flood={"rate": 500, "per": "1h"})

        def work() -> None:
            for number in range(1000):
                logger.info("x", extra={"number": number})

        with start_session("abc"):
            threads = [threading.Thread(target=bind(work)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        handler.close()
        events = events_of(logs / "abc")
        assert events.count("log") == 500
        assert handler.stats()["dropped"] == {"flood": 3500}

    def test_before_the_handler(self, make, logs, monkeypatch):
        """
        Events that waited for the handler count for the time at which they came, not for that of the handler.
        """
        now = [1000.0]
        monkeypatch.setattr("sessionlog_handlers.pipeline.channel.monotonic", lambda: now[0])
        session = start_session("abc", level="full")
        for number in range(100):
            session.event("state_change", number=number)
            now[0] += 0.1
        for number in range(100, 130):
            session.event("state_change", number=number)
        handler = make(flood={"rate": 20, "per": "1s"})
        session.end()
        handler.close()
        numbers = [line["data"]["number"] for line in lines_of(logs / "abc") if line["event"] == "state_change"]
        assert numbers == [*range(120)]
        assert handler.stats()["dropped"] == {"flood": 10}

    def test_no_traceback_is_made(self, make, monkeypatch):
        """
        Of an error that is only counted, no traceback is made.
        """
        made = []
        monkeypatch.setattr("sessionlog_handlers.session._traceback_of", lambda error: made.append(error) or "text")
        make(flood={"rate": 3, "per": "1h"})
        with start_session("abc") as session:
            for _ in range(10):
                session.error(ValueError("again"))
        assert len(made) == 3

    def test_late(self, make):
        """
        What comes after the end is late, and no flood.
        """
        handler = make(session_level="full", flood={"rate": 1, "per": "1h"})
        session = start_session("abc")
        session.end()
        for _ in range(5):
            session.event("state_change")
        handler.close()
        assert handler.stats()["dropped"] == {"late": 5}


class TestSwitches:
    def test_disabled(self, make, logger, logs):
        """
        With ``enabled: false`` everything may be called, nothing is written, and no thread runs.
        """
        before = threading.active_count()
        handler = make(enabled=False)
        with start_session("abc", metadata={"a": 1}) as session:
            logger.error("hello")
            session.event("completion")
            session.output(b"x")
            session.prompt("x")
            session.error(ValueError("x"))
            asyncio.run(session.aevent("completion"))
            session.set_level("full")
            assert session.level is FULL
            session.flush()
        session.event("late")
        logger.error("hello", extra={"session_id": "other"})
        handler.flush()
        handler.close()
        assert not logs.exists()
        assert threading.active_count() == before

    def test_single_file(self, make, logger, logs, tmp_path):
        """
        With ``single_file`` the lines of all sessions are in one file, each with its session, and no directory is made.
        """
        handler = make(single_file=str(tmp_path / "out" / "all.log"), session_level="prompts")
        with start_session("a") as first, start_session("b") as second:
            first.event("completion")
            second.prompt("hi")
            logger.info("inner")
        handler.flush()
        lines = read_lines(tmp_path / "out" / "all.log")
        assert [(line["session"], line.get("msg", line["event"])) for line in lines if line["session"] == "b"] == [
            ("b", "session_start"),
            ("b", "initial_prompt"),
            ("b", "inner"),
            ("b", "session_end"),
        ]
        assert [line["event"] for line in lines if line["session"] == "a"] == [
            "session_start",
            "completion",
            "session_end",
        ]
        assert [line["seq"] for line in lines if line["session"] == "b"] == [1, 2, 3, 4]
        assert first.log_path == second.log_path == tmp_path / "out" / "all.log"
        handler.close()
        assert not [path for path in (logs / "a", logs / "b") if path.exists()]
        assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []

    def test_without_audit(self, make, logs):
        """
        With ``audit: false`` there are no audit files, and the log is the same.
        """
        handler = make(audit=False, session_level="prompts")
        with start_session("abc") as session:
            session.prompt("hi")
        handler.flush()
        assert sorted(path.name for path in (logs / "abc").iterdir()) == ["metadata.json", "session.log"]
        assert events_of(logs / "abc") == ["session_start", "initial_prompt", "session_end"]

    def test_kept_at_the_end(self, handler, logs):
        """
        By default a session's files stay as they are.
        """
        start_session("abc").end()
        handler.close()
        names = ["audit_system.log", "metadata.json", "session.log"]
        assert sorted(path.name for path in (logs / "abc").iterdir()) == names

    def test_compressed_at_the_end(self, make, logs):
        """
        With ``on_end: compress`` the files of an ended session are gzip files that the reader understands.
        """
        handler = make(on_end="compress", session_level="prompts")
        with start_session("abc") as session:
            for number in range(100):
                session.event("completion", number=number)
        open_one = start_session("open")
        open_one.event("completion")
        handler.flush()
        wait_until((logs / "abc" / "session.log.gz").exists)
        handler.close()
        assert not (logs / "abc" / "session.log").exists()
        assert (logs / "abc" / "audit_system.log.gz").exists()
        lines = [*read_session("abc", directory=logs)]
        assert [line.data["number"] for line in lines if line.event == "completion"] == [*range(100)]
        assert lines[-1].event == "session_end"
        assert events_of(logs / "open") == ["session_start", "completion"]

    def test_deleted_at_the_end(self, make, logs):
        """
        With ``on_end: delete`` nothing of an ended session stays, and what others put into its directory does.
        """
        handler = make(on_end="delete", session_level="prompts")
        for name in ("abc", "shared"):
            start_session(name).prompt("hi")
        handler.flush()
        (logs / "shared" / "notes.txt").write_text("not ours")
        for name in ("abc", "shared"):
            start_session(name).end()
        wait_until(lambda: not (logs / "abc").exists())
        handler.close()
        assert [path.name for path in (logs / "shared").iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("on_end", ["compress", "delete"])
    def test_started_again_meanwhile(self, make, logs, on_end):
        """
        A session that is started again before its files are cleaned up keeps them.
        """
        handler = make(on_end=on_end, session_level="prompts")
        gate = threading.Event()
        handler.root.keeper.submit(lambda: gate.wait(10), slow=True)  # the thread that cleans up is busy
        session = start_session("abc")
        for number in range(20):
            session.event("completion", number=number)
            session.end()
            session = start_session("abc")
        session.event("completion", number=20)
        handler.flush()
        gate.set()
        handler.close()
        numbers = [line.data["number"] for line in read_session("abc", directory=logs) if line.event == "completion"]
        assert numbers == [*range(21)]


def use_all(session, logger):
    """Events of each class and audit side, and ordinary records."""
    with session:
        session.event("completion")  # signals, system
        session.event("client_attached")  # signals, user
        session.event("initial_prompt")  # prompts, user
        session.event("prompt_detected")  # prompts, system
        session.event("input_seen")  # unknown: signals, no side
        session.event("state_change")  # full, system
        session.event("resize", cols=80, rows=24)  # full, no side
        session.input(b"i")  # full, user
        session.output(b"o")  # full, no side
        logger.warning("warning")
        logger.info("info")
        logger.debug("debug")


class TestLayouts:
    ALL = (
        "session_start completion client_attached initial_prompt prompt_detected input_seen state_change resize "
        "input output log log log session_end"
    )
    SIGNALS_ONLY = "session_start completion client_attached input_seen log session_end"
    SYSTEM = "session_start completion prompt_detected session_end"
    SYSTEM_FULL = "session_start completion prompt_detected state_change session_end"

    @pytest.mark.filterwarnings("ignore:unknown event")
    @pytest.mark.parametrize(
        ("options", "level", "files"),
        [
            (
                {"layout": "multiplexer"},
                "signals",
                {
                    "abc/session.log": SIGNALS_ONLY,
                    "abc/audit_user.log": "client_attached initial_prompt",
                    "abc/audit_system.log": SYSTEM,
                },
            ),
            (
                {"layout": "multiplexer"},
                "spawns",
                {
                    "abc/session.log": "session_start session_end",
                    "abc/audit_user.log": "client_attached initial_prompt",
                    "abc/audit_system.log": SYSTEM,
                },
            ),
            (
                {"layout": "multiplexer"},
                "full",
                {
                    "abc/session.log": ALL,
                    "abc/audit_user.log": "client_attached initial_prompt input",
                    "abc/audit_system.log": SYSTEM_FULL,
                },
            ),
            (
                {"layout": "fugue"},
                "signals",
                {
                    "abc/system.jsonl": "session_start completion prompt_detected input_seen log session_end",
                    "abc/audit.jsonl": "client_attached initial_prompt",
                },
            ),
            (
                {"layout": "fugue"},
                "full",
                {
                    "abc/system.jsonl": "session_start completion prompt_detected input_seen state_change resize "
                    "output log log log session_end",
                    "abc/audit.jsonl": "client_attached initial_prompt input",
                },
            ),
            ({"layout": "recorder"}, "signals", {"abc/session.log": SIGNALS_ONLY}),
            ({"layout": "recorder"}, "full", {"abc/session.log": ALL}),
            (
                {"layout": "terminal"},
                "full",
                {
                    "abc.jsonl": "resize input output",
                    ".sessions/abc/session.log": "session_start completion client_attached initial_prompt "
                    "prompt_detected input_seen state_change log log log session_end",
                    ".sessions/abc/audit_user.log": "client_attached initial_prompt input",
                    ".sessions/abc/audit_system.log": SYSTEM_FULL,
                },
            ),
            (
                {"layout": "terminal"},
                "signals",
                {
                    ".sessions/abc/session.log": SIGNALS_ONLY,
                    ".sessions/abc/audit_user.log": "client_attached initial_prompt",
                    ".sessions/abc/audit_system.log": SYSTEM,
                },
            ),
            (
                {"files": {"main.txt": {"format": "text"}, "who.log": "user", "{id}/io.log": {"takes": "bytes"}}},
                "full",
                {
                    "abc/main.txt": ALL,
                    "abc/who.log": "client_attached initial_prompt input",
                    "abc/io.log": "resize input output",
                },
            ),
            ({"files": {"{id}.log": "records"}}, "signals", {"abc.log": SIGNALS_ONLY}),
        ],
    )
    def test_which_file_takes_what(self, make, logger, logs, options, level, files):
        """
        Each layout's files, and those spelled out, take the events that the design says, at each session level.
        """
        handler = make(**options)
        session = start_session("abc", level=level)
        use_all(session, logger)
        handler.close()
        found = {
            path.relative_to(logs).as_posix(): " ".join(line.event for line in read_path(path))
            for path in logs.rglob("*")
            if path.is_file() and not path.name.endswith("metadata.json")
        }
        assert {name: found[name] for name in found if not name.startswith((".locks/", ".leases/"))} == files

    def test_format_of_the_log(self, make, logger, logs):
        """
        ``format`` changes the log's own line format; the audit files keep theirs.
        """
        handler = make(format="text", session_level="prompts")
        with start_session("abc") as session:
            session.prompt("hi")
        handler.close()
        log = (logs / "abc" / "session.log").read_text("utf-8").splitlines()
        assert log[-1].split(" ", 1)[1].startswith("INFO ")
        assert events_of(logs / "abc", "audit_user.log") == ["initial_prompt"]


class TestAuditDurability:
    @pytest.mark.parametrize(("durability", "synced"), [("none", False), ("interval", True)])
    def test_in_the_background(self, make, monkeypatch, durability, synced):
        """
        With ``interval`` an audited event is synced within a second and nobody waits; with ``none`` only durable ones.
        """
        handler = make(audit_durability=durability, sync_interval=0.05)
        count = []
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: count.append(descriptor))
        session = start_session("abc")  # durable in any case
        wait_until(lambda: count)
        handler.close()
        count.clear()
        session.event("completion")
        if synced:
            wait_until(lambda: count, 1.0)
        else:
            session.flush()
            time.sleep(0.2)
            assert not count

    def test_sync_waits(self, make, logs, monkeypatch):
        """
        With ``sync`` an audited event is on the disk when the call returns; others do not wait.
        """
        make(audit_durability="sync", sync_interval=30.0, linger=1.0, session_level="full")
        synced = []
        real = sync._sync_data
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: (synced.append(1), real(descriptor)))
        session = start_session("abc")
        session.event("completion", number=1)
        assert events_of(logs / "abc")[-1] == "completion"
        before = len(synced)
        assert before
        begin = time.monotonic()
        session.event("state_change")
        session.output(b"x")
        session.event("log_rotated")
        assert events_of(logs / "abc")[-3:] == ["state_change", "output", "log_rotated"]
        assert len(synced) > before
        assert time.monotonic() - begin < 5

    def blocked(self, logs, **options: object):
        """A directory where the log should be."""
        (logs / "abc" / "session.log").mkdir(parents=True)
        return {"audit_durability": "sync", "audit_timeout": 0.5, **options}

    def test_raises(self, make, logs, capsys):
        """
        With ``audit_on_error: raise`` an event that can't be written is an `AuditWriteError`, within the timeout.
        """
        make(**self.blocked(logs, audit_on_error="raise"))
        session = start_session("abc")
        for call in (lambda: session.event("completion"), lambda: session.error("x")):
            begin = time.monotonic()
            with pytest.raises(AuditWriteError, match="session 'abc' is not known to be on the disk") as caught:
                call()
            assert time.monotonic() - begin < 1.5
            assert caught.value.session_id == "abc"
        session.event("resize")  # neither audited nor rare
        (logs / "abc" / "session.log").rmdir()
        session.flush(durable=True)

    def test_continues(self, make, logs, capsys):
        """
        Without it the failure is one line on stderr, and the app goes on; the event is written once it can be.
        """
        handler = make(**self.blocked(logs))
        session = start_session("abc")
        session.event("completion")
        assert "is not known to be on the disk" in capsys.readouterr().err
        (logs / "abc" / "session.log").rmdir()
        wait_until(lambda: handler.flush() or (logs / "abc" / "session.log").exists())
        assert events_of(logs / "abc") == ["session_start", "completion"]

    def test_never_in_a_running_loop(self, make, logs, capsys):
        """
        In a running loop `event` neither waits nor raises; `aevent` does both, for its own caller alone.
        """
        make(**self.blocked(logs, audit_on_error="raise"))

        async def main() -> float:
            session = start_session("abc")
            begin = time.monotonic()
            session.event("completion")
            took = time.monotonic() - begin
            with pytest.raises(AuditWriteError):
                await session.aevent("completion")
            return took

        assert asyncio.run(main()) < 0.1
        (logs / "abc" / "session.log").rmdir()

    def test_aevent_does_not_block_the_loop(self, make, logs, monkeypatch):
        """
        While `aevent` waits for a slow disk the loop goes on, and afterwards the line is there.
        """
        make(audit_durability="sync", linger=0.05)
        session = start_session("abc")
        assert session.flush(durable=True)
        real = sync._sync_data
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: (time.sleep(0.3), real(descriptor)))

        async def main() -> tuple[float, float]:
            longest = 0.0

            async def tick() -> None:
                nonlocal longest
                while True:
                    begin = time.monotonic()
                    await asyncio.sleep(0.001)
                    longest = max(longest, time.monotonic() - begin)

            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0.01)
            begin = time.monotonic()
            await session.aevent("completion", number=1)
            took = time.monotonic() - begin
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            return took, longest

        took, longest = asyncio.run(main())
        assert took >= 0.3
        assert longest < 0.05
        assert events_of(logs / "abc")[-1] == "completion"

    def test_cancelled_while_it_waits(self, make, logs, monkeypatch):
        """
        A task that is cancelled in `aevent` is cancelled, and its line is written all the same.
        """
        handler = make(audit_durability="sync")
        session = start_session("abc")
        assert session.flush(durable=True)
        real = sync._sync_data
        monkeypatch.setattr(sync, "_sync_data", lambda descriptor: (time.sleep(0.3), real(descriptor)))

        async def main() -> None:
            task = asyncio.create_task(session.aevent("completion"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        handler.flush()
        assert "completion" in events_of(logs / "abc")

    @pytest.mark.parametrize("on_error", ["continue", "raise"])
    def test_nothing_to_wait_in(self, make, logs, capsys, on_error):
        """
        Where no thread can wait, the event is not known to be on the disk; it is written, and so not counted as lost.
        """
        handler = make(audit_durability="sync", audit_on_error=on_error)
        session = start_session("abc")
        raised = pytest.raises(AuditWriteError, match="after shutdown")

        async def main() -> None:
            executor = ThreadPoolExecutor(1)
            asyncio.get_running_loop().set_default_executor(executor)
            executor.shutdown()
            with raised if on_error == "raise" else contextlib.nullcontext():
                await session.aevent("completion")

        asyncio.run(main())
        handler.flush()
        assert events_of(logs / "abc") == ["session_start", "completion"]
        assert handler.stats()["dropped"] == {}
        assert "not known to be on the disk: cannot schedule" in capsys.readouterr().err

    @pytest.mark.parametrize("on_error", ["continue", "raise"])
    def test_no_barrier(self, make, logs, capsys, monkeypatch, on_error):
        """
        As much holds for `event`, where what it would wait for can't be had.
        """
        handler = make(audit_durability="sync", audit_on_error=on_error)
        session = start_session("abc")

        def no_barrier(channel: object) -> None:
            raise RuntimeError("no more threads")

        monkeypatch.setattr(handler.root, "durable_barrier", no_barrier)
        raised = pytest.raises(AuditWriteError, match="no more threads")
        with raised if on_error == "raise" else contextlib.nullcontext():
            session.event("completion")
        handler.flush()
        assert events_of(logs / "abc") == ["session_start", "completion"]
        assert handler.stats()["dropped"] == {}
        assert "not known to be on the disk: no more threads" in capsys.readouterr().err

    def test_accepted_is_not_lost(self, handler, logs, capsys, monkeypatch):
        """
        What fails after an event was taken is told of; its line is there, so nothing is counted as lost.
        """
        session = start_session("abc")

        def fail(*_: object) -> None:
            raise RuntimeError("behind the line")

        monkeypatch.setattr(type(session), "_offer", fail)
        session.event("completion")
        asyncio.run(session.aevent("completion"))
        monkeypatch.undo()
        handler.flush()
        assert events_of(logs / "abc") == ["session_start", "completion", "completion"]
        assert handler.stats()["dropped"] == {}
        assert "was taken, and then failed: RuntimeError('behind the line')" in capsys.readouterr().err

    def test_aevent_without_waiting(self, handler, logs):
        """
        Where nobody asked to wait, `aevent` is `event`: judged by the level, and its fields are those of the call.
        """

        async def main() -> None:
            session = start_session("abc")
            values = [1]
            await session.aevent("initial_prompt", values=values)
            values.append(2)
            await session.aevent("state_change")

        asyncio.run(main())
        handler.flush()
        assert events_of(logs / "abc") == ["session_start", "initial_prompt"]
        assert lines_of(logs / "abc")[1]["data"] == {"values": [1]}

    def test_aevent_of_bad_content(self, handler, logs, capsys):
        """
        What is wrong with an event does not reach the coroutine that logs it.
        """

        async def main() -> None:
            session = start_session("abc")
            await session.aevent(["no name"])
            await session.aevent("completion", value=object())

        asyncio.run(main())
        handler.flush()
        assert "completion" in events_of(logs / "abc")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | any_texts | st.binary(max_size=9)


class TestOneStep:
    @given(st.dictionaries(st.text(st.characters(categories=("L",)), min_size=1), st.recursive(VALUES, st.lists)))
    def test_as_the_long_way(self, tmp_path_factory, data):
        """
        An event's fields are in its line as `freeze` has them, whether they went in one step or needed more.
        """
        handler = SessionHandler(tmp_path_factory.mktemp("logs"), session_level="full")
        session = start_session()
        session.event("state_change", **data)
        session.flush()
        lines = [line for line in read_lines(session.log_path) if line["event"] == "state_change"]
        assert [line["data"] for line in lines] == [freeze(data)]
        session.end()
        handler.close()

    @pytest.mark.parametrize("name", ["output", "input", "state_change", "prompt_change"])
    def test_what_the_level_refuses_is_not_looked_at(self, tmp_path, monkeypatch, name):
        """
        At spawns, nothing is encoded for what is refused, and nothing queued.
        """
        SessionHandler(tmp_path, session_level="spawns", audit=False)
        session = start_session()
        session.flush()

        def encode(value):
            raise AssertionError("encoded")

        monkeypatch.setattr("sessionlog_handlers.session.encode_fast", encode)
        monkeypatch.setattr("sessionlog_handlers.formats.jsonl.encode_fast", encode)
        monkeypatch.setattr(session.root, "put", None)
        call = getattr(session, name, None)
        if call is None:
            session.event(name, value=1)
        else:
            call(b"x")
        assert session.root.reporter.errors == 0
        assert len(session.root.queue) == 0

    def test_small_events_take_bytes_too(self, tmp_path):
        """
        However small the share of the queue's bytes for an entry is, what goes in one step is counted with them.
        """
        handler = SessionHandler(
            tmp_path,
            session_level="full",
            queue_size=4096,
            queue_bytes=65_536,
            max_record_bytes=16_384,
            linger=0.5,
            overflow="shed",
        )
        with start_session("abc") as session:
            session.flush()
            for number in range(3000):
                session.event("state_change", number=number, text="x" * 60)
            assert sum(len(entry.data) for entry in handler.root.queue.snapshot()) < 2 * 65_536
        handler.close()
        assert handler.stats()["dropped"]["queue_full"] > 0

    @pytest.mark.parametrize("text", ["x", "é", "\x00", "\x7f", "\u202e"])
    @pytest.mark.parametrize("way", ["record", "field", "event"])
    def test_memory_of_a_huge_record(self, tmp_path, logger, text, way):
        """
        A record of 10 MB takes at most four times the memory of its own JSON, whatever its text and the way it comes.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        with start_session("abc") as session:
            content = text * 10_000_000
            size = len(json.dumps(content, ensure_ascii=False).encode())
            tracemalloc.start()
            try:
                if way == "event":
                    session.event("state_change", text=content)
                else:  # to the handler alone, since pytest's own format each record too
                    msg, extra = (content, {}) if way == "record" else ("huge", {"text": content})
                    handler.handle(logger.makeRecord("app", logging.INFO, "app.py", 1, msg, (), None, extra=extra))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        handler.close()
        assert peak < 4 * size
        assert b"10000000" in session.log_path.read_bytes()
