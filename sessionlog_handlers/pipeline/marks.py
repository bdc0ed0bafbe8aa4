"""
Marks on the free space of a root's disk: what is refused from there on, and who is told, before the disk is full.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sessionlog_handlers.pipeline.files import free_space
from sessionlog_handlers.pipeline.keeper import Keeper
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.pipeline.routes import SHED_FULL, SHED_LAST, SHED_PROMPTS
from sessionlog_handlers.pipeline.threads import are_forbidden
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.tables import MARKS, Hook

LOOK_INTERVAL = 0.1  # seconds between two looks at the disk while lines are written
# A fast disk takes 100 MB in the time between two looks, so what we write ourselves is looked after by its size, too.
LOOK_BYTES = 64 * 1024
# A mark is left when this much more is free, as a share of it: a log is rotated, a temporary file comes and goes, and
# not each time is worth an alarm.
MARGIN = 0.1
HOOK_TIMEOUT = 30.0  # seconds; long enough to send a message, and meanwhile no old file is compressed

# The least important priority that still gets in.
_BARS = {"warn": SHED_FULL, "shed": SHED_PROMPTS, "suspend": SHED_LAST}
_WHAT_HAPPENS = {
    "": "nothing is refused",
    "warn": "nothing is refused yet",
    "shed": "events at full and ordinary debug records are refused and counted",
    "suspend": "all but starts, ends and audited rare events is refused and counted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskMark:
    """
    The free space of a disk has passed a mark, or left it again. This is what ``on_mark`` is called with.

    Args:
        name: ``warn``, ``shed`` or ``suspend``.

        directory: The root.

        free: Bytes that this process may still use.

        total: Bytes of the disk.

        passed: True if less is free than the mark says; False if there is room again.

    .. versionadded:: 0.1.0
    """

    name: str
    directory: str
    free: int
    total: int
    passed: bool


class DiskMarks:
    """
    Watches the free space of a root's disk, and lets the queue refuse what is below the mark that is in force.

    The listener looks while it writes, and the keeper now and then; who finds the other looking leaves it at that.

    Args:
        directory: The root.

        settings: The handler's settings.

        queue: Does the refusing.

        keeper: Calls ``on_mark``.

        reporter: Where marks are told.
    """

    def __init__(
        self, directory: str, settings: Settings, *, queue: BoundedQueue[Any], keeper: Keeper, reporter: Reporter
    ) -> None:
        self._queue = queue
        self._keeper = keeper
        self._reporter = reporter
        self._directory = directory
        self._depth = 0  # how many marks are in force
        self._marks: tuple[tuple[str, int | float], ...] = ()
        self.reset()
        self.use(settings)

    def reset(self) -> None:
        """
        Start over with a lock of its own, in a forked child. What is in force stays, and is not told again.
        """
        self._lock = threading.Lock()
        self._news: dict[str, DiskMark] = {}
        self._written = 0  # bytes since the last look
        self._next_look = 0.0  # on the monotonic clock
        self._refuse()  # the process may have been forked in the midst of a change

    def use(self, settings: Settings) -> None:
        """
        Work by other settings from now on. Other marks begin anew.
        """
        self.on_mark: Hook | None = settings.on_mark
        self._run_hook = load_hooks() if settings.on_mark is not None else None
        place = os.path.dirname(os.path.abspath(settings.single_file)) if settings.single_file else self._directory
        marks = tuple((name, settings.marks[name]) for name in MARKS if name in settings.marks)
        with self._lock:
            self._place = place
            if marks == self._marks:
                return
            self._marks = marks
            self._forget()
            self._next_look = 0.0

    def _forget(self) -> None:
        """No mark is in force, and nobody is told of it."""
        for name, _ in self._marks:
            self._reporter.over(f"mark {name}")
        self._depth = 0
        self._news.clear()
        self._refuse()

    def _refuse(self) -> None:
        """Let the queue refuse what the mark in force says."""
        self._queue.refuse_below(_BARS[self.in_force or "warn"])

    @property
    def watching(self) -> bool:
        """Whether there is any mark."""
        return bool(self._marks)

    @property
    def in_force(self) -> str | None:
        """The deepest mark that was passed, None if there is none."""
        depth = self._depth
        return self._marks[depth - 1][0] if 0 < depth <= len(self._marks) else None

    def free(self) -> int | None:
        """
        The bytes that are free now, whether there are marks or not; None if that can't be told.
        """
        try:
            return self._look_at_disk()[0]
        except OSError:
            return None

    def _look_at_disk(self) -> tuple[int, int]:
        """Free and total bytes of the disk. A root that is not made yet will be on the disk of what is above it."""
        place = self._place
        while True:
            try:
                return free_space(place)
            except FileNotFoundError:
                above = os.path.dirname(place)
                if above == place:
                    raise
                place = above

    def wrote(self, size: int) -> None:
        """
        So many bytes were written.
        """
        self._written += size

    def look_if_due(self) -> None:
        """
        Look at the disk, if time has passed since the last look, or much was written.
        """
        if self._marks and (self._written >= LOOK_BYTES or time.monotonic() >= self._next_look):
            self.look()

    def look(self) -> None:
        """
        Look at the disk now, and tell each mark that was passed or left, in their order.
        """
        if not self._marks or not self._lock.acquire(blocking=False):
            return
        try:
            self._written, self._next_look = 0, time.monotonic() + LOOK_INTERVAL
            try:
                free, total = self._look_at_disk()
            except OSError as error:
                self._lose_sight(error)
            else:
                self._reporter.over("marks")
                self._move(free, total)
        finally:
            self._lock.release()

    def _lose_sight(self, error: OSError) -> None:
        """Where nothing can be known of the disk, nothing is refused because of it."""
        if not self._reporter.is_told("marks"):
            reason = error.strerror or error
            self._reporter.report("marks", f"{self._place}: its free space can't be told ({reason}); marks are idle")
            self._forget()

    def _move(self, free: int, total: int) -> None:
        limits = self._limits(total)
        while self._depth < len(limits) and free < limits[self._depth]:
            self._depth += 1
            self._tell(self._depth - 1, free, total, passed=True)
        while self._depth and free >= _end_of(limits[self._depth - 1]):
            self._depth -= 1
            self._tell(self._depth, free, total, passed=False)

    def _limits(self, total: int) -> list[int]:
        """Free bytes at which each mark begins. Where a share and a size cross, the later brings the earlier along."""
        limits: list[int] = []
        for _, limit in reversed(self._marks):
            size = int(limit * total) if isinstance(limit, float) else limit
            limits.insert(0, max([size, *limits[:1]]))
        return limits

    def _tell(self, index: int, free: int, total: int, *, passed: bool) -> None:
        name = self._marks[index][0]
        self._refuse()
        what_happens = _WHAT_HAPPENS[self.in_force or ""]
        mark = DiskMark(name=name, directory=self._directory, free=free, total=total, passed=passed)
        if passed:
            self._news[name] = mark
            text = f"{self._place}: {free} bytes are free, less than the mark {name}; {what_happens}"
            self._reporter.report(f"mark {name}", text)
        else:
            self._news.pop(name, None)
            self._reporter.over(f"mark {name}")
            text = f"{self._place}: {free} bytes are free, the mark {name} is over; {what_happens}"
            self._reporter.tell(text)
        if self.on_mark is not None:
            self._keeper.submit(lambda: self._call(mark), slow=True)

    def _call(self, mark: DiskMark) -> None:
        """Call the app's hook, in the keeper's slow thread."""
        hook, run_hook = self.on_mark, self._run_hook
        if hook is None or run_hook is None:
            return  # a new configuration has none
        if are_forbidden():
            self._reporter.report("on_mark", f"on_mark was not called for the mark {mark.name}: the process ends")
            return
        state = "passed" if mark.passed else "over"
        try:
            run_hook(
                hook,
                timeout=HOOK_TIMEOUT,
                argument=mark,
                arguments=(mark.name, state, mark.directory),
                environment={
                    "SESSIONLOG_DIR": mark.directory,
                    "SESSIONLOG_MARK": mark.name,
                    "SESSIONLOG_MARK_STATE": state,
                    "SESSIONLOG_FREE": str(mark.free),
                    "SESSIONLOG_TOTAL": str(mark.total),
                },
            )
        except Exception as error:
            self._reporter.report("on_mark", f"on_mark failed at the mark {mark.name}: {error}")

    @property
    def has_news(self) -> bool:
        """Whether there is something for `take_news` to give."""
        return bool(self._news)

    def take_news(self) -> list[DiskMark]:
        """
        The marks that were passed since the last call, and are still in force.
        """
        return [mark for name in [*self._news] if (mark := self._news.pop(name, None))]


def _end_of(limit: int) -> int:
    """Free bytes at which a mark is left."""
    return limit + int(limit * MARGIN)


def load_hooks() -> Callable[..., None]:
    """
    What calls hooks: loaded with the first handler whose settings have one, as nothing may be in the keeper's threads.
    """
    from sessionlog_handlers.pipeline.hooks import run_hook

    return run_hook
