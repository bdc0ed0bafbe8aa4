from __future__ import annotations

import os
import signal
import stat

import pytest
from helpers import read_lines, run_python

from sessionlog_handlers.reading.sessions import find_session
from sessionlog_handlers.settings.layouts import LAYOUTS

PROGRAM = """
import faulthandler, logging, os, sys, time
from sessionlog_handlers import SessionHandler, start_session

handler = SessionHandler(sys.argv[1], capture_errors=True{options})
sessions = [start_session(name) for name in ("one", "two")]
sessions[0].flush()

def dies_in_here():
    faulthandler._sigsegv()

{body}
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "link"), reason="needs links")


def run(root, body="", options="", **others):
    """Run a program with two open sessions, and give what it printed and left."""
    return run_python(PROGRAM.format(body=body, options=options), root, **others)


def faults_in(root):
    """Every file of that kind below the root, and how much is in it."""
    found = sorted(root.glob("*/faults.txt*"))
    return {str(path.relative_to(root)): path.stat().st_size for path in found}


def left_in(root):
    """What is in the root's own folder of them."""
    return [path.name for path in (root / ".faults").iterdir()]


def crash_of(root, name="one"):
    """What the session's log says of its crash."""
    lines = read_lines(root / name / "session.log")
    return next(line["data"] for line in reversed(lines) if line["event"] == "session_crashed")


class TestCrash:
    def test_each_session_has_the_traceback(self, tmp_path):
        """
        When the process dies of SIGSEGV, each open session has every thread's traceback beside its log, at once.
        """
        done = run(tmp_path, "sessions[1].end(); sessions[1].flush(); dies_in_here()")
        assert done.returncode == -signal.SIGSEGV
        assert [*faults_in(tmp_path)] == ["one/faults.txt"]
        text = (tmp_path / "one" / "faults.txt").read_text()
        assert text.startswith("Fatal Python error: Segmentation fault")
        assert "dies_in_here" in text
        assert stat.S_IMODE((tmp_path / "one" / "faults.txt").stat().st_mode) == 0o600

    def test_next_start_names_it(self, tmp_path):
        """
        The next start says in the session's log which file tells of the crash, and has a file of its own meanwhile.
        """
        run(tmp_path, "dies_in_here()")
        before = (tmp_path / "one" / "faults.txt").read_text()
        done = run(tmp_path, "print(*sorted(name for name in os.listdir(f'{sys.argv[1]}/one') if 'faults' in name))")
        assert done.stdout == "faults.txt faults.txt.1\n"
        assert crash_of(tmp_path)["faults"] == "faults.txt"
        assert (tmp_path / "one" / "faults.txt").read_text() == before
        assert [*faults_in(tmp_path)] == ["one/faults.txt", "two/faults.txt"]

    def test_killed_leaves_nothing_to_name(self, tmp_path):
        """
        After SIGKILL there is no traceback; an earlier crash is not taken for this one, and empty files are removed.
        """
        run(tmp_path, "dies_in_here()")
        old = os.stat(tmp_path / "one" / "faults.txt").st_mtime - 60
        os.utime(tmp_path / "one" / "faults.txt", (old, old))
        run(tmp_path, "os.kill(os.getpid(), 9)")
        assert faults_in(tmp_path)["one/faults.txt.1"] == 0
        run(tmp_path)
        assert "faults" not in crash_of(tmp_path)
        assert [*faults_in(tmp_path)] == ["one/faults.txt", "two/faults.txt"]

    def test_forked_child_has_its_own(self, tmp_path):
        """
        What a child's crash leaves is in the sessions that the child has written to, and not in its parent's file.
        """
        body = """
if not os.fork():
    sessions[0].event("completion")
    sessions[0].flush()
    dies_in_here()
os.wait()
sessions[1].event("completion")
"""
        run(tmp_path, body, options=", linger=0")
        found = faults_in(tmp_path)
        assert [*found] == ["one/faults.txt.1"]
        assert found["one/faults.txt.1"] > 0

    def test_descriptor_that_is_anothers_by_now(self, tmp_path):
        """
        A forked child that closes all it inherited and opens files of its own keeps them when it begins to log.
        """
        body = """
if not os.fork():
    os.closerange(3, 256)
    own = [os.open(f"{sys.argv[1]}/own", os.O_RDWR | os.O_CREAT) for _ in range(32)]
    sessions[0].event("completion")
    sessions[0].flush()
    print(sum(os.path.samestat(os.fstat(descriptor), os.stat(f"{sys.argv[1]}/own")) for descriptor in own), flush=True)
    dies_in_here()
os.wait()
"""
        done = run(tmp_path, body, options=", linger=0")
        assert done.stdout == "32\n"
        assert (tmp_path / "own").read_bytes() == b""
        assert "dies_in_here" in (tmp_path / "one" / "faults.txt.1").read_text()

    def test_no_log_by_mistake(self, tmp_path):
        """
        Readers take it for no log of the session.
        """
        run(tmp_path, "dies_in_here()")
        names = [path.name for path in find_session("one", [tmp_path]).files]
        assert "session.log" in names
        assert "faults.txt" not in names


