"""
What went wrong, said once: one line on stderr an episode, and counters that name every lost entry.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

EPISODE = 60.0  # seconds after which a fault that goes on is reported again
MAX_EPISODES = 1000  # keys remembered


class Reporter:
    """
    Says on stderr what an app's developer must know, once an episode, and never raises.

    Where stderr is a pipe that nobody empties, whoever reports waits until somebody does.
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self.errors = 0
        self.last_error: str | None = None

    def report(self, key: str, message: str) -> None:
        """
        Tell of a fault, unless the same one was told of a short time ago.

        Args:
            key: What makes two faults the same, such as the file's path and the operation.

            message: One sentence.
        """
        self.errors += 1
        self.last_error = message
        now = time.monotonic()
        if now - self._told.get(key, -EPISODE) < EPISODE:
            return
        if len(self._told) >= MAX_EPISODES:
            self._told.clear()
        self._told[key] = now
        with suppress(Exception):  # no stderr, or a closed one: there is nobody else to tell
            text = message.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\x1b", "\\x1b")
            sys.stderr.write(f"sessionlog: {text}\n")

    def over(self, key: str) -> bool:
        """
        The fault has passed; its next occurrence is a new episode. Gives True if it had been told of.
        """
        return self._told.pop(key, None) is not None


class Losses:
    """
    Entries that were refused or had to be dropped, by session and reason, until a line in the session's log says so.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """
        Start from nothing, in a forked child for example.
        """
        self._lock = threading.RLock()  # a signal handler may log while its thread counts
        self.by_reason: Counter[str] = Counter()  # entries
        self.lines = 0  # lines lost that are no entries of their own: audit lines beside the log's, starts and ends
        self._untold: dict[Any, Counter[str]] = {}

    def count(self, channel: Any, reason: str, number: int = 1) -> None:
        """
        Count entries as lost; *channel* is their session, or None if they have none.
        """
        with self._lock:
            self.by_reason[reason] += number
            if channel is not None:
                self._untold.setdefault(channel, Counter())[reason] += number

    def count_lines(self, channel: Any, number: int) -> None:
        """
        Count lines as lost that are no entries of their own.
        """
        with self._lock:
            self.lines += number
            self._untold.setdefault(channel, Counter())["line"] += number

    def untold(self) -> list[Any]:
        """
        The sessions with losses that no line has told of yet.
        """
        if not self._untold:
            return []
        with self._lock:
            return [*self._untold]

    def take(self, channel: Any) -> dict[str, int]:
        """
        What was lost of a session and not told of yet, by reason. The caller will write the lines.
        """
        with self._lock:
            return dict(self._untold.pop(channel, {}))

    @property
    def total(self) -> int:
        """All entries lost so far."""
        with self._lock:
            return sum(self.by_reason.values())
