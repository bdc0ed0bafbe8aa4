"""
A configuration takes the place of another as a whole, while others log, or not at all.
"""

from __future__ import annotations

import logging
import logging.handlers
import threading
import weakref

import pytest
from helpers import read_lines, run_python

from sessionlog_handlers import ConfigurationError, SessionHandler, configure, start_session
from sessionlog_handlers.config.applying import Ledger, apply
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.lifecycle import all_roots
from sessionlog_handlers.pipeline.routes import Plan

SESSIONS = "sessionlog_handlers.SessionHandler"


def document(**sections):
    """A configuration with these sections."""
    return {"version": 1, "disable_existing_loggers": False, **sections}


def file_handler(path, **options):
    """A handler of another package that holds something open."""
    return {"class": "logging.FileHandler", "filename": str(path), **options}


class Mark(logging.Filter):
    """
    A filter that is one of a kind.
    """


class Gate(logging.Handler):
    """
    A handler that keeps a record on its way, until the test lets it go on.
    """

    def __init__(self):
        super().__init__()
        self.reached = threading.Event()
        self.opened = threading.Event()

    def emit(self, record):
        """Wait for the test."""
        self.reached.set()
        self.opened.wait(10)


class Refusing(logging.Handler):
    """
    A handler that does not let itself be closed.
    """

    def close(self):
        """Refuse."""
        super().close()
        raise RuntimeError("not now")


@pytest.fixture
def old(tmp_path):
    """A configuration in force: a session handler and a file handler at root."""
    handlers = {
        "sessions": {"class": SESSIONS, "directory": str(tmp_path / "logs"), "linger": 0},
        "plain": file_handler(tmp_path / "plain.txt"),
    }
    config = document(handlers=handlers, root={"level": "INFO", "handlers": ["sessions", "plain"]})
    apply(config)
    yield config
    for handler in [*logging.root.handlers]:
        handler.close()


def picture():
    """All that a configuration may change, as the very objects."""
    loggers = [logging.root, *(logging.getLogger(name) for name in ("app", "app.part", "other"))]
    return (
        [(one.level, [*one.handlers], [*one.filters], one.propagate, one.disabled) for one in loggers],
        dict(logging._handlers),
        [reference() for reference in logging._handlerList],
        [(root, root.settings) for root in all_roots()],
        dict(lifecycle._kept),
    )


