from __future__ import annotations

import json
import threading

import pytest

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import roots
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY
from sessionlog_handlers.pipeline.leases import Lease
from sessionlog_handlers.pipeline.roots import known_roots, note_root


class TestRoots:
    def test_remembers_in_order(self, tmp_path):
        """
        Roots are remembered once each, as absolute paths, the one used last at the end.
        """
        assert known_roots() == []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            note_root(str(tmp_path / name))
        note_root(str(tmp_path / "b" / ".." / "a"))
        assert known_roots() == [str(tmp_path / "b"), str(tmp_path / "a")]

    def test_forgets_what_is_gone(self, tmp_path):
        """
        A root that was deleted leaves the list when another one comes.
        """
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        note_root(str(tmp_path / "a"))
        (tmp_path / "a").rmdir()
        note_root(str(tmp_path / "b"))
        assert known_roots() == [str(tmp_path / "b")]

    def test_is_bounded(self, tmp_path, monkeypatch):
        """
        Only the newest ones are kept.
        """
        monkeypatch.setattr(roots, "MAX_ROOTS", 3)
        for number in range(6):
            (tmp_path / str(number)).mkdir()
            note_root(str(tmp_path / str(number)))
        assert known_roots() == [str(tmp_path / str(number)) for number in (3, 4, 5)]

    def test_root_in_use_is_kept(self, tmp_path, monkeypatch):
        """
        A root that a living process writes to stays known, however many are made after it.
        """
        monkeypatch.setattr(roots, "MAX_ROOTS", 3)
        (tmp_path / "server").mkdir()
        lease = Lease(str(tmp_path / "server" / LEASES_DIRECTORY))
        lease.take()
        note_root(str(tmp_path / "server"))
        for number in range(6):
            (tmp_path / str(number)).mkdir()
            note_root(str(tmp_path / str(number)))
        assert known_roots() == [str(tmp_path / name) for name in ("server", "4", "5")]
        lease.give_back()
        note_root(str(tmp_path / "3"))
        assert known_roots() == [str(tmp_path / name) for name in ("4", "5", "3")]

    def test_root_used_again_is_kept(self, tmp_path, monkeypatch):
        """
        Each use makes a root the last to be forgotten.
        """
        monkeypatch.setattr(roots, "MAX_ROOTS", 2)
        for name in ("a", "b", "a", "c"):
            (tmp_path / name).mkdir(exist_ok=True)
            note_root(str(tmp_path / name))
        assert known_roots() == [str(tmp_path / "a"), str(tmp_path / "c")]

    @pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b'["\xff"]', b"[" * 100_000, b"\0"])
    def test_broken_file(self, home, tmp_path, content):
        """
        A broken file counts as empty and is replaced by the next root.
        """
        (home / ".sessionlog").mkdir()
        (home / ".sessionlog" / "roots.json").write_bytes(content)
        assert known_roots() == []
        note_root(str(tmp_path))
        assert known_roots() == [str(tmp_path)]

    def test_foreign_entries(self, home):
        """
        Entries that are no text are passed over.
        """
        (home / ".sessionlog").mkdir()
        (home / ".sessionlog" / "roots.json").write_text(json.dumps(["/a", 3, None, {"x": 1}, "/b"]))
        assert known_roots() == ["/a", "/b"]

    def test_several_at_once(self, tmp_path):
        """
        Nobody's root gets lost when many are noted at the same time.
        """
        names = [str(tmp_path / str(number)) for number in range(12)]
        for number in range(12):
            (tmp_path / str(number)).mkdir()
        threads = [threading.Thread(target=note_root, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(known_roots()) == sorted(names)

    def test_handler_notes_its_root(self, home, tmp_path):
        """
        A root that was written to is known afterwards.
        """
        handler = SessionHandler(tmp_path / "logs")
        start_session("abc", handler=handler).end()
        handler.close()
        assert known_roots() == [str(tmp_path / "logs")]

    def test_home_that_is_no_directory(self, tmp_path, monkeypatch, capfd):
        """
        Where roots can't be noted, the log is written all the same and the fault is told of once.
        """
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("SESSIONLOG_HOME", str(tmp_path / "file"))
        handler = SessionHandler(tmp_path / "logs")
        start_session("abc", handler=handler).end()
        handler.close()
        assert (tmp_path / "logs" / "abc" / "session.log").read_bytes().count(b"\n") == 2
        assert capfd.readouterr().err.count("commands will need --dir") == 1
