"""
The same configuration gives the same files, whatever else happens to `logging` before and after.
"""

from __future__ import annotations

import configparser
import itertools
import json
import logging
import logging.config
import threading

import pytest
import yaml
from helpers import read_lines, run_python, watchdog

from sessionlog_handlers import SessionHandler, start_session

DOCUMENT = """
version: 1
disable_existing_loggers: {disable}
formatters:
  plain: {{format: "%(levelname)s %(name)s %(message)s"}}
handlers:
  {name}:
    {key}: sessionlog_handlers.SessionHandler
    directory: {directory}
    layout: multiplexer
    session_level: prompts
    session_levels: {{"debug-*": full}}
    max_bytes: 10 MB
    backup_count: 5
    compress: gzip
  {other}:
    class: logging.FileHandler
    filename: {directory}.txt
    formatter: plain
    level: INFO
root: {{level: DEBUG, handlers: {order}}}
"""


def document(directory, *, key="class", name="sessions", other="console", disable="false", order=None):
    """A configuration like that of an app, as a mapping."""
    order = order or [name, other]
    text = DOCUMENT.format(directory=directory, key=key, name=name, other=other, disable=disable, order=order)
    return yaml.safe_load(text)


def use_app(session_id="abc123", level=None):
    """What an app does: one session with records and events of several classes."""
    logger = logging.getLogger("app.part")
    logger.disabled = False
    with start_session(session_id, level=level, metadata={"user": "ada"}) as session:
        logger.info("ordinary %s", "record", extra={"answer": 42})
        logger.debug("detail")
        session.event("initial_prompt", text="hello")
        session.event("state_change", to="busy")
        logger.warning("careful")


def told(directory, session_id="abc123", file="session.log"):
    """What a file holds, without what differs from run to run."""
    lines = read_lines(directory / session_id / file)
    return [(line["seq"], line["event"], line.get("msg")) for line in lines]


EXPECTED = [
    (1, "session_start", None),
    (2, "log", "ordinary record"),
    (3, "initial_prompt", None),
    (4, "log", "careful"),
    (5, "session_end", None),
]


class TestSameFiles:
    @pytest.mark.parametrize(
        ("key", "names", "disable"),
        [*itertools.product(("class", "()"), (("sessions", "console"), ("a", "z"), ("z", "a")), ("false", "true"))],
    )
    def test_from_every_spelling(self, tmp_path, key, names, disable):
        """
        `class:` and `()`, handler names in any order, and disabled loggers make no difference to a session's files.
        """
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root, key=key, name=names[0], other=names[1], disable=disable))
        use_app()
        logging.shutdown()
        assert told(root) == EXPECTED
        assert told(root, file="audit_user.log") == [(3, "initial_prompt", None)]
        assert [event for _, event, _ in told(root, file="audit_system.log")] == ["session_start", "session_end"] or [
            event for _, event, _ in told(root, file="audit_system.log")
        ] == ["session_start", "state_change", "session_end"]

    def test_applied_twice(self, tmp_path):
        """
        A configuration that is applied twice in a row logs everything once.
        """
        root = tmp_path / "logs"
        for _ in range(2):
            logging.config.dictConfig(document(root))
        use_app()
        logging.shutdown()
        assert told(root) == EXPECTED

    def test_applied_again_during_a_session(self, tmp_path):
        """
        An open session goes on under a configuration that is applied again, with its level, and without a second start.
        """
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root))
        with start_session("s", level="full") as session:
            session.event("completion")
            logging.config.dictConfig(document(root, name="newer"))
            session.event("retry")
            logging.getLogger("app").debug("three")
        logging.shutdown()
        assert [event for _, event, _ in told(root, "s")] == [
            "session_start",
            "completion",
            "retry",
            "log",
            "session_end",
        ]

    def test_after_the_configuration_of_another_library(self, tmp_path):
        """
        Another library's dictConfig closes our handler, which stays attached, lives again and logs on.
        """
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root))
        foreign = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"default": {"class": "logging.NullHandler"}},
            "loggers": {"uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False}},
        }
        with start_session("s", level="full"):
            logging.getLogger("app").info("before")
            logging.config.dictConfig(foreign)
            logging.getLogger("app").info("after")
        # The foreign configuration took the handler off the list that `logging.shutdown` goes through.
        next(handler for handler in logging.getLogger().handlers if isinstance(handler, SessionHandler)).flush()
        assert [msg for _, event, msg in told(root, "s") if event == "log"] == ["before", "after"]

    def test_incremental(self, tmp_path):
        """
        An incremental configuration sets the handler's floor for ordinary records and leaves events alone.
        """
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root))
        with start_session("s", level="full") as session:
            logging.config.dictConfig({"version": 1, "incremental": True, "handlers": {"sessions": {"level": "ERROR"}}})
            logging.getLogger("app").info("below the floor")
            session.event("state_change")
        logging.shutdown()
        assert [event for _, event, _ in told(root, "s")] == ["session_start", "state_change", "session_end"]

    def test_file_config(self, tmp_path):
        """
        `logging.config.fileConfig` makes the handler too.
        """
        root = tmp_path / "logs"
        config = configparser.ConfigParser(interpolation=None)
        config.read_dict(
            {
                "loggers": {"keys": "root"},
                "handlers": {"keys": "sessions"},
                "formatters": {"keys": ""},
                "logger_root": {"level": "DEBUG", "handlers": "sessions"},
                "handler_sessions": {
                    "class": "sessionlog_handlers.SessionHandler",
                    "args": f"({str(root)!r},)",
                    "kwargs": "{'session_level': 'prompts'}",
                },
            }
        )
        logging.config.fileConfig(config, disable_existing_loggers=False)
        use_app()
        logging.shutdown()
        assert told(root) == EXPECTED

    def test_environment_rules_the_level(self, tmp_path, monkeypatch):
        """
        SESSIONLOG_LEVEL overrides session_level and session_levels, but not the level that a session asks for itself.
        """
        monkeypatch.setenv("SESSIONLOG_LEVEL", "spawns")
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root))
        use_app("debug-1")
        use_app("own", level="signals")
        logging.shutdown()
        assert [event for _, event, _ in told(root, "debug-1")] == ["session_start", "session_end"]
        assert [event for _, event, _ in told(root, "own")] == ["session_start", "log", "session_end"]


