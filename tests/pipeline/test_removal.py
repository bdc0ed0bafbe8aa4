from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import read_lines, run_python

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import hooks, removal
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.locks import StripedLocks
from sessionlog_handlers.pipeline.metadata import read_metadata, write_metadata
from sessionlog_handlers.pipeline.moving import move_back, move_tree
from sessionlog_handlers.pipeline.places import RootPlaces, SessionInfo
from sessionlog_handlers.pipeline.pruner import Pruner
from sessionlog_handlers.pipeline.pruning import GONE, LEAVING, encode_record, places_of_removals
from sessionlog_handlers.pipeline.removal import RemovalError, Remover
from sessionlog_handlers.pipeline.retention import Chosen
from sessionlog_handlers.reading.reader import read_path
from sessionlog_handlers.settings.tables import Retention

LAYOUTS = ("multiplexer", "fugue", "recorder", "terminal")


def make_session(root: Path, id: str = "abc", **options: object) -> SessionInfo:
    """
    A session that has ended, with some old files.
    """
    handler = SessionHandler(root, linger=0, session_level="full", max_bytes=1024, **options)
    with start_session(id, handler=handler) as session:
        for number in range(9):
            session.event("initial_prompt", number=number)
            session.output(b"x" * 50)
            handler.flush()
    handler.close()
    return find(root, id)


def find(root: Path, id: str = "abc") -> SessionInfo:
    """
    The session as a look at the root shows it.
    """
    return next(info for info in look(root) if info.id == id)


def look(root: Path) -> list[SessionInfo]:
    """
    All sessions of a root.
    """
    places = RootPlaces(root)
    return [info for place in places.all() if (info := places.look(place)) is not None]


def chosen(info: SessionInfo) -> Chosen:
    """A session that a rule wants gone."""
    return Chosen(info, "days", "ended 8 days ago, kept for 7 days")


def tree(root: Path) -> dict[str, bytes]:
    """
    Every file below a root but those that all sessions share.
    """
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in (".locks", ".leases", ".pruned.jsonl")
    }


def tombstones(root: Path) -> list[dict[str, object]]:
    """What stands in the root about removed sessions."""
    path = root / ".pruned.jsonl"
    return [line["data"] | {"session": line["session"]} for line in read_lines(path)] if path.exists() else []


class TestRemove:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_nothing_is_left_but_a_line(self, tmp_path, layout):
        """
        In every layout all files of the session go, with its directories; one line tells what it was and why it went.
        """
        make_session(tmp_path, "other", layout=layout)
        before = tree(tmp_path)
        info = make_session(tmp_path, layout=layout)
        files = {name: content for name, content in tree(tmp_path).items() if name not in before}
        assert len(files) >= 3
        record = Remover(str(tmp_path)).remove(chosen(info))
        assert tree(tmp_path) == before
        assert [info.id for info in look(tmp_path)] == ["other"]
        assert not (tmp_path / "abc").exists()
        assert not (tmp_path / ".sessions" / "abc").exists()
        assert not (tmp_path / ".pruning").exists()
        (line,) = read_path(tmp_path / ".pruned.jsonl")
        assert (line.session, line.event, line.level) == ("abc", "log_pruned", "info")
        assert line.data == {
            "rule": "days",
            "reason": "ended 8 days ago, kept for 7 days",
            "state": "ended",
            "start": info.metadata.start,
            "end": info.metadata.end,
            "bytes": sum(map(len, files.values())),
            "files": len(files),
            "trash": None,
            "removal": record.removal,
        }
        assert stat.S_IMODE((tmp_path / ".pruned.jsonl").stat().st_mode) == 0o600

    def test_any_id(self, tmp_path):
        """
        Ids that are no names for files are removed like others, also one that holds half of a surrogate pair.
        """
        for id in ("../../etc/passwd", "Grüße \ud800\0", "CON"):
            make_session(tmp_path, id)
            Remover(str(tmp_path)).remove(chosen(find(tmp_path, id)))
        assert tree(tmp_path) == {}
        assert [line["session"] for line in tombstones(tmp_path)] == ["../../etc/passwd", "Grüße \ud800\0", "CON"]

    def test_a_line_behind_a_torn_one(self, tmp_path):
        """
        Behind a line that a crash tore, the next one is whole.
        """
        (tmp_path / ".pruned.jsonl").write_text('{"ts":"2026-')
        Remover(str(tmp_path)).remove(chosen(make_session(tmp_path)))
        lines = read_path(tmp_path / ".pruned.jsonl")
        assert [line.session for line in lines] == ["abc"]
        assert len(lines.bad) == 1

    def test_after_a_change_of_the_layout(self, tmp_path):
        """
        A session that began in one layout and went on in another goes with the files of both.
        """
        make_session(tmp_path)
        info = make_session(tmp_path, layout="fugue")
        assert {path.name for path in info.files} >= {"session.log", "system.jsonl"}
        Remover(str(tmp_path)).remove(chosen(info))
        assert tree(tmp_path) == {}

    def test_leftovers(self, tmp_path):
        """
        What killed processes left of the session, what was set aside, and faulthandler's file go with it.
        """
        info = make_session(tmp_path)
        names = (".session.log.2.0123456789ab.tmp", ".metadata.json.0123456789ab.tmp", "faults.txt")
        for name in (*names, "session.log.3.gz.broken", "metadata.json.broken.1"):
            (info.directory / name).write_bytes(b"x")
        Remover(str(tmp_path)).remove(chosen(info))
        assert tree(tmp_path) == {}
        assert not info.directory.exists()


