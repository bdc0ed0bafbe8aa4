"""
What nobody caught is in the log of the session it belongs to, and the hooks of others run as before.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import pickle
import sys
import textwrap
import threading
import weakref
from contextlib import suppress

import pytest
from helpers import read_lines, run_python

from sessionlog_handlers import SessionHandler, bind, start_session, unhandled, use_session
from sessionlog_handlers.context import set_default_session
from sessionlog_handlers.pipeline import lifecycle

PROGRAM = """
import gc, logging, sys, threading
from sessionlog_handlers import SessionHandler, bind, start_session, use_session

handler = SessionHandler(sys.argv[1], capture_errors=True{options})

def fail():
    raise KeyError("lost")

{body}
"""


def run(root, body, options="", **others):
    """Run a program that fails somewhere, and give what it printed and left."""
    return run_python(PROGRAM.format(body=textwrap.dedent(body), options=options), root, **others)


def lines_of(root, name="s"):
    """The lines of a session."""
    return read_lines(root / name / "session.log")


def errors_of(root, name="s"):
    """What the session's error lines say."""
    return [line["data"] for line in lines_of(root, name) if line["event"] == "error"]


def events_of(root, name="s"):
    """The events of a session in their order."""
    return [line["event"] for line in lines_of(root, name)]


@pytest.fixture(autouse=True)
def _hooks(monkeypatch):
    """The hooks are after each test what they were: what is patched first is put back last."""
    for owner, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.fixture
def handler(tmp_path):
    """A handler that wants errors."""
    return SessionHandler(tmp_path, capture_errors=True, linger=0)


class TestMain:
    def test_open_session(self, tmp_path):
        """
        An exception that ends the program is in its session with type, text and traceback, before the session's end.
        """
        done = run(tmp_path, "start_session('s').__enter__(); fail()")
        assert done.returncode == 1
        assert "KeyError: 'lost'" in done.stderr  # Python's own hook ran
        assert events_of(tmp_path) == ["session_start", "error", "session_end"]
        error = errors_of(tmp_path)[0]
        assert (error["type"], error["error"], error["unhandled"]) == ("KeyError", "'lost'", "main")
        line = lines_of(tmp_path)[1]
        assert "in fail" in str(line)
        assert lines_of(tmp_path)[-1]["data"]["reason"] == "exception KeyError"

    def test_block_is_left(self, tmp_path):
        """
        An exception that leaves its session's block is in the session once, before the end that it causes.
        """
        run(tmp_path, "with start_session('s'): fail()")
        assert events_of(tmp_path) == ["session_start", "error", "session_end"]
        assert errors_of(tmp_path)[0]["unhandled"] == "block"

    def test_belongs_to_where_it_was_raised(self, tmp_path):
        """
        Of two sessions one within the other, the inner has the exception as its own; the outer, which it left, too.
        """
        body = """
            with start_session("outer"):
                with start_session("inner"):
                    fail()
        """
        run(tmp_path, body)
        assert [error["unhandled"] for error in errors_of(tmp_path, "inner")] == ["block"]
        assert [error["unhandled"] for error in errors_of(tmp_path, "outer")] == ["block"]

    def test_origin_is_known_outside(self, tmp_path):
        """
        What was raised in a block of `use_session` belongs to that session, also where another is the default.
        """
        body = """
            from sessionlog_handlers import set_default_session
            set_default_session(start_session("other"))
            start_session("s")
            with use_session("s"):
                fail()
        """
        run(tmp_path, body)
        assert [error["unhandled"] for error in errors_of(tmp_path)] == ["main"]
        assert errors_of(tmp_path, "other") == []

    def test_default_session_of_the_handler(self, tmp_path):
        """
        Without any session it goes where the handler's records without one go.
        """
        run(tmp_path, "fail()", ", default_session='s'")
        assert events_of(tmp_path) == ["session_start", "error", "session_end"]

    def test_nobody_is_guessed(self, tmp_path):
        """
        Without any session it is in no log, also if one is open, and counted.
        """
        body = """
            start_session("s")
            import atexit
            atexit.register(lambda: print(handler.stats()["unrouted"]))
            fail()
        """
        done = run(tmp_path, body)
        assert done.stdout == "1\n"
        assert "KeyError" in done.stderr
        assert errors_of(tmp_path) == []

    @pytest.mark.parametrize("how", ["sys.exit(3)", "raise KeyboardInterrupt", "raise SystemExit"])
    def test_ends_that_are_no_errors(self, tmp_path, how):
        """
        sys.exit and Ctrl-C are no errors.
        """
        run(tmp_path, f"with start_session('s'): start_session('t').__enter__(); {how}")
        assert errors_of(tmp_path) == errors_of(tmp_path, "t") == []

    def test_off_by_default(self, tmp_path):
        """
        Without the setting no hook is touched, and nothing is logged.
        """
        body = """
            start_session("s").__enter__()
            print(sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__)
            fail()
        """
        assert "False False" in run(tmp_path, body).stdout
        text = PROGRAM.format(body=textwrap.dedent(body), options="").replace("capture_errors=True", "")
        done = run_python(text, tmp_path / "off")
        assert "True True" in done.stdout
        assert events_of(tmp_path / "off") == ["session_start", "session_end"]

    def test_level_decides(self, tmp_path):
        """
        An error is of class signals: a session at level spawns has it in its audit file only.
        """
        run(tmp_path, "with start_session('s', level='spawns'): fail()")
        assert errors_of(tmp_path) == []
        audit = read_lines(tmp_path / "s" / "audit_system.log")
        assert [line["event"] for line in audit] == ["session_start", "error", "session_end"]


