"""
A configuration is checked as a whole, then applied as a whole.
"""

from __future__ import annotations

import contextlib
import logging
import logging.config
import logging.handlers
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.config import check_file, configure, profile_names, profile_text, validate
from sessionlog_handlers.config.document import examine_document
from sessionlog_handlers.config.loading import load_file, load_text
from sessionlog_handlers.exceptions import ConfigurationError, SessionLogWarning

SESSIONS = "sessionlog_handlers.SessionHandler"


def document(**sections):
    """
    A configuration with these sections.
    """
    return {"version": 1, "disable_existing_loggers": False, **sections}


def with_sessions(**options):
    """
    A configuration with one handler of ours, called ``sessions``.
    """
    return document(handlers={"sessions": {"class": SESSIONS, **options}}, root={"handlers": ["sessions"]})


class Picky(logging.Handler):
    """
    A foreign handler that refuses to be made, after having been found to take its arguments.
    """

    def __init__(self, shape, *, error=ValueError):
        super().__init__()
        raise error(f"{shape} is no shape")


@pytest.fixture
def picky(monkeypatch):
    """
    The dotted name of `Picky`.
    """
    monkeypatch.setitem(sys.modules, "picky_handlers", sys.modules[__name__])
    return "picky_handlers.Picky"


# A configuration with anything in any place.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["INFO", "h", "cfg://h", "ext://h"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(SCALARS, inner, max_size=3)
        | st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(
                    ("class", "()"), st.sampled_from([SESSIONS, "logging.StreamHandler", "logging", ""]) | inner
                ),
                **dict.fromkeys(
                    ("level", "handlers", "filters", "formatter", "target", "propagate", "max_bytes"), inner
                ),
            },
        )
    ),
    max_leaves=8,
)
DOCUMENTS = st.fixed_dictionaries(
    {"version": st.just(1)},
    optional={
        **dict.fromkeys(
            ("handlers", "formatters", "filters", "loggers"), st.dictionaries(st.text(max_size=3), VALUES, max_size=3)
        ),
        "root": VALUES,
        "incremental": st.booleans(),
    },
)


class TestAnything:
    @given(DOCUMENTS | VALUES)
    def test_any_document_is_judged(self, config):
        """
        Whatever is in a configuration, checking it gives a list of sentences and raises nothing.
        """
        findings = examine_document(config, {})
        assert all(isinstance(problem, ConfigurationError) for problem in findings.problems)

    @given(st.text(max_size=40) | st.text("ab:-[]{}&*!#\n\t '\"|>%@?<", max_size=40))
    def test_any_text_is_read_or_refused(self, text):
        """
        Whatever is in a file, it is a mapping or an error of ours.
        """
        with contextlib.suppress(ConfigurationError):
            assert isinstance(load_text(text), dict)


class TestLoadText:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("version: 1\nhandlers:\n\tx: 1\n", "line 3, column 1: .*YAML takes no tabs"),
            ("version: 1\na: [1\n", "line 3, column 1: .*expected ',' or ']'"),
            ("version: 1\nversion: 2\n", "line 2, column 1: the key 'version' is there twice"),
            ("a:\n  - {b: 1, b: 1}\n", "line 2, column 12: the key 'b' is there twice"),
            ("a: !!python/object:os.system 1\n", "line 1, column 4: could not determine a constructor"),
            ("", "is empty; it needs at least 'version: 1'"),
            ("# nothing\n", "is empty"),
            ("- 1\n", "holds list, not a mapping"),
            ("just text", "holds str, not a mapping"),
            ("a: 1\n---\nb: 1\n", "line 2, column 1: expected a single document"),
            ("a: 1\nb: \x07\n", "line 2, column 4: special characters are not allowed"),
            ("a: 2026-13-45\n", ": month must be in 1..12"),
            pytest.param("[" * 5_000, ": it is nested too deeply$", id="brackets"),
        ],
    )
    def test_mistake_has_its_place(self, text, message):
        """
        What is wrong in a file is told in one line, with file, line and column.
        """
        with pytest.raises(ConfigurationError, match=f"^x.yaml.*{message}") as caught:
            load_text(text, "x.yaml")
        assert "\n" not in str(caught.value)

    def test_anchors_and_merges_work(self):
        """
        An entry may be built on another; what it says itself comes first.
        """
        text = "x-base: &base {a: 1, b: 2}\nc: {<<: *base, b: 3}\nd: *base\n"
        assert load_text(text)["c"] == {"a": 1, "b": 3}

    def test_without_pyyaml(self, monkeypatch):
        """
        Where PyYAML is missing, the error says what to install and what works without.
        """
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(ConfigurationError, match=r"needs PyYAML; install it .* or pass a mapping"):
            load_text("version: 1")


