from __future__ import annotations

import asyncio
import contextvars
import logging
import pickle
import threading
from contextlib import suppress

import pytest

from sessionlog_handlers.context import (
    NoSession,
    bind,
    current,
    current_session_id,
    enter,
    find_session_id,
    leave,
    set_default_session,
    use_session,
)


class WithId:
    id = "with-id"


def _record(name: str = "app", **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, __file__, 1, "hello", (), None)
    made.__dict__.update(attributes)
    return made


def _in_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results[0]


class TestCurrent:
    def test_none_by_default(self):
        """
        Where nothing says so, no session is current.
        """
        assert current() is None
        assert current_session_id() is None

    def test_nesting(self):
        """
        The innermost session is current; after its block the outer one is again, also after an exception.
        """
        with use_session("outer"):
            with suppress(ZeroDivisionError), use_session("inner"):
                assert current_session_id() == "inner"
                raise ZeroDivisionError
            assert current_session_id() == "outer"
        assert current_session_id() is None

    def test_object_with_id(self):
        """
        Anything with an id may be current, and is given back as it is.
        """
        session = WithId()
        with use_session(session):
            assert current() is session
            assert current_session_id() == "with-id"

    def test_default_of_the_process(self):
        """
        The process's default counts in every thread, but below the context's own session.
        """
        set_default_session("default")
        assert current_session_id() == _in_thread(current_session_id) == "default"
        with use_session("mine"):
            assert current_session_id() == "mine"
        set_default_session(None)
        assert current_session_id() is None

    def test_plain_thread_starts_empty(self):
        """
        A plain thread does not inherit the session that started it.
        """
        with use_session("mine"):
            assert _in_thread(current_session_id) is None

    def test_tasks_do_not_mix(self):
        """
        Each asyncio task keeps its own session across awaits, and starts with the one it was made in.
        """

        async def child():
            return current_session_id()

        async def work(name: str):
            with use_session(name):
                seen = []
                for _ in range(5):
                    await asyncio.sleep(0)
                    seen.append(current_session_id())
                seen.append(await asyncio.create_task(child()))
                return seen

        async def main():
            return await asyncio.gather(*(work(f"s{number}") for number in range(10)))

        assert asyncio.run(main()) == [[f"s{number}"] * 6 for number in range(10)]
        assert current_session_id() is None

    def test_to_thread_follows(self):
        """
        `asyncio.to_thread` takes the session along.
        """

        async def main():
            with use_session("mine"):
                return await asyncio.to_thread(current_session_id)

        assert asyncio.run(main()) == "mine"

    def test_generator_finished_elsewhere(self):
        """
        A generator that is closed in another context than it began in leaves nothing current there and does not raise.
        """

        def generate():
            with use_session("mine"):
                yield current_session_id()

        generator = generate()
        assert contextvars.Context().run(next, generator) == "mine"
        with use_session("other"):
            generator.close()
            assert current_session_id() is None

    def test_enter_and_leave(self):
        """
        `leave` makes current what was so before `enter`.
        """
        outer = enter("outer")
        inner = enter("inner")
        leave(inner)
        assert current_session_id() == "outer"
        leave(outer)
        assert current_session_id() is None


class TestBind:
    def test_carries_the_session(self):
        """
        A bound function runs in the session of its binding, passes arguments and results, and keeps its name.
        """

        def work(number: int, *, factor: int = 1):
            return current_session_id(), number * factor

        with use_session("mine"):
            bound = bind(work)
        assert bound.__name__ == "work"
        assert _in_thread(lambda: bound(3, factor=2)) == ("mine", 6)
        with use_session("other"):
            assert bound(1) == ("mine", 1)
            assert current_session_id() == "other"

    def test_without_a_session(self):
        """
        Bound where nothing is current, a function runs in whatever is current when it is called.
        """
        bound = bind(current_session_id)
        with use_session("later"):
            assert bound() == "later"


class TestFindSessionId:
    def test_order(self):
        """
        The record's own id, then the logger's name, then the context, then the process's default.
        """
        named = _record("sessions.by-name")
        prefixes = ("other.", "sessions.")
        assert find_session_id(named) is None
        set_default_session("default")
        assert find_session_id(named) == "default"
        with use_session("context"):
            assert find_session_id(named) == "context"
            assert find_session_id(named, prefixes) == "by-name"
            named.session_id = "own"
            assert find_session_id(named, prefixes) == "own"

    @pytest.mark.parametrize("name", ["sessions.", "sessions", "app.sessions.x"])
    def test_prefix_needs_an_id_behind_it(self, name):
        """
        A logger that is only the prefix, or has it elsewhere, names no session.
        """
        assert find_session_id(_record(name), ("sessions.",)) is None

    def test_own_id_is_text(self):
        """
        An id that came as a number or an object is used as text; an empty one is none.
        """
        assert find_session_id(_record(session_id=42)) == "42"
        with use_session("context"):
            assert find_session_id(_record(session_id="")) == "context"
            assert find_session_id(_record(session_id=None)) == "context"

    def test_stand_in_is_no_id(self):
        """
        What a filter stamps on a record without session is no session, also after pickling.
        """
        stamped = _record(session_id=NoSession("-"))
        assert find_session_id(stamped) is None
        assert find_session_id(pickle.loads(pickle.dumps(stamped))) is None
        with use_session("context"):
            assert find_session_id(stamped) == "context"
        assert find_session_id(_record(session_id="-")) == "-"
