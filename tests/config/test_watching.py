"""
A file that is watched is in force as it is: when it changes, when it is asked for, in children, until it is stopped.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import ConfigurationError, SessionHandler, start_session, watch
from sessionlog_handlers.config.watching import MISSING_LOOKS, _File

TEXT = """\
version: 1
disable_existing_loggers: false
handlers:
  sessions:
    class: sessionlog_handlers.SessionHandler
    directory: {directory}/logs
    session_level: {level}
    linger: 0
root: {{level: WARNING, handlers: [sessions]}}
"""

FAST = 0.01  # seconds between two looks


def text_of(directory, level="signals"):
    """A good configuration."""
    return TEXT.format(directory=directory, level=level)


def replace(path, text):
    """Put another file in the place of the old one."""
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def looks(watching, number=5):
    """Wait until the file was looked at that many times more."""
    seen = []
    look = watching._file.is_new

    def count():
        seen.append(1)
        return look()

    watching._file.is_new = count
    wait_until(lambda: len(seen) >= number)
    watching._file.is_new = look


@pytest.fixture
def path(tmp_path):
    """A file with a good configuration."""
    path = tmp_path / "logging.yaml"
    path.write_text(text_of(tmp_path))
    yield path
    for handler in [*logging.root.handlers]:
        handler.close()


class TestFirst:
    def test_applies_at_once(self, path, monkeypatch):
        """
        The file is in force when `watch` returns; a relative path is that of this moment.
        """
        monkeypatch.chdir(path.parent)
        with watch(path.name) as watching:
            monkeypatch.chdir("/")
            assert watching.path == str(path)
            assert SessionHandler in [type(handler) for handler in logging.root.handlers]
            assert (watching.reloads, watching.errors, watching.last_error) == (0, 0, None)
            watching.reload()
        assert repr(watching) == f"<Watch {path} (stopped)>"

    def test_wrong_file_raises(self, path):
        """
        A file that is wrong at first is an error of the caller's, and nothing watches it.
        """
        path.write_text("version: 2")
        before = threading.active_count()
        with pytest.raises(ConfigurationError, match="version"):
            watch(path)
        path.unlink()
        with pytest.raises(ConfigurationError, match="No such file"):
            watch(path)
        assert threading.active_count() == before

    @pytest.mark.parametrize(("interval", "words"), [(0, "too short"), ("soon", "time span"), (-1, "time span")])
    def test_interval_that_is_none(self, path, interval, words):
        """
        An interval that is no time, or next to none, is refused with what is allowed.
        """
        with pytest.raises(ConfigurationError, match=words) as caught:
            watch(path, interval=interval)
        assert caught.value.key == "interval"

    def test_what_is_no_path(self):
        """
        Something else than a path is refused.
        """
        with pytest.raises(ConfigurationError, match="is no configuration"):
            watch(17)  # type: ignore[arg-type]  # that is the test


class TestChanges:
    def test_written_in_place(self, path):
        """
        A file that is written anew is applied, and its settings rule the handler's root.
        """
        with watch(path, interval=FAST) as watching, start_session("s") as session:
            path.write_text(text_of(path.parent, "full"))
            wait_until(lambda: watching.reloads)
            assert str(session.level) == "full"

    def test_replaced_by_another_of_the_same_size_and_time(self, path):
        """
        A file that takes the place of another is seen by its inode, though time and size are the same.
        """
        replace(path, text_of(path.parent, "signals"))
        with watch(path, interval=FAST) as watching:
            status = path.stat()
            new = path.with_name("new")
            new.write_text(text_of(path.parent, "prompts"))
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            new.replace(path)
            wait_until(lambda: watching.reloads)
            assert watching.errors == 0

    def test_link_that_leads_elsewhere(self, path):
        """
        A symbolic link that is changed to lead to another file counts as a change.
        """
        other = path.with_name("other")
        other.write_text(text_of(path.parent, "full"))
        link = path.with_name("link")
        link.symlink_to(path)
        with watch(link, interval=FAST) as watching:
            fresh = path.with_name("fresh")
            fresh.symlink_to(other)
            fresh.replace(link)
            wait_until(lambda: watching.reloads)
            assert watching.errors == 0

    def test_changed_within_a_tick_of_the_clock(self, path):
        """
        A change that leaves size, time and inode as they were is seen as long as the file is young.
        """
        with watch(path, interval=FAST) as watching:
            status = path.stat()
            with path.open("r+") as file:
                file.write(text_of(path.parent, "prompts"))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
            wait_until(lambda: watching.reloads)

    def test_touched(self, path):
        """
        A file with the same content is not applied again.
        """
        with watch(path, interval=FAST) as watching:
            handlers = [*logging.root.handlers]
            os.utime(path)
            looks(watching)
            replace(path, path.read_text())
            looks(watching)
            assert logging.root.handlers == handlers
            assert watching.reloads == 0

    def test_gone_for_a_moment(self, path, capfd):
        """
        A file that is gone for a look is no error; one that stays away is told of once, and applied when it is back.
        """
        with watch(path, interval=0.2) as watching:
            text = path.read_text()
            path.unlink()
            looks(watching, 2)
            path.write_text(text)
            looks(watching)
            assert watching.errors == 0
            path.unlink()
            wait_until(lambda: watching.errors)
            looks(watching, MISSING_LOOKS)
            path.write_text(text)
            looks(watching)
            assert (watching.errors, watching.reloads) == (1, 0)
            path.write_text(text_of(path.parent, "full"))
            wait_until(lambda: watching.reloads)
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"sessionlog: {path} can't be read: No such file or directory (the configuration before")

    def test_each_broken_version_is_told_of(self, path, capfd):
        """
        Two broken versions are two lines, and the same one again is none.
        """
        with watch(path, interval=FAST) as watching:
            for number, version in enumerate(("version: 2", "version: 3"), 1):
                replace(path, version)
                wait_until(lambda number=number: watching.errors == number)
            os.utime(path)
            looks(watching)
        lines = capfd.readouterr().err.splitlines()
        assert [line.partition("version: ")[2][0] for line in lines] == ["2", "3"]

    @pytest.mark.parametrize(
        ("error", "told"), [(MemoryError("none left"), "MemoryError: none left"), (SystemExit(3), "SystemExit: 3")]
    )
    def test_failure_that_nobody_foresaw(self, path, capfd, monkeypatch, error, told):
        """
        Whatever goes wrong in the thread is told of, and it looks on; also where a factory wants to end the program.
        """

        def fail(*args):
            raise error

        with watch(path, interval=FAST) as watching:
            monkeypatch.setattr("sessionlog_handlers.config.watching.apply_checked", fail)
            replace(path, text_of(path.parent, "full"))
            wait_until(lambda: watching.errors)
            monkeypatch.undo()
            replace(path, text_of(path.parent, "prompts"))
            wait_until(lambda: watching.reloads)
        assert told in capfd.readouterr().err


class TestFile:
    def test_two_looks(self, tmp_path):
        """
        A file is new when two looks have seen the same of it, and once; one read on the way is not whole.
        """
        path = tmp_path / "file"
        path.write_text("one")
        os.utime(path, (1, 1))
        file = _File(str(path))
        file.note()
        assert not file.is_new()
        path.write_text("three")
        os.utime(path, (2, 2))
        assert [file.is_new() for _ in range(4)] == [False, True, False, False]
        path.write_text("four")
        assert file.has_changed()

    def test_place_that_can_not_be_looked_at(self, tmp_path):
        """
        Where even looking fails, that is a state like any other.
        """
        loop = tmp_path / "loop"
        loop.symlink_to(loop)
        file = _File(str(loop))
        assert [file.is_new() for _ in range(3)] == [False, True, False]


class TestReload:
    def test_applies_unchanged(self, path):
        """
        `reload` applies the file in the caller's thread, changed or not.
        """
        with watch(path) as watching:
            handlers = [*logging.root.handlers]
            watching.reload()
            assert watching.reloads == 1
            assert logging.root.handlers != handlers

    def test_raises(self, path, capfd):
        """
        What is wrong is the caller's error, counted, and not told of on stderr as well.
        """
        with watch(path, interval=FAST) as watching:
            handlers = [*logging.root.handlers]
            with watching._lock:  # else the watch may be first
                replace(path, "version: 2")
                with pytest.raises(ConfigurationError, match="version"):
                    watching.reload()
            assert logging.root.handlers == handlers
            assert watching.errors == 1
            assert "version" in watching.last_error
            looks(watching)
            assert watching.errors == 1
            path.unlink()
            with pytest.raises(ConfigurationError, match="No such file"):
                watching.reload()
        assert capfd.readouterr().err == ""

    def test_takes_back_what_the_file_says_no_more(self, path):
        """
        A logger that the file names no more is as it was before.
        """
        logger = logging.getLogger("app")
        text = path.read_text()
        path.write_text(text + "loggers: {app: {level: DEBUG, propagate: false}}\n")
        with watch(path) as watching:
            assert (logger.level, logger.propagate) == (logging.DEBUG, False)
            path.write_text(text)
            watching.reload()
            assert (logger.level, logger.propagate) == (logging.NOTSET, True)


class TestStop:
    def test_ends_the_thread(self, path):
        """
        A stopped watch follows no more, and stopping it again does nothing; what is configured stays.
        """
        watching = watch(path, interval=FAST)
        handlers = [*logging.root.handlers]
        for _ in range(2):
            watching.stop()
        assert "sessionlog-watch" not in [thread.name for thread in threading.enumerate()]
        assert logging.root.handlers == handlers

    def test_does_not_wait_for_the_interval(self, path):
        """
        Stopping takes no longer than what is just being done.
        """
        watching = watch(path, interval=600)
        begun = time.monotonic()
        watching.stop()
        assert time.monotonic() - begun < 5

    def test_second_watch_of_a_path(self, path):
        """
        A second watch of the same path replaces the first, unless the file is wrong then.
        """
        first = watch(path, interval=FAST)
        text = path.read_text()
        replace(path, "version: 2")
        with pytest.raises(ConfigurationError):
            watch(path)
        assert "stopped" not in repr(first)
        replace(path, text)
        second = watch(path, interval=FAST)
        assert [thread.name for thread in threading.enumerate()].count("sessionlog-watch") == 1
        assert "stopped" in repr(first)
        first.stop()
        replace(path, text_of(path.parent, "full"))
        wait_until(lambda: second.reloads)
        second.stop()

    def test_end_of_the_program(self, path):
        """
        A program that never stops its watch ends as quickly and as quietly as any.
        """
        program = """
