"""
The documentation is true: its blocks run and give what they show, its links lead somewhere, its tables match the code.

A comment above a fenced block says what is done with it, in the page's own directory and home:

    <!-- test: file NAME -->    it is saved as NAME
    <!-- test: run -->          it is Python, run as a program of its own; with `output` next, that is what it prints
    <!-- test: run reports -->  likewise, and it is told something on stderr, as the page says
    <!-- test: output -->       what the program above printed
    <!-- test: shell -->        lines with `$ ` before them are commands, the others what they print

Times, ids and durations may differ, and an ellipsis (…) stands for anything within a line, or alone for any lines.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import CHILD_TIMEOUT, child_environment, run_python

import sessionlog_handlers
from sessionlog_handlers import SessionHandler
from sessionlog_handlers.events import BUILTIN_EVENTS
from sessionlog_handlers.pipeline.metadata import Metadata

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

BLOCK = re.compile(r"^<!-- test: (?P<what>[^\n]*?) -->\n+```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
TESTED_PROGRAMS = ("jq",)

# What differs from run to run, and what stands for it on both sides.
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r'("seconds":|seconds=)[\d.]+'), r"\g<1><seconds>"),
)


class Block(NamedTuple):
    """
    A fenced block that says how it is tested.
    """

    what: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """
    The tested blocks of a page, in their order.
    """
    return [Block(match["what"], match["text"]) for match in BLOCK.finditer(page.read_text("utf-8"))]


def programs_of(page: Path) -> list[str]:
    """
    The programs that the page's commands need.
    """
    shells = [block.text for block in blocks_of(page) if block.what == "shell"]
    return [name for name in TESTED_PROGRAMS if any(re.search(rf"\b{name}\b", text) for text in shells)]


def matches(expected: str, printed: str) -> bool:
    """
    Whether a block shows what was printed.
    """
    for pattern, word in VARYING:
        expected, printed = pattern.sub(word, expected), pattern.sub(word, printed)
    lines = (r"(?:.*\n)*?" if line == "…" else f"{re.escape(line).replace('…', '.*?')}\n" for line in _lines(expected))
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """
    Each command of a shell block, with what it shows that the command prints.
    """
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        size = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield "\n".join(lines[:size]), "\n".join(lines[size:])


def run_command(command: str, directory: Path, programs: Path) -> str:
    """
    Run a shell command with `sessionlog` on its path, and give what it prints.
    """
    environment = child_environment({"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"})
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=CHILD_TIMEOUT,
        check=False,
    )
    return done.stdout


@pytest.fixture
def programs(tmp_path_factory):
    """
    A directory with the `python` and the `sessionlog` of the package under test.
    """
    directory = tmp_path_factory.mktemp("bin")
    for name, options in {"python": "", "sessionlog": "-m sessionlog_handlers "}.items():
        script = directory / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {options}"$@"\n')
        script.chmod(0o755)
    return directory


def _pages_with_blocks() -> list[object]:
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.needs_program(name) for name in programs_of(page)])
        for page in PAGES
        if blocks_of(page)
    ]


class TestBlocks:
    @pytest.mark.parametrize("page", _pages_with_blocks())
    def test_do_what_they_show(self, page, home, programs, monkeypatch):
        """
        Every tested block of the page, from top to bottom, in one empty home.
        """
        monkeypatch.chdir(home)
        printed = ""
        for block in blocks_of(page):
            kind, _, name = block.what.partition(" ")
            if kind == "file":
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text(block.text, "utf-8")
            elif kind == "run":
                done = run_python(block.text, cwd=home, check=True)
                complaints = done.stderr.splitlines()
                if name == "reports":
                    assert complaints, block.text
                    complaints = [line for line in complaints if not line.startswith("sessionlog: ")]
                assert complaints == [], block.text
                printed = done.stdout
            elif kind == "output":
                assert matches(block.text, printed), f"{page.name} shows\n{block.text}\nbut it is\n{printed}"
            elif kind == "shell":
                for command, expected in commands_of(block.text):
                    printed = run_command(command, home, programs)
                    assert matches(expected, printed), f"$ {command}\nshows\n{expected}\nbut it is\n{printed}"
            else:
                pytest.fail(f"{page.name}: unknown mark {block.what!r}")

    def test_marks_are_understood(self):
        """
        Every mark is one that has a block right below it, so none is passed over.
        """
        for page in PAGES:
            assert page.read_text("utf-8").count("<!-- test:") == len(blocks_of(page)), page

    def test_comparison_notices_a_difference(self):
        """
        The test of the test: another word, a missing line and a line too many are noticed, a time is not.
        """
        shown = '{"ts":"2026-01-08T12:34:56.789Z","n":1}\n…\nlast … word\n'
        assert matches(shown, '{"ts":"2027-02-09T00:00:00.000Z","n":1}\nx\ny\nlast good word\n')
        assert matches(shown, '{"ts":"2027-02-09T00:00:00.000Z","n":1}\nlast good word\n')
        assert not matches(shown, '{"ts":"2027-02-09T00:00:00.000Z","n":2}\nlast good word\n')
        assert not matches(shown, '{"ts":"2027-02-09T00:00:00.000Z","n":1}\n')
        assert not matches(shown, '{"ts":"2027-02-09T00:00:00.000Z","n":1}\nlast good word\nmore\n')

    def test_readme_is_the_quickstart(self):
        """
        The README's quick start is that of `examples/quickstart.py`.
        """
        yaml_block, code_block, *_ = (block.text for block in blocks_of(ROOT / "README.md"))
        example = (ROOT / "examples" / "quickstart.py").read_text("utf-8")
        assert yaml_block == (ROOT / "examples" / "quickstart.yaml").read_text("utf-8")
        assert code_block.partition("with start_session")[2] in example


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_lead_somewhere(self, page):
        """
        Relative links name files that are there, and headings that these have.
        """
        for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name} links to {target}"
            if anchor and file.suffix == ".md":
                assert anchor in _anchors(file), f"{page.name} links to {target}"

    def test_every_page_is_found(self):
        """
        Each page of docs/ can be reached by links that start at the README.
        """
        seen: set[Path] = set()
        waiting = [ROOT / "README.md"]
        while waiting:
            page = waiting.pop()
            if page in seen:
                continue
            seen.add(page)
            for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
                file = (page.parent / target.partition("#")[0]).resolve()
                if file.suffix == ".md" and file.is_file():
                    waiting.append(file)
        assert {page.resolve() for page in PAGES} - {page.resolve() for page in seen} == set()


def _anchors(page: Path) -> set[str]:
    headings = HEADING.findall(FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


class TestTables:
    def test_every_public_name_is_described(self):
        """
        `docs/api.md` has each name of the package.
        """
        text = (DOCS / "api.md").read_text("utf-8")
        missing = [name for name in sessionlog_handlers.__all__ if not re.search(rf"`{name}\b", text)]
        assert missing == []

    def test_every_event_is_listed_as_it_is(self):
        """
        The table in `docs/levels.md` is the catalogue: names, levels, severities, audit sides, durability.
        """
        rows = re.findall(
            r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|$", (DOCS / "levels.md").read_text("utf-8"), re.MULTILINE
        )
        listed = {
            name: tuple(cell.strip() for cell in cells.split("|"))
            for names, cells in rows
            for name in re.findall(r"\w+", names)
            if len(cells.split("|")) == 4
        }
        assert listed == {
            event.name: (
                event.session_level.value,
                event.level,
                event.audit or "none",
                "yes" if event.durable else "no",
            )
            for event in BUILTIN_EVENTS
        }

    def test_every_key_of_the_metadata_is_described(self):
        """
        The table in `docs/format.md` has the keys of `metadata.json` in their order, and the example has them all.
        """
        text = (DOCS / "format.md").read_text("utf-8").partition("\n## metadata.json\n")[2].partition("\n## ")[0]
        example = json.loads(re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0])
        assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(Metadata.__struct_fields__)
        assert list(example) == list(Metadata.__struct_fields__)

    def test_every_counter_is_described(self, tmp_path):
        """
        The table in `docs/queue.md` has the counters of `SessionHandler.stats`, no more and no less.
        """
        text = (DOCS / "queue.md").read_text("utf-8").partition("\n## Counters\n")[2].partition("\n## ")[0]
        listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        assert sorted(listed) == sorted(SessionHandler(tmp_path).stats())


class TestRequirements:
    def test_every_named_test_is_there(self):
        """
        `docs/requirements.md` names tests by file and name, and all of them exist.
        """
        text = (DOCS / "requirements.md").read_text("utf-8")
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+)(?:::(\w+))?)?`", text)
        assert named
        missing = [
            "::".join(filter(None, parts))
            for parts in named
            if not _has_test(ROOT / parts[0], *filter(None, parts[1:]))
        ]
        assert missing == []

    def test_every_box_has_an_answer(self):
        """
        Each row of a table is tested or built, or open with the name of the issue that brings it, or no trait of ours.
        """
        text = (DOCS / "requirements.md").read_text("utf-8")
        for line in text.splitlines():
            if line.startswith("| ") and not line.startswith(("| ---", "| requirement", "| issue")):
                answer = line.rstrip(" |").rpartition(" | ")[2]
                assert re.search(r"`(tests|docs|examples|sessionlog_handlers)?/?[\w/.]+|open: |n/a: ", answer), line


def _has_test(file: Path, *names: str) -> bool:
    if not file.is_file():
        return False
    body: list[ast.stmt] = ast.parse(file.read_text("utf-8")).body
    for name in names:
        found = next((node for node in body if getattr(node, "name", None) == name), None)
        if found is None:
            return False
        body = getattr(found, "body", [])
    return True


class TestProgramsPage:
    def test_jq_examples_are_there(self):
        """
        The page on reading shows `jq` at work, and its blocks are tested with the real one.
        """
        assert programs_of(DOCS / "reading.md") == ["jq"]
        assert shutil.which("bash")
        assert list(itertools.islice(commands_of("$ a\nb\n$ c \\\n  d\n"), 2)) == [("a", "b\n"), ("c \\\n  d", "")]