class TestOthers:
    @pytest.mark.parametrize("name", ["chunk_0001.mp4", "session.log.bak", "metadata.json", "sub/a.wav", "sub/"])
    def test_files_of_others_stay(self, tmp_path, name):
        """
        In a directory that holds anything else, only our files go, and the directory stays.
        """
        info = make_session(tmp_path, layout="recorder")
        foreign = info.directory / name
        foreign.parent.mkdir(exist_ok=True)
        foreign.mkdir() if name.endswith("/") else foreign.write_text('{"recording": 1}')
        assert find(tmp_path) == info
        assert Remover(str(tmp_path)).remove(chosen(info)) is not None
        assert [path for path in info.directory.rglob("*") if path.is_file()] == [foreign] * (not name.endswith("/"))
        assert look(tmp_path) == []
        assert not (tmp_path / ".pruning").exists()

    def test_links_are_left(self, tmp_path):
        """
        A link in a log's place is not followed, and stays.
        """
        info = make_session(tmp_path / "logs")
        target = tmp_path / "precious"
        target.write_text("x")
        (info.directory / "session.log.9").symlink_to(target)
        Remover(str(tmp_path / "logs")).remove(chosen(info))
        assert target.read_text() == "x"
        assert os.listdir(info.directory) == ["session.log.9"]

    @pytest.mark.parametrize(
        "path", ["../precious", "/etc/passwd", "other/session.log", ".locks/00", ".sessions/other/session.log"]
    )
    def test_metadata_that_names_others(self, tmp_path, path):
        """
        What the metadata names elsewhere, in another session's place for example, is not the session's.
        """
        root = tmp_path / "logs"
        (tmp_path / "precious").write_text("x")
        make_session(root, "other")
        info = make_session(root)
        metadata = read_metadata(str(info.directory / "metadata.json"))
        metadata.files.append(path)
        write_metadata(str(info.directory / "metadata.json"), metadata)
        Remover(str(root)).remove(chosen(find(root)))
        assert [info.id for info in look(root)] == ["other"]
        assert (root / "other" / "session.log").exists()
        assert (tmp_path / "precious").exists()

    def test_a_directory_that_was_renamed(self, tmp_path):
        """
        A copy under another name, whose metadata names the original's files, is left alone, as the original is.
        """
        info = make_session(tmp_path)
        shutil.copytree(info.directory, tmp_path / "copy")
        before = tree(tmp_path)
        places = RootPlaces(tmp_path)
        copy = next(found for place in places.all() if (found := places.look(place)) and found.directory.name == "copy")
        assert Remover(str(tmp_path)).remove(chosen(copy)) is None
        assert tree(tmp_path) == before


