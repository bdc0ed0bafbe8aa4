from __future__ import annotations

import logging
import os
import resource
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import read_lines, run_python, wait_until

from sessionlog_handlers import SessionHandler, start_session
from sessionlog_handlers.pipeline.open_files import OpenFiles, default_max_open_files
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.sync import Syncer
from sessionlog_handlers.settings.model import Settings


def _open_logs(directory: Path) -> list[str]:
    """The logs below the directory that this process holds open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{number}"))
            if path.suffix == ".log" and path.is_relative_to(directory):
                found.append(str(path.relative_to(directory)))
    return sorted(found)


class TestDescriptors:
    def test_bounded(self, tmp_path):
        """
        With many more sessions than descriptors, the bound holds, no line is lost, and closing gives all back.
        """
        handler = SessionHandler(tmp_path, max_open_files=32, linger=0)
        logger = logging.getLogger("test_open_files")
        logger.addHandler(handler)
        before = len(os.listdir("/proc/self/fd"))
        most = 0
        for turn in range(3):
            for number in range(100):
                logger.warning("hello", extra={"session_id": f"s{number}", "turn": turn})
            handler.flush()
            most = max(most, len(os.listdir("/proc/self/fd")) - before)
            assert handler.stats()["open_files"] <= 32
        assert most <= 32 + 4
        handler.close()
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the lease, while sessions are open
        for number in range(100):
            lines = read_lines(tmp_path / f"s{number}" / "session.log")
            assert [line["data"]["turn"] for line in lines if line["event"] == "log"] == [0, 1, 2]

    def test_least_recently_used_gives_way(self, tmp_path):
        """
        The file that was written longest ago is closed first.
        """
        handler = SessionHandler(tmp_path, max_open_files=32, linger=0, layout="recorder")
        sessions = [start_session(f"s{number:02}") for number in range(40)]
        handler.flush()
        for session in sessions:
            session.event("completion")
            handler.flush()
        still_open = _open_logs(tmp_path)
        assert 10 <= len(still_open) <= 32
        names = [f"s{number:02}/session.log" for number in range(40)]
        assert still_open == names[-len(still_open) :]
        oldest = next(session for session in sessions if still_open[0].startswith(session.id))
        oldest.event("completion")
        sessions[0].event("completion")
        handler.flush()
        assert _open_logs(tmp_path) == sorted({still_open[0], *still_open[2:], names[0]})

    def test_idle_files_close(self, tmp_path):
        """
        A file that nobody writes to is closed after a while, and opened again when it is needed.
        """
        handler = SessionHandler(tmp_path, idle_close=1, linger=0)
        session = start_session("abc")
        handler.flush()
        assert _open_logs(tmp_path)
        wait_until(lambda: not _open_logs(tmp_path), 5)
        session.event("completion")
        session.end()
        handler.close()
        assert [line["event"] for line in read_lines(tmp_path / "abc" / "session.log")] == [
            "session_start",
            "completion",
            "session_end",
        ]

    def test_counted_meanwhile(self, tmp_path):
        """
        They can be counted in one thread while the listener opens and closes files in another.
        """
        opened = OpenFiles(Settings(), 10, Syncer(60, Reporter()))

        class Busy:
            @property
            def descriptor(self) -> int:
                opened.writer(str(tmp_path / "opened meanwhile.log"))
                return 0

        opened._writers["busy"] = (Busy(), 0.0)
        opened._writers["closed"] = (opened.writer(str(tmp_path / "closed.log")), 0.0)
        assert len(opened) == 1

    @pytest.mark.parametrize(
        ("soft", "most"), [(resource.RLIM_INFINITY, 256), (100_000, 256), (1024, 256), (256, 64), (10, 8)]
    )
    def test_default(self, monkeypatch, soft, most):
        """
        By default it is 256, or a quarter of what the process may have.
        """
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        assert default_max_open_files() == most

    def test_none_left(self, tmp_path):
        """
        When the process has no descriptor left, lines are kept, and written when there are some.
        """
        program = """
import os, resource, sys, time
from sessionlog_handlers import SessionHandler, start_session
handler = SessionHandler(sys.argv[1], linger=0)
first = start_session("first", handler=handler)
handler.flush()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
second = start_session("second", handler=handler)
for session in (first, second):
    session.event("completion")
handler.flush()
print(handler.stats()["written"], handler.stats()["pending"])
for descriptor in taken:
    os.close(descriptor)
deadline = time.monotonic() + 10
while handler.stats()["pending"] and time.monotonic() < deadline:
    time.sleep(0.02)
print(handler.stats()["written"], handler.stats()["pending"], handler.stats()["dropped"])
"""
        result = run_python(program, tmp_path, check=True)
        before, after = result.stdout.splitlines()
        assert sum(map(int, before.split())) == 2
        assert after == "2 0 {}"
        for name in ("first", "second"):
            events = [line["event"] for line in read_lines(tmp_path / name / "session.log")]
            assert events == ["session_start", "completion", "session_end"]