class TestLoadFile:
    def test_file_that_is_not_there(self, tmp_path):
        """
        A file that can't be read is named with the reason.
        """
        path = tmp_path / "none.yaml"
        with pytest.raises(ConfigurationError, match=f"^{path} can't be read: No such file or directory$"):
            load_file(path)

    def test_file_that_is_no_text(self, tmp_path):
        """
        A file that is not UTF-8 is refused as such.
        """
        path = tmp_path / "x.yaml"
        path.write_bytes(b"version: \xff")
        with pytest.raises(ConfigurationError, match="it is not UTF-8"):
            load_file(path)

    def test_mark_of_other_editors(self, tmp_path):
        """
        A byte order mark in front does no harm.
        """
        path = tmp_path / "x.yaml"
        path.write_bytes(b"\xef\xbb\xbfversion: 1")
        assert load_file(str(path)) == {"version": 1}


class TestValidate:
    def test_nothing_wrong(self, tmp_path):
        """
        A good configuration has no problems.
        """
        assert validate(with_sessions(directory=str(tmp_path), max_bytes="5 MB", level="INFO")) == []

    @pytest.mark.parametrize("key", ["class", "()"])
    @pytest.mark.parametrize("name", [SESSIONS, "sessionlog_handlers.handlers.SessionHandler"])
    def test_our_handler_by_any_name(self, key, name):
        """
        A handler of ours is checked by class and by factory, under both of its names.
        """
        problems = validate(document(handlers={"s": {key: name, "max_byte": 1}}))
        assert problems == ["handlers.s.max_byte: no such setting; did you mean 'max_bytes'?"]

    def test_outer_shape_comes_first(self):
        """
        While the sections themselves are wrong, nothing in them is judged; while references lead nowhere, neither.
        """
        wrong = document(handlers={"s": {"class": SESSIONS, "max_byte": 1, "linger": "ext://nowhere"}}, rooot={})
        assert [problem.partition(": ")[0] for problem in validate(wrong)] == ["rooot"]
        del wrong["rooot"]
        assert [problem.partition(": ")[0] for problem in validate(wrong)] == ["handlers.s.linger"]

    def test_version_hides_nothing(self):
        """
        A wrong version is told beside what else is wrong.
        """
        wrong = document(handlers={"s": {"class": SESSIONS, "max_byte": 1}})
        paths = [problem.partition(": ")[0] for problem in validate({**wrong, "version": 2})]
        assert paths == ["version", "handlers.s.max_byte"]

    def test_document_that_contains_itself(self):
        """
        An anchor within itself is told by its place, and not followed.
        """
        assert validate(load_text("version: 1\nhandlers: &a {x: *a}\n")) == ["handlers.x: it contains itself"]
        assert validate(load_text("version: 1\nx-a: &a [1, *a]\n")) == ["x-a.1: it contains itself"]

    def test_aliases_that_grow(self):
        """
        Aliases of aliases of aliases are refused before they are written out.
        """
        lines = ["version: 1", "x-0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
        (problem,) = validate(load_text("\n".join(lines)))
        assert problem.endswith(": it is too large; the most is 100000 values, aliases written out")
        assert len(problem) < 200

    @pytest.mark.parametrize("deep", [101, 5000])
    def test_nested_too_deeply(self, deep):
        """
        What is nested deeper than anyone writes is refused in words, also as a mapping.
        """
        value = []
        for _ in range(deep):
            value = [value]
        (problem,) = validate(document(**{"x-deep": value}))
        assert "it is nested too deeply; the most is 100 levels" in problem
        assert len(problem) < 300

    def test_names_are_visible(self):
        """
        Names with control characters, or of thousands of them, neither act on a terminal nor fill it.
        """
        handlers = {"a\x1b[2J\nb": {"class": "nowhere.X"}, "x" * 5000: {"class": SESSIONS, "y" * 5000: 1}}
        for problem in validate(document(handlers=handlers, **{"z\n": 1})) + validate(document(handlers=handlers)):
            assert problem.isprintable()
            assert len(problem) < 500

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (
                document(handlers={"s": {"class": "os.getcwd", "level": 5}}),
                "handlers.s.class: 'os.getcwd' is not a handler's class; a function that makes one is written as '()'",
            ),
            (document(handlers={"s": {"class": "logging.Formatter"}}), "'logging.Formatter' is not a handler's class"),
            (
                document(handlers={"s": {"class": "sessionlog_handlers.SesionHandler"}}),
                "did you mean 'SessionHandler'?",
            ),
            (document(handlers={"s": {"class": "logging.FileHandlr"}}), "did you mean 'FileHandler'?"),
            (document(**{"x" * 5000: 1}), "xxx…: no such section; a configuration has version"),
            ({None: 1, **document()}, "there is no section before a ':'; if it is called null or ~, put it in quotes"),
        ],
    )
    def test_sentence_names_the_mistake(self, config, words):
        """
        What is wrong is named with the key to blame, and with what was probably meant.
        """
        (problem,) = validate(config)
        assert words in problem

    def test_every_handler_and_key(self):
        """
        Problems of all handlers are found at once, each with its path.
        """
        handlers = {"a": {"class": SESSIONS, "linger": "x", "utc": 3}, "b": {"class": SESSIONS, "backup_count": 0}}
        paths = [problem.partition(": ")[0] for problem in validate(document(handlers=handlers))]
        assert paths == ["handlers.a.linger", "handlers.a.utc", "handlers.b.backup_count"]

    def test_key_that_dictconfig_drops_without_a_word(self):
        """
        A key with a dash never reaches the handler; it is found all the same.
        """
        assert validate(with_sessions(**{"max-bytes": "5 MB"})) == [
            "handlers.sessions.max-bytes: no such setting; did you mean 'max_bytes'?"
        ]

    @pytest.mark.parametrize(
        ("config", "problem"),
        [
            ({}, "the configuration needs 'version: 1'"),
            ({"version": 2}, "version: 2 is not a version that logging knows; write 1"),
            ({"version": True}, "version: True is not a version that logging knows; write 1"),
            (document(handelrs={}), "handelrs: no such section; did you mean 'handlers'?"),
            (document(handlers=[]), "handlers: [] is not a mapping of names"),
            (document(handlers={"s": SESSIONS}), f"handlers.s: '{SESSIONS}' is not a mapping"),
            (document(root=[]), "root: [] is not a mapping"),
            (document(incremental="no"), "incremental: 'no' is neither true nor false"),
            (
                {"version": 1, "disable_existing_loggers": "no"},
                "disable_existing_loggers: 'no' is neither true nor false",
            ),
            (document(handlers={"s": {}}), "handlers.s: it has neither 'class' nor '()'"),
            (document(handlers={"s": {"class": 5}}), "handlers.s.class: 5 is not the dotted name of a class"),
            (document(root={"handlers": ["s"]}), "root.handlers: 's' is not one of the handlers; there are none"),
            (document(root={"handlers": "s"}), "root.handlers: 's' is not a list; write [s]"),
            (
                document(root={"level": "INFOO"}),
                "root.level: 'INFOO' is not a level that logging knows; did you mean 'INFO'?",
            ),
            (document(root={"filters": ["f"]}), "root.filters: 'f' is not one of the filters; there are none"),
            (document(loggers={"a": {"handler": []}}), "loggers.a.handler: no such key; did you mean 'handlers'?"),
            (document(loggers={"a": {"propagate": "x"}}), "loggers.a.propagate: 'x' is neither true nor false"),
            (document(loggers={"a": {"level": True}}), None),
        ],
    )
    def test_general_mistakes(self, config, problem):
        """
        What is wrong with the configuration around our handlers is found too.
        """
        problems = validate(config)
        assert len(problems) == 1
        assert problem is None or problems[0] == problem

    @pytest.mark.parametrize(
        ("handler", "problem"),
        [
            ({"class": "logging.StreamHandlr"}, "handlers.h.class: 'logging.StreamHandlr' can't be imported: "),
            (
                {"()": "nowhere.Handler"},
                "handlers.h.(): 'nowhere.Handler' can't be imported: No module named 'nowhere'",
            ),
            ({"()": "logging.root"}, "handlers.h.(): 'logging.root' can't be called"),
            (
                {"class": "logging.StreamHandler", "strem": 1},
                "handlers.h.strem: StreamHandler takes no such argument; did",
            ),
            ({"class": "logging.FileHandler"}, "handlers.h: FileHandler needs 'filename', which is missing"),
            (
                {"class": "logging.StreamHandler", "formatter": "f"},
                "handlers.h.formatter: 'f' is not one of the formatters",
            ),
            ({"class": "logging.StreamHandler", "filters": ["f"]}, "handlers.h.filters: 'f' is not one of the filters"),
            (
                {"class": "logging.StreamHandler", "level": "x"},
                "handlers.h.level: 'x' is not a level that logging knows",
            ),
            (
                {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "t"},
                "handlers.h.target: 't' is not one of the handlers; there are h",
            ),
            (
                {"class": "logging.handlers.QueueHandler", "handlers": ["t"]},
                "handlers.h.handlers: 't' is not one of the handlers; there are h",
            ),
        ],
    )
    def test_mistakes_in_other_handlers(self, handler, problem):
        """
        A handler of any package is checked as far as its class and its arguments' names tell.
        """
        problems = validate(document(handlers={"h": handler}))
        assert len(problems) == 1
        assert problems[0].startswith(problem)

    def test_good_handlers_of_others(self):
        """
        What dictConfig takes for other handlers is not refused.
        """
        config = document(
            formatters={"plain": {"format": "%(message)s"}, "made": {"()": "logging.Formatter", "fmt": "%(message)s"}},
            filters={"app": {"name": "app"}, "made": {"()": "logging.Filter", "name": "x"}},
            handlers={
                "console": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stderr",
                    "formatter": "plain",
                    "filters": ["app", "made"],
                    "level": "SIGNALS",
                    ".": {"terminator": ""},
                },
                "class": {"()": logging.StreamHandler},
                "memory": {
                    "class": "logging.handlers.MemoryHandler",
                    "capacity": "cfg://capacity",
                    "target": "console",
                },
            },
            loggers={"app": {"level": 15, "handlers": ["console"], "propagate": True}},
            capacity=5,
        )
        assert validate(config) == []

    def test_mistakes_in_formatters_and_filters(self):
        """
        Factories of formatters and filters are found and take what they are given.
        """
        config = document(
            formatters={"f": {"()": "nowhere.Formatter"}, "g": {"class": "logging.Formater"}},
            filters={"f": {"()": "logging.Filter", "nam": "x"}},
        )
        problems = validate(config)
        assert [problem.partition(":")[0] for problem in problems] == [
            "formatters.f.()",
            "formatters.g.class",
            "filters.f.nam",
        ]

    def test_incremental_configuration_names_no_classes(self):
        """
        An incremental configuration only sets levels of what is there.
        """
        assert validate(document(incremental=True, handlers={"s": {"level": "INFO"}})) == []

    def test_values_that_refer_to_others(self, tmp_path):
        """
        cfg:// is filled in before a value is judged, and a reference that leads nowhere is told as it was written.
        """
        good = {**with_sessions(directory="cfg://places.logs"), "places": {"logs": str(tmp_path)}}
        assert validate(good) == []
        wrong = {**good, "places": {}}
        assert validate(wrong) == ["handlers.sessions.directory: 'cfg://places.logs' leads nowhere"]

    def test_session_level_as_level(self):
        """
        Whoever writes a session level where the standard library's belongs is led to the key that takes it.
        """
        (problem,) = validate(with_sessions(level="full"))
        assert problem.endswith("how much a session keeps is 'session_level'")

    def test_document_is_left_as_it_is(self, tmp_path):
        """
        Checking does not change what is checked.
        """
        config = with_sessions(directory="cfg://place", session_levels={"a": "full"})
        config["place"] = str(tmp_path)
        before = repr(config)
        validate(config)
        assert repr(config) == before

    def test_words_of_warning(self):
        """
        What works but may be meant otherwise is a warning with the key's path.
        """
        with pytest.warns(SessionLogWarning, match="^handlers.sessions.redact is accepted but not enforced"):
            assert validate(with_sessions(redact=True), environ={}) == []

    def test_two_handlers_of_one_directory(self, tmp_path):
        """
        Two handlers that share a directory share its sessions, so that one's settings are without effect.
        """
        handlers = {name: {"class": SESSIONS, "directory": str(tmp_path)} for name in ("a", "b")}
        with pytest.warns(SessionLogWarning, match="^handlers.b.directory is that of handlers.a too"):
            assert validate(document(handlers=handlers)) == []

    def test_environment_is_judged_with_it(self):
        """
        A bad variable is told when the configuration is checked.
        """
        with pytest.warns(SessionLogWarning, match="variable SESSIONLOG_LEVEL is ignored: 'loud' is not"):
            assert validate(with_sessions(), environ={"SESSIONLOG_LEVEL": "loud"}) == []

    def test_what_is_no_mapping(self):
        """
        Anything but a mapping is one problem.
        """
        assert validate(["version"]) == ["a configuration is a mapping, and this is list"]