class TestNever:
    def test_a_session_that_runs(self, tmp_path):
        """
        A session that was begun again since it was chosen stays as it is.
        """
        info = make_session(tmp_path)
        handler = SessionHandler(tmp_path, linger=0)
        start_session("abc", handler=handler)
        handler.flush()
        before = tree(tmp_path)
        assert Remover(str(tmp_path)).remove(chosen(info)) is None
        assert Remover(str(tmp_path)).remove(chosen(find(tmp_path))) is None
        assert tree(tmp_path) == before
        assert tombstones(tmp_path) == []

    def test_a_session_that_somebody_still_writes(self, tmp_path):
        """
        A session that ended stays as long as another process writes to it.
        """
        info = make_session(tmp_path)
        lease = Lease(str(tmp_path / ".leases"))
        path = str(info.directory / "metadata.json")
        metadata = read_metadata(path)
        metadata.writers[lease.take()] = {}
        write_metadata(path, metadata)
        assert Remover(str(tmp_path)).remove(chosen(find(tmp_path))) is None
        lease.forget()
        assert Remover(str(tmp_path)).remove(chosen(find(tmp_path))) is not None

    def test_one_that_was_pinned_meanwhile(self, tmp_path):
        """
        A session that was pinned after it was chosen stays.
        """
        info = make_session(tmp_path)

        def pin(found: SessionInfo) -> None:
            path = str(found.directory / "metadata.json")
            metadata = read_metadata(path)
            metadata.pinned = True
            write_metadata(path, metadata)

        assert Remover(str(tmp_path), archive=pin).remove(chosen(info)) is None
        assert find(tmp_path).pinned

    def test_without_the_lock(self, tmp_path, monkeypatch):
        """
        If the session's lock can't be had, nothing is touched, and nothing hides the session.
        """
        info = make_session(tmp_path)
        before = tree(tmp_path)
        monkeypatch.setattr(StripedLocks.for_session.__globals__["FileLock"].hold, "__defaults__", (0.05,))
        locks = StripedLocks(str(tmp_path / ".locks"))
        with locks.for_session("abc").hold() as locked:
            assert locked
            with pytest.raises(RemovalError, match="its lock could not be had"):
                Remover(str(tmp_path)).remove(chosen(info))
        locks.close()
        assert tree(tmp_path) == before
        assert find(tmp_path) == info
        assert not (tmp_path / ".pruning").exists()

    def test_metadata_without_files(self, tmp_path):
        """
        A session whose metadata does not say what its files are stays.
        """
        info = make_session(tmp_path)
        path = str(info.directory / "metadata.json")
        metadata = read_metadata(path)
        metadata.files = []
        write_metadata(path, metadata)
        assert Remover(str(tmp_path)).remove(chosen(find(tmp_path))) is None


class TestStoodStill:
    """
    A remover that stood still between its last look and the renames, for longer than anybody waits for the lock.
    """

    @pytest.fixture
    def meanwhile(self, monkeypatch):
        """
        Have something called between the look and the renames.
        """

        def set_up(call):
            look_now = Remover._belongings_now

            def look(self, record):
                found = look_now(self, record)
                call()
                return found

            monkeypatch.setattr(Remover, "_belongings_now", look)

        return set_up

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_session_begun_again(self, tmp_path, meanwhile, layout):
        """
        A session that was begun again meanwhile by a writer without the lock comes back whole, and goes on.
        """
        info = make_session(tmp_path, layout=layout)
        handler = SessionHandler(tmp_path, linger=0, layout=layout)
        before = {}

        def begin() -> None:
            start_session("abc", handler=handler).event("error", text="again")
            assert handler.root.flush(30)
            before.update(tree(tmp_path))

        meanwhile(begin)
        assert Remover(str(tmp_path)).remove(chosen(info)) is None
        assert tree(tmp_path) == {name: content for name, content in before.items() if ".pruning" not in name}
        assert not (tmp_path / ".pruning").exists()
        assert tombstones(tmp_path) == []
        assert find(tmp_path).state == "running"

    @pytest.mark.parametrize("name", ["chunk-2.bin", "sub/chunk.bin", "link"])
    def test_a_file_of_others(self, tmp_path, meanwhile, name):
        """
        What others put into the session's directory meanwhile comes back, and the session goes.
        """
        info = make_session(tmp_path)
        path = info.directory / name

        def put() -> None:
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(tmp_path) if name == "link" else path.write_text("precious")

        meanwhile(put)
        assert Remover(str(tmp_path)).remove(chosen(info)) is not None
        assert [found for found in info.directory.rglob("*") if not found.is_dir() or found.is_symlink()] == [path]
        assert not (tmp_path / ".pruning").exists()
        assert len(tombstones(tmp_path)) == 1

    def test_names_taken_meanwhile(self, tmp_path):
        """
        What comes back replaces nothing: beside a new file of the same name it becomes an old one.
        """
        source, target = tmp_path / "files", tmp_path / "logs"
        for directory, names in ((source, ("a.log", "a.log.1.gz", "b.log")), (target, ("a.log", "a.log.1"))):
            (directory / "abc").mkdir(parents=True)
            for name in names:
                (directory / "abc" / name).write_text(f"{directory.name}/{name}")
        move_back(str(source), str(target))
        assert tree(target) == {
            "abc/a.log": b"logs/a.log",
            "abc/a.log.1": b"logs/a.log.1",
            "abc/a.log.2": b"files/a.log",
            "abc/a.log.3.gz": b"files/a.log.1.gz",
            "abc/b.log": b"files/b.log",
        }
        assert not source.exists()


