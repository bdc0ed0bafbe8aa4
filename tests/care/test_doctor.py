from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import child_environment, read_lines, run_python, wait_until
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sessionlog_handlers import SessionHandler, read_path, read_session, start_session
from sessionlog_handlers.care.case import Case
from sessionlog_handlers.care.doctor import Checkup, examine, mend
from sessionlog_handlers.pipeline import leftovers, removal
from sessionlog_handlers.pipeline.control import ControlFile
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.metadata import read_metadata
from sessionlog_handlers.pipeline.pruner import Pruner
from sessionlog_handlers.reading.pruned import list_pruned
from sessionlog_handlers.settings.tables import Retention

LAYOUTS = ["multiplexer", "fugue", "recorder", "terminal"]

# Starts a session, and dies at once, or as the statement that it is given has it.
KILLED = """
import os, signal, sys
from sessionlog_handlers import SessionHandler, start_session
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
handler = SessionHandler(sys.argv[1], linger=0, layout=sys.argv[2], max_bytes=2000, backup_count=20)
session = start_session("abc", level="prompts", metadata={"user": "ada"})
session.event("completion", number=0)
session.flush()
exec(sys.argv[3])
for number in range(1, 100):
    session.event("completion", number=number)
    session.flush()
die()
"""
HALF_A_WRITE = """
real = os.write
def write(descriptor, content):
    if b"number" not in content:  # no line of the session's: other threads write, too
        return real(descriptor, content)
    real(descriptor, content[:-20])
    die()
os.write = write
"""


def _app(root: Path, statement: str = "die()", layout: str = "multiplexer") -> None:
    assert run_python(KILLED, root, layout, statement).returncode == -9


def _end(root: Path, layout: str = "multiplexer") -> None:
    """Run a session to its end."""
    handler = SessionHandler(root, linger=0, layout=layout)
    with start_session("abc", handler=handler, metadata={"user": "ada"}) as session:
        session.event("completion", number=0)
    handler.close()