class TestNotAtAll:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"handlers": {"late": file_handler("/no/such/directory/x")}},
            {"formatters": {"bad": {"format": "%(message", "style": "%"}}},
            {"filters": {"bad": {"()": "ext://logging.Filter", "nam": 1}}},
            {"loggers": {"app": {"handlers": ["none"]}}},
            {"loggers": {"app": {"level": "LOUD"}}},
            {"root": {"filters": ["none"]}},
        ],
    )
    def test_failure_after_handlers_were_made(self, tmp_path, old, wrong):
        """
        Whatever part fails, loggers, names, settings and handlers are the old ones, and what was made is closed.
        """
        before = picture()
        new = {
            "a": {"class": SESSIONS, "directory": str(tmp_path / "logs"), "session_level": "full"},
            "b": {"class": SESSIONS, "directory": str(tmp_path / "elsewhere")},
            "plain": file_handler(tmp_path / "new.txt"),
        }
        config = document(**{**wrong, "handlers": {**new, **wrong.get("handlers", {})}})
        with pytest.raises(ConfigurationError) as caught:
            apply(config)
        assert caught.value.key
        assert picture() == before  # the open files are those of before, too: see conftest

    def test_sessions_go_on_as_before(self, tmp_path, old):
        """
        Sessions notice nothing of a configuration that failed: no other level, and no line that tells of one.
        """
        with start_session("s") as session:
            new = {
                "sessions": {"class": SESSIONS, "directory": str(tmp_path / "logs"), "session_level": "full"},
                "late": file_handler("/no/such/directory/x"),
            }
            with pytest.raises(ConfigurationError, match=r"^handlers.late: it can't be made: .*No such file"):
                apply(document(handlers=new))
            logging.getLogger("app").warning("goes on")
            assert str(session.level) == "signals"
        session.flush()
        lines = read_lines(tmp_path / "logs" / "s" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "log", "session_end"]

    def test_second_root_that_can_not_follow(self, tmp_path, old, monkeypatch):
        """
        If the settings of a second root come to nothing, the first root keeps its old ones, too.
        """

        def fail(plan, settings):
            if settings.session_level.value == "prompts":
                raise MemoryError("none left")
            return make(plan, settings)

        make = Plan.__init__
        monkeypatch.setattr(Plan, "__init__", fail)
        handlers = {
            name: {"class": SESSIONS, "directory": str(tmp_path / name), "session_level": "full"}
            for name in ("logs", "others")
        }
        apply(document(handlers=handlers))
        levels = [root.settings.session_level for root in all_roots()]
        handlers["logs"]["session_level"], handlers["others"]["session_level"] = "spawns", "prompts"
        with pytest.raises(ConfigurationError, match="none left"):
            apply(document(handlers=handlers))
        assert [root.settings.session_level for root in all_roots()] == levels

    def test_root_that_another_handler_serves_meanwhile(self, tmp_path, old):
        """
        A root that was made in vain stays if somebody else has made a handler for it in the meantime.
        """
        made, threads = [], []
        place = str(tmp_path / "elsewhere")

        def fail():
            threads.append(threading.Thread(target=lambda: made.append(SessionHandler(place))))
            threads[0].start()
            threads[0].join(0.2)  # it has its root by then, and waits for `logging`'s lock, which is held here
            raise ValueError("in vain")

        new = {"a": {"class": SESSIONS, "directory": place}, "b": {"()": fail}}
        with pytest.raises(ConfigurationError, match="in vain"):
            apply(document(handlers=new))
        threads[0].join()
        assert made[0].root in all_roots()

    def test_incremental_names_what_is_not_there(self, old):
        """
        An incremental configuration with an unknown handler changes no level at all.
        """
        plain = logging._handlers["plain"]
        with pytest.raises(ConfigurationError, match=r"^handlers.zzz: no handler has that name now$"):
            apply({"version": 1, "incremental": True, "handlers": {"plain": {"level": "ERROR"}, "zzz": {}}})
        assert plain.level == logging.NOTSET
        apply({"version": 1, "incremental": True, "handlers": {"plain": {"level": "ERROR"}}})
        assert plain.level == logging.ERROR