class TestArchive:
    @pytest.mark.parametrize("layout", ["multiplexer", "terminal"])
    def test_command(self, tmp_path, layout):
        """
        A command gets the paths of the session's directory and of what is beside it, and its id in the environment;
        everything is still there while it runs.
        """
        root, out = tmp_path / "logs", tmp_path / "out"
        info = make_session(root, layout=layout)
        files = tree(root)
        program = """
import json, os, sys
paths = sys.argv[2:]
names = [os.path.join(above, name) for path in paths if os.path.isdir(path) for above, _, found in os.walk(path)
         for name in found] + [path for path in paths if os.path.isfile(path)]
json.dump([os.environ["SESSIONLOG_SESSION"], paths[0], sorted(names)], open(sys.argv[1], "w"))
"""
        Remover(str(root), archive=(sys.executable, "-c", program, str(out))).remove(chosen(info))
        assert json.loads(out.read_text()) == ["abc", str(info.directory), sorted(str(root / name) for name in files)]
        assert tree(root) == {}

    def test_callable(self, tmp_path):
        """
        A callable gets the session, and no lock is held meanwhile.
        """
        seen = []

        def archive(info: SessionInfo) -> None:
            with StripedLocks(str(tmp_path / ".locks"), keep_open=0).for_session(info.id).hold(0.0) as locked:
                seen.append((info.id, locked, info.log.exists()))

        Remover(str(tmp_path), archive=archive).remove(chosen(make_session(tmp_path)))
        assert seen == [("abc", True, True)]

    @pytest.mark.parametrize("archive", [lambda info: 1 / 0, (sys.executable, "-c", "raise SystemExit(1)")])
    def test_fails(self, tmp_path, archive):
        """
        If it fails, the session stays as it is; a later run tries again.
        """
        info = make_session(tmp_path)
        before = tree(tmp_path)
        with pytest.raises(RemovalError, match="'abc' stays, since it could not be archived: it"):
            Remover(str(tmp_path), archive=archive).remove(chosen(info))
        assert tree(tmp_path) == before
        assert Remover(str(tmp_path)).remove(chosen(info)) is not None

    def test_takes_too_long(self, tmp_path, monkeypatch):
        """
        One that takes longer than the limit has failed.
        """
        monkeypatch.setattr(removal, "ARCHIVE_TIMEOUT", 0.05)
        monkeypatch.setattr(hooks, "_late", {})
        info = make_session(tmp_path)
        with pytest.raises(RemovalError, match=r"took more than 0\.05 s"):
            Remover(str(tmp_path), archive=(sys.executable, "-c", "import time; time.sleep(60)")).remove(chosen(info))
        assert find(tmp_path) == info

    def test_session_changes_meanwhile(self, tmp_path):
        """
        If a file of the session changes while it is archived, it stays: what was archived is not what would go.
        """
        info = make_session(tmp_path)

        def archive(found: SessionInfo) -> None:
            with open(found.log, "ab") as log:
                log.write(b"{}\n")

        assert Remover(str(tmp_path), archive=archive).remove(chosen(info)) is None
        assert find(tmp_path).size == info.size + 3