class TestNoCrash:
    def test_leaves_nothing(self, tmp_path):
        """
        A process that ends as it should leaves no empty file behind.
        """
        run(tmp_path, "print(*sorted(os.listdir(f'{sys.argv[1]}/one')))", check=True)
        assert faults_in(tmp_path) == {}
        assert left_in(tmp_path) == []

    @pytest.mark.parametrize("reopened", [False, True])
    def test_descriptor_that_somebody_closed(self, tmp_path, reopened):
        """
        A process whose descriptors somebody has closed ends in silence, puts all back, and leaves the app's own alone.
        """
        body = f"""
import signal
from sessionlog_handlers.pipeline import faults, lifecycle, signals
os.close(faults._descriptor)
own = os.open(os.devnull, os.O_RDONLY) if {reopened} else -1
lifecycle.close_all()
print(signal.signal is signals.set_handler, own == -1 or os.fstat(own) is not None)
"""
        done = run(tmp_path, body, options=", capture_signals=True", check=True)
        assert (done.stdout, done.stderr) == ("True True\n", "")
        assert faults_in(tmp_path) == {}
        assert left_in(tmp_path) == []

    def test_deleted_at_the_end(self, tmp_path):
        """
        With ``on_end: delete`` nothing is left of the session's directory.
        """
        run(tmp_path, "sessions[0].end(); handler.close()", options=", on_end='delete'", check=True)
        assert not (tmp_path / "one").exists()

    def test_files_of_the_dead_are_swept(self, tmp_path):
        """
        The empty files of processes that were killed go when the next one comes; those that alone have something stay.
        """
        run(tmp_path, "os.kill(os.getpid(), 9)")
        assert len(left_in(tmp_path)) == 1
        (tmp_path / ".faults" / "alone").write_text("Fatal Python error")
        run(tmp_path, check=True)
        assert left_in(tmp_path) == ["alone"]

    def test_other_file_of_faulthandler(self, tmp_path):
        """
        faulthandler is switched on for the sessions, and is afterwards as it was: on stderr, or off.
        """
        body = """
from sessionlog_handlers.pipeline import lifecycle
print(faulthandler.is_enabled())
lifecycle.close_all()
print(faulthandler.is_enabled(), flush=True)
faulthandler._sigsegv()
"""
        on = run(tmp_path / "on", body)
        assert on.stdout == "True\nTrue\n"
        assert "Fatal Python error" in on.stderr
        text = "import faulthandler; faulthandler.disable()\n" + PROGRAM.format(body=body, options="")
        off = run_python(text, tmp_path / "off")
        assert off.stdout == "True\nFalse\n"
        assert "Fatal Python error" not in off.stderr

    def test_off_by_default(self, tmp_path):
        """
        Without capture_errors faulthandler is left alone, and there are no such files.
        """
        text = PROGRAM.format(body="faulthandler.disable()", options="").replace("capture_errors=True", "")
        run_python(text, tmp_path, check=True)
        assert not (tmp_path / ".faults").exists()

    @pytest.mark.parametrize("layout", sorted(LAYOUTS))
    def test_in_each_layout(self, tmp_path, layout):
        """
        It lies in the session's own directory, where its metadata is, and a session in a single file has none.
        """
        run(tmp_path, "os.kill(os.getpid(), 9)", options=f", layout={layout!r}")
        metadata = [path.parent for path in tmp_path.rglob("*metadata.json")]
        assert sorted(path.parent for path in tmp_path.rglob("faults.txt")) == sorted(metadata)
        run(tmp_path / "single", "os.kill(os.getpid(), 9)", options=f", single_file={str(tmp_path / 'all.log')!r}")
        assert not (tmp_path / "single").exists()


class TestWithoutLinks:
    def test_told_once_and_copied_by_the_next_start(self, tmp_path):
        """
        Where the file system has no links this is told once, and the next start copies what the dead process left.
        """
        before = "import errno, os\ndef no(*_, **__): raise OSError(errno.EPERM, 'no links here')\nos.link = no\n"
        text = before + PROGRAM.format(body="dies_in_here()", options="")
        done = run_python(text, tmp_path)
        assert done.stderr.count("no links here") == 1
        assert faults_in(tmp_path) == {}
        run(tmp_path)
        assert crash_of(tmp_path)["faults"] == "faults.txt"
        assert crash_of(tmp_path, "two")["faults"] == "faults.txt"
        assert "dies_in_here" in (tmp_path / "two" / "faults.txt").read_text()


class TestNames:
    def test_log_of_that_name(self, tmp_path):
        """
        A session's own log that is called so is left alone, in a crash and after it; it gets no other beside it.
        """
        files = ", files={'faults.txt': 'level'}"
        run(tmp_path, "dies_in_here()", files)
        assert [*faults_in(tmp_path)] == ["one/faults.txt", "two/faults.txt"]
        run(tmp_path, options=files)
        events = [line["event"] for line in read_lines(tmp_path / "one" / "faults.txt")]
        assert events == ["session_start", "session_crashed", "session_start", "session_end"]
