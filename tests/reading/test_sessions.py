from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessionlog_handlers import SessionHandler, read_session, start_session
from sessionlog_handlers.exceptions import (
    ConfigurationError,
    InvalidLineError,
    InvalidSessionIdError,
    SessionNotFoundError,
)
from sessionlog_handlers.pipeline import places
from sessionlog_handlers.pipeline.places import SessionInfo
from sessionlog_handlers.pipeline.pruning import LEAVING, RemovalRecord, encode_record, identity_of
from sessionlog_handlers.pipeline.removal import Remover
from sessionlog_handlers.pipeline.retention import Chosen
from sessionlog_handlers.pipeline.roots import note_root
from sessionlog_handlers.reading.sessions import find_roots, find_session, list_sessions

LAYOUTS = ["multiplexer", "fugue", "recorder", "terminal"]
LINE = '{"ts":"2026-01-08T12:34:56.789Z","level":"info","session":"%s","event":"log","data":{},"msg":"hi"}\n'


def log_sessions(root: Path, *ids: str, layout: str = "multiplexer") -> None:
    """
    Log sessions that have ended.
    """
    handler = SessionHandler(root, layout=layout, session_level="full")
    for id in ids:
        with start_session(id, handler=handler, metadata={"number": 1}) as session:
            session.event("completion", text="done")
            session.output(b"hello")
    handler.close()


def only(root: Path) -> SessionInfo:
    """
    The one session of a root.
    """
    (info,) = list_sessions([root])
    return info