class TestThreads:
    def test_session_of_the_thread(self, tmp_path, handler, monkeypatch):
        """
        What ends a thread is in the session that was current in it, with the thread's name; the app's own hook runs.
        """
        seen = []
        monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))
        unhandled.capture()
        session = start_session("s")

        def work():
            with use_session(session):
                raise ValueError("bad")

        for target in (work, _bound(session)):
            thread = threading.Thread(target=target, name="worker")
            thread.start()
            thread.join()
        session.end()
        handler.close()
        assert seen == [ValueError, ValueError]
        assert [(error["thread"], error["unhandled"]) for error in errors_of(tmp_path)] == [("worker", "thread")] * 2

    def test_thread_without_a_session(self, tmp_path, handler, monkeypatch):
        """
        A plain thread belongs to the process's default session, and to none if there is no default.
        """
        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        unhandled.capture()
        session = start_session("s")
        _run_in_thread(_fail)
        assert handler.stats()["unrouted"] == 1
        set_default_session(session)
        _run_in_thread(_fail)
        session.end()
        handler.close()
        assert len(errors_of(tmp_path)) == 1

    def test_session_that_has_ended(self, tmp_path, handler, monkeypatch):
        """
        What comes after its session's end is not written behind the last line; it is counted.
        """
        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        unhandled.capture()
        session = start_session("s")
        session.end()
        set_default_session(session)
        _run_in_thread(_fail)
        handler.close()
        assert events_of(tmp_path) == ["session_start", "session_end"]
        assert handler.stats()["unrouted"] == 1

    def test_raised_anew(self, tmp_path, handler, monkeypatch):
        """
        One exception object that ends two threads is two lines; one that leaves a block and ends its thread is one.
        """
        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        unhandled.capture()
        kept = ValueError("always the same")

        def work():
            raise kept

        def leave():
            with start_session("block"):
                raise ValueError("once")

        session = start_session("s")
        set_default_session(session)
        for target in (work, work, leave):
            _run_in_thread(target)
        session.end()
        handler.close()
        assert [error["unhandled"] for error in errors_of(tmp_path)] == ["thread", "thread"]
        assert [error["unhandled"] for error in errors_of(tmp_path, "block")] == ["block"]

    def test_kept_for_ever(self, tmp_path, handler):
        """
        One exception object that is raised in many sessions is in each of them, and does not grow.
        """
        kept = ValueError("always the same")
        for number in range(40):
            with suppress(ValueError), start_session(f"s{number}"):
                raise kept.with_traceback(None)
        handler.close()
        assert [len(errors_of(tmp_path, f"s{number}")) for number in range(40)] == [1] * 40
        assert all(len(noted) <= unhandled.MOST_TOLD for noted in vars(kept).values())


def _fail():
    raise ValueError("bad")


def _bound(session):
    with use_session(session):
        return bind(_fail)


def _run_in_thread(target):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()