import sys
from sessionlog_handlers import start_session, watch
watch(sys.argv[1], interval=0.01)
start_session("s").event("completion")
"""
        done = run_python(program, path, options=["-W", "error"], check=True)
        assert done.stderr == ""
        lines = read_lines(path.parent / "logs" / "s" / "session.log")
        assert [line["event"] for line in lines] == ["session_start", "completion", "session_end"]

    def test_without_threads(self, path, capfd, monkeypatch):
        """
        Where no thread can be started, the file is applied, and a line says that it is not watched.
        """
        monkeypatch.setattr("sessionlog_handlers.pipeline.threads._forbidden", True)
        with watch(path) as watching:
            watching.reload()
        assert "is not watched: no thread can be started" in capfd.readouterr().err


FORKING = """
import json, logging, os, sys, threading, time
from sessionlog_handlers import start_session, watch

path = sys.argv[1]
watching = watch(path, interval=0.02)
session = start_session("s")
session.event("completion")
session.flush()
{before}
child = os.fork()
if not child:
    print(json.dumps([str(session.level), watching.reloads]), flush=True)
sys.stdin.readline() if child else None
if child:
    text = open(path).read()
    open(path + ".new", "w").write(text.replace("signals", "full"))
    os.replace(path + ".new", path)
deadline = time.monotonic() + 30
while str(session.level) != "full" and time.monotonic() < deadline:
    time.sleep(0.01)
