"""
Which processes write to a root now, and what they say of themselves in their leases.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY
from sessionlog_handlers.pipeline.leases import is_alive, read_lease
from sessionlog_handlers.reading.reader import StrPath


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """
    A living process that writes to a root.

    Args:
        root: The root.

        lease: Its lease's name.

        pid: Its number on *host*.

        host: The machine or container it runs in.

        stats: Its counters as `SessionHandler.stats` gives them, at most a second old. Empty before it first says them.

    .. versionadded:: 0.1.0
    """

    root: Path
    lease: str
    pid: int | None
    host: str
    stats: Mapping[str, Any]


def list_processes(
    roots: Iterable[StrPath], on_error: Callable[[OSError], object] = lambda error: None
) -> Iterator[ProcessInfo]:
    """
    Every living process that writes to one of these roots, by root and number.

    Args:
        roots: Where to look.

        on_error: What is called with the error of each root that can't be read. (default: nothing)
    """
    for root in roots:
        found = [info for name in _list_leases(Path(root), on_error) if (info := _look(Path(root), name))]
        yield from sorted(found, key=lambda info: (info.host, info.pid or 0))


def _list_leases(root: Path, on_error: Callable[[OSError], object]) -> list[str]:
    try:
        return [name for name in os.listdir(root / LEASES_DIRECTORY) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):  # nobody has ever written here
        return []
    except OSError as error:
        on_error(error)
        return []


def _look(root: Path, name: str) -> ProcessInfo | None:
    leases = str(root / LEASES_DIRECTORY)
    if not is_alive(leases, name):
        return None
    content = read_lease(leases, name)
    pid, stats = content.get("pid"), content.get("stats")
    return ProcessInfo(
        root=root,
        lease=name,
        pid=pid if isinstance(pid, int) else None,
        host=str(content.get("host", "")),
        stats=stats if isinstance(stats, dict) else {},
    )
