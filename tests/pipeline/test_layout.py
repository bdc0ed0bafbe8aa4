from __future__ import annotations

import os
import re
from pathlib import PurePath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sessionlog_handlers.exceptions import InvalidSessionIdError
from sessionlog_handlers.pipeline.layout import MARK, SessionPaths, check_id, directory_name
from sessionlog_handlers.settings.layouts import LAYOUTS

any_text = st.text(st.characters(), min_size=1, max_size=400)

HOSTILE = [
    "../../etc",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "x" * 300,
    "\0",
    "a\0b",
    "\N{PILE OF POO}",
    "CON",
    "con.txt",
    "NUL",
    "Lpt9",
    "trailing.",
    "trailing ",
    ".locks",
    ".leases",
    ".control",
    ".sessions",
    "-rf",
    "_a",
    "a\n",
    "\ud800",
    "\u202eevil",
    "%s{id}",
    "ümlaut",
    "~",
]


class TestCheckId:
    @pytest.mark.parametrize("value", ["", None, 3, b"bytes", ("a",)])
    def test_refuses(self, value):
        """
        What is no text, and empty text, can't name a session; the error carries the value.
        """
        with pytest.raises(InvalidSessionIdError) as caught:
            check_id(value)
        assert caught.value.session_id == value

    @pytest.mark.parametrize("value", HOSTILE)
    def test_takes_any_other_text(self, value):
        """
        Any text that is not empty names a session.
        """
        assert check_id(value) == value


class TestDirectoryName:
    @pytest.mark.parametrize("value", ["a", "abc123", "A.b_c-d", "9", "x" * 128, "console", "com10", "nul-1", "a..b"])
    def test_plain_id_is_used_as_it_is(self, value):
        """
        A plain id is its own directory's name.
        """
        assert directory_name(value) == value

    @pytest.mark.parametrize("value", HOSTILE)
    def test_hostile_id(self, value):
        """
        An id that could not be a plain name becomes a readable part and a digest.
        """
        name = directory_name(value)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}~[0-9a-f]{16}", name)
        assert name == directory_name(value)

    def test_stays_readable(self):
        """
        What can be kept of an id is kept.
        """
        assert directory_name("build: main / 42").startswith("build-main-42~")
        assert directory_name("日本").startswith("session~")

    @given(any_text)
    @example("..")
    @example("\ud800/../x")
    def test_one_component_below_the_root(self, value):
        """
        Whatever the id, its name is one path component that every file system takes, and not one of ours.
        """
        for distinct in (False, True):
            name = directory_name(value, distinct=distinct)
            assert PurePath("root", name).parent == PurePath("root")
            assert os.path.normpath(os.path.join("/logs", name)) == f"/logs/{name}"
            assert name.isascii()
            assert 0 < len(name) <= 128
            assert not name.startswith((".", "-", "~"))
            assert not name.endswith(".")
            assert not re.search(r'[/\\:*?"<>|\0-\x20]', name)
            assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name.lower())

    @given(any_text, any_text)
    @example("abc", "ABC")
    @example("a/b", "a\\b")
    @example("a/b", "a-b")
    def test_distinct_ids_distinct_names(self, one, other):
        """
        Two ids never share a name; the distinct names also differ where case is folded, and from every plain name.
        """
        assume(one != other)
        assert directory_name(one) != directory_name(other)
        distinct = directory_name(one, distinct=True).casefold()
        assert distinct != directory_name(other, distinct=True).casefold()
        assert distinct != directory_name(other).casefold()
        assert MARK in distinct

    @given(any_text)
    def test_slug_and_plain_never_meet(self, value):
        """
        The mark between readable part and digest makes an id that spells another one's name a different name.
        """
        name = directory_name(value, distinct=True)
        assert directory_name(name) != name


class TestSessionPaths:
    @pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
    @pytest.mark.parametrize("value", [*HOSTILE, "plain"])
    def test_all_below_the_root(self, layout, value):
        """
        Every file of every layout lies below the root, in its directories, and differs from the others.
        """
        paths = SessionPaths("/logs", layout, directory_name(value))
        found = [*(paths.file(index) for index in range(len(layout.files))), paths.metadata]
        assert len(set(found)) == len(found)
        for path in found:
            assert os.path.normpath(path) == path
            assert path.startswith("/logs/")
            assert os.path.dirname(path) in paths.directories()
        assert paths.log == found[0]
        assert paths.directory == os.path.dirname(paths.metadata)
        assert len(set(paths.directories())) == len(paths.directories())

    def test_places(self):
        """
        The layouts put their files where their documents say.
        """

        def names(layout: str) -> list[str]:
            paths = SessionPaths("/logs", LAYOUTS[layout], "abc")
            found = [*(paths.file(index) for index in range(len(LAYOUTS[layout].files))), paths.metadata]
            assert found[:-1] == [f"/logs/{name}" for name in paths.relative_files()]
            return [path.removeprefix("/logs/") for path in found]

        assert names("multiplexer") == [
            "abc/session.log",
            "abc/audit_user.log",
            "abc/audit_system.log",
            "abc/metadata.json",
        ]
        assert names("recorder") == ["abc/session.log", "abc/.metadata.json"]
        assert names("terminal")[0] == "abc.jsonl"
        assert {os.path.dirname(name) for name in names("terminal")[1:]} == {".sessions/abc"}

    def test_single_file(self):
        """
        One file may take the place of all.
        """
        paths = SessionPaths("/logs", LAYOUTS["multiplexer"], "abc", "/var/all.log")
        assert {paths.file(index) for index in range(3)} == {"/var/all.log"}
        assert paths.directories() == ["/var"]

    def test_name_may_change(self):
        """
        The paths follow a session that had to take another name.
        """
        paths = SessionPaths("/logs", LAYOUTS["multiplexer"], "abc")
        paths.name = "abc~1"
        assert paths.log == "/logs/abc~1/session.log"
        assert paths.metadata == "/logs/abc~1/metadata.json"