session.event("state_change", pid=os.getpid())
session.flush()
if not child:
    logging.shutdown()
    os._exit(0 if str(session.level) == "full" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class TestFork:
    @pytest.mark.parametrize(
        "before",
        [
            "",
            # a thread that applies the file without a pause: the fork comes in the middle of it
            "threading.Thread(target=lambda: [watching.reload() for _ in range(300)], daemon=True).start()",
            # a watch that is held up for longer than a fork waits
            "threading.Thread(target=lambda: watching._lock.acquire() and time.sleep(1.5) or watching._lock.release())"
            ".start(); time.sleep(0.1)",
        ],
    )
    def test_child_follows(self, path, before):
        """
        A forked child takes up a change by itself, whatever the parent was doing; the parent tells of it, once.
        """
        done = run_python(FORKING.format(before=before), path, input="\n", check=True)
        assert json.loads(done.stdout.splitlines()[0])[0] == "signals"
        lines = read_lines(path.parent / "logs" / "s" / "session.log")
        changes = [line for line in lines if line["event"] == "level_change"]
        assert [line["data"] for line in changes] == [{"from": "signals", "to": "full", "by": "config"}]
        assert "pid" not in changes[0]
        assert len([line for line in lines if line["event"] == "state_change"]) == 2

    def test_fork_at_the_end(self, path):
        """
        A child that is forked when the watch has ended with the program starts none, and says nothing of it.
        """
        program = """
import atexit, contextlib, os, sys

@atexit.register  # first, so it runs last
def fork():
    with contextlib.suppress(RuntimeError):  # Python 3.12 forks no more then
        os.fork() or os._exit(0)

from sessionlog_handlers import watch
watch(sys.argv[1])
"""
        assert run_python(program, path, check=True).stderr == ""

    def test_stopped_watch_stays_stopped(self, path):
        """
        A child of a process that has stopped its watch has no thread for it.
        """
        program = """
import os, sys, threading
from sessionlog_handlers import watch
watch(sys.argv[1]).stop()
if not os.fork():
    os._exit("sessionlog-watch" in [thread.name for thread in threading.enumerate()])
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
        run_python(program, path, check=True)


SIGNALS = """
import json, logging, os, signal, sys, threading, time
from sessionlog_handlers import SessionHandler, start_session, watch

path, done = sys.argv[1], []

def own(number, frame):
    done.append("own")

def until(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)

def hang_up(times=1):
    before = watching.reloads + watching.errors
    os.kill(os.getpid(), signal.SIGHUP)
    until(lambda: watching.reloads + watching.errors > before)

def capture():
    SessionHandler(os.path.dirname(path) + "/logs", capture_signals=True)

def follow():
    global watching
    watching = watch(path, interval=600, sighup=True)

def handle():
    signal.signal(signal.SIGHUP, own)

{body}
"""


class TestSignal:
    def run(self, path, body, **options):
        """Run a program that watches and gets signals."""
        return run_python(SIGNALS.format(body=body), path, **options)

    def test_applies_the_file(self, path):
        """
        SIGHUP applies the file, also unchanged, in the watch's thread; a broken one is told of each time.
        """
        body = """
follow()
hang_up()
print(watching.reloads)
open(path, "w").write("version: 2")
hang_up()
hang_up()
print(watching.reloads, watching.errors)
"""
        done = self.run(path, body, check=True)
        assert done.stdout.split() == ["1", "1", "2"]
        assert len([line for line in done.stderr.splitlines() if ": version: 2 is not a version" in line]) == 2

    @pytest.mark.parametrize(
        "order",
        [
            "follow(); capture()",
            "capture(); follow()",
            "handle(); follow(); capture()",
            "handle(); capture(); follow()",
            "capture(); handle_and_chain(); follow()",
            "follow(); capture(); follow()",
        ],
    )
    def test_beside_captured_signals(self, path, order):
        """
        With both, SIGHUP reloads and SIGTERM ends the sessions, whatever came first; after `stop` SIGHUP ends them too.
        """
        body = f"""
def handle_and_chain():
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, lambda *args: (done.append("own"), before(*args)))

