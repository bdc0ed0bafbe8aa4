from __future__ import annotations

import copy
import pickle

import pytest

from sessionlog_handlers import exceptions
from sessionlog_handlers.exceptions import (
    AuditWriteError,
    ConfigurationError,
    HandlerNotFoundError,
    InvalidLineError,
    InvalidSessionIdError,
    SessionLogError,
    SessionLogWarning,
    SessionNotFoundError,
)

EXAMPLES = [
    (SessionLogError("broken"), Exception, {}, "broken"),
    (ConfigurationError("wrong"), ValueError, {"message": "wrong", "key": ""}, "wrong"),
    (ConfigurationError("wrong", "a.b"), ValueError, {"message": "wrong", "key": "a.b"}, "a.b: wrong"),
    (HandlerNotFoundError("none is called 'x'"), LookupError, {"message": "none is called 'x'"}, "none is called 'x'"),
    (InvalidSessionIdError("bad id", 3), ValueError, {"message": "bad id", "session_id": 3}, "bad id"),
    (SessionNotFoundError("gone", "x"), LookupError, {"message": "gone", "session_id": "x"}, "gone"),
    (
        AuditWriteError("lost", "x", "error"),
        OSError,
        {"message": "lost", "session_id": "x", "event": "error"},
        "lost",
    ),
    (InvalidLineError("torn", b"{"), ValueError, {"line": b"{", "path": "", "lineno": 0}, "torn"),
    (InvalidLineError("torn", b"{", "a.log", 7), ValueError, {"path": "a.log", "lineno": 7}, "a.log:7: torn"),
    (SessionLogWarning("careful"), UserWarning, {}, "careful"),
]


@pytest.mark.parametrize(("error", "base", "attributes", "text"), EXAMPLES)
class TestEach:
    def test_carries_data(self, error, base, attributes, text):
        """
        Data is on the exception and the text in its string; it is caught as the built-in that it resembles.
        """
        assert isinstance(error, base)
        assert isinstance(error, SessionLogError | SessionLogWarning)
        assert {name: getattr(error, name) for name in attributes} == attributes
        assert str(error) == text

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_is_picklable(self, error, base, attributes, text, protocol):
        """
        It crosses process borders with its data.
        """
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert str(again) == text
        assert {name: getattr(again, name) for name in attributes} == attributes
        assert str(copy.copy(error)) == text


def test_examples_are_complete():
    """
    Every class of the module is among the examples.
    """
    classes = {value for value in vars(exceptions).values() if isinstance(value, type)}
    assert classes == {type(error) for error, *_ in EXAMPLES}


def test_tree_is_drawn():
    """
    The module's docstring names every class.
    """
    assert all(type(error).__name__ in (exceptions.__doc__ or "") for error, *_ in EXAMPLES)