class TestBesideOtherHandlers:
    def test_offers_rare_events_to_others_once(self, tmp_path):
        """
        Another handler sees each record and each rare event once, and no `full` event.
        """
        root = tmp_path / "logs"
        logging.config.dictConfig(document(root))
        use_app(level="full")
        logging.shutdown()
        seen = (tmp_path / "logs.txt").read_text().splitlines()
        assert [line.split()[2] for line in seen] == ["session_start", "ordinary", "careful", "session_end"]
        assert [line.split()[0] for line in seen] == ["INFO", "INFO", "WARNING", "INFO"]

    @pytest.mark.parametrize("places", [["", "app"], ["app", "app.part"], ["app.part"], [""]])
    def test_takes_each_record_once_wherever_it_is_attached(self, tmp_path, places):
        """
        A handler on one or several loggers of a record's way takes each record and event once.
        """
        handler = SessionHandler(tmp_path, session_level="prompts")
        for place in places:
            logging.getLogger(place).addHandler(handler)
        logging.getLogger("app").setLevel("DEBUG")
        use_app()
        handler.close()
        assert told(tmp_path) == EXPECTED

    def test_events_do_not_depend_on_loggers(self, tmp_path):
        """
        Events reach their session though the event logger is disabled and every logger's level is CRITICAL.
        """
        handler = SessionHandler(tmp_path)
        logging.disable(logging.CRITICAL)
        logging.getLogger("sessionlog.session").disabled = True
        with start_session("s") as session:
            session.event("completion", tokens=3)
        logging.disable(logging.NOTSET)
        logging.getLogger("sessionlog.session").disabled = False
        handler.close()
        assert [event for _, event, _ in told(tmp_path, "s")] == ["session_start", "completion", "session_end"]

    def test_two_roots_take_what_is_theirs(self, tmp_path):
        """
        Two handlers with two roots each write ordinary records; an event goes to its own session's root only.
        """
        first = SessionHandler(tmp_path / "first", session_level="full")
        second = SessionHandler(tmp_path / "second", session_level="full")
        logger = logging.getLogger("app")
        logger.setLevel("DEBUG")
        logger.addHandler(first)
        logger.addHandler(second)
        with start_session("s", handler=first) as session:
            logger.info("for both")
            session.event("completion")
        first.close()
        second.close()
        assert [event for _, event, _ in told(tmp_path / "first", "s")] == [
            "session_start",
            "log",
            "completion",
            "session_end",
        ]
        assert [event for _, event, _ in told(tmp_path / "second", "s")] == ["session_start", "log"]

    def test_caplog_sees_records_and_events(self, tmp_path, caplog):
        """
        pytest's caplog works beside the handler, and the handler beside caplog.
        """
        caplog.set_level(logging.INFO)
        handler = SessionHandler(tmp_path, session_level="prompts")
        logging.getLogger().addHandler(handler)
        use_app()
        handler.close()
        assert [record.message.split()[0] for record in caplog.records] == [
            "session_start",
            "ordinary",
            "careful",
            "session_end",
        ]
        assert {record.session_id for record in caplog.records} == {"abc123"}
        assert [event for _, event, _ in told(tmp_path)] == [event for _, event, _ in EXPECTED]

    def test_record_factory_of_the_app_is_honoured(self, tmp_path, caplog):
        """
        The record of an event is made by the factory that the app has set.
        """
        made = []
        before = logging.getLogRecordFactory()

        def factory(*args, **kwargs):
            record = before(*args, **kwargs)
            record.tenant = "acme"
            made.append(record)
            return record

        logging.setLogRecordFactory(factory)
        handler = SessionHandler(tmp_path)
        caplog.set_level(logging.INFO)
        with start_session("s"):
            pass
        handler.close()
        assert [record.tenant for record in caplog.records] == ["acme", "acme"]
        assert len(made) == 2


