"""
Sessions whose handler no logger has: the API needs none.
"""

from __future__ import annotations

import gc

from helpers import read_lines

from sessionlog_handlers import configure, start_session


class TestNewestHandler:
    def test_works_without_a_logger(self, tmp_path):
        """
        A handler that no logger has is not collected: sessions of the API need none.
        """
        handler = {"class": "sessionlog_handlers.SessionHandler", "directory": str(tmp_path / "logs")}
        configure({"version": 1, "handlers": {"sessions": handler}})
        gc.collect()
        for name in ("one", "two"):
            start_session(name).end()
            gc.collect()
        with start_session("three", handler="sessions") as session:
            session.event("completion")
        session.flush()
        for name in ("one", "two", "three"):
            assert read_lines(tmp_path / "logs" / name / "session.log")[-1]["event"] == "session_end"

    def test_survives_a_configuration_without_it(self, tmp_path):
        """
        Another configuration takes the handler from its logger; sessions that start later are still written.
        """
        handler = {"class": "sessionlog_handlers.SessionHandler", "directory": str(tmp_path / "logs")}
        configure({"version": 1, "handlers": {"sessions": handler}, "root": {"handlers": ["sessions"]}})
        configure({"version": 1, "root": {"handlers": []}})
        gc.collect()
        with start_session("later") as session:
            session.event("completion")
        session.flush()
        events = [line["event"] for line in read_lines(tmp_path / "logs" / "later" / "session.log")]
        assert events == ["session_start", "completion", "session_end"]
