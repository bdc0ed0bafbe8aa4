"""
What else than entries goes through the queue: starts, ends, changes of level, calls in the listener's thread.

Each takes effect in the queue's order, between the entries before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sessionlog_handlers.pipeline.channel import Channel

if TYPE_CHECKING:
    from sessionlog_handlers.pipeline.router import Router


class StartCommand:
    """
    A session starts here.
    """

    __slots__ = ("begin", "channel", "start")

    def __init__(self, channel: Channel, start: float, begin: Mapping[str, Any]) -> None:
        self.channel = channel
        self.start = start
        self.begin = begin

    def run(self, router: Router) -> None:
        """Open the session's files."""
        router.start(self.channel, self.start, self.begin)


class JoinCommand(StartCommand):
    """
    A session that another process began: nothing is written for it here before its first entry.
    """

    __slots__ = ()

    def run(self, router: Router) -> None:
        """Let it join."""
        router.inherit(self.channel)


class LevelCommand:
    """
    A session's level changes here.
    """

    __slots__ = ("change", "channel", "created")

    def __init__(self, channel: Channel, created: float, change: dict[str, Any]) -> None:
        self.channel = channel
        self.created = created
        self.change = change

    def run(self, router: Router) -> None:
        """Note the change."""
        files = router.files_of(self.channel)
        if files is None:
            return
        if not files.claimed and self.change["by"] != "app":
            router.flush_touched()  # with its place on the disk the session learns whether it is ours to tell of this
        if files.change_level(self.change, self.created):
            router.touch(files)


class EndCommand:
    """
    A session ends here.
    """

    __slots__ = ("channel", "end")

    def __init__(self, channel: Channel, end: dict[str, Any]) -> None:
        self.channel = channel
        self.end = end

    def run(self, router: Router) -> None:
        """Write the session's last line and close its files."""
        router.end(self.channel, self.end)


class CallCommand:
    """
    Something to be done in the listener's thread, after all that was queued before.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[Router], None]) -> None:
        self._call = call

    def run(self, router: Router) -> None:
        """Do it."""
        router.flush_touched()
        self._call(router)