class TestTasks:
    @pytest.mark.parametrize("custom", [False, True])
    def test_task_that_nobody_awaited(self, tmp_path, handler, custom):
        """
        Its exception is in the session that was current where it was made, whichever handler the loop has.
        """
        seen = []

        async def main():
            if custom:
                asyncio.get_running_loop().set_exception_handler(lambda loop, found: seen.append(found["message"]))
            with use_session("s"):
                task = asyncio.create_task(_fail_later(), name="job")
            await asyncio.wait([task])
            del task
            gc.collect()

        session = start_session("s")
        with _quiet_asyncio():
            contextvars.Context().run(asyncio.run, main())
        session.end()
        handler.close()
        assert [(error["unhandled"], error["task"]) for error in errors_of(tmp_path)] == [("task", "job")]
        assert bool(seen) is custom

    def test_callback(self, tmp_path, handler):
        """
        A callback's exception is in the session that was current where it was called for.
        """

        async def main():
            with use_session("s"):
                asyncio.get_running_loop().call_soon(_fail)
            await asyncio.sleep(0.01)

        session = start_session("s")
        with _quiet_asyncio():
            contextvars.Context().run(asyncio.run, main())
        session.end()
        handler.close()
        assert [error["unhandled"] for error in errors_of(tmp_path)] == ["callback"]

    @pytest.mark.parametrize("custom", [False, True])
    def test_handler_on_the_root_logger(self, tmp_path, handler, custom):
        """
        What asyncio logs of a failed task is no second line, and other handlers have it as ever; other records stay.
        """
        seen = []
        other = logging.Handler()
        other.emit = lambda record: seen.append(record.getMessage().partition("\n")[0])

        async def main():
            loop = asyncio.get_running_loop()
            if custom:
                loop.set_exception_handler(lambda loop, context: loop.default_exception_handler(context))
            task = asyncio.create_task(_fail_later())
            await asyncio.wait([task])
            del task
            gc.collect()
            loop.call_exception_handler({"message": "no exception"})
            logging.getLogger("asyncio").error("by itself", exc_info=ValueError("another"))

        asyncio_logger = logging.getLogger("asyncio")
        try:
            for added in (handler, other):
                asyncio_logger.addHandler(added)
            with start_session("s", level="full"):
                asyncio.run(main())
        finally:
            for added in (handler, other):
                asyncio_logger.removeHandler(added)
        handler.close()
        lines = [(line["event"], line.get("msg")) for line in lines_of(tmp_path)]
        assert [line for line in lines if line[0] in ("error", "log")] == [
            ("error", None),
            ("log", "no exception"),
            ("log", "by itself"),
        ]
        assert seen == ["Task exception was never retrieved", "no exception", "by itself"]
        lifecycle.close_all()
        assert asyncio_logger.filters == []

    def test_context_by_its_name(self, tmp_path, handler):
        """
        A loop's handler may be called with its parameter's name, with an exception and without.
        """

        async def main():
            loop = asyncio.get_running_loop()
            loop.call_exception_handler(context={"message": "nothing"})
            loop.call_exception_handler(context={"message": "something", "exception": ValueError("bad")})

        with _quiet_asyncio(), start_session("s") as session:
            set_default_session(session)
            asyncio.run(main())
        handler.close()
        assert [error["message"] for error in errors_of(tmp_path)] == ["something"]

    def test_asyncio_that_is_loaded_later(self, tmp_path):
        """
        asyncio is not loaded by the handler, and its loops are watched when the app loads it.
        """
        body = """
            print("asyncio" in sys.modules)
            import asyncio

            async def fail_later():
                fail()

            async def main():
                with use_session(start_session("s")):
                    task = asyncio.create_task(fail_later())
                await asyncio.sleep(0.01)
                del task
                gc.collect()

            asyncio.run(main())
        """
        done = run(tmp_path, body)
        assert done.stdout == "False\n"
        assert [error["unhandled"] for error in errors_of(tmp_path)] == ["task"]
        assert "Task exception was never retrieved" in done.stderr

    def test_cancelled_is_no_error(self, tmp_path, handler):
        """
        A cancelled task logs no error, and its session's end says what happened.
        """

        async def wait():
            async with start_session("s"):
                await asyncio.sleep(10)

        async def main():
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        handler.close()
        assert events_of(tmp_path) == ["session_start", "session_end"]


async def _fail_later():
    await asyncio.sleep(0)
    raise ValueError("bad")


def _quiet_asyncio():
    """asyncio prints by its logger what nobody caught."""
    return _Level(logging.getLogger("asyncio"), logging.CRITICAL + 1)


class _Level:
    def __init__(self, logger, level):
        self.logger, self.level = logger, level

    def __enter__(self):
        self.before = self.logger.level
        self.logger.setLevel(self.level)

    def __exit__(self, *_):
        self.logger.setLevel(self.before)


class TestUnraisable:
    def test_finalizer(self, tmp_path, handler, monkeypatch):
        """
        What a finalizer raised is in the session that is current, and in which finalizer it was.
        """
        monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
        unhandled.capture()

        class Fails:
            def __del__(self):
                raise ValueError("bad")

        with start_session("s"):
            Fails()
            gc.collect()
        handler.close()
        (error,) = errors_of(tmp_path)
        assert error["unhandled"] == "unraisable"
        assert "Fails.__del__" in error["message"]