def _state(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that there is below a root: mode, inode, time of the last change, content."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = status.st_mode, status.st_ino, status.st_mtime_ns, content
    return found


def _find(root: Path, *, harmless: bool = False) -> list[str]:
    """The kinds of what is wrong, in the order in which it is told. Looking changes nothing."""
    before = _state(root)
    found = [finding for checkup in examine([root]) for finding in checkup.findings]
    assert _state(root) == before
    return [finding.kind for finding in found if harmless or not finding.harmless]


def _mend(root: Path) -> list[Checkup]:
    checkups = [mend(checkup) for checkup in examine([root])]
    assert [error for checkup in checkups for error in checkup.failed] == []
    return checkups


def _mended(root: Path) -> list[str]:
    """Mend all, and tell the kinds of what was mended. Then none of them is found any more."""
    mended = [finding.kind for checkup in _mend(root) for finding in checkup.mended]
    assert not {*mended} & {*_find(root)}
    return mended


def _numbers(root: Path) -> list[int]:
    return [line.data["number"] for line in read_session("abc", directory=root) if "number" in line.data]


@pytest.fixture
def old(monkeypatch):
    """Every temporary file is old enough to be nobody's."""
    monkeypatch.setattr(leftovers, "ORPHAN_AGE", -1.0)


class TestNothing:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_is_wrong_with_what_ended(self, tmp_path, layout):
        """
        With sessions that ended as they should, nothing is wrong, and mending does nothing.
        """
        _end(tmp_path, layout)
        assert _find(tmp_path, harmless=True) == []
        before = _state(tmp_path)
        _mend(tmp_path)
        assert _state(tmp_path) == before

    def test_is_wrong_with_other_files(self, tmp_path):
        """
        Directories of other programs below the root are no sessions of ours, and nothing is made in them.
        """
        (tmp_path / "nginx").mkdir()
        (tmp_path / "nginx" / "access.log").write_text('127.0.0.1 - - "GET / HTTP/1.1" 200\n')
        (tmp_path / "nginx" / "access.log.1").write_text('127.0.0.1 - - "GET / HTTP/1.1" 200\n')
        before = _state(tmp_path)
        _find(tmp_path)
        _mend(tmp_path)
        assert _state(tmp_path) == before

    def test_without_root(self, tmp_path):
        """
        A root that is gone has nothing wrong with it.
        """
        assert [checkup.findings for checkup in examine([tmp_path / "nowhere"])] == [[]]


class TestCrash:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_killed(self, tmp_path, layout):
        """
        A session whose process was killed is marked as crashed at its last line's time; its next start says so once.
        """
        _app(tmp_path, layout=layout)
        assert _find(tmp_path) == ["crashed", "leases"]
        assert _mended(tmp_path) == ["crashed", "leases"]
        (path,) = tmp_path.glob("**/*metadata.json")
        metadata = read_metadata(str(path))
        assert (metadata.state, metadata.writers, metadata.reason) == ("crashed", {}, None)
        log = "session.log" if layout == "terminal" else None
        last = [*read_session("abc", directory=tmp_path, file=log)][-1]
        assert metadata.end[:19] == last.time.isoformat()[:19]
        for _ in range(2):
            handler = SessionHandler(tmp_path, linger=0, layout=layout)
            start_session("abc", handler=handler).end()
            handler.close()
        events = [line.event for line in read_session("abc", directory=tmp_path, file=log)]
        assert events.count("session_crashed") == 1

    def test_killed_after_its_last_line(self, tmp_path):
        """
        A session whose last line is its end has ended, though its process could not note that any more.
        """
        statement = (
            "from sessionlog_handlers.pipeline import session_files\n"
            "session_files.SessionFiles._save_metadata = die\n"
            "session.end('done')\n"
            "session.flush(10)"
        )
        _app(tmp_path, statement)
        assert _find(tmp_path) == ["crashed", "leases"]
        _mended(tmp_path)
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.state, metadata.reason) == ("ended", "done")

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_torn_line(self, tmp_path, layout):
        """
        A line that was cut by a kill is ended, and nothing of it is taken away; what was cut is a note from then on.
        """
        _app(tmp_path, HALF_A_WRITE, layout)
        assert _find(tmp_path) == ["crashed", "torn_tail", "leases"]
        found = [finding for checkup in examine([tmp_path]) for finding in checkup.findings]
        (torn,) = [finding.path for finding in found if finding.kind == "torn_tail"]
        before = Path(torn).read_bytes()
        assert "torn_tail" in _mended(tmp_path)
        assert Path(torn).read_bytes() == before + b"\n"
        assert set(_find(tmp_path, harmless=True)) <= {"torn_line"}

    def test_in_a_rotation(self, tmp_path):
        """
        A rotation that was cut short leaves a gap in the numbers; it is closed, and every line is there once.
        """
        _app(
            tmp_path,
            "real = os.replace\n"
            "def replace(source, target):\n"
            "    if source.endswith('session.log.1') and os.path.exists(source[:-1] + '3'):\n"
            "        die()\n"
            "    real(source, target)\n"
            "os.replace = replace",
        )
        assert "gap" in _find(tmp_path)
        numbers = _numbers(tmp_path)
        assert "gap" in _mended(tmp_path)
        assert _numbers(tmp_path) == numbers == [*range(len(numbers))]

    @pytest.mark.parametrize(("function", "kind"), [("unlink", "twins"), ("replace", "leftover")])
    def test_in_a_compression(self, tmp_path, old, function, kind):
        """
        What a compression leaves that was cut short is removed; every line is there once, before and after.
        """
        _app(tmp_path, "handler.close()")
        _mended(tmp_path)
        program = (
            "import os, sys\n"
            "from sessionlog_handlers.pipeline import compression\n"
            "from sessionlog_handlers.pipeline.locks import FileLock\n"
            "setattr(os, sys.argv[2], lambda *args: os.kill(os.getpid(), 9))\n"
            "compression.compress_file(sys.argv[1], FileLock(sys.argv[1] + '.lock'))"
        )
        run_python(program, tmp_path / "abc" / "session.log.2", function)
        numbers = _numbers(tmp_path)
        assert _find(tmp_path) == [kind]
        assert _mended(tmp_path) == [kind]
        assert _numbers(tmp_path) == numbers == [*range(100)]
        assert (tmp_path / "abc" / "session.log.2").exists()

    def test_last_process_of_an_ended_session(self, tmp_path):
        """
        Where the last process of an ended session was killed, what was to be done at its end is done.
        """
        program = (
            "import os, sys\n"
            "from sessionlog_handlers import SessionHandler, start_session\n"
            "handler = SessionHandler(sys.argv[1], linger=0, on_end='compress')\n"
            "session = start_session('abc')\n"
            "session.event('completion', number=0)\n"
            "session.flush()\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "session.end()"
        )
        owner, joiner = _start(program, tmp_path), _start(program, tmp_path)
        joiner.kill()
        joiner.communicate()
        # While the owner runs, so does the session, and nothing is to be done.
        assert set(_find(tmp_path)) <= {"leases"}
        owner.communicate("end\n", timeout=30)
        assert owner.returncode == 0
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert metadata.state == "ended"
        if not (tmp_path / "abc" / "session.log.gz").exists():
            assert "unfinished_end" in _find(tmp_path)
        _mend(tmp_path)
        assert (tmp_path / "abc" / "session.log.gz").exists()
        assert _find(tmp_path) == []

    @pytest.mark.parametrize("wish", ["compress", "delete"])
    def test_killed_before_what_is_done_at_the_end(self, tmp_path, wish):
        """
        What an ended session's process was killed before it could compress or delete is compressed or deleted.
        """
        program = (
            "import os, sys\n"
            "from sessionlog_handlers.pipeline import router\n"
            "router.clean_up = lambda *args: os.kill(os.getpid(), 9)\n"
            "from sessionlog_handlers import SessionHandler, start_session\n"
            "handler = SessionHandler(sys.argv[1], linger=0, on_end=sys.argv[2])\n"
            "session = start_session('abc')\n"
            "session.end()\n"
            "handler.close()\n"
            "handler.close()"
        )
        assert run_python(program, tmp_path, wish).returncode == -9
        assert _find(tmp_path) == ["unfinished_end", "leases"]
        assert _mended(tmp_path) == ["unfinished_end", "leases"]
        assert _find(tmp_path, harmless=True) == []
        assert (tmp_path / "abc" / "session.log.gz").exists() is (wish == "compress")
        assert (tmp_path / "abc").exists() is (wish == "compress")

    @pytest.mark.parametrize("kept", [{"on_end": "keep"}, {"pinned": ["a*"]}])
    def test_that_was_to_be_kept_by_its_end(self, tmp_path, kept):
        """
        A session whose files were to be deleted when it began, and not any more when it ended, is kept.
        """
        program = (
            "import json, sys\n"
            "from sessionlog_handlers import configure, start_session\n"
            "def use(**settings):\n"
            "    handler = {'class': 'sessionlog_handlers.SessionHandler', 'directory': sys.argv[1], **settings}\n"
            "    configure({'version': 1, 'handlers': {'sessions': handler}, 'root': {'handlers': ['sessions']}})\n"
            "use(on_end='delete')\n"
            "session = start_session('abc')\n"
            "session.flush()\n"
            "use(**{'on_end': 'delete', **json.loads(sys.argv[2])})\n"
            "session.end()"
        )
        run_python(program, tmp_path, json.dumps(kept), check=True)
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).on_end != "delete"
        assert _find(tmp_path, harmless=True) == []
        before = _state(tmp_path)
        _mend(tmp_path)
        assert _state(tmp_path) == before

    def test_while_it_took_its_lease(self, tmp_path, old):
        """
        Half a lease of a process that was killed is removed; that of a living one is not.
        """
        run_python(
            "import os, sys\n"
            "from sessionlog_handlers.pipeline.leases import Lease\n"
            "os.rename = lambda *args: os.kill(os.getpid(), 9)\n"
            "Lease(sys.argv[1]).take()",
            tmp_path / ".leases",
        )
        lease = Lease(str(tmp_path / ".leases"))
        lease._swept = True
        name = lease.take()
        assert len(os.listdir(tmp_path / ".leases")) == 2
        assert _mended(tmp_path) == ["leases"]
        assert os.listdir(tmp_path / ".leases") == [name]
        lease.give_back()

    def test_while_it_replaced_a_file(self, tmp_path, old):
        """
        Half-made replacements of metadata and of the control file are removed.
        """
        _end(tmp_path)
        program = (
            "import os, sys\n"
            "from sessionlog_handlers.pipeline import files\n"
            "os.replace = lambda *args: os.kill(os.getpid(), 9)\n"
            "files.replace_file(sys.argv[1], b'{}')"
        )
        run_python(program, tmp_path / "abc" / "metadata.json")
        run_python(program, tmp_path / ".control")
        assert _mended(tmp_path) == ["leftover", "leftover"]