class TestCheckFile:
    def test_problems_of_a_file(self, tmp_path):
        """
        The problems of a file are those of what is in it.
        """
        path = tmp_path / "logging.yaml"
        path.write_text(f"version: 1\nhandlers: {{s: {{class: {SESSIONS}, max_byte: 1}}}}\n")
        assert check_file(path) == ["handlers.s.max_byte: no such setting; did you mean 'max_bytes'?"]

    def test_file_that_can_not_be_read(self, tmp_path):
        """
        A file that is no YAML is one problem, not an exception.
        """
        path = tmp_path / "logging.yaml"
        path.write_text("a: [")
        (problem,) = check_file(path)
        assert problem.startswith(f"{path}, line 1, column 5: ")


class TestConfigure:
    def test_applies_a_file(self, tmp_path):
        """
        A good file configures logging.
        """
        path = tmp_path / "logging.yaml"
        path.write_text("version: 1\nhandlers: {h: {class: logging.NullHandler}}\nroot: {level: 7, handlers: [h]}\n")
        configure(path)
        assert logging.root.level == 7
        assert [type(handler) for handler in logging.root.handlers] == [logging.NullHandler]

    def test_applies_a_mapping(self):
        """
        A mapping works like the file that it could be in, and stays as it is.
        """
        config = document(handlers={"h": {"class": "logging.NullHandler"}}, root={"level": "FULL", "handlers": ["h"]})
        before = repr(config)
        configure(config)
        assert logging.root.level == logging.getLevelNamesMapping()["FULL"]
        assert repr(config) == before

    @pytest.mark.parametrize(
        "wrong",
        [
            with_sessions(max_byte=1),
            document(handlers={"h": {"class": "logging.NullHandler"}}, root={"level": "LOUD", "handlers": ["h"]}),
            document(handlers={"h": {"class": "logging.NullHandlr"}}),
            document(loggers={"app": {"handlers": ["none"]}}),
        ],
    )
    def test_wrong_configuration_changes_nothing(self, wrong):
        """
        When a configuration is refused, handlers, levels and names are what they were.
        """
        configure(document(handlers={"old": {"class": "logging.NullHandler"}}, root={"level": 7, "handlers": ["old"]}))
        handlers, named = (
            list(logging.root.handlers),
            logging.getHandlerByName("old") if sys.version_info >= (3, 12) else 0,
        )
        with pytest.raises(ConfigurationError):
            configure(wrong)
        assert logging.root.handlers == handlers
        assert logging.root.level == 7
        assert named is (logging.getHandlerByName("old") if sys.version_info >= (3, 12) else 0)

    def test_first_problem_has_the_key_and_others_are_told(self):
        """
        The error's key is that of the first problem, and its text has all of them.
        """
        with pytest.raises(ConfigurationError) as caught:
            configure(with_sessions(max_byte=1, linger="x"))
        assert caught.value.key == "handlers.sessions.max_byte"
        assert "(1 more: handlers.sessions.linger: 'x' is not a time span" in str(caught.value)

    def test_handler_that_can_not_be_made(self, picky):
        """
        What only shows when a handler is made is told by its name and cause, not by the standard library's wrapping.
        """
        with pytest.raises(ConfigurationError) as caught:
            configure(document(handlers={"p": {"class": picky, "shape": "circle"}}))
        assert str(caught.value) == "handlers.p: it can't be made: circle is no shape"

    def test_cause_that_is_ours_keeps_its_key(self, picky):
        """
        A setting that a handler refuses while it is made has its whole path.
        """

        def refuse(message):
            return ConfigurationError(message, "shape")

        with pytest.raises(ConfigurationError) as caught:
            configure(document(handlers={"p": {"class": picky, "shape": "circle", "error": refuse}}))
        assert (caught.value.key, caught.value.message) == ("handlers.p.shape", "circle is no shape")

    def test_file_handler_that_has_no_place(self, tmp_path):
        """
        A foreign handler whose file can't be opened is told by name, with the system's reason.
        """
        config = document(handlers={"f": {"class": "logging.FileHandler", "filename": str(tmp_path / "no" / "x.log")}})
        with pytest.raises(ConfigurationError, match=r"^handlers.f: it can't be made: .*No such file or directory"):
            configure(config)