class TestFindRoots:
    def test_order_of_precedence(self, tmp_path: Path) -> None:
        """
        The argument counts before the variable, and that before the roots that are known.
        """
        for name in ("argument", "variable", "known"):
            (tmp_path / name).mkdir()
        note_root(str(tmp_path / "known"))
        environ = {"SESSIONLOG_DIR": str(tmp_path / "variable")}
        assert find_roots(tmp_path / "argument", environ) == [tmp_path / "argument"]
        assert find_roots(None, environ) == [tmp_path / "variable"]
        assert find_roots(None, {}) == [tmp_path / "known"]
        assert find_roots(None, {"SESSIONLOG_DIR": ""}) == [tmp_path / "known"]

    def test_each_once(self, tmp_path: Path) -> None:
        """
        A root that is known by a link too, and one that is gone, make no second and no error.
        """
        (tmp_path / "root").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "root")
        for name in ("root", "link", "gone"):
            note_root(str(tmp_path / name))
        assert find_roots(environ={}) == [tmp_path / "root"]

    def test_broken_list_of_roots(self, home: Path) -> None:
        """
        A broken list of known roots counts as empty.
        """
        (home / ".sessionlog").mkdir()
        (home / ".sessionlog" / "roots.json").write_text("{")
        assert find_roots() == []

    def test_named_root_must_be_there(self, tmp_path: Path) -> None:
        """
        A directory that was named and is none is an error with the variable's name, if it came from there.
        """
        with pytest.raises(ConfigurationError, match="not a directory"):
            find_roots(tmp_path / "gone")
        with pytest.raises(ConfigurationError) as caught:
            find_roots(environ={"SESSIONLOG_DIR": str(tmp_path / "gone")})
        assert caught.value.key == "SESSIONLOG_DIR"

    def test_named_root_must_be_readable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A directory that was named and may not be read is an error, and not an empty one.
        """

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(PermissionError):
            find_roots(tmp_path)


class TestListSessions:
    def test_metadata_of_others(self, tmp_path: Path) -> None:
        """
        A recording's directory may have a ``metadata.json`` of the app's own, and other directories too: ours is the
        one that names the session of that place.
        """
        log_sessions(tmp_path, "abc", layout="recorder")
        for content in ('{"recording": 7}', '{"session": "x", "state": "running"}'):
            (tmp_path / "abc" / "metadata.json").write_text(content)
            (tmp_path / "other").mkdir(exist_ok=True)
            (tmp_path / "other" / "metadata.json").write_text('{"recording": 7}')
            assert (only(tmp_path).id, only(tmp_path).state) == ("abc", "ended")

    def test_metadata_without_a_name(self, tmp_path: Path) -> None:
        """
        Metadata whose name was damaged still tells of the session in its place.
        """
        log_sessions(tmp_path, "abc")
        path = tmp_path / "abc" / "metadata.json"
        path.write_text(path.read_text().replace('"session"', '" ession"'))
        assert (only(tmp_path).id, only(tmp_path).state) == ("abc", "ended")

    def test_being_removed(self, tmp_path: Path) -> None:
        """
        A session that somebody is about to remove is not shown, unless it has been begun again.
        """
        log_sessions(tmp_path, "abc")
        info = only(tmp_path)
        path = info.directory / "metadata.json"
        identity = identity_of(str(path))
        assert info.metadata
        assert identity
        record = RemovalRecord(
            removal="abc-0123456789ab",
            session="abc",
            name="abc",
            flat=False,
            metadata_file="abc/metadata.json",
            metadata=identity,
            rule="days",
            reason="old",
            state="ended",
            start=None,
            end=None,
            bytes=0,
            files=0,
        )
        place = tmp_path / ".pruning" / record.removal
        place.mkdir(parents=True)
        (place / LEAVING).write_bytes(encode_record(record))
        assert list(list_sessions([tmp_path])) == []
        path.write_bytes(path.read_bytes() + b" ")
        assert only(tmp_path) == replace(info, size=info.size + 1)

    @pytest.mark.parametrize("glance", range(1, 7))
    @pytest.mark.parametrize("layout", ["multiplexer", "terminal"])
    def test_removed_while_it_is_looked_at(
        self, tmp_path: Path, layout: str, glance: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A session that vanishes between two glances of a look is not shown in part, whatever had been read of it.
        """
        log_sessions(tmp_path, "abc", layout=layout)
        info = only(tmp_path)
        calls: list[str] = []

        def removing(name: str, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == glance:
                Remover(str(tmp_path)).remove(Chosen(info, "days", "old"))
            return read(*args, **kwargs)

        with monkeypatch.context() as patch:
            for name in ("_list_directories", "_list_logs", "metadata_in"):
                patch.setattr(places, name, partial(removing, name, getattr(places, name)))
            assert [found.size for found in list_sessions([tmp_path])] in ([], [info.size])
        assert len(calls) > 2

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout(self, tmp_path: Path, layout: str) -> None:
        """
        Whatever the layout, a session is found with its state, its files and their size.
        """
        log_sessions(tmp_path, "abc", layout=layout)
        info = only(tmp_path)
        assert (info.id, info.state, info.reason, info.level) == ("abc", "ended", "return", "full")
        assert info.metadata
        assert info.metadata.metadata == {"number": 1}
        assert info.start
        assert info.end
        assert info.start <= info.end
        assert info.log == info.files[0]
        assert info.log.exists()
        everything = [*info.files, *(info.directory / name for name in places.METADATA_NAMES)]
        assert info.size == sum(path.stat().st_size for path in everything if path.exists())
        assert info.last_write == max(path.stat().st_mtime for path in info.files)

    def test_running_in_this_process(self, tmp_path: Path) -> None:
        """
        A session is running while its process holds its lease.
        """
        handler = SessionHandler(tmp_path)
        with start_session("abc", handler=handler):
            handler.flush()
            assert only(tmp_path).state == "running"
            assert only(tmp_path).pid == os.getpid()
        handler.close()
        assert only(tmp_path).state == "ended"

    def test_running_without_a_lease_has_crashed(self, tmp_path: Path) -> None:
        """
        Nobody's session is not running, whatever its metadata says.
        """
        log_sessions(tmp_path, "abc")
        metadata = tmp_path / "abc" / "metadata.json"
        metadata.write_text(metadata.read_text().replace('"ended"', '"running"'))
        assert only(tmp_path).state == "crashed"

    def test_end_between_two_looks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A session that ends while it is looked at has ended, and has not crashed.
        """
        log_sessions(tmp_path, "abc")
        metadata = tmp_path / "abc" / "metadata.json"
        ended = metadata.read_text()
        metadata.write_text(ended.replace('"ended"', '"running"'))

        def end_now(directory: str, name: str) -> bool:
            metadata.write_text(ended)
            return False

        monkeypatch.setattr(places, "is_alive", end_now)
        assert only(tmp_path).state == "ended"

    def test_rotated_files_count(self, tmp_path: Path) -> None:
        """
        The size is that of all files, rotated and compressed ones included; they are no files of their own.
        """
        log_sessions(tmp_path, "abc")
        before = only(tmp_path)
        (tmp_path / "abc" / "session.log.1").write_text(LINE % "abc")
        (tmp_path / "abc" / "session.log.2.gz").write_bytes(gzip.compress(b"x" * 1000))
        after = only(tmp_path)
        added = sum((tmp_path / "abc" / name).stat().st_size for name in ("session.log.1", "session.log.2.gz"))
        assert after.size == before.size + added
        assert after.files == before.files

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("content", [None, "", "{", "[]", '{"session": 5}', "\0" * 100])
    def test_broken_metadata(self, tmp_path: Path, layout: str, content: str | None) -> None:
        """
        Without metadata, or with broken one, a session is listed from its log, and its lines can be read.
        """
        log_sessions(tmp_path, "abc", layout=layout)
        directory = only(tmp_path).directory
        metadata = next(directory / name for name in places.METADATA_NAMES if (directory / name).exists())
        metadata.unlink() if content is None else metadata.write_text(content)
        info = only(tmp_path)
        assert (info.id, info.state, info.metadata) == ("abc", "unknown", None)
        assert info.start
        assert "completion" in {line.event for line in read_session("abc", directory=tmp_path)} or layout == "terminal"

    def test_id_from_the_lines(self, tmp_path: Path) -> None:
        """
        Without metadata the lines tell an id that is no directory's name, unless it belongs elsewhere.
        """
        log_sessions(tmp_path, "a/b c")
        directory = only(tmp_path).directory
        (directory / "metadata.json").unlink()
        assert only(tmp_path).id == "a/b c"
        (directory / "session.log").write_text(LINE % "forged")
        assert only(tmp_path).id == directory.name

    def test_metadata_leads_nowhere_else(self, tmp_path: Path) -> None:
        """
        Files that metadata names outside of the root are not the session's.
        """
        (tmp_path / "secret.log").write_text("secret")
        root = tmp_path / "root"
        log_sessions(root, "abc")
        metadata = root / "abc" / "metadata.json"
        for name in ("../secret.log", str(tmp_path / "secret.log"), "abc/../../secret.log", "a\\u0000b"):
            metadata.write_text(f'{{"session": "abc", "files": ["{name}"]}}')
            info = only(root)
            assert info.log == root / "abc" / "session.log"
            assert all(path.parent == root / "abc" for path in info.files)

    def test_other_things_in_a_root(self, tmp_path: Path) -> None:
        """
        Our own directories, links, and directories without a log are no sessions.
        """
        log_sessions(tmp_path / "root", "abc")
        (tmp_path / "root" / "empty").mkdir()
        (tmp_path / "root" / "notes.txt").write_text("x")
        (tmp_path / "root" / ".hidden").mkdir()
        (tmp_path / "root" / ".hidden" / "session.log").write_text("x")
        (tmp_path / "root" / "link").symlink_to(tmp_path / "root" / "abc")
        (tmp_path / "root" / "fifo.jsonl").mkdir()
        os.mkfifo(tmp_path / "root" / "pipe.jsonl")
        assert [info.id for info in list_sessions([tmp_path / "root"])] == ["abc"]

    def test_vanishing(self, tmp_path: Path) -> None:
        """
        What is deleted while it is listed is left out, and the rest is given.
        """
        log_sessions(tmp_path, "one", "two", "three")
        found = list_sessions([tmp_path, tmp_path / "gone"])
        first = next(found)
        for info in list_sessions([tmp_path]):
            if info.id == "two" != first.id:
                shutil.rmtree(info.directory)
        assert {first.id, *(info.id for info in found)} == {"one", "two", "three"} - (
            {"two"} if first.id != "two" else set()
        )

    def test_deleted_directory_below_sessions(self, tmp_path: Path) -> None:
        """
        A flat log whose own directory is gone is still a session.
        """
        log_sessions(tmp_path, "abc", layout="terminal")
        shutil.rmtree(tmp_path / ".sessions")
        assert (only(tmp_path).id, only(tmp_path).log) == ("abc", tmp_path / "abc.jsonl")


class TestFindSession:
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("id", ["abc", "../../etc/passwd", "a\nb\x1b", "ü" * 100, ".locks", "con", "\udcff"])
    def test_by_its_id(self, tmp_path: Path, layout: str, id: str) -> None:
        """
        Any id finds its session, by itself or by the name of its directory.
        """
        log_sessions(tmp_path, id, "other", layout=layout)
        info = find_session(id, [tmp_path])
        assert info.log.exists()
        assert find_session(info.directory.name, [tmp_path]) == info

    def test_beginning(self, tmp_path: Path) -> None:
        """
        The beginning of an id is enough while it is of one session; a whole id counts before a beginning.
        """
        log_sessions(tmp_path, "abc", "abcdef", "xyz")
        assert find_session("x", [tmp_path]).id == "xyz"
        assert find_session("abc", [tmp_path]).id == "abc"
        assert find_session("abcd", [tmp_path]).id == "abcdef"
        with pytest.raises(SessionNotFoundError, match="'ab' is the beginning of 2 sessions: 'abc', 'abcdef'"):
            find_session("ab", [tmp_path])

    def test_renamed_directory(self, tmp_path: Path) -> None:
        """
        A session in a directory of another name is found by its id all the same.
        """
        log_sessions(tmp_path, "abc")
        (tmp_path / "abc").rename(tmp_path / "backup")
        assert find_session("abc", [tmp_path]).directory == tmp_path / "backup"

    def test_two_roots(self, tmp_path: Path) -> None:
        """
        An id in two roots is an error that lists both and carries the id.
        """
        for name in ("one", "two"):
            log_sessions(tmp_path / name, "abc")
        with pytest.raises(SessionNotFoundError) as caught:
            find_session("abc", [tmp_path / "one", tmp_path / "two"])
        assert str(tmp_path / "one") in str(caught.value)
        assert str(tmp_path / "two") in str(caught.value)
        assert caught.value.session_id == "abc"

    def test_unknown(self, tmp_path: Path) -> None:
        """
        An unknown id is an error that says where it was looked for, with what was probably meant.
        """
        log_sessions(tmp_path, "chat-1")
        with pytest.raises(SessionNotFoundError, match="did you mean 'chat-1'"):
            find_session("caht-1", [tmp_path])
        with pytest.raises(SessionNotFoundError, match="no app of this user"):
            find_session("abc", [])
        with pytest.raises(InvalidSessionIdError):
            find_session("", [tmp_path])


class TestReadSession:
    def test_drains_first(self, tmp_path: Path) -> None:
        """
        What this process has just logged is among the lines.
        """
        handler = SessionHandler(tmp_path, session_level="full", linger=0.5)
        with start_session("abc", handler=handler) as session:
            for number in range(100):
                session.event("state_change", number=number)
            lines = list(read_session("abc", directory=tmp_path))
        handler.close()
        assert [line.data["number"] for line in lines if line.event == "state_change"] == list(range(100))

    def test_rotated_and_compressed_in_order(self, tmp_path: Path) -> None:
        """
        Rotated and compressed files come before the log, each line once.
        """
        handler = SessionHandler(tmp_path, session_level="full", max_bytes=4096, backup_count=50, compress="gzip")
        with start_session("abc", handler=handler) as session:
            for number in range(200):
                session.event("state_change", number=number)
                if number % 10 == 0:
                    handler.flush()
        handler.close()
        assert len(list((tmp_path / "abc").glob("session.log*"))) > 3
        reader = read_session("abc", directory=tmp_path)
        assert [line.data["number"] for line in reader if line.event == "state_change"] == list(range(200))

    def test_compressed_at_the_end(self, tmp_path: Path) -> None:
        """
        A session that was compressed when it ended is found and read.
        """
        handler = SessionHandler(tmp_path, on_end="compress")
        with start_session("abc", handler=handler):
            pass
        handler.close()
        assert (tmp_path / "abc" / "session.log.gz").exists()
        assert [line.event for line in read_session("abc", directory=tmp_path)] == ["session_start", "session_end"]
        assert only(tmp_path).size > 0

    def test_other_file(self, tmp_path: Path) -> None:
        """
        *file* picks another file of the session; an unknown one is an error that lists those there are.
        """
        log_sessions(tmp_path, "abc", layout="terminal")
        events = [line.event for line in read_session("abc", directory=tmp_path, file="audit_system.log")]
        assert events == ["session_start", "completion", "session_end"]
        with pytest.raises(FileNotFoundError, match=r"has no file 'nope'; it has abc\.jsonl, session\.log"):
            read_session("abc", directory=tmp_path, file="nope")

    def test_strict(self, tmp_path: Path) -> None:
        """
        On request the first bad line is an error.
        """
        log_sessions(tmp_path, "abc")
        with (tmp_path / "abc" / "session.log").open("a") as log:
            log.write("garbage\n")
        with pytest.raises(InvalidLineError):
            list(read_session("abc", directory=tmp_path, strict=True))
        reader = read_session("abc", directory=tmp_path)
        assert len(list(reader)) == 4
        assert reader.bad_count == 1


class TestManyRoots:
    @pytest.fixture
    def roots(self, tmp_path: Path) -> list[Path]:
        """
        Five roots, each with a session of the same id.
        """
        found = [tmp_path / str(number) for number in range(5)]
        for root in found:
            (root / "abc").mkdir(parents=True)
            (root / "abc" / "session.log").write_text(LINE % "abc")
        return found

    def test_missing_session_names_few(self, roots: list[Path]) -> None:
        """
        Of many roots in which a session is not, three are named and the others counted.
        """
        with pytest.raises(SessionNotFoundError) as caught:
            find_session("nobody", roots)
        assert str(caught.value) == (f"there is no session 'nobody' in {roots[0]}, {roots[1]}, {roots[2]} and 2 more")

    def test_ambiguous_session_names_few(self, roots: list[Path]) -> None:
        """
        The same for a session that is in many of them.
        """
        with pytest.raises(SessionNotFoundError, match=r"2 and 2 more; name one of these directories$"):
            find_session("abc", roots)