class TestLikeTheStandardLibrary:
    CONFIGS = (
        document(handlers={"n": {"class": "logging.NullHandler"}}, root={"level": 7, "handlers": ["n"]}),
        document(handlers={"n": {"class": "logging.NullHandler"}}, loggers={"app": {"handlers": ["n"], "level": 9}}),
        document(loggers={"app": {"propagate": False}, "other": {"level": "DEBUG"}}, disable_existing_loggers=True),
        document(loggers={"app.part": {"propagate": True}}, root={"filters": []}, disable_existing_loggers=True),
        document(filters={"f": {"name": "app"}}, loggers={"app": {"filters": ["f"]}}, root={"level": "WARNING"}),
        {"version": 1},
        {"version": 1, "root": {}, "loggers": {"new.one": {}}},
        {"version": 1, "incremental": True, "loggers": {"app": {"level": 3, "propagate": True}}, "root": {"level": 4}},
    )

    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("first", CONFIGS[:3])
    def test_loggers_stand_as_after_dictconfig(self, first, config):
        """
        Levels, handlers, filters, propagation and what is disabled are what `dictConfig` would have made of them.
        """
        found = []
        for way in (logging.config.dictConfig, apply):
            for name in ("app", "app.part", "other", "new.one"):
                logger = logging.getLogger(name)
                logger.level, logger.handlers, logger.filters = 0, [logging.NullHandler()], [Mark()]
                logger.propagate, logger.disabled = True, False
            logging.root.handlers, logging.root.filters, logging.root.level = [], [], logging.WARNING
            for each in (first, config):
                way(_copy(each))
            loggers = [logging.root, *(logging.getLogger(name) for name in ("app", "app.part", "other", "new.one"))]
            found.append(
                [
                    (
                        one.name,
                        one.level,
                        [(type(handler), handler.name) for handler in one.handlers],
                        [type(each) for each in one.filters],
                        one.propagate,
                        one.disabled,
                        one.isEnabledFor(8),
                    )
                    for one in loggers
                ]
            )
        assert found[0] == found[1]

    def test_handlers_that_refer_to_others(self):
        """
        A memory handler gets its target though the target's name comes after its own.
        """
        handlers = {
            "a": {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "z"},
            "z": {"class": "logging.NullHandler"},
        }
        apply(document(handlers=handlers, root={"handlers": ["a"]}))
        (handler,) = logging.root.handlers
        assert type(handler.target) is logging.NullHandler
        assert handler.target.name == "z"
        configure(document(root={"handlers": []}))
        assert handler.target is None  # closed with it

    def test_reference_that_leads_nowhere(self):
        """
        A handler whose target can't be made before it is told by name.
        """
        handlers = {
            "a": {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "b"},
            "b": {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "a"},
        }
        with pytest.raises(ConfigurationError, match=r"^handlers.a: it can't be made: "):
            apply(document(handlers=handlers))

    def test_references_are_resolved(self, tmp_path):
        """
        `ext://` and `cfg://` values mean what they mean to `dictConfig`.
        """
        handlers = {
            "out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "level": "cfg://root.level"}
        }
        apply(document(handlers=handlers, root={"level": "ERROR", "handlers": ["out"]}))
        assert logging.root.handlers[0].level == logging.ERROR

    def test_what_it_relies_on(self):
        """
        What `logging` keeps for itself is where it is looked for.
        """
        handler = logging.NullHandler()
        assert logging._handlerList[-1] == weakref.ref(handler)
        handler.name = "known"
        assert logging._handlers["known"] is handler
        with logging._lock:
            assert logging.Logger.callHandlers.__code__.co_name == "callHandlers"


def _copy(config):
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in config.items()}