def _start(program: str, *args: str | Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


class TestMetadata:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("kind", ["no_metadata", "broken_metadata"])
    def test_made_anew(self, tmp_path, layout, kind):
        """
        Lost metadata is made anew from the lines, and broken metadata is kept under another name.
        """
        _end(tmp_path, layout)
        (path,) = tmp_path.glob("**/*metadata.json")
        before, content = read_metadata(str(path)), path.read_bytes()
        if kind == "no_metadata":
            path.unlink()
        else:
            path.write_bytes(content[:300])
        assert _find(tmp_path) == [kind]
        assert _mended(tmp_path) == [kind]
        after = read_metadata(str(path))
        assert (after.session, after.state, after.reason) == ("abc", "ended", before.reason)
        assert (after.metadata, set(after.files) <= set(before.files)) == ({"user": "ada"}, True)
        if kind == "broken_metadata":
            assert path.with_name(f"{path.name}.broken").read_bytes() == content[:300]
        assert _find(tmp_path, harmless=True) == []

    @pytest.mark.parametrize("id", ["../../etc/passwd", "\udcff"])
    def test_ids_that_are_no_names(self, tmp_path, id):
        """
        The id is that of the lines.
        """
        handler = SessionHandler(tmp_path, linger=0)
        start_session(id, handler=handler).end()
        handler.close()
        (path,) = tmp_path.glob("*/metadata.json")
        path.unlink()
        assert _mended(tmp_path) == ["no_metadata"]
        assert read_metadata(str(path)).session == id

    def test_while_any_process_lives(self, tmp_path):
        """
        Where nobody can tell whether one of the living processes runs the session, nothing is made.
        """
        _end(tmp_path)
        (tmp_path / "abc" / "metadata.json").unlink()
        lease = Lease(str(tmp_path / ".leases"))
        lease.take()
        assert _find(tmp_path) == ["no_metadata"]
        assert _mended(tmp_path) == []
        lease.give_back()
        assert _mended(tmp_path) == ["no_metadata"]

    def test_files_with_names_of_their_own(self, tmp_path):
        """
        Files that are spelled out are looked at wherever they are.
        """
        files = {"logs/of-{id}.log": "level", "{id}/audit.log": "user"}
        handler = SessionHandler(tmp_path, linger=0, files=files)
        start_session("abc", handler=handler).end()
        handler.close()
        with (tmp_path / "logs" / "of-abc.log").open("ab") as log:
            log.write(b"garbage\n")
        assert _mended(tmp_path) == ["damaged_log"]
        assert (tmp_path / "logs" / "of-abc.log.1").exists()

    @pytest.mark.parametrize("lost", [False, True])
    def test_renamed_directory(self, tmp_path, lost):
        """
        A session in a directory that is another's by its name is told of and left as it is.
        """
        _end(tmp_path)
        (tmp_path / "abc").rename(tmp_path / "copy of abc")
        if lost:
            (tmp_path / "copy of abc" / "metadata.json").unlink()
        assert _find(tmp_path, harmless=True) == ["unknown" if lost else "misplaced"]
        before = _state(tmp_path)
        _mend(tmp_path)
        assert _state(tmp_path) == before

    def test_that_names_no_session(self, tmp_path):
        """
        Metadata of which the session's name was damaged gets it again from the lines, or from the next start.
        """
        _end(tmp_path)
        path = tmp_path / "abc" / "metadata.json"
        before = path.read_text()
        path.write_text(before.replace('"session"', '"sess on"'))
        assert _find(tmp_path) == ["nameless_metadata"]
        started = tmp_path / "started"
        shutil.copytree(tmp_path / "abc", started / "abc")
        _end(started)
        assert read_metadata(str(started / "abc" / "metadata.json")).session == "abc"
        shutil.rmtree(started)
        assert _mended(tmp_path) == ["nameless_metadata"]
        assert path.read_text() == before

    def test_beside_an_apps_own(self, tmp_path):
        """
        Of a recording that has a metadata.json of the app's own beside it, only ours is mended.
        """
        _app(tmp_path, layout="recorder")
        own = tmp_path / "abc" / "metadata.json"
        own.write_text('{"title": "talk"}')
        assert _mended(tmp_path) == ["crashed", "leases"]
        (tmp_path / "abc" / ".metadata.json").write_text("{")
        assert _mended(tmp_path) == ["broken_metadata"]
        assert own.read_text() == '{"title": "talk"}'

    def test_of_another_sessions_files(self, tmp_path):
        """
        Metadata that names another session's files leads to none of them.
        """
        _app(tmp_path)
        shutil.copytree(tmp_path / "abc", tmp_path / "other")
        path, log = tmp_path / "abc" / "metadata.json", tmp_path / "other" / "session.log"
        path.write_text(path.read_text().replace('"abc/session.log"', '"other/session.log"'))
        log.write_bytes(log.read_bytes() + b"\0\n")
        before = log.read_bytes()
        _mend(tmp_path)
        assert log.read_bytes() == before

    @pytest.mark.parametrize("lost", [False, True])
    @pytest.mark.parametrize("layout", ["multiplexer", "terminal"])
    def test_of_a_session_with_a_longer_name(self, tmp_path, layout, lost):
        """
        Metadata that names files of a session whose name begins with its own leads to none of them.
        """
        handler = SessionHandler(tmp_path, linger=0, layout=layout)
        start_session("job", handler=handler).end()
        other = start_session("job-2", handler=handler, level="full")
        other.output(b"x")
        handler.flush()
        (path,) = [path for path in tmp_path.glob("**/metadata.json") if path.parent.name == "job"]
        metadata = json.loads(path.read_bytes())
        log = "job-2.jsonl" if layout == "terminal" else "job-2/session.log"
        path.write_text(json.dumps({**metadata, "files": [log], "on_end": "delete", "end": "2020-01-01T00:00:00.000Z"}))
        if lost:
            (path.parent.parent / "job-2" / "metadata.json").unlink()
        content = (tmp_path / log).read_bytes()
        assert content
        _mend(tmp_path)
        assert (tmp_path / log).read_bytes() == content
        other.end()
        handler.close()


class TestDamage:
    @pytest.mark.parametrize("garbage", [b"\0" * 500 + b"\n", b"\xff\xfe garbage\n", b"{}}\n", b"\0" * 500])
    def test_in_a_log(self, tmp_path, garbage):
        """
        A damaged log becomes an old file as it is: nothing is written behind the damage, and all whole lines are read.
        """
        _end(tmp_path)
        log = tmp_path / "abc" / "session.log"
        lines = log.read_bytes().splitlines(keepends=True)
        content = lines[0] + garbage + b"".join(lines[1:]) if garbage.endswith(b"\n") else b"".join(lines) + garbage
        log.write_bytes(content)
        assert _find(tmp_path) == ["damaged_log"]
        assert _mended(tmp_path) == ["damaged_log"]
        assert (tmp_path / "abc" / "session.log.1").read_bytes() == content
        assert _find(tmp_path) == ["damaged_archive"]  # what is lost is lost, and told from now on
        _end(tmp_path)
        assert [line.seq for line in read_session("abc", directory=tmp_path)] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_in_an_archive(self, tmp_path, share):
        """
        An archive that was cut is told of with what is left of it, and left as it is.
        """
        _end(tmp_path)
        line = (tmp_path / "abc" / "session.log").read_bytes().splitlines(keepends=True)[1]
        packed = gzip.compress(b"".join(line + os.urandom(30).hex().encode() + b"\n" for _ in range(100)))
        (tmp_path / "abc" / "session.log.1.gz").write_bytes(packed[: int(len(packed) * share)])
        (tmp_path / "abc" / "session.log.1.gz").chmod(0o600)
        assert _find(tmp_path) == ["damaged_archive"]
        before = _state(tmp_path)
        assert _mended(tmp_path) == []
        assert _state(tmp_path) == before

    def test_log_that_went_on_meanwhile(self, tmp_path):
        """
        A damaged log that has changed since the look is not touched.
        """
        _end(tmp_path)
        log = tmp_path / "abc" / "session.log"
        log.write_bytes(b"\0\n" + log.read_bytes())
        checkups = [*examine([tmp_path])]
        with log.open("ab") as file:
            file.write(b"\0\n")
        content = log.read_bytes()
        for checkup in checkups:
            mend(checkup)
        assert log.read_bytes() == content

    def test_old_log_beside_a_new_one(self, tmp_path):
        """
        A compressed log beside another plain one, which readers pass over, becomes an old file.
        """
        _end(tmp_path)
        log = tmp_path / "abc" / "session.log"
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[1:]))
        packed = log.with_name("session.log.gz")
        packed.write_bytes(gzip.compress(lines[0]))
        packed.chmod(0o600)
        assert _mended(tmp_path) == ["twins"]
        assert [line.seq for line in read_session("abc", directory=tmp_path)] == [1, 2, 3]

    def test_gap_before_two_that_differ(self, tmp_path):
        """
        Where a file and the compressed one beside it each hold what the other lacks, both move into a gap.
        """
        _end(tmp_path)
        log = tmp_path / "abc" / "session.log"
        lines = log.read_bytes().splitlines(keepends=True)
        for name, content in {"session.log.3": lines[0], "session.log.3.gz": gzip.compress(lines[1])}.items():
            log.with_name(name).write_bytes(content)
            log.with_name(name).chmod(0o600)
        assert _find(tmp_path) == ["twins", "gap"]
        assert [finding.kind for checkup in _mend(tmp_path) for finding in checkup.mended if finding.kind == "gap"]
        assert log.with_name("session.log.1").read_bytes() == lines[0]
        assert gzip.decompress(log.with_name("session.log.1.gz").read_bytes()) == lines[1]
        assert not log.with_name("session.log.3.gz").exists()


