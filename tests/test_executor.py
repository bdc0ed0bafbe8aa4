from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessionlog_handlers.context import current_session_id, use_session
from sessionlog_handlers.executor import SessionExecutor


class TestSessionExecutor:
    def test_jobs_keep_their_session(self):
        """
        Jobs belong to the session that submitted them, though the pool's threads serve all.
        """

        def work():
            barrier.wait(5)
            return current_session_id()

        barrier = threading.Barrier(4)
        with SessionExecutor(4) as executor:
            futures = []
            for number in range(4):
                with use_session(f"s{number}"):
                    futures.append(executor.submit(work))
            assert [future.result() for future in futures] == ["s0", "s1", "s2", "s3"]
            assert executor.submit(current_session_id).result() is None
            with use_session("mapped"):
                assert set(executor.map(lambda _: current_session_id(), range(8))) == {"mapped"}

    def test_is_a_thread_pool(self):
        """
        It takes the place of a `ThreadPoolExecutor`, whose exceptions it passes on.
        """
        with SessionExecutor(max_workers=1) as executor:
            assert isinstance(executor, ThreadPoolExecutor)
            with pytest.raises(ZeroDivisionError):
                executor.submit(lambda: 1 / 0).result()
