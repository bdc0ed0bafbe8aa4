from __future__ import annotations

import os
import threading

import pytest
from helpers import wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline import control
from sessionlog_handlers.pipeline.control import ControlFile


def _names(requests: list[control.LevelRequest]) -> list[tuple[str, str]]:
    return [(request.session, request.level) for request in requests]


class TestControlFile:
    def test_each_request_once(self, tmp_path):
        """
        A request is given once, also when a later one changes the file again.
        """
        writer, reader = ControlFile(str(tmp_path)), ControlFile(str(tmp_path))
        assert reader.changed() == []
        writer.request("a", "full")
        assert _names(reader.changed()) == [("a", "full")]
        assert reader.changed() == []
        writer.request("b", "signals")
        assert _names(reader.changed()) == [("b", "signals")]
        writer.request("a", "full")
        assert _names(reader.changed()) == [("a", "full")]

    def test_each_process_takes_it(self, tmp_path):
        """
        Every reader gets every request.
        """
        readers = [ControlFile(str(tmp_path)) for _ in range(3)]
        ControlFile(str(tmp_path)).request("a", "full")
        assert [_names(reader.changed()) for reader in readers] == [[("a", "full")]] * 3

    def test_latest_counts(self, tmp_path):
        """
        Of several requests for one session, the last is left.
        """
        writer = ControlFile(str(tmp_path))
        for level in ("full", "signals", "prompts"):
            writer.request("a", level)
        assert _names(ControlFile(str(tmp_path)).changed()) == [("a", "prompts")]

    def test_old_ones_go(self, tmp_path, monkeypatch):
        """
        Requests leave the file after a while.
        """
        writer = ControlFile(str(tmp_path))
        writer.request("a", "full")
        monkeypatch.setattr(control, "MAX_AGE", 0.0)
        writer.request("b", "full")
        assert _names(ControlFile(str(tmp_path)).changed()) == [("b", "full")]

    @pytest.mark.parametrize("content", [b"", b"{", b"[3]", b'[{"session": "a"}]', b'["\xff"]', b"[" * 100_000])
    def test_broken_file(self, tmp_path, content):
        """
        A broken file asks for nothing, and the next request replaces it.
        """
        (tmp_path / ".control").write_bytes(content)
        reader = ControlFile(str(tmp_path))
        assert reader.changed() == []
        ControlFile(str(tmp_path)).request("a", "full")
        assert _names(reader.changed()) == [("a", "full")]

    def test_file_that_went_away(self, tmp_path):
        """
        A file that was deleted asks for nothing.
        """
        reader = ControlFile(str(tmp_path))
        reader.request("a", "full")
        reader.changed()
        os.unlink(tmp_path / ".control")
        assert reader.changed() == []

    def test_several_at_once(self, tmp_path):
        """
        Nobody's request gets lost.
        """
        files = [ControlFile(str(tmp_path)) for _ in range(8)]
        threads = [
            threading.Thread(target=file.request, args=(f"s{number}", "full")) for number, file in enumerate(files)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(_names(files[0].changed())) == [(f"s{number}", "full") for number in range(8)]


class TestRunningApp:
    def test_level_from_outside(self, tmp_path, capfd):
        """
        A running app takes a level of either vocabulary over within a second, and tells of one that it can't read.
        """
        handler = SessionHandler(tmp_path, session_level="signals")
        sessions = [start_session(name, handler=handler) for name in ("a", "b", "c")]
        outside = ControlFile(str(tmp_path))
        outside.request("a", "full")
        outside.request("b", "warning")
        outside.request("c", "loud")
        outside.request("unknown", "full")
        wait_until(lambda: sessions[0].level.value == "full" and sessions[1].severity == 30, 2)
        wait_until(lambda: "'loud' is not a session level" in capfd.readouterr().err, 2)
        assert sessions[2].level.value == "signals"

    def test_app_has_the_last_word(self, tmp_path):
        """
        A level that the app set after a request stays, though requests for other sessions come.
        """
        handler = SessionHandler(tmp_path, session_level="signals")
        a, b = (start_session(name, handler=handler) for name in ("a", "b"))
        outside = ControlFile(str(tmp_path))
        outside.request("a", "full")
        wait_until(lambda: a.level.value == "full", 2)
        a.set_level("spawns")
        outside.request("b", "prompts")
        wait_until(lambda: b.level.value == "prompts", 2)
        assert a.level.value == "spawns"

    def test_older_than_the_session(self, tmp_path):
        """
        A request that was made before the session began is not for it.
        """
        ControlFile(str(tmp_path)).request("a", "full")
        handler = SessionHandler(tmp_path, session_level="signals")
        session = start_session("a", handler=handler)
        ControlFile(str(tmp_path)).request("b", "full")
        other = start_session("b2", handler=handler)
        ControlFile(str(tmp_path)).request("b2", "full")
        wait_until(lambda: other.level.value == "full", 2)
        assert session.level.value == "signals"