class TestPlace:
    @pytest.mark.parametrize("name", ["session.log", "session.log.1", "audit_user.log", "metadata.json"])
    @pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/etc/passwd", path), os.mkdir])
    def test_foreign_things(self, tmp_path, name, make):
        """
        What stands in a file's place and is none is told of, and left as it is.
        """
        _end(tmp_path)
        path = tmp_path / "abc" / name
        path.unlink(missing_ok=True)
        make(path)
        before = _state(tmp_path)
        assert "foreign" in _find(tmp_path) or name == "audit_user.log"
        _mend(tmp_path)
        assert _state(tmp_path)[str(path)] == before[str(path)]

    def test_modes(self, tmp_path):
        """
        Permissions that were changed are given back as the handler was told, of the root's own files too.
        """
        handler = SessionHandler(tmp_path, linger=0, file_mode="0640", directory_mode="0750")
        start_session("abc", handler=handler).end()
        handler.close()
        ControlFile(str(tmp_path)).request("abc", "full")
        assert _find(tmp_path) == []
        changed = {
            tmp_path / "abc": 0o750,
            tmp_path / "abc" / "session.log": 0o640,
            tmp_path / "abc" / "metadata.json": 0o640,
            tmp_path / ".locks": 0o700,
            tmp_path / ".locks" / "control": 0o600,
            tmp_path / ".leases": 0o700,
            tmp_path / ".control": 0o600,
        }
        for path in changed:
            path.chmod(0o777)
        assert _find(tmp_path) == ["mode"] * len(changed)
        assert _mended(tmp_path) == ["mode"] * len(changed)
        assert {path: path.stat().st_mode & 0o777 for path in changed} == changed

    def test_gap_and_surplus(self, tmp_path):
        """
        More old files than are to be kept are noted, never deleted; nor are they for a gap that is closed.
        """
        _end(tmp_path)
        for slot in (2, 4, 9, 11):
            path = tmp_path / "abc" / f"session.log.{slot}"
            path.write_bytes(
                (tmp_path / "abc" / "session.log").read_bytes().replace(b'"number":0', b'"number":%d' % slot)
            )
            path.chmod(0o600)
        assert _find(tmp_path, harmless=True) == ["gap", "surplus"]
        assert _numbers(tmp_path) == [11, 9, 4, 2, 0]
        assert _mended(tmp_path) == ["gap"]
        assert _numbers(tmp_path) == [11, 9, 4, 2, 0]

    def test_removal(self, tmp_path, monkeypatch):
        """
        A removal that was cut short is told of, and finished.
        """
        handler = SessionHandler(tmp_path)
        start_session("abc", handler=handler).end()
        handler.close()

        def killed(*args: object) -> None:
            raise KeyboardInterrupt

        pruner = Pruner(str(tmp_path), Retention(total=1))
        with monkeypatch.context() as patch:
            patch.setattr(removal.shutil, "rmtree", killed)
            with pytest.raises(KeyboardInterrupt), pruner.alone():
                [*pruner.remove(pruner.choose())]
        assert _find(tmp_path) == ["removal"]
        _mend(tmp_path)
        assert _find(tmp_path) == []
        assert not (tmp_path / ".pruning").exists()
        assert [*list_pruned([tmp_path])]


