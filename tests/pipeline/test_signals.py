"""
A signal that is redirected means a call, and what handled it before is not forgotten.
"""

from __future__ import annotations

import os
import signal

import pytest

from sessionlog_handlers.pipeline.signals import (
    current_handler,
    give_back,
    give_default_back,
    install_handler,
    is_redirected,
    keep_before_default,
    redirect,
)

NUMBER = signal.SIGUSR1


@pytest.fixture
def calls():
    """What was called, with the app's own handler in place before and after."""
    calls = []
    before = signal.signal(NUMBER, lambda *_: calls.append("own"))
    yield calls
    give_back(NUMBER)
    signal.signal(NUMBER, before)


class TestRedirect:
    def test_call_comes_first(self, calls):
        """
        The call comes first, then the handler of the app; when it is given back, that one alone.
        """
        redirect(NUMBER, lambda: calls.append("ours"))
        assert is_redirected(NUMBER)
        os.kill(os.getpid(), NUMBER)
        give_back(NUMBER)
        assert not is_redirected(NUMBER)
        os.kill(os.getpid(), NUMBER)
        assert calls == ["ours", "own", "own"]

    def test_twice(self, calls):
        """
        A later call takes the place of the first; giving back twice does no harm.
        """
        redirect(NUMBER, lambda: calls.append("first"))
        redirect(NUMBER, lambda: calls.append("second"))
        os.kill(os.getpid(), NUMBER)
        give_back(NUMBER)
        give_back(NUMBER)
        os.kill(os.getpid(), NUMBER)
        assert calls == ["second", "own", "own"]

    def test_ignored_before(self, calls):
        """
        A signal that was ignored is ignored again.
        """
        signal.signal(NUMBER, signal.SIG_IGN)
        redirect(NUMBER, lambda: calls.append("ours"))
        os.kill(os.getpid(), NUMBER)
        give_back(NUMBER)
        assert signal.getsignal(NUMBER) is signal.SIG_IGN
        assert calls == ["ours"]

    def test_second_arrival(self, calls):
        """
        A signal that arrives once more while the app's own handler runs reaches that handler once more.
        """

        def own(*_):
            calls.append("own")
            if calls.count("own") == 1:
                os.kill(os.getpid(), NUMBER)
            calls.append("done")

        signal.signal(NUMBER, own)
        redirect(NUMBER, lambda: calls.append("ours"))
        os.kill(os.getpid(), NUMBER)
        assert calls == ["ours", "own", "ours", "own", "done", "done"]


class TestBelow:
    def test_installed_below(self, calls):
        """
        A handler that is installed while the signal is redirected comes after the call, and stays when that goes.
        """
        own = signal.getsignal(NUMBER)
        assert current_handler(NUMBER) is own
        redirect(NUMBER, lambda: calls.append("ours"))
        assert current_handler(NUMBER) is own
        install_handler(NUMBER, lambda *_: calls.append("below"))
        os.kill(os.getpid(), NUMBER)
        give_back(NUMBER)
        os.kill(os.getpid(), NUMBER)
        assert calls == ["ours", "below", "below"]

    def test_installed_without(self, calls):
        """
        Without a redirection a handler is simply installed.
        """
        install_handler(NUMBER, lambda *_: calls.append("plain"))
        os.kill(os.getpid(), NUMBER)
        assert calls == ["plain"]


class TestBeforeDefault:
    @pytest.fixture
    def kept(self, calls):
        """What comes before the default."""

        def kept(number, frame):
            calls.append("kept")

        keep_before_default(NUMBER, kept)
        yield kept
        give_default_back()

    @pytest.mark.parametrize("default", [signal.SIG_DFL, 0])
    def test_default(self, calls, kept, default):
        """
        Whoever gives the signal its default back, by name or not, has what is kept before it, and finds that there.
        """
        own = signal.getsignal(NUMBER)
        assert signal.signal(signalnum=NUMBER, handler=default) is own
        assert signal.getsignal(NUMBER) is kept
        os.kill(os.getpid(), NUMBER)
        assert calls == ["kept"]

    def test_others_are_set_as_ever(self, calls, kept):
        """
        A handler of the app's is installed as it is, and compared with nothing; after it is over, so is the default.
        """

        class Own:
            __hash__ = object.__hash__

            def __eq__(self, other):
                return True

            def __call__(self, number, frame):
                calls.append("object")

        own = Own()
        signal.signal(NUMBER, own)
        assert signal.getsignal(NUMBER) is own
        os.kill(os.getpid(), NUMBER)
        assert calls == ["object"]
        give_default_back()
        signal.signal(NUMBER, signal.SIG_DFL)
        assert signal.getsignal(NUMBER) is signal.SIG_DFL
