"""
The bounded way from the callers' threads to the listener's. What does not fit is refused at arrival, never evicted.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import repeat, starmap
from queue import Empty, SimpleQueue
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")

# Shares of the queue's capacity at which the classes are refused, the least important first. See `routes.SHED_*`.
MARKS = (0.80, 0.90, 0.95, 1.0, 1.0)
ENTRY_OVERHEAD = 64  # bytes counted for an entry beside its payload
RESERVE = 8_192  # entries beyond the capacity, for the last class only
MANY = 4  # a share of the capacity: one in so many
PATIENCE = 0.05  # seconds that a signal waits for room
PAUSE = 0.001  # seconds between two looks for room


class BoundedQueue(Generic[Item]):
    """
    A queue with many producers and one consumer, bounded by entries and bytes.

    Putting takes no lock: a `deque` append is atomic. Bytes are counted in slots of ``max_bytes / capacity``; an item
    that is larger than a slot takes several, and only then a lock is needed.

    A producer for whom each call counts does by itself what `put` does first, with the attributes *items*, *room*,
    *slot_bytes* and *idle*.

    Args:
        capacity: Entries.

        max_bytes: Bytes.

        overflow: ``shed`` refuses by marks; ``wait`` makes every producer wait for room.
    """

    def __init__(
        self, capacity: int = 65_536, max_bytes: int = 32 * 1024 * 1024, overflow: Literal["shed", "wait"] = "shed"
    ) -> None:
        self._extra_slots = self._in_hand = 0
        self._extra_lock = threading.RLock()
        self.bar = 0  # priorities below it find no room, whatever the queue holds
        self.configure(capacity, max_bytes, overflow)
        self.reset()

    def configure(self, capacity: int, max_bytes: int, overflow: Literal["shed", "wait"]) -> None:
        """
        Set other bounds. What is queued stays.
        """
        with self._extra_lock:
            self.capacity = capacity
            self.overflow = overflow
            self.slot_bytes = max(max_bytes // capacity, 1)
            self._limits = (*(int(capacity * mark) for mark in MARKS[:-1]), capacity + min(RESERVE, capacity))
            self._make_room()

    def reset(self) -> None:
        """
        Forget everything, in a forked child for example: the entries are the parent's to write.
        """
        self.items: deque[Item] = deque()
        self._extra: dict[int, int] = {}  # id of a large item -> the slots it takes beyond one
        self._extra_slots = 0
        self._in_hand = 0  # taken and not yet dealt with; as long as they could be lost, they count
        self._extra_lock = threading.RLock()  # a signal handler may log while its thread holds it
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        self.consumer: int | None = None  # the thread that must never wait for itself
        self.idle = True  # whoever puts something must wake the consumer, or see to it that there is one
        self._make_room()

    def refuse_below(self, priority: int) -> None:
        """
        Refuse what is less important than that from now on, without waiting; 0 refuses nothing. What is queued stays.
        """
        with self._extra_lock:
            self.bar = priority
            self._make_room()

    def _make_room(self) -> None:
        elsewhere = self._extra_slots + self._in_hand
        # Items, for each priority.
        self.room = (0,) * self.bar + tuple(limit - elsewhere for limit in self._limits[self.bar :])

    @property
    def _used(self) -> int:
        return len(self.items) + self._extra_slots + self._in_hand

    def __len__(self) -> int:
        return len(self.items)

    def put(self, item: Item, priority: int, size: int) -> bool:
        """
        Add an item, or refuse it by giving False.

        Args:
            item: What the consumer will get.

            priority: Position among the marks; the last may use the reserve.

            size: Bytes that it holds.
        """
        if size > self.slot_bytes or len(self.items) >= self.room[priority]:
            return self._put_slowly(item, priority, size)
        self.items.append(item)
        if self.idle:
            self.wake()
        return True

    def _put_slowly(self, item: Item, priority: int, size: int) -> bool:
        if priority < self.bar:
            return False
        limit = self._limits[priority]
        slots = min(size // self.slot_bytes, self._limits[0] - 1)  # one item alone always fits into an empty queue
        if self._used + slots >= limit and not self._wait_for_room(priority, limit - slots):
            return False
        if priority < self.bar:  # which came while this waited
            return False
        if slots:
            with self._extra_lock:
                self._extra[id(item)] = slots
                self._extra_slots += slots
                self._make_room()
        self.put_always(item)
        return True

    def _wait_for_room(self, priority: int, limit: int) -> bool:
        if self.overflow == "wait":
            patience = float("inf")
        elif priority == len(MARKS) - 2:
            patience = PATIENCE
        else:
            return False
        if threading.get_ident() == self.consumer or in_running_loop() or _in_signal_handler():
            return False
        deadline = time.monotonic() + patience
        self.wake(urgent=True)
        # Whoever may wait for ever waits for room for many, or the threads would change with every few of them.
        # An empty queue is room enough for anything.
        most = max(limit - self.capacity // MANY, 1) if self.overflow == "wait" else limit
        while self._used >= most:
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE)
        return True

    def wait_for_start(self) -> None:
        """
        Slow down whoever starts sessions faster than they can be begun: wait a moment if even the reserve is full.
        """
        if len(self.items) >= self._limits[-1]:
            self._wait_for_room(len(MARKS) - 2, self._limits[-1])

    def refuses(self, priority: int) -> bool:
        """
        Whether an item of that priority, however small, would be refused at once.
        """
        if priority < self.bar:
            return True
        waits = self.overflow == "wait" or priority == len(MARKS) - 2
        return not waits and len(self.items) >= self.room[priority]

    def put_always(self, item: Item) -> None:
        """
        Add an item that is no record but a command, whatever the queue holds.
        """
        self.items.append(item)
        if self.idle:
            self.wake()

    def take(self, most: int) -> list[Item]:
        """
        Remove and give up to *most* items, the oldest first.
        """
        items = self.items
        taken = [*starmap(items.popleft, repeat((), min(len(items), most)))]  # without a step of the interpreter each
        with self._extra_lock:
            if self._extra:
                for item in taken:
                    self._extra_slots -= self._extra.pop(id(item), 0)
            self._in_hand = len(taken)
            self._make_room()
        return taken

    def done(self, number: int | None = None) -> None:
        """
        So many of what was taken last are dealt with, by default all: from now on they take no room.
        """
        with self._extra_lock:
            self._in_hand = 0 if number is None else max(self._in_hand - number, 0)
            self._make_room()

    def snapshot(self) -> list[Item]:
        """
        What is queued at the moment. Copying a `deque` is one step, whatever other threads add meanwhile.
        """
        return [*self.items.copy()]

    def wake(self, *, urgent: bool = False) -> None:
        """
        Wake the consumer, if there is one; *urgent* ends its gathering too. Safe in a signal handler: `SimpleQueue.put`
        is reentrant.
        """
        self.idle = False  # before the look: whoever takes over or leaves meanwhile says so after that
        if self.consumer is None:
            self.idle = True
        else:
            self._wakes.put(urgent)

    def attend(self, consumer: int) -> None:
        """
        That thread takes what is put from now on.
        """
        self.consumer = consumer

    def abandon(self) -> None:
        """
        Nobody takes what is put from now on: each producer finds the queue idle.
        """
        self.consumer = None
        self.idle = True

    def sleep(self, timeout: float | None) -> None:
        """
        For the consumer: sleep until something is put, or for *timeout* seconds. An idle queue costs nothing.
        """
        self.idle = True
        if not self.items:
            with suppress(Empty):
                self._wakes.get(timeout=timeout)
        self.idle = False

    def gather(self, seconds: float) -> None:
        """
        For the consumer: let more items come for that long, unless somebody is in a hurry.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                if self._wakes.get(timeout=left):
                    return
            except Empty:
                return


def in_running_loop() -> bool:
    """Whether this thread runs an asyncio loop at the moment, which must not be held up."""
    asyncio: Any = sys.modules.get("asyncio.events")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _in_signal_handler() -> bool:
    """
    Whether this thread is in a Python signal handler: then what it interrupted may be what would make room.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back
    return False