class TestRunning:
    def test_is_left_alone(self, tmp_path):
        """
        A session that another process runs goes on while its neighbours are mended: no line is lost or doubled.
        """
        _app(tmp_path)
        shutil.copytree(tmp_path / "abc", tmp_path / "broken")
        program = (
            "import sys, select\n"
            "from sessionlog_handlers import SessionHandler, start_session\n"
            "handler = SessionHandler(sys.argv[1], linger=0, max_bytes=4000, backup_count=1000, compress='gzip')\n"
            "session = start_session('alive')\n"
            "print('ready', flush=True)\n"
            "number = 0\n"
            "while not select.select([sys.stdin], [], [], 0.0005)[0]:\n"
            "    session.event('completion', number=number)\n"
            "    number += 1\n"
            "session.end(number=number)"
        )
        process = _start(program, tmp_path)
        lines = tmp_path / "alive" / "session.log.3.gz"
        found: set[str] = set()

        def is_far() -> bool:
            for checkup in examine([tmp_path]):
                if checkup.session is not None and checkup.session.id == "alive":
                    found.update(finding.kind for finding in checkup.findings)
                mend(checkup)
            return lines.exists()

        wait_until(is_far, 30)
        process.communicate("end\n", timeout=30)
        assert process.returncode == 0
        assert found == set()
        everything = [*read_session("alive", directory=tmp_path)]
        numbers = [line.data["number"] for line in everything if line.event == "completion"]
        assert numbers == [*range(everything[-1].data["number"])]
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "crashed"

    def test_started_since_the_look(self, tmp_path):
        """
        A session that somebody has started again since it was looked at is not mended.
        """
        _app(tmp_path)
        checkups = [*examine([tmp_path])]
        handler = SessionHandler(tmp_path, linger=0)
        session = start_session("abc", handler=handler)
        handler.flush()
        for checkup in checkups:
            mend(checkup)
        assert read_metadata(str(tmp_path / "abc" / "metadata.json")).state == "running"
        session.end()
        handler.close()

    def test_of_one_process_and_ended_by_another(self, tmp_path):
        """
        An ended session that another process still writes is left alone, as one that runs.
        """
        program = (
            "import os, sys\n"
            "from sessionlog_handlers import SessionHandler, start_session\n"
            "handler = SessionHandler(sys.argv[1], linger=0)\n"
            "session = start_session('abc')\n"
            "session.event('completion', number=0)\n"
            "session.flush()\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "session.end()"
        )
        owner, joiner = _start(program, tmp_path), _start(program, tmp_path)
        owner.communicate("end\n", timeout=30)
        metadata = read_metadata(str(tmp_path / "abc" / "metadata.json"))
        assert (metadata.state, len(metadata.writers)) == ("ended", 1)
        log = tmp_path / "abc" / "session.log"
        with log.open("ab") as file:
            file.write(b'{"ts":"2026-')  # it is at it
        before = _state(tmp_path / "abc")
        assert _find(tmp_path) == []
        _mend(tmp_path)
        assert _state(tmp_path / "abc") == before
        joiner.kill()
        joiner.communicate()
        assert _mended(tmp_path) == ["torn_tail", "leases"]

    @pytest.mark.parametrize("lost", [False, True])
    def test_started_while_it_reads(self, tmp_path, monkeypatch, lost):
        """
        An app that starts the session while its files are read for a mending has the lock, and what it writes stays.
        """
        from sessionlog_handlers.care import places
        from sessionlog_handlers.pipeline.locks import FileLock

        _app(tmp_path)
        path = tmp_path / "abc" / "metadata.json"
        if lost:
            path.unlink()
        (checkup, _) = [*examine([tmp_path])]
        handler = SessionHandler(tmp_path, linger=0)
        name = "rebuild" if lost else "close_by_lines"
        real = getattr(places, name)
        started = []

        def read(*args: object) -> object:
            lock = FileLock(Case(checkup.session).lock.path, keep_open=False)
            assert lock.acquire(0)
            lock.release()
            started.append(start_session("abc", handler=handler))
            handler.flush()
            return real(*args)

        monkeypatch.setattr(places, name, read)
        mend(checkup)
        metadata = read_metadata(str(path))
        assert (metadata.state, metadata.pid, len(metadata.writers)) == ("running", os.getpid(), 1)
        started[0].end()
        handler.close()
        assert read_metadata(str(path)).state == "ended"

    @pytest.mark.parametrize("unlink", ["session.log.2", "session.log.2.gz"])
    def test_two_files_that_changed_meanwhile(self, tmp_path, monkeypatch, unlink):
        """
        Of a file and a compressed one that were the same, nothing is removed if one of them is another by then.
        """
        from sessionlog_handlers.care import logs

        _end(tmp_path)
        log = tmp_path / "abc" / "session.log"
        for name in ("session.log.1", "session.log.2"):
            shutil.copy(log, log.with_name(name))
        packed = log.with_name("session.log.2.gz")
        packed.write_bytes(gzip.compress(log.read_bytes()))
        real = logs.compare_twins

        def compare(path: str) -> object:
            found = real(path)
            log.with_name(unlink).unlink()
            if unlink == packed.name:
                packed.write_bytes(gzip.compress(b"another\n"))
            return found

        (checkup, _) = [*examine([tmp_path])]
        monkeypatch.setattr(logs, "compare_twins", compare)
        mend(checkup)
        assert packed.exists()

    def test_lock_that_can_not_be_opened(self, tmp_path):
        """
        Where the lock can't be had since its file can't be opened, that is what is told.
        """
        _app(tmp_path)
        lock = Path(Case(next(examine([tmp_path])).session).lock.path)
        lock.unlink()
        lock.mkdir()
        (checkup, _) = [mend(checkup) for checkup in examine([tmp_path])]
        assert [(error.strerror, error.filename) for error in checkup.failed] == [("Is a directory", str(lock))]

    def test_held_lock(self, tmp_path, monkeypatch):
        """
        Without the session's lock nothing is mended, and that is said.
        """
        from sessionlog_handlers.pipeline.locks import FileLock

        _app(tmp_path)
        monkeypatch.setattr(FileLock, "acquire", lambda self, timeout=0: False)
        (checkup, _) = [mend(checkup) for checkup in examine([tmp_path])]
        assert [error.strerror for error in checkup.failed] == ["another process holds its lock"]
        assert [finding.kind for finding in checkup.findings] == ["crashed"]