class TestHooks:
    def test_twice_is_once(self, tmp_path, handler):
        """
        Any number of handlers stand before a hook once.
        """
        hook = sys.excepthook
        SessionHandler(tmp_path / "other", capture_errors=True)
        unhandled.capture()
        assert sys.excepthook is hook

    def test_put_back(self, tmp_path):
        """
        At the end the hooks are those that were there before.
        """
        before = sys.excepthook, threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
        SessionHandler(tmp_path, capture_errors=True)
        assert sys.excepthook is not before[0]
        lifecycle.close_all()
        after = sys.excepthook, threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
        assert after == before

    def test_given_back_when_nobody_wants_them(self, tmp_path):
        """
        When the last handler that wanted errors has other settings, the hooks are those of before, and the traceback
        of a crash goes to stderr again; a handler that wants them again gets them.
        """
        body = """
            import faulthandler
            start_session("s").flush()
            other = SessionHandler(sys.argv[1] + "/other", capture_errors=True)
            handler = SessionHandler(sys.argv[1])
            print(sys.excepthook is sys.__excepthook__)
            other = SessionHandler(sys.argv[1] + "/other")
            print(sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__)
            other = SessionHandler(sys.argv[1] + "/other", capture_errors=True)
            print(sys.excepthook is sys.__excepthook__)
            other = SessionHandler(sys.argv[1] + "/other")
            sys.stdout.flush()
            faulthandler._sigsegv()
        """
        program = PROGRAM.format(body=textwrap.dedent(body), options="")
        done = run_python(program, tmp_path, options=["-X", "faulthandler"])
        assert done.stdout.splitlines() == ["False", "True True", "False"]
        assert "Fatal Python error: Segmentation fault" in done.stderr

    def test_hook_on_top_keeps_working(self, tmp_path, monkeypatch):
        """
        A hook that somebody put on top of ours still runs after ours is given up, and everything below it.
        """
        seen = []
        monkeypatch.setattr(sys, "excepthook", lambda *_: seen.append("below"))
        handler = SessionHandler(tmp_path, capture_errors=True)
        ours = sys.excepthook

        def on_top(*args):
            seen.append("top")
            ours(*args)

        monkeypatch.setattr(sys, "excepthook", on_top)
        unhandled.capture()  # once more above it: neither calls the other for ever
        with start_session("s"):
            sys.excepthook(*_caught())
        handler.close()
        assert seen == ["top", "below"]
        assert len(errors_of(tmp_path)) == 1
        lifecycle.close_all()
        seen.clear()
        on_top(*_caught())
        assert seen == ["top", "below"]

    def test_never_raises(self, tmp_path, handler, monkeypatch):
        """
        Whatever goes wrong in logging it, the hook before is called.
        """
        seen = []
        monkeypatch.setattr(sys, "excepthook", lambda *_: seen.append("before"))
        unhandled.capture()
        monkeypatch.setattr(unhandled, "tell_current", lambda *_, **__: 1 / 0)
        sys.excepthook(*_caught())
        assert seen == ["before"]

    def test_keeps_nothing_alive(self, tmp_path, handler, monkeypatch):
        """
        Neither the exception nor what its frames hold lives on in what was logged.
        """
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        unhandled.capture()

        class Held:
            pass

        def fail():
            held = Held()
            references.append(weakref.ref(held))
            raise ValueError("bad")

        references: list[weakref.ref[Held]] = []
        with start_session("s"):
            try:
                fail()
            except ValueError as error:
                sys.excepthook(type(error), error, error.__traceback__)
        gc.collect()
        assert references[0]() is None

    def test_exception_stays_picklable(self, tmp_path, handler):
        """
        What an exception carries of its session can go to another process with it.
        """
        with pytest.raises(ValueError, match="bad") as caught, start_session("s"):
            raise ValueError("bad")
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), ValueError)

    def test_settings_of_its_own_handler(self, tmp_path, monkeypatch):
        """
        A session whose handler does not want errors gets none, though another handler wants them.
        """
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        plain = SessionHandler(tmp_path / "plain")
        wanting = SessionHandler(tmp_path / "wanting", capture_errors=True)
        with start_session("s", handler=plain):
            sys.excepthook(*_caught())
        plain.close()
        assert errors_of(tmp_path / "plain") == []
        assert not (tmp_path / "wanting").exists()
        assert wanting.stats()["unrouted"] == 0


def _caught():
    try:
        raise ValueError("bad")
    except ValueError as error:
        return type(error), error, error.__traceback__