session = start_session("s")
{order}
hang_up()
print(watching.reloads, done, session.closed, flush=True)
if sys.argv[2] == "SIGHUP":
    watching.stop()
    done.clear()
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
print(done)
"""
        text = SIGNALS.format(body=body)
        has_own = "handle" in order
        for name in ("SIGTERM", "SIGHUP"):
            done = run_python(text, path, name)
            first, *others = done.stdout.splitlines()
            assert first == f"1 {['own'] if has_own else []} False"
            is_survived = name == "SIGHUP" and order.startswith("handle()")
            assert others == (["['own']"] if is_survived else [])
            assert done.returncode == (0 if is_survived else -getattr(__import__("signal"), name))
            lines = read_lines(path.parent / "logs" / "s" / "session.log")
            assert lines[-1]["data"]["reason"] == f"signal {name}"

    @pytest.mark.parametrize(("before", "after"), [("", "SIG_DFL"), ("handle()", "own"), ("ignore()", "SIG_IGN")])
    def test_stop_gives_it_back(self, path, before, after):
        """
        After `stop` the signal means what it meant before.
        """
        body = f"""
def ignore():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

{before}
follow()
hang_up()
watching.stop()
handler = signal.getsignal(signal.SIGHUP)
print(getattr(handler, "name", None) or handler.__name__, done)
"""
        done = self.run(path, body, check=True)
        assert done.stdout.split()[0] == after
        assert ("own" in done.stdout.split("[")[1]) == (before == "handle()")

    def test_stopped_in_another_thread(self, path):
        """
        Where the signal's handler can't be put back, it passes the signal on to what it meant before.
        """
        body = """
