"""
Servers with several workers, as they are: each request is logged once, and a worker that leaves ends what it began.
"""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import child_environment, read_lines, wait_until

APPS = Path(__file__).parent / "apps"
START = 30.0  # seconds that a server may take to answer
STOP = 15.0  # seconds that it may take to end: two for the logs, the rest for a busy machine
REQUESTS = 60


class Server:
    """
    A running server.

    Args:
        process: Its first process.

        port: Where it listens.
    """

    def __init__(self, process, port):
        self.process = process
        self.port = port

    def ask(self, number):
        """Make a request, and give the number of the worker that answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/?number={number}", timeout=START) as answer:
            return int(answer.read())

    def ask_many(self, numbers):
        """Make requests from eight threads, and give the workers that answered."""
        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(self.ask, numbers))

    def stop(self):
        """End it as a service manager does, and give the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP)
        return time.monotonic() - begin

    def answers(self):
        """Whether it listens yet."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return self.process.poll() is not None
        return True


@contextmanager
def serving(root, *command):
    """A server that ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [part.replace("PORT", str(port)) for part in command]
    environment = child_environment({"SESSIONLOG_TEST_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"})
    with open(root.parent / "server.txt", "w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=APPS, env=environment, stdout=output, stderr=output
        )
        try:
            server = Server(process, port)
            wait_until(server.answers, START)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            output.seek(0)
            print(output.read())


def check(root, numbers):
    """Each request is there once, in the server's session and in its own, and every session has ended."""
    lines = read_lines(root / "server" / "session.log")
    assert Counter(line["data"]["number"] for line in lines if line["event"] == "log") == dict.fromkeys(numbers, 1)
    for number in numbers:
        own = read_lines(root / f"request-{number}" / "session.log")
        assert [line["event"] for line in own] == ["session_start", "log", "session_end"]
        assert own[-1]["data"]["reason"] == "return"
    assert json.loads((root / "server" / "metadata.json").read_text())["state"] == "ended"
    return [line for line in lines if line["event"] != "log"]


class TestGunicorn:
    @pytest.mark.parametrize("options", [[], ["--preload"]], ids=["each", "preload"])
    def test_requests_are_logged_once(self, tmp_path, options):
        """
        Two workers that were forked, before or after the app was loaded: each request once, and a quick end.
        """
        root = tmp_path / "logs"
        command = ["gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", *options, "wsgi_app:application"]
        with serving(root, *command) as server:
            workers = server.ask_many(range(REQUESTS))
            seconds = server.stop()
            assert server.process.returncode == 0
        assert server.process.pid not in workers
        assert seconds < STOP
        own = check(root, range(REQUESTS))
        events = [line["event"] for line in own]
        assert (events[0], events[-1]) == ("session_start", "session_end")
        assert "session_crashed" not in events

    def test_graceful_reload(self, tmp_path):
        """
        HUP replaces the workers while requests come; each of them is there once.
        """
        root = tmp_path / "logs"
        command = ["gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", "wsgi_app:application"]
        with serving(root, *command) as server:
            first = server.ask_many(range(20))
            server.process.send_signal(signal.SIGHUP)
            batches = itertools.count(20, 8)
            last = 20

            def only_new_ones_answer():
                nonlocal last
                last = next(batches)
                return not server.ask_many(range(last, last + 8)) & first

            wait_until(only_new_ones_answer, START)
            server.stop()
        check(root, range(last + 8))


class TestUvicorn:
    def test_requests_are_logged_once(self, tmp_path):
        """
        Two workers that were spawned: each request once; SIGTERM ends the server's session by its name.
        """
        root = tmp_path / "logs"
        command = ["uvicorn", "--workers", "2", "--port", "PORT", "asgi_app:application"]
        with serving(root, *command) as server:
            workers = server.ask_many(range(REQUESTS))
            seconds = server.stop()
        assert server.process.pid not in workers
        assert seconds < STOP
        own = check(root, range(REQUESTS))
        assert own[-1]["event"] == "session_end"
        assert own[-1]["data"]["reason"] == "signal SIGTERM"