class TestProfiles:
    def test_names(self):
        """
        The four profiles of the four systems are there.
        """
        assert profile_names() == ["multiplexer", "recorder", "terminal", "timeline"]

    def test_unknown_name_is_refused_with_the_names(self):
        """
        An unknown profile is refused with those that exist.
        """
        with pytest.raises(ConfigurationError, match=r"choose one of multiplexer, .*; did you mean 'terminal'\?"):
            profile_text("terminl")

    @pytest.mark.parametrize("name", ["multiplexer", "recorder", "terminal", "timeline"])
    def test_is_valid_and_without_warnings(self, name):
        """
        A profile can be used as it is.
        """
        assert validate(load_text(profile_text(name)), environ={}) == []

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("multiplexer", "~/.fugue/logs"),
            ("recorder", "~/recordings"),
            ("terminal", "~/.claude-sessions/logs"),
            ("timeline", "~/.sessionlog/timeline/master.log"),
        ],
    )
    def test_writes_to_its_place(self, name, place):
        """
        Each profile has the place that its system's users know.
        """
        (handler,) = load_text(profile_text(name))["handlers"].values()
        assert place in (handler.get("directory"), handler.get("filename"))

    @pytest.mark.parametrize("name", ["multiplexer", "recorder", "terminal", "timeline"])
    def test_works_as_it_is(self, name, home, tmp_path, monkeypatch):
        """
        A profile alone gives an app logs below the home directory, and nothing in the current one.
        """
        monkeypatch.chdir(tmp_path)
        configure(load_text(profile_text(name)))
        logging.getLogger("app").warning("hello", extra={"session_id": "s1"})
        for handler in logging.root.handlers:
            handler.close()
        assert [path for path in Path(home).rglob("*") if path.is_file() and b"hello" in path.read_bytes()]
        assert list(tmp_path.iterdir()) == []


