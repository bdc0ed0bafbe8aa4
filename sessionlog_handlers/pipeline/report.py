"""
What went wrong, said once: one line on stderr an episode, and counters that name every lost entry.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

EPISODE = 60.0  # seconds after which a fault that goes on is reported again
MAX_EPISODES = 1000  # keys remembered

# Between two lines that tell of a session's losses. Whoever loses much is not to fill the log with saying so.
FIRST_DISTANCE = 1.0  # seconds, doubled up to the longest
LONGEST_DISTANCE = 60.0
QUIET = 60.0  # seconds without a loss, after which the next one is told at once again


class Reporter:
    """
    Says on stderr what an app's developer must know, once an episode, and never raises.

    Where stderr is a pipe that nobody empties, whoever reports waits until somebody does.
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self.errors = 0
        self.last_error: str | None = None
        self.last_error_at: float | None = None  # seconds since the epoch

    def report(self, key: str, message: str) -> None:
        """
        Tell of a fault, unless the same one was told of a short time ago.

        Args:
            key: What makes two faults the same, such as the file's path and the operation.

            message: One sentence.
        """
        self.errors += 1
        self.last_error, self.last_error_at = message, time.time()
        now = time.monotonic()
        if now - self._told.get(key, -EPISODE) < EPISODE:
            return
        if len(self._told) >= MAX_EPISODES:
            self._told.clear()
        self._told[key] = now
        self.tell(message)

    def tell(self, message: str) -> None:
        """
        Say what is no fault, such as that one is over. Each call is a line.
        """
        with suppress(Exception):  # no stderr, or a closed one: there is nobody else to tell
            text = message.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\x1b", "\\x1b")
            sys.stderr.write(f"sessionlog: {text}\n")

    def is_told(self, key: str) -> bool:
        """
        Whether that fault was told of and is not over.
        """
        return key in self._told

    def over(self, key: str) -> bool:
        """
        The fault has passed; its next occurrence is a new episode. Gives True if it had been told of.
        """
        return self._told.pop(key, None) is not None


class Loss(NamedTuple):
    """
    What was lost of a session for one reason, since it was told of last.

    Args:
        reason: Why.

        number: How many entries.

        event: Their event, where the reason is one that concerns a single event.
    """

    reason: str
    number: int
    event: str = ""


class _Account:
    """
    One session's losses: what no line has told of yet, and when the next may.
    """

    __slots__ = ("distance", "due", "untold")

    def __init__(self) -> None:
        self.untold: Counter[tuple[str, str]] = Counter()  # by reason and event
        self.due = 0.0  # on the monotonic clock
        self.distance = FIRST_DISTANCE  # from the next line to the one after it


class Losses:
    """
    Entries that were refused or had to be dropped, by session and reason, until a line in the session's log says so.

    A session's first loss is to be told at once, later ones at growing distances.

    Args:
        wake: Called when a session has something new to tell, by whoever lost it: the listener may be asleep.
    """

    def __init__(self, wake: Callable[[], object] = lambda: None) -> None:
        self._wake = wake
        self.reset()

    def reset(self) -> None:
        """
        Start from nothing, in a forked child for example.
        """
        self._lock = threading.RLock()  # a signal handler may log while its thread counts
        self.by_reason: Counter[str] = Counter()  # entries
        self.lines = 0  # lines lost that are no entries of their own: audit lines beside the log's, starts and ends
        self._accounts: dict[Any, _Account] = {}
        self._waiting: dict[Any, _Account] = {}  # those with something untold

    def count(self, channel: Any, reason: str, number: int = 1, event: str = "") -> None:
        """
        Count entries as lost; *channel* is their session, or None if they have none.
        """
        with self._lock:
            self.by_reason[reason] += number
            is_news = channel is not None and self._note(channel, reason, number, event)
        if is_news:
            self._wake()

    def count_lines(self, channel: Any, number: int) -> None:
        """
        Count lines as lost that are no entries of their own.
        """
        with self._lock:
            self.lines += number
            is_news = self._note(channel, "line", number)
        if is_news:
            self._wake()

    def _note(self, channel: Any, reason: str, number: int, event: str = "") -> bool:
        """Whether the session had nothing untold until now. The lock is held."""
        account = self._accounts.get(channel)
        if account is None:
            account = self._accounts[channel] = _Account()
        account.untold[reason, event] += number
        if channel in self._waiting:
            return False
        self._waiting[channel] = account
        if time.monotonic() - account.due >= QUIET:
            account.distance = FIRST_DISTANCE
        return True

    def untold(self) -> list[Any]:
        """
        The sessions with losses that no line has told of yet.
        """
        with self._lock:
            return [*self._waiting]

    def due(self, now: float) -> list[Any]:
        """
        Those of them that a line is to tell of now.
        """
        if not self._waiting:
            return []
        with self._lock:
            return [channel for channel, account in self._waiting.items() if account.due <= now]

    def next_due(self) -> float:
        """
        When the next line is to be written, on the monotonic clock; infinite if there is nothing to tell.
        """
        if not self._waiting:
            return float("inf")
        with self._lock:
            return min((account.due for account in self._waiting.values()), default=float("inf"))

    def put_off(self, channel: Any, until: float) -> None:
        """
        That session's losses can't be told of before *until*, on the monotonic clock.
        """
        with self._lock:
            account = self._waiting.get(channel)
            if account is not None:
                account.due = until

    def take(self, channel: Any) -> list[Loss]:
        """
        What was lost of a session and not told of yet. The caller will write the lines.
        """
        with self._lock:
            account = self._waiting.pop(channel, None)
            if account is None:
                return []
            untold, account.untold = account.untold, Counter()
            account.due = time.monotonic() + account.distance
            account.distance = min(account.distance * 2, LONGEST_DISTANCE)
        return [Loss(reason, number, event) for (reason, event), number in untold.items()]

    def forget(self, channel: Any) -> None:
        """
        A session's last line is written: what is not told of by now, only the counters tell.
        """
        with self._lock:
            self._waiting.pop(channel, None)
            self._accounts.pop(channel, None)

    @property
    def total(self) -> int:
        """All entries lost so far."""
        with self._lock:
            return sum(self.by_reason.values())
