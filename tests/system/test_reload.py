"""
A configuration that is reloaded: as a whole or not at all, and without a record lost.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session, watch
from sessionlog_handlers.pipeline.lifecycle import all_roots

GOOD = """\
version: 1
disable_existing_loggers: false
formatters:
  plain: {{format: "%(name)s %(message)s"}}
handlers:
  sessions:
    class: sessionlog_handlers.SessionHandler
    directory: {directory}/logs
    session_level: {level}
  plain:
    class: logging.FileHandler
    filename: {directory}/plain.txt
    formatter: plain
loggers:
  app: {{level: INFO}}
root: {{level: WARNING, handlers: [sessions, plain]}}
"""

# What becomes of the good text, and what the line on stderr has to name.
BROKEN = {
    "cut in a key": (lambda text: text[: text.index("\nroot")] + "\nroo", "line 16"),
    "cut in a list": (lambda text: text[: text.index("plain]")], "line 16"),
    "cut in a text": (lambda text: text[: text.index("(message)")], "line 4"),
    "cut before the handlers": (
        lambda text: text[: text.index("  sessions:")] + "root: {handlers: [sessions]}",
        "handlers: None",
    ),
    "cut after a handler's name": (lambda text: text[: text.index("    class: logging")], "handlers.plain"),
    "unknown setting": (lambda text: text.replace("session_level", "session_levl"), "handlers.sessions.session_levl"),
    "unknown section": (lambda text: text.replace("formatters:", "formaters:"), "formaters"),
    "unknown level": (lambda text: text.replace("full", "ful"), "handlers.sessions.session_level"),
    "level of a logger": (lambda text: text.replace("level: INFO", "level: LOUD"), "loggers.app.level"),
    "wrong type": (
        lambda text: text.replace("class: sessionlog", "max_bytes: [1]\n    class: sessionlog"),
        "max_bytes",
    ),
    "setting out of range": (
        lambda text: text.replace("class: sessionlog", "linger: -1\n    class: sessionlog"),
        "linger",
    ),
    "unknown class": (lambda text: text.replace("logging.FileHandler", "logging.FilHandler"), "handlers.plain.class"),
    "unknown module": (lambda text: text.replace("sessionlog_handlers.", "sesionlog."), "handlers.sessions.class"),
    "unknown handler": (lambda text: text.replace("[sessions, plain]", "[sessions, plane]"), "root.handlers"),
    "unknown formatter": (
        lambda text: text.replace("formatter: plain", "formatter: plane"),
        "handlers.plain.formatter",
    ),
    "argument that is missing": (lambda text: text.replace("    filename:", "    #"), "handlers.plain"),
    "file that can't be opened": (lambda text: text.replace("/plain.txt", "/no/plain.txt"), "handlers.plain"),
    "second of two handlers": (lambda text: text.replace("/plain.txt", "/logs"), "handlers.plain"),
    "tab": (lambda text: text.replace("  sessions:", "\tsessions:"), "line 6"),
    "the same key twice": (lambda text: text.replace("  plain:\n    class", "  sessions:\n    class"), "twice"),
    "another version": (lambda text: text.replace("version: 1", "version: 2"), "version"),
    "no mapping": (lambda text: "- " + text.splitlines()[0], "not a mapping"),
    "empty": (lambda text: "", "is empty"),
    "no text": (lambda text: b"\x00\xff\xfe\x80" + os.urandom(64), "can't be read"),
}


@pytest.fixture
def path(tmp_path):
    """A configuration file with a good text."""
    path = tmp_path / "logging.yaml"
    path.write_text(good(tmp_path))
    (tmp_path / "logs").mkdir()
    return path


def good(directory, level="full"):
    """A good text."""
    return GOOD.format(directory=directory, level=level)


def picture():
    """How logging is configured: the very objects."""
    loggers = [logging.root, logging.getLogger("app")]
    return (
        [(one.level, [*one.handlers], [*one.filters], one.propagate, one.disabled) for one in loggers],
        dict(logging._handlers),
        [reference() for reference in logging._handlerList],
        [(root, root.settings) for root in all_roots()],
    )


def write(path: Path, content: str | bytes) -> None:
    """Put another file in the place of the old one."""
    new = path.with_name("new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(path)


class TestBrokenFiles:
    @pytest.mark.parametrize("name", BROKEN)
    def test_leaves_the_old_one_whole(self, path, capfd, name):
        """
        A broken file changes nothing and is told of in one line with file and key; a good one is then applied at once.
        """
        spoil, key = BROKEN[name]
        with watch(path, interval=0.01) as watching, start_session("s") as session:
            before = picture()
            write(path, spoil(path.read_text()))
            wait_until(lambda: watching.errors)
            logging.getLogger("app").info("goes on")
            assert picture() == before
            time.sleep(0.05)  # in which it is looked at again, and not told of
            (line,) = capfd.readouterr().err.splitlines()
            assert line.startswith(f"sessionlog: {path}")
            assert key in line
            assert (watching.reloads, watching.errors) == (0, 1)
            assert watching.last_error is not None
            assert key in watching.last_error
            write(path, good(path.parent, "prompts"))
            wait_until(lambda: watching.reloads)
            assert str(session.level) == "prompts"
            logging.getLogger("app").info("by the new one")
        logging.shutdown()
        lines = read_lines(path.parent / "logs" / "s" / "session.log")
        assert [line["msg"] for line in lines if line["event"] == "log"] == ["goes on", "by the new one"]
        assert (path.parent / "plain.txt").read_text().splitlines() == ["app goes on", "app by the new one"]
        assert capfd.readouterr().err == ""

    def test_directory_in_its_place(self, path, capfd):
        """
        A directory where the file was is told of once and changes nothing; a file in its place is applied.
        """
        with watch(path, interval=0.01) as watching:
            before = picture()
            path.rename(path.with_name("old"))
            path.mkdir()
            wait_until(lambda: watching.errors)
            assert picture() == before
            time.sleep(0.05)
            path.rmdir()
            write(path, good(path.parent, "spawns"))
            wait_until(lambda: watching.reloads)
            (root,) = all_roots()
            assert str(root.settings.session_level) == "spawns"
        (line,) = capfd.readouterr().err.splitlines()
        assert f"{path} can't be read" in line
        logging.shutdown()

    def test_written_piece_by_piece(self, path, capfd):
        """
        A file that grows for as long as two looks see different states is neither applied nor complained about.
        """
        with watch(path, interval=0.5) as watching:
            text = good(path.parent, "spawns")
            with path.open("w") as file:
                for start in range(0, len(text), 10):
                    file.write(text[start : start + 10])
                    file.flush()
                    time.sleep(0.002)
            wait_until(lambda: watching.reloads)
            assert (watching.reloads, watching.errors) == (1, 0)
        assert capfd.readouterr().err == ""
        logging.shutdown()


class TestUnderLoad:
    def test_loses_and_leaks_nothing(self, tmp_path):
        """
        While four threads log, 100 reloads lose no record and double none, and leave no descriptor and no thread.
        """
        program = Path(__file__).with_name("reload_under_load.py")
        done = run_python(program, tmp_path, options=["-W", "error"], check=True, timeout=300.0)
        found = json.loads(done.stdout)
        assert found.pop("sent") > 100
        assert found.pop("reloads") >= 100
        assert found == {
            "errors": 0,
            "lost": 0,
            "doubled": 0,
            "lost_elsewhere": 0,
            "descriptors_leaked": 0,
            "threads_leaked": 0,
            "level_changes_in_order": True,
            "level_changes": 100,
            "has_rotated": True,
            "accounted": True,
        }
        assert done.stderr == ""


def test_file_handlers_of_a_hundred_versions(tmp_path, path):
    """
    A hundred versions with a handler of another package leave one of it open, and the newest of ours.
    """
    with watch(path) as watching:
        for _ in range(100):
            watching.reload()
        assert watching.reloads == 100
        assert [type(handler) for handler in logging.root.handlers] == [SessionHandler, logging.FileHandler]
        names = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
        assert [os.readlink(name) for name in names if os.path.exists(name)].count(str(tmp_path / "plain.txt")) == 1
    logging.shutdown()
