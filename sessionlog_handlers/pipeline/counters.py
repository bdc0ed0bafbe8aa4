"""
What `stats()` tells: entries at both ends of the queue, seen at one moment, so that they add up.
"""

from __future__ import annotations

from typing import Any

from sessionlog_handlers.formats.timestamps import format_ms
from sessionlog_handlers.pipeline.listener import BatchingQueueListener
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.router import count_entries
from sessionlog_handlers.pipeline.shared import Shared

MOST_LOOKS = 100  # tries to see the queue and the counters at one moment


def count_unwritten(queue: BoundedQueue[Any], listener: BatchingQueueListener, shared: Shared) -> tuple[int, int]:
    """
    How many entries are in the queue, and how many have been taken from it, at one moment.
    """
    for _ in range(MOST_LOOKS):
        moves = listener.moves
        in_hand = count_entries(listener.in_hand)
        queued = count_entries(queue.snapshot())
        taken = shared.taken
        if moves == listener.moves and not moves % 2:
            break
    return queued, in_hand + taken


def balance(queued: int, taken: int, shared: Shared, losses: Losses) -> dict[str, Any]:
    """
    The counters of entries: ``accepted = written + dropped + pending``.
    """
    written, dropped = shared.written, dict(losses.by_reason)
    pending = queued + taken - written - shared.lost
    return {
        "accepted": written + sum(dropped.values()) + pending,
        "written": written,
        "dropped": dropped,
        "pending": pending,
        "queue_depth": queued,
        "lines_lost": losses.lines,
    }


def troubles(reporter: Reporter) -> dict[str, Any]:
    """
    How many errors there were, and the last one with its time.
    """
    at = reporter.last_error_at
    return {
        "errors": reporter.errors,
        "last_error": reporter.last_error,
        "last_error_at": None if at is None else format_ms(at),
    }