class TestWhileOthersLog:
    def _log(self, name):
        thread = threading.Thread(target=logging.getLogger(name).warning, args=("on its way",))
        thread.start()
        return thread

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"": ["seen"]}, {"app": ["seen"]}),
            ({"app": ["seen"]}, {"": ["seen"]}),
            ({"": ["seen"]}, {"app": ["seen"], "propagate": False}),
            ({"app": ["seen"], "propagate": False}, {"": ["seen"]}),
        ],
    )
    def test_record_between_two_loggers(self, first, second):
        """
        A record that is on its way from logger to logger finds a handler that moves, whichever way it moves.
        """
        seen, gate = [], Gate()

        def config(places):
            handlers = {"seen": {"()": lambda: _Collecting(seen)}, "gate": {"()": lambda: gate}}
            app = {"handlers": ["gate", *places.get("app", [])], "propagate": places.get("propagate", True)}
            return document(handlers=handlers, loggers={"app": app}, root={"handlers": places.get("", [])})

        apply(config(first))
        thread = self._log("app")
        assert gate.reached.wait(10)
        changing = threading.Thread(target=apply, args=(config(second),))
        changing.start()
        changing.join(0.05)
        assert changing.is_alive()  # it waits for the record
        gate.opened.set()
        thread.join()
        changing.join()
        assert seen
        assert len(logging.getLogger("app").handlers) == 1 + len(second.get("app", []))
        assert len(logging.root.handlers) == len(second.get("", []))

    def test_levels_take_effect_at_once(self):
        """
        What a logger remembers of its level is forgotten with the old configuration.
        """
        logger = logging.getLogger("app.part")
        assert not logger.isEnabledFor(logging.DEBUG)
        apply(document(loggers={"app": {"level": "DEBUG"}}))
        assert logger.isEnabledFor(logging.DEBUG)

    def test_old_handler_is_closed_after_the_last_record(self, tmp_path):
        """
        A record that has found the old handlers is still written by them, before they are closed.
        """
        gate = Gate()
        path = tmp_path / "plain.txt"

        def config():
            handlers = {"gate": {"()": lambda: gate}, "plain": file_handler(path, mode="a")}
            return document(handlers=handlers, root={"handlers": ["gate", "plain"]})

        apply(config())
        old = logging.root.handlers[1]
        thread = self._log("app")
        assert gate.reached.wait(10)
        changing = threading.Thread(target=apply, args=(config(),))
        changing.start()
        changing.join(0.05)
        assert logging.root.handlers[1] is not old
        assert old.stream is not None
        gate.opened.set()
        thread.join()
        changing.join()
        assert old.stream is None
        assert path.read_text() == "on its way\n"
        configure(document(root={"handlers": []}))

    def test_slow_handler_is_not_waited_for_without_end(self, monkeypatch):
        """
        A handler that keeps a record for long holds a configuration up for a moment only.
        """
        monkeypatch.setattr("sessionlog_handlers.config.changeover.PASSING", 0.05)
        gate = Gate()
        logging.root.handlers = [gate]
        logging.getLogger("other").handlers = [gate]  # which keeps it from being closed: that would wait for it, too
        thread = self._log("app")
        assert gate.reached.wait(10)
        apply(document(handlers={"n": {"class": "logging.NullHandler"}}, root={"handlers": ["n"]}))
        assert [handler.name for handler in logging.root.handlers] == ["n"]
        assert thread.is_alive()
        gate.opened.set()
        thread.join()


class _Collecting(logging.Handler):
    """
    Keeps what it sees.
    """

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def emit(self, record):
        """Keep it."""
        self.seen.append(record.getMessage())


class TestOldHandlers:
    def test_names_go_to_the_new_ones(self, tmp_path, old):
        """
        After a configuration was applied again, each name is that of the new handler.
        """
        before = dict(logging._handlers)
        apply(old)
        assert dict(logging._handlers) == {handler.name: handler for handler in logging.root.handlers}
        assert all(before[name] is not logging._handlers[name] for name in before)
        assert before["plain"].stream is None

    def test_those_in_use_stay_open(self, tmp_path):
        """
        A handler of a logger that the configuration leaves alone stays open, and so does what stands behind it.
        """
        behind = logging.FileHandler(tmp_path / "behind.txt")
        memory = logging.handlers.MemoryHandler(10, target=behind)
        logging.getLogger("other").addHandler(memory)
        apply(document(root={"handlers": []}))
        assert behind.stream is not None
        assert weakref.ref(memory) in logging._handlerList
        apply(document(root={"handlers": []}, disable_existing_loggers=True))
        assert behind.stream is None

    def test_one_that_refuses_to_be_closed(self, capfd):
        """
        A handler that can't be closed is told of, and the new configuration is in force all the same.
        """
        logging.root.handlers = [Refusing()]
        apply(document(handlers={"n": {"class": "logging.NullHandler"}}, root={"handlers": ["n"]}))
        assert [handler.name for handler in logging.root.handlers] == ["n"]
        assert "could not be closed: RuntimeError('not now')" in capfd.readouterr().err

    def test_root_of_ours_that_no_logger_has_gives_everything_back(self, tmp_path, old):
        """
        A session handler that is not taken over is closed; its threads end, and the next record would start them again.
        """
        handler = logging.root.handlers[0]
        with start_session("s"):
            pass
        assert handler.root.listener.is_running
        configure(document(root={"handlers": []}))
        assert not handler.root.listener.is_running