class TestRealHandler:
    def test_values_of_our_other_handlers(self):
        """
        Sizes and time units of the handler for one file are checked as those of sessions are.
        """
        handler = {"class": "sessionlog_handlers.SessionRotatingFileHandler", "filename": "x.log"}
        problems = validate(document(handlers={"h": {**handler, "maxBytes": "5 XB", "when": "fortnight"}}))
        assert sorted(problem.partition(": ")[0] for problem in problems) == ["handlers.h.maxBytes", "handlers.h.when"]

    def test_warns_once(self, tmp_path):
        """
        A word of warning is said once, although the configuration is read twice.
        """
        with pytest.warns(SessionLogWarning) as caught:
            configure(with_sessions(directory=str(tmp_path), redact=True))
        assert len(caught) == 1

    def test_plain_dictconfig_refuses_too(self, tmp_path):
        """
        Without our check the handler itself refuses a wrong key, and the standard library says which handler it was.
        """
        with pytest.raises(ValueError, match="Unable to configure handler 'sessions'") as caught:
            logging.config.dictConfig(with_sessions(directory=str(tmp_path), max_byte=1))
        assert str(caught.value.__cause__) == "max_byte: no such setting; did you mean 'max_bytes'?"


class TestMultiplexerProfile:
    def test_captures_signals(self):
        """
        Servers that die of SIGTERM write what is queued, since no exit function runs in them.
        """
        document = load_text(profile_text("multiplexer"))
        assert document["handlers"]["sessions"]["capture_signals"] is True


class TestWhatIsNoConfiguration:
    @pytest.mark.parametrize("given", [5, None, ["logging.yaml"], b"logging.yaml"])
    def test_is_told(self, given):
        """
        What is neither a path nor a mapping is named, by `configure` and by `check_file`.
        """
        with pytest.raises(ConfigurationError, match="is no configuration; give the path of a YAML file, or a mapping"):
            configure(given)
        assert check_file(given) == [f"{given!r} is no configuration; give the path of a YAML file, or a mapping"]

    def test_pipe_is_not_waited_for(self, tmp_path):
        """
        A FIFO that nobody writes to, a device or a directory is refused at once.
        """
        os.mkfifo(tmp_path / "fifo")
        assert check_file(tmp_path / "fifo") == [f"{tmp_path}/fifo can't be read: it is not a regular file"]
        assert check_file("/dev/null") == ["/dev/null can't be read: it is not a regular file"]
        assert check_file(tmp_path) == [f"{tmp_path} can't be read: Is a directory"]
