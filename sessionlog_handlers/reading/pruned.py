"""
What retention goes by in a root, and what it has removed there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessionlog_handlers.exceptions import ConfigurationError, SessionLogError
from sessionlog_handlers.pipeline.layout import PRUNED_FILE
from sessionlog_handlers.pipeline.places import SessionInfo
from sessionlog_handlers.reading.reader import read_path
from sessionlog_handlers.settings.tables import Retention, parse_retention
from sessionlog_handlers.settings.values import matches_any


@dataclass(frozen=True, slots=True)
class Pruned:
    """
    A session that was removed, as its line in ``.pruned.jsonl`` has it.

    Args:
        root: The root that it was in.

        session: Its id.

        removed: When it was removed, in seconds since the epoch.

        data: What else is known: ``rule``, ``reason``, ``state``, ``start``, ``end``, ``bytes``, ``files``, ``trash``.
    """

    root: Path
    session: str
    removed: float
    data: Mapping[str, Any]


def list_pruned(roots: Iterable[Path], on_error: Callable[[OSError], object] = lambda error: None) -> Iterator[Pruned]:
    """
    What was removed from these roots, in the order of the removals of each.

    Args:
        roots: Where to look.

        on_error: What is called with each error of a file that is there and can't be read. (default: nothing)
    """
    for root in roots:
        try:
            for line in read_path(root / PRUNED_FILE, format="jsonl"):
                yield Pruned(root, line.session, line.ts, line.data)
        except FileNotFoundError:
            continue
        except OSError as error:
            on_error(error)


@dataclass(frozen=True, slots=True)
class ConfiguredRules:
    """
    What the app of a root asked for, as the session that began last has it in its metadata.

    Args:
        retention: The rules; None if it has none.

        pinned: Patterns of ids that are never removed.

        trash: Where removed sessions go.

        archive: What sessions are given to before, as a text; empty for nothing.
    """

    retention: Retention | None = None
    pinned: tuple[str, ...] = ()
    trash: Path | None = None
    archive: str = ""


def configured_rules(sessions: Iterable[SessionInfo]) -> ConfiguredRules:
    """
    The rules that the newest of these sessions began with.
    """
    known = [info for info in sessions if info.metadata is not None and info.start is not None]
    newest = max(known, key=lambda info: info.start or 0.0, default=None)
    config = newest.metadata.config if newest is not None and newest.metadata is not None else {}
    retention = None
    if isinstance(config.get("retention"), dict):
        with suppress(ConfigurationError):
            retention = parse_retention(config["retention"])
    pinned, trash, archive = config.get("pinned"), config.get("trash"), config.get("archive")
    return ConfiguredRules(
        retention=retention if retention is not None and retention.removes else None,
        pinned=tuple(str(pattern) for pattern in pinned) if isinstance(pinned, list) else (),
        trash=Path(trash) if isinstance(trash, str) and os.path.isabs(trash) else None,
        archive=archive if isinstance(archive, str) else "",
    )


def is_pinned(info: SessionInfo) -> bool:
    """
    Whether a session is pinned, by itself or by a pattern that its app had when it wrote it last.
    """
    return info.pinned or matches_any(info.id, configured_rules([info]).pinned)


def check_own(directory: Path) -> None:
    """
    Make sure that a root or a session's directory is the caller's own: another user's files must not tell root what to
    move where, and what root makes there is closed to that user's apps.

    Raises:
        SessionLogError: If it belongs to another user.
    """
    if hasattr(os, "geteuid") and (owner := directory.stat().st_uid) != os.geteuid():
        raise SessionLogError(f"{directory} belongs to user {owner}, and only that user may change what is in it")