class TestLedger:
    def _applied(self, *versions):
        ledger: Ledger = {}
        for version in versions:
            apply(document(**version), ledger)
        return logging.getLogger("app")

    def test_what_is_named_no_more_is_taken_back(self):
        """
        Level, propagation, handlers and filters that a version set are gone when the next does not name the logger.
        """
        logger = logging.getLogger("app")
        logger.setLevel(17)
        mark = Mark()
        logger.addFilter(mark)
        first = {
            "handlers": {"n": {"class": "logging.NullHandler"}},
            "filters": {"f": {"name": "app"}},
            "loggers": {"app": {"level": "DEBUG", "propagate": False, "handlers": ["n"], "filters": ["f"]}},
            "root": {"level": "ERROR", "handlers": ["n"]},
        }
        self._applied(first, first, {"loggers": {"other": {"level": 5}}})
        assert (logger.level, logger.propagate, logger.handlers, logger.filters) == (17, True, [], [mark])
        assert (logging.root.level, logging.root.handlers) == (logging.WARNING, [])

    def test_key_that_is_named_no_more(self):
        """
        A logger that is still named loses what is said of it no more.
        """
        logger = self._applied({"loggers": {"app": {"level": 5, "propagate": False}}}, {"loggers": {"app": {}}})
        assert (logger.level, logger.propagate) == (0, True)

    def test_filters_do_not_pile_up(self):
        """
        A logger has the filters of the newest version, and those that the app put on it.
        """
        mark = Mark()
        logging.getLogger("app").addFilter(mark)
        version = {"filters": {"f": {"name": "app"}}, "loggers": {"app": {"filters": ["f"]}}}
        logger = self._applied(version, version, version)
        assert len(logger.filters) == 2
        assert logger.filters[0] is mark

    def test_what_the_app_changed_since_stays(self):
        """
        A level that the app has set itself after the version was applied is not taken back.
        """
        ledger: Ledger = {}
        apply(document(loggers={"app": {"level": "DEBUG"}}), ledger)
        logging.getLogger("app").setLevel(33)
        apply(document(), ledger)
        assert logging.getLogger("app").level == 33


IMPORTING = """
import logging
import sys
import threading
import time

from sessionlog_handlers import configure

handler = {"()": "sessionlog_handlers.BoundedQueueHandler", "target": TARGET}
config = {"version": 1, "handlers": {"queue": handler}, "root": {"handlers": ["queue"]}}
thread = threading.Thread(target=configure, args=(config,), daemon=True)
thread.start()


def is_at_it():
    \"\"\"Whether the other thread wants this module.\"\"\"
    frame = sys._current_frames().get(thread.ident)
    while frame is not None and frame.f_code.co_name != "resolve":
        frame = frame.f_back
    return frame is not None


while not is_at_it():
    time.sleep(0.01)
time.sleep(0.1)
logging.getLogger("imported")


class Handler(logging.NullHandler):
    pass


def make():
    return Handler()
"""


@pytest.mark.parametrize("target", [{"class": "imported.Handler"}, [{"()": "imported.make"}]])
def test_other_thread_that_imports_what_is_named(tmp_path, target):
    """
    A module that is named deep inside, and that another thread imports just then, can make its loggers.
    """
    (tmp_path / "imported.py").write_text(IMPORTING.replace("TARGET", repr(target)))
    program = """if True:
        import faulthandler, logging, sys
        faulthandler.dump_traceback_later(20, exit=True)
        sys.path.insert(0, sys.argv[1])
        import imported
        imported.thread.join()
        print(type(logging.root.handlers[0].targets[0]).__name__)
    """
    done = run_python(program, str(tmp_path))
    assert done.stderr == ""
    assert done.stdout == "Handler\n"
