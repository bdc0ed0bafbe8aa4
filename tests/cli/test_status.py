from __future__ import annotations

import json
import re

from helpers import wait_until

from sessionlog_handlers import SessionHandler, start_session


class TestStatus:
    def test_nothing(self, sessionlog):
        """
        Without a running app there is a friendly word on stderr.
        """
        assert sessionlog("status") == (0, "", "Nothing is logged right now.\n")
        assert json.loads(sessionlog("status", "--json").out) == {"sessions": [], "processes": []}

    def test_running_sessions_and_counters(self, sessionlog, tmp_path, start_app):
        """
        Each running session of any process is named with its log, and each process with what it wrote and lost.
        """
        app = start_app(tmp_path, "abc")
        other = start_app(tmp_path, "xyz")

        def found():
            outcome = sessionlog("status", "--dir", tmp_path)
            return outcome.out if outcome.out.count("accepted: 1, written: 1, pending: 0\n") == 2 else None

        lines = [line.strip() for line in wait_until(found).splitlines()]
        assert f"log: {tmp_path}/abc/session.log" in lines
        assert f"log: {tmp_path}/xyz/session.log" in lines
        assert f"pid: {app.process.pid}" in lines
        assert any(line.startswith(f"process {other.process.pid} on ") for line in lines)
        assert lines.count("dropped: 0") == 2
        queues = [line for line in lines if line.startswith("queue: ")]
        assert len(queues) == 2
        assert re.fullmatch(r"queue: 0, batches: [1-9]\d*, rotations: 0, open files: \d+", queues[0])
        assert sum(re.fullmatch(r"disk: [\d.]+ [KMGT]?B free", line) is not None for line in lines) == 2
        assert not any(line.startswith(("mark", "last error")) for line in lines)

    def test_mark_and_last_error(self, sessionlog, tmp_path):
        """
        A mark in force stands out, yellow for `warn` and else red, and the last error has its age.
        """
        for mark, code in (("warn", "33"), ("suspend", "31")):
            root = tmp_path / mark
            handler = SessionHandler(root, marks={mark: "100%"}, linger=0)
            with start_session("abc"):
                wait_until(lambda root=root: "mark: " in sessionlog("status", "--dir", root).out)
                assert f"  mark: {mark}\n" in sessionlog("status", "--dir", root).out
                assert (
                    f"\x1b[{code}m  mark: {mark}\x1b[0m\n" in sessionlog("status", "--color=always", "--dir", root).out
                )
                out = sessionlog("status", "--dir", root).out
                assert re.search(rf"last error: .* less than the mark {mark}; .* \([\d.]+m?s ago\)\n", out)
                stats = json.loads(sessionlog("status", "--json", "--dir", root).out)["processes"][0]["stats"]
                assert stats["mark"] == mark
                assert set(stats) == set(handler.stats())
            handler.close()

    def test_json(self, sessionlog, tmp_path, start_app):
        """
        --json has the same as data.
        """
        app = start_app(tmp_path, "abc")

        def found():
            data = json.loads(sessionlog("status", "--dir", tmp_path, "--json").out)
            return data if data["processes"][0]["stats"] else None

        data = wait_until(found)
        assert [info["id"] for info in data["sessions"]] == ["abc"]
        assert data["processes"][0]["pid"] == app.process.pid
        assert data["processes"][0]["stats"]["errors"] == 0

    def test_killed_process_is_gone(self, sessionlog, tmp_path, start_app):
        """
        What a killed process left behind does not count as running.
        """
        start_app(tmp_path, "abc").kill()
        assert sessionlog("status", "--dir", tmp_path).out == ""

    def test_hostile_lease(self, sessionlog, tmp_path, start_app):
        """
        Whatever stands in a lease, nothing of it acts on the terminal.
        """
        start_app(tmp_path, "abc")
        (lease,) = (tmp_path / ".leases").iterdir()

        def found():
            lease.write_text(
                '{"pid": "x", "host": "\\u001b[2J", "stats": {"last_error": "\\u001b[2J", "dropped": {"\\u001b": 1}, '
                '"written": "\\u001b[2J", "mark": "\\u001b[2J", "disk_free": "\\u001b", "last_error_at": []}}'
            )
            outcome = sessionlog("status", "--dir", tmp_path)
            assert "\x1b" not in outcome.out
            return "last error: \\x1b[2J" in outcome.out

        wait_until(found)