class TestTrash:
    @pytest.mark.parametrize("layout", ["multiplexer", "terminal"])
    def test_is_a_root_of_its_own(self, tmp_path, layout):
        """
        In the trash each session has a directory of its own, in which it is found and read as before.
        """
        root = tmp_path / "logs"
        info = make_session(root, layout=layout)
        before = tree(root)
        record = Remover(str(root), trash=tmp_path / "trash").remove(chosen(info))
        (place,) = (tmp_path / "trash").iterdir()
        assert str(place) == record.trash
        assert place.name.startswith("abc-")
        assert tree(place) == before
        assert find(place).size == info.size
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert [line["trash"] for line in tombstones(root)] == [str(place)]

    def test_same_name_again(self, tmp_path):
        """
        A session that is begun, ended and removed again is in the trash twice.
        """
        root = tmp_path / "logs"
        for _ in range(2):
            Remover(str(root), trash=tmp_path / "trash").remove(chosen(make_session(root)))
        assert len(list((tmp_path / "trash").iterdir())) == 2

    @pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
    def test_other_file_system(self, tmp_path):
        """
        To another file system a session is copied with its times, and deleted after that.
        """
        root, trash = tmp_path / "logs", Path("/dev/shm") / f"sessionlog-test-{os.getpid()}"
        info = make_session(root)
        if trash.parent.stat().st_dev == root.stat().st_dev:
            pytest.skip("the same file system")
        before, time = tree(root), info.log.stat().st_mtime
        try:
            record = Remover(str(root), trash=trash).remove(chosen(info))
            assert tree(Path(record.trash)) == before
            assert find(Path(record.trash)).log.stat().st_mtime == time
            assert [path.name for path in trash.iterdir()] == [record.removal]
        finally:
            shutil.rmtree(trash)
        assert tree(root) == {}

    def test_move_that_was_cut_short(self, tmp_path, monkeypatch):
        """
        A copy that was cut short is begun anew, and one that was complete is not made again.
        """
        source, target = tmp_path / "source", tmp_path / "trash" / "abc"
        (source / "sub").mkdir(parents=True)
        (source / "sub" / "a").write_text("a")

        def refuse(*args: object) -> None:
            raise OSError(errno.EXDEV, "another file system")

        (tmp_path / "trash" / ".abc.tmp").mkdir(parents=True)
        (tmp_path / "trash" / ".abc.tmp" / "part").write_text("")
        rename = os.rename
        monkeypatch.setattr(os, "rename", lambda a, b: refuse() if a == str(source) else rename(a, b))
        move_tree(str(source), str(target))
        assert not source.exists()
        assert [path.name for path in target.rglob("*")] == ["sub", "a"]
        source.mkdir()
        move_tree(str(source), str(target))
        assert not source.exists()
        assert os.listdir(tmp_path / "trash") == ["abc"]

    def test_trash_that_can_not_be_made(self, tmp_path):
        """
        Where the trash can't be used, nothing is archived or taken: the session is there as before.
        """
        root = tmp_path / "logs"
        info = make_session(root)
        before = tree(root)
        (tmp_path / "trash").write_text("in the way")
        called = []
        with pytest.raises(OSError, match="trash"):
            Remover(str(root), trash=tmp_path / "trash", archive=called.append).remove(chosen(info))
        assert tree(root) == before
        assert (called, places_of_removals(str(root)), tombstones(root)) == ([], [], [])

    def test_trash_behind_a_link(self, tmp_path):
        """
        The trash may be a link to a directory.
        """
        info = make_session(tmp_path / "logs")
        (tmp_path / "disk").mkdir()
        (tmp_path / "trash").symlink_to(tmp_path / "disk")
        record = Remover(str(tmp_path / "logs"), trash=tmp_path / "trash").remove(chosen(info))
        assert os.listdir(tmp_path / "disk") == [record.removal]

    def test_trash_that_is_lost_meanwhile(self, tmp_path, monkeypatch):
        """
        What can't be moved to its trash is out of sight and waits; a later run moves it there, or to the trash that it
        was given itself, and never deletes it.
        """
        root = tmp_path / "logs"
        info = make_session(root)
        before = tree(root)

        def refuse(source: str, target: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

        with monkeypatch.context() as patch:
            patch.setattr(removal, "move_tree", refuse)
            with pytest.raises(OSError, match="No space"):
                Remover(str(root), trash=tmp_path / "trash").remove(chosen(info))
        assert look(root) == []
        assert tombstones(root) == []
        (tmp_path / "trash").rmdir()
        (tmp_path / "trash").write_text("in the way")
        (place,) = places_of_removals(str(root))
        with pytest.raises(OSError, match="trash"):
            Remover(str(root)).finish(place)
        record = Remover(str(root), trash=tmp_path / "other").finish(place)
        assert record.trash == str(tmp_path / "other" / record.removal)
        assert tree(Path(record.trash)) == before
        assert [line["trash"] for line in tombstones(root)] == [record.trash]


class TestNoRoom:
    @pytest.fixture
    def no_room(self, monkeypatch):
        """
        A disk on which no directory can be made below .pruning.
        """
        mkdir = os.mkdir

        def refuse(path: str, *args: object) -> None:
            if ".pruning" in str(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            mkdir(path, *args)

        monkeypatch.setattr(os, "mkdir", refuse)

    def test_deletes_all_the_same(self, tmp_path, no_room):
        """
        Without room for a record, the session is deleted where it is: nothing else would make room.
        """
        info = make_session(tmp_path)
        assert Remover(str(tmp_path)).remove(chosen(info)) is not None
        assert tree(tmp_path) == {}
        assert len(tombstones(tmp_path)) == 1

    def test_not_with_a_trash(self, tmp_path, no_room):
        """
        What is to go to the trash waits until there is room.
        """
        info = make_session(tmp_path / "logs")
        with pytest.raises(OSError, match="No space left"):
            Remover(str(tmp_path / "logs"), trash=tmp_path / "trash").remove(chosen(info))
        assert find(tmp_path / "logs") == info

    def test_not_a_session_that_runs(self, tmp_path, no_room):
        """
        Here too a session that was begun again stays.
        """
        info = make_session(tmp_path)
        handler = SessionHandler(tmp_path, linger=0)
        start_session("abc", handler=handler)
        handler.flush()
        assert Remover(str(tmp_path)).remove(chosen(info)) is None
        assert find(tmp_path).state == "running"


# Removes the session of a root, and is killed by the n-th of the calls that change the disk.
KILLED = """
import os, signal, sys
from pathlib import Path
from sessionlog_handlers.pipeline.places import RootPlaces
from sessionlog_handlers.pipeline.removal import Remover
from sessionlog_handlers.pipeline.retention import Chosen

root, trash, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
places = RootPlaces(root)
info = next(info for place in places.all() if (info := places.look(place)) and info.id == "abc")
left = number

def killing(call):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapper

for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "write", "fsync", "fdatasync"):
    setattr(os, name, killing(getattr(os, name)))
from sessionlog_handlers.pipeline import tombstones
tombstones._sync_data = os.fdatasync
Remover(str(root), trash=Path(trash) if trash else None).remove(Chosen(info, "days", "old"))
print(number - left)
"""


class TestKilled:
    @pytest.mark.parametrize(
        ("layout", "has_trash", "foreign"),
        [
            ("multiplexer", False, False),
            ("terminal", False, False),
            ("recorder", False, True),
            ("terminal", True, False),
        ],
    )
    def test_at_each_step(self, tmp_path, layout, has_trash, foreign):
        """
        Wherever a removal is killed, a look shows the whole session or none of it; the next run finishes it or leaves
        it whole, and after a removal there is exactly one line about it.
        """
        template = tmp_path / "template"
        make_session(template, "other", layout=layout)
        others = tree(template)
        make_session(template, layout=layout)
        if foreign:
            (template / "abc" / "chunk.mp4").write_text("x")
            others["abc/chunk.mp4"] = b"x"
        whole, size = tree(template), find(template).size
        number, gone, stayed = 0, 0, 0
        while True:
            number += 1
            root, trash = tmp_path / f"logs{number}", tmp_path / f"trash{number}"
            shutil.copytree(template, root)
            done = run_python(KILLED, root, trash if has_trash else "", str(number))
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            assert [info.size for info in look(root) if info.id == "abc"] in ([], [size])
            assert {info.id for info in look(root)} <= {"abc", "other"}
            assert [step.failure for step in Pruner(str(root), Retention()).finish()] in ([], [""])
            assert not (root / ".pruning").exists()
            if tombstones(root):
                gone += 1
                assert tree(root) == others
                assert [line["session"] for line in tombstones(root)] == ["abc"]
                assert [line["bytes"] for line in tombstones(root)] == [size]
                if has_trash:
                    (place,) = trash.iterdir()
                    assert tree(place) == {name: content for name, content in whole.items() if name not in others}
            else:
                stayed += 1
                assert tree(root) == whole
            shutil.rmtree(root)
        assert gone > 5
        assert stayed > 3
        assert number == int(done.stdout) + 1

    def test_begun_again_in_between(self, tmp_path, monkeypatch):
        """
        If a removal was cut short in a flat layout and the session was begun again, what was taken comes back to it.
        """
        info = make_session(tmp_path, layout="terminal")
        remover = Remover(str(tmp_path))
        calls = []
        rename = os.rename

        def killed(source: str, target: str) -> None:
            calls.append(source)
            if len(calls) == 3:
                raise KeyboardInterrupt
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                remover.remove(chosen(info))
        assert look(tmp_path) == []
        handler = SessionHandler(tmp_path, linger=0, layout="terminal")
        session = start_session("abc", handler=handler)
        handler.flush()
        assert [found.state for found in look(tmp_path)] == ["running"]
        before = tree(tmp_path)
        (place,) = places_of_removals(str(tmp_path))
        assert Remover(str(tmp_path)).finish(place) is None
        after = tree(tmp_path)
        taken = {content for name, content in before.items() if "/files/" in name}
        assert len(taken) == 2
        assert {name: after.get(name) for name in before if not name.startswith(".pruning/")} == {
            name: content for name, content in before.items() if not name.startswith(".pruning/")
        }
        assert taken <= {*after.values()}
        assert not (tmp_path / ".pruning").exists()
        assert tombstones(tmp_path) == []
        session.end()
        handler.close()
        assert Remover(str(tmp_path)).remove(chosen(find(tmp_path))) is not None
        assert tree(tmp_path) == {}

    def test_somebody_is_at_work(self, tmp_path):
        """
        A removal that a living process is at work on is left to it.
        """
        info = make_session(tmp_path)
        seen = []

        class Curious(Remover):
            def _move_out(self, place, *args):
                seen.append(Remover(str(tmp_path)).finish(place))
                return super()._move_out(place, *args)

        assert Curious(str(tmp_path)).remove(chosen(info)) is not None
        assert seen == [None]
        assert len(tombstones(tmp_path)) == 1

    def test_places_without_a_record(self, tmp_path):
        """
        What a process left that was killed before it could say what it was about is swept away.
        """
        info = make_session(tmp_path)
        for content in (b"", b'{"version": 1'):
            place = tmp_path / ".pruning" / "abc-0123456789ab"
            (place / "files").mkdir(parents=True)
            if content:
                (place / LEAVING).write_bytes(content)
            assert Remover(str(tmp_path)).finish(str(place)) is None
            assert not (tmp_path / ".pruning").exists()
        assert find(tmp_path) == info

    def test_record_that_can_not_be_read_now(self, tmp_path, monkeypatch):
        """
        A process short of descriptors takes neither a removal's record nor its files for missing: it fails, and a
        later run finishes.
        """
        info = make_session(tmp_path / "logs")
        before = tree(tmp_path / "logs")
        remover = Remover(str(tmp_path / "logs"), trash=tmp_path / "trash")

        def refuse(source: str, target: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

        with monkeypatch.context() as patch:
            patch.setattr(removal, "move_tree", refuse)
            with pytest.raises(OSError, match="No space"):
                remover.remove(chosen(info))
        (place,) = places_of_removals(str(tmp_path / "logs"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, limits[1]))
            with suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files"):
                    remover.finish(place)
                os.close(held.pop())
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        record = remover.finish(place)
        assert tree(Path(record.trash)) == before
        assert len(tombstones(tmp_path / "logs")) == 1

    def test_trash_emptied_before_the_line(self, tmp_path, monkeypatch):
        """
        If a removal was killed before its line was written and the trash was emptied then, the line is written.
        """
        info = make_session(tmp_path / "logs")
        remover = Remover(str(tmp_path / "logs"), trash=tmp_path / "trash")

        def killed(*args: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(removal, "write_tombstone", killed)
            with pytest.raises(KeyboardInterrupt):
                remover.remove(chosen(info))
        shutil.rmtree(tmp_path / "trash")
        (place,) = places_of_removals(str(tmp_path / "logs"))
        assert remover.finish(place).session == "abc"
        assert [line["session"] for line in tombstones(tmp_path / "logs")] == ["abc"]
        assert not (tmp_path / "logs" / ".pruning").exists()

    def test_line_was_written_already(self, tmp_path, monkeypatch):
        """
        Killed between its line and the end, a removal has one line all the same.
        """
        info = make_session(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Remover, "_discard", lambda self, place: None)
            record = Remover(str(tmp_path)).remove(chosen(info))
        place = tmp_path / ".pruning" / record.removal
        assert (place / GONE).read_bytes() == encode_record(record)
        assert Remover(str(tmp_path)).finish(str(place)) is not None
        assert len(tombstones(tmp_path)) == 1
        assert not (tmp_path / ".pruning").exists()
