"""
A pool of threads whose jobs belong to the session that is current when they are submitted.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from sessionlog_handlers.context import bind

P = ParamSpec("P")
R = TypeVar("R")


class SessionExecutor(ThreadPoolExecutor):
    """
    A `ThreadPoolExecutor` whose jobs belong to the session that was current when they were submitted.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """
        Schedule a call, as in the base class.
        """
        return super().submit(bind(fn), *args, **kwargs)