class TestNoDeadlock:
    def test_configuring_while_threads_log(self, tmp_path):
        """
        Configuring again and again while threads log never stands still, and loses nothing.
        """
        root = tmp_path / "logs"
        config = document(root)
        config["handlers"]["sessions"] |= {"overflow": "wait", "max_bytes": "1 GB"}
        del config["handlers"]["console"]  # the standard library's reopens its file and leaves it open
        config["root"]["handlers"] = ["sessions"]
        logging.config.dictConfig(config)
        counts = [0] * 4
        stop = threading.Event()

        def log(number):
            logger = logging.getLogger(f"app.{number}")
            while not stop.is_set():
                logger.warning("record", extra={"session_id": "s", "n": counts[number], "worker": number})
                counts[number] += 1

        threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
        with watchdog(60):
            for thread in threads:
                thread.start()
            for _ in range(20):
                logging.config.dictConfig(config)
            stop.set()
            for thread in threads:
                thread.join()
            logging.shutdown()
        lines = [line["data"] for line in read_lines(root / "s" / "session.log") if line["event"] == "log"]
        # dictConfig takes all handlers off a logger before it puts the new ones on: what is logged in between reaches
        # no handler at all. What did reach one must be there once, and in its thread's order.
        for number in range(4):
            numbers = [data["n"] for data in lines if data["worker"] == number]
            assert numbers == sorted(set(numbers))
        assert len(lines) > 1000

    def test_shutdown_while_threads_log(self, tmp_path):
        """
        `logging.shutdown` in one thread and records in others go on side by side.
        """
        handler = SessionHandler(tmp_path, session_level="full", overflow="wait")
        logger = logging.getLogger("app")
        logger.setLevel("DEBUG")
        logger.addHandler(handler)

        def log(number):
            for n in range(2000):
                logger.info("record", extra={"session_id": "s", "n": n, "worker": number})

        threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
        with watchdog(60):
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                logging.shutdown()
            logging.shutdown()
        lines = [line["data"] for line in read_lines(tmp_path / "s" / "session.log") if line["event"] == "log"]
        for number in range(4):
            assert [data["n"] for data in lines if data["worker"] == number] == list(range(2000))

    def test_registering_an_own_handler_class_while_configuring(self, tmp_path):
        """
        With `logging`'s module lock held, closing waits for the listener, which never asks for that lock.
        """
        handler = SessionHandler(tmp_path, session_level="full")
        with watchdog(30):
            for number in range(50):
                with start_session(f"s{number}") as session:
                    session.event("state_change")
                logging._acquireLock() if hasattr(logging, "_acquireLock") else logging._lock.acquire()
                try:
                    handler.close()
                finally:
                    logging._releaseLock() if hasattr(logging, "_releaseLock") else logging._lock.release()
        assert len(list(tmp_path.glob("s*/session.log"))) == 50


class TestBadConfiguration:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"max_byte": 5}, ["max_byte", "max_bytes"]),
            ({"session_level": "promts"}, ["promts", "prompts"]),
            ({"max_bytes": "10 MB", "backup_count": 0}, ["backup_count", "throw"]),
        ],
    )
    def test_is_one_sentence_with_the_key(self, tmp_path, options, words):
        """
        A wrong setting fails the configuration with one sentence that names the key and what was probably meant.
        """
        config = document(tmp_path / "logs")
        config["handlers"]["sessions"].update(options)
        with pytest.raises(ValueError, match="Unable to configure handler 'sessions'") as caught:
            logging.config.dictConfig(config)
        message = str(caught.value.__cause__)
        assert all(word in message for word in words)
        assert "\n" not in message

    def test_formatter_on_the_handler_is_named_as_without_effect(self, tmp_path):
        """
        A `formatter:` on a SessionHandler is a visible warning, not silence.
        """
        config = document(tmp_path / "logs")
        config["handlers"]["sessions"]["formatter"] = "plain"
        with pytest.warns(UserWarning, match="formatter"):
            logging.config.dictConfig(config)


def test_foreign_level_names_work_after_import(tmp_path):
    """
    `level: SIGNALS` is understood by any handler once the package is imported.
    """
    text = f"""
import json, logging, logging.config, sessionlog_handlers
logging.config.dictConfig({{"version": 1, "handlers": {{"f": {{"class": "logging.FileHandler", "level": "SIGNALS",
    "filename": {json.dumps(str(tmp_path / "f.txt"))}}}}}, "root": {{"level": "PROMPTS", "handlers": ["f"]}}}})
logging.log(sessionlog_handlers.SIGNALS, "passes")
logging.info("does not")
"""
    run_python(text, check=True)
    assert (tmp_path / "f.txt").read_text() == "passes\n"