handle()
follow()
thread = threading.Thread(target=watching.stop)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGHUP)
print(watching.reloads, done)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
follow()
thread = threading.Thread(target=watching.stop)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGHUP)
print("still here")
"""
        done = self.run(path, body)
        assert done.stdout.splitlines() == ["0 ['own']"]
        assert done.returncode == -1

    def test_handler_that_came_later_is_left_alone(self, path):
        """
        A handler that the app has installed since then is not replaced when the watch stops.
        """
        done = self.run(path, "follow(); handle(); watching.stop(); print(signal.getsignal(signal.SIGHUP) is own)")
        assert done.stdout == "True\n"

    def test_handler_that_passes_on(self, path):
        """
        A handler that the app has put over ours, and that passes the signal on to it, is called once by a later watch.
        """
        body = """
follow()
before = signal.getsignal(signal.SIGHUP)
signal.signal(signal.SIGHUP, lambda *args: (done.append("own"), before(*args)))
watching.stop()
follow()
hang_up()
print(watching.reloads > 0, done)
"""
        assert self.run(path, body, check=True).stdout == "True ['own']\n"

    def test_only_in_the_main_thread(self, path):
        """
        In another thread `sighup=True` is refused with one sentence, and nothing is watched.
        """
        problems = []

        def follow():
            try:
                watch(path, sighup=True)
            except ConfigurationError as error:
                problems.append(str(error))

        thread = threading.Thread(target=follow)
        thread.start()
        thread.join()
        assert problems == ["sighup: signals can only be handled by the main thread; call it there"]

    def test_of_several_watches(self, path):
        """
        SIGHUP reloads every watch that asked for it, until the last of them is stopped.
        """
        body = """
follow()
first = watching
open(path + "2", "w").write(open(path).read())
second = watch(path + "2", interval=600, sighup=True)
hang_up()
until(lambda: second.reloads)
first.stop()
watching = second
hang_up()
print(first.reloads, second.reloads)
second.stop()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL)
"""
        done = self.run(path, body, check=True)
        assert done.stdout.split() == ["1", "2", "True"]

    def test_in_a_forked_child(self, path):
        """
        A child reloads at its own SIGHUP.
        """
        body = """
follow()
if not os.fork():
    hang_up()
    os._exit(watching.reloads - 1)
print(os.waitstatus_to_exitcode(os.wait()[1]), watching.reloads)
"""
        assert self.run(path, body, check=True).stdout.split() == ["0", "0"]