# Forks children that log and tell which kinds of calls change files: a function, and a file of which numbers don't
# matter. Then, for each kind, one that is killed before the first such call, and one before the last.
EVERYWHERE = """
import collections, gzip, os, re, sys, threading, warnings
warnings.simplefilter("ignore")
import sessionlog_handlers.pipeline.root
from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline.open_files import load_writer
load_writer()  # once for all children

REAL = {name: getattr(os, name) for name in ("write", "open", "rename", "replace", "unlink", "utime", "fsync")}

def log(root, told, deadly_call):
    acknowledged = REAL["open"](root + ".acknowledged", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    seen, paths, lock = collections.Counter(), {}, threading.Lock()
    def watched(name, real):
        def call(file, *args, **kwargs):
            path = str(paths.get(file, "") if isinstance(file, int) else file)
            base = os.path.basename(path).replace("audit_system", "session")
            kind = name + " " + re.sub("[0-9a-f]{12,}|[0-9]+", "N", base)
            with lock:
                seen[kind] += path.startswith(root + "/")
                if (kind, seen[kind]) == deadly_call:
                    os.kill(os.getpid(), 9)
            result = real(file, *args, **kwargs)
            if name == "open":
                paths[result] = file
            return result
        return call
    for name, real in REAL.items():
        setattr(os, name, watched(name, real))
    handler = SessionHandler(root, linger=0, max_bytes=1024, backup_count=50, compress="gzip")
    session = start_session("abc")
    for count in range(18):
        session.event("completion", number=count)
        if session.flush():
            REAL["write"](acknowledged, b"%d\\n" % count)
    session.end()
    handler.close()
    REAL["write"](told, repr(dict(+seen)).encode())
    os._exit(0)

def run(name, deadly_call=None):
    source, target = os.pipe()
    child = os.fork()
    if not child:
        log(os.path.join(sys.argv[1], name), target, deadly_call)
    os.close(target)
    with open(source) as told:
        text = told.read()
    assert os.waitpid(child, 0)[1] in (0, 9)
    return text

whole = [eval(run(f"whole-{number}")) for number in range(3)]
for index, kind in enumerate({kind: None for seen in whole for kind in seen}):
    always = all(kind in seen for seen in whole)
    for number in sorted({1, max(seen.get(kind, 0) for seen in whole)}):
        for attempt in range(5):  # whether a file is compressed before the next rotation is a matter of chance
            if not run(f"{index}-{number}-{attempt}", (kind, number)):
                break
        else:
            assert number > 1 or not always, kind
"""


