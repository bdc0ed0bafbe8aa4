"""
The queue and its listener in front of any other handler: a slow one no longer holds up its callers.
"""

from __future__ import annotations

import atexit
import copy
import logging
import logging.config
import logging.handlers
import os
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.levels import SessionLevel, rank_of_record
from sessionlog_handlers.pipeline.listener import JOIN_TIMEOUT, BatchingQueueListener
from sessionlog_handlers.pipeline.queue import BoundedQueue
from sessionlog_handlers.pipeline.report import Losses, Reporter
from sessionlog_handlers.pipeline.routes import SHED_DEBUG, SHED_LAST, SHED_PROMPTS, SHED_SIGNALS
from sessionlog_handlers.settings.values import (
    did_you_mean,
    parse_duration,
    parse_size,
    parse_whole,
    parse_within,
    show,
)

__all__ = ["BatchingQueueListener", "BoundedQueue", "BoundedQueueHandler"]

_PRIORITY_OF_RANK = {
    SessionLevel.FULL.rank: SHED_DEBUG,
    SessionLevel.PROMPTS.rank: SHED_PROMPTS,
    SessionLevel.SIGNALS.rank: SHED_SIGNALS,
    SessionLevel.SPAWNS.rank: SHED_LAST,
}
_OVERFLOWS = ("shed", "wait")

_alive: weakref.WeakSet[BoundedQueueHandler] = weakref.WeakSet()


class BoundedQueueHandler(logging.handlers.QueueHandler):
    """
    Put records into a bounded queue, which a thread of its own hands on to other handlers.

    It needs nothing but itself: the listener starts with the first record, what is queued is written at exit, and
    after `close` the next record starts it again. When the queue is full, records are refused by their class as in
    `SessionHandler`, and counted in *dropped*.

    Args:
        target: The handler behind the queue, several of them, or their configuration as `logging.config.dictConfig`
            takes it for a handler. In YAML, write the configuration in place: a handler that only a name refers to
            would be garbage-collected.

        capacity: Entries. (default: 65,536)

        max_bytes: Bytes, as a number or as text such as ``32 MB``. (default: 32 MiB)

        overflow: ``shed`` or ``wait``. (default: ``shed``)

        linger: How long a record may wait for company, in seconds or as text such as ``50 ms``. (default: 0.05)

        respect_handler_level: Whether each target's own level counts. (default: True)

    Raises:
        ConfigurationError: If a setting is wrong, or the target can't be made.
    """

    def __init__(
        self,
        target: logging.Handler | Mapping[str, Any] | Sequence[logging.Handler | Mapping[str, Any]],
        *,
        capacity: int = 65_536,
        max_bytes: int | str = 32 * 1024 * 1024,
        overflow: str = "shed",
        linger: float | str = 0.05,
        respect_handler_level: bool = True,
    ) -> None:
        if overflow not in _OVERFLOWS:
            hint = did_you_mean(overflow, _OVERFLOWS)
            raise ConfigurationError(
                f"{show(overflow)} is not an overflow policy; choose shed or wait{hint}", "overflow"
            )
        slowest = parse_within("linger", parse_duration, linger)
        entries = parse_within("capacity", partial(parse_whole, least=1), capacity)
        size = parse_within("max_bytes", parse_size, max_bytes)
        queue: BoundedQueue[Any] = BoundedQueue(entries, size, "wait" if overflow == "wait" else "shed")
        self.targets = _make_handlers(target)  # last of what may fail: it may open files
        super().__init__(queue)  # type: ignore[arg-type]  # not a queue.Queue, but all that is used of one
        self.bounded = queue
        self.reporter = Reporter()
        self.losses = Losses()
        self.listener = BatchingQueueListener(  # type: ignore[assignment,unused-ignore]  # None in the base class's stub
            queue,
            *self.targets,
            respect_handler_level=respect_handler_level,
            linger=slowest,
            on_error=self._target_failed,
        )
        _alive.add(self)

    def _target_failed(self, error: BaseException) -> None:
        self.losses.count(None, "error")
        self.reporter.report(f"target {type(error).__name__}", f"a handler behind the queue failed: {error!r:.200}")

    @property
    def dropped(self) -> dict[str, int]:
        """How many records were lost, by reason."""
        return dict(self.losses.by_reason)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """
        Give a copy whose text is the one of this moment; exceptions stay, for the targets' own formatters.
        """
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg} [format error: {type(error).__name__}]"
        record = copy.copy(record)
        record.msg = record.message = message
        record.args = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """
        Queue a prepared record, or count it as lost.
        """
        listener = self.queue_listener
        if not listener.is_running:
            listener.start()
        priority = _PRIORITY_OF_RANK[rank_of_record(record.levelno)]
        if not self.bounded.put(record, priority, len(record.msg)):
            self.losses.count(None, "queue_full")
            self.reporter.report("queue_full", f"the queue before {self.targets!r} is full; records are left out")
        elif not listener.is_running:
            listener.drain()

    @property
    def queue_listener(self) -> BatchingQueueListener:
        """The listener behind the queue."""
        listener: Any = self.listener
        return listener  # type: ignore[no-any-return]  # set in __init__, and never to anything else

    def flush(self) -> None:
        """
        Wait until everything logged before has reached the targets, for at most five seconds.
        """
        if self.queue_listener.is_running or len(self.bounded):
            self.queue_listener.flush(5.0)
        for handler in self.targets:
            # A closed stream behind one target: `logging.shutdown` would leave out our `close`, and with it our thread.
            with suppress(OSError, ValueError):
                handler.flush()

    def close(self) -> None:
        """
        Hand on what is queued and end the thread. The targets are closed too; the next record starts all again.
        """
        self.queue_listener.stop(JOIN_TIMEOUT)
        for handler in self.targets:
            handler.close()
        super().close()


def _make_handlers(target: object) -> tuple[logging.Handler, ...]:
    given = [*target] if isinstance(target, Sequence) and not isinstance(target, str | bytes) else [target]
    if not given:
        raise ConfigurationError("there is no handler behind the queue", "target")
    made: list[logging.Handler] = []
    try:
        for handler in given:
            made.append(_make_handler(handler))
    except ConfigurationError:
        for handler in made:
            if handler not in given:  # ours to close
                handler.close()
        raise
    return tuple(made)


def _make_handler(given: object | Mapping[str, Any]) -> logging.Handler:
    if isinstance(given, logging.Handler):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{show(given)} is no handler to put the queue before; give one, such as logging.StreamHandler(), or its "
            "configuration as a mapping with 'class' or '()'",
            "target",
        )
    config: dict[str, Any] = {"version": 1, "handlers": {"target": dict(given)}}
    formatter = given.get("formatter")
    if isinstance(formatter, Mapping):  # spelled out in place too: there are no names to refer to here
        config["formatters"] = {"target": dict(formatter)}
        config["handlers"]["target"]["formatter"] = "target"
    try:
        # Through the configurator's own dictionary, which resolves `ext://` and `cfg://` values.
        configurator = logging.config.DictConfigurator(config)
        formatters = configurator.config.get("formatters", {})
        for name in formatters:
            formatters[name] = configurator.configure_formatter(formatters[name])
        return configurator.configure_handler(configurator.config["handlers"]["target"])
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ConfigurationError(
            f"the handler behind the queue can't be made: {error.__cause__ or error}", "target"
        ) from error


def _stop_all() -> None:
    for handler in [*_alive]:
        handler.queue_listener.stop(JOIN_TIMEOUT)


def _after_fork_in_child() -> None:
    for handler in [*_alive]:
        handler.bounded.reset()
        handler.losses.reset()
        handler.queue_listener.reset()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