def _roots_killed_everywhere(directory: Path) -> Iterator[tuple[Path, list[int]]]:
    run_python(EVERYWHERE, directory, check=True)
    for acknowledged in sorted(directory.glob("*.acknowledged")):
        yield Path(str(acknowledged).removesuffix(".acknowledged")), [*map(int, acknowledged.read_text().split())]


def test_killed_everywhere(tmp_path, old):
    """
    Wherever a process is killed, looking changes nothing; both a new start and mending give every line once.
    """
    points = 0
    for root, acknowledged in _roots_killed_everywhere(tmp_path):
        if not (root / "abc" / "session.log").exists() and not (root / "abc" / "session.log.1").exists():
            assert acknowledged == []
            continue
        points += 1
        before = _numbers(root)
        assert before[: len(acknowledged)] == acknowledged, root
        assert before == [*range(len(before))], root
        _find(root)
        started = root.with_name(f"{root.name} started")
        shutil.copytree(root, started)
        handler = SessionHandler(started, linger=0, max_bytes=1024, backup_count=50, compress="gzip")
        start_session("abc", handler=handler).end()
        handler.close()
        assert _numbers(started) == before, root
        assert _find(started) in ([], ["leases"]), root  # a copied lease is nobody's
        seqs = [line.seq for line in read_session("abc", directory=started)]
        assert seqs == [*range(1, len(seqs) + 1)], root
        _mend(root)
        assert _numbers(root) == before, root
        assert _find(root) == [], root
    assert points > 25  # some are killed before the first line


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """
    A root with a session whose process was killed.
    """
    root: Path = tmp_path_factory.mktemp("killed")
    home = {"SESSIONLOG_HOME": str(root / "home")}
    assert run_python(KILLED, root / "logs", "multiplexer", "die()", env=home).returncode == -9
    return root / "logs"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["metadata.json", "session.log", "audit_system.log"]),
    share=st.floats(0.0, 1.0),
    byte=st.none() | st.integers(0, 255),
)
@example(name="metadata.json", share=0.0234375, byte=32)  # within the key "session"
@example(name="session.log", share=1.0, byte=33)  # in the place of the last line end
def test_any_damage(killed, tmp_path_factory, name, share, byte):
    """
    Wherever a file is cut or a byte of it changed, nothing raises, no line is lost by mending, and once is enough.
    """
    root = tmp_path_factory.mktemp("damaged") / "logs"
    shutil.copytree(killed, root)
    path = root / "abc" / name
    content = bytearray(path.read_bytes())
    place = int(share * (len(content) - 1))
    path.write_bytes(content[:place] if byte is None else content[:place] + bytes([byte]) + content[place + 1 :])

    def lines() -> list[str]:
        found = [line for file in root.glob("abc/*.log*") for line in read_path(file)]
        return sorted(map(repr, found))

    before = lines()
    _find(root)
    _mend(root)
    assert lines() == before
    left = [finding for checkup in examine([root]) for finding in checkup.findings]
    assert [finding for finding in left if finding.mend] == []


def test_lines_of_metadata(tmp_path):
    """
    What is mended of metadata keeps what else is in it.
    """
    _app(tmp_path)
    path = tmp_path / "abc" / "metadata.json"
    before = json.loads(path.read_bytes())
    _mend(tmp_path)
    after = json.loads(path.read_bytes())
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"state", "end", "writers"}
    assert len(read_lines(tmp_path / "abc" / "session.log")) == 2
