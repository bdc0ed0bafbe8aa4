"""
The roots that were ever written to, so that commands find sessions: `~/.sessionlog/roots.json`.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from sessionlog_handlers.pipeline.files import make_directory, read_json, replace_file
from sessionlog_handlers.pipeline.layout import LEASES_DIRECTORY
from sessionlog_handlers.pipeline.leases import living
from sessionlog_handlers.pipeline.locks import FileLock

HOME_VARIABLE = "SESSIONLOG_HOME"
MAX_ROOTS = 200  # those used last are kept, and those in use


def home() -> Path:
    """
    The directory of what belongs to the user and not to a root: ``$SESSIONLOG_HOME``, or ``~/.sessionlog``.
    """
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".sessionlog")


def known_roots() -> list[str]:
    """
    The roots noted so far, the one used last at the end. A broken file counts as empty: it is only a convenience.
    """
    content = read_json(str(home() / "roots.json"), list[object]) or []
    return [root for root in content if isinstance(root, str)]


def note_root(directory: str) -> None:
    """
    Remember a root as the one used last.

    Of more than `MAX_ROOTS` those are forgotten that are gone, then those used longest ago that no process writes to: a
    test suite that makes many of them must not push out the one of a server that runs for months.

    Raises:
        OSError: If the file can't be written.
    """
    directory = os.path.abspath(directory)
    if known_roots()[-1:] == [directory]:
        return
    make_directory(str(home()))
    with FileLock(str(home() / ".roots.lock"), keep_open=False).hold():
        roots = [root for root in known_roots() if root != directory and os.path.isdir(root)]
        kept = _forget_oldest(roots, MAX_ROOTS - 1)
        replace_file(str(home() / "roots.json"), msgspec.json.encode([*kept, directory]))


def _forget_oldest(roots: list[str], most: int) -> list[str]:
    surplus = len(roots) - most
    kept = []
    for root in roots:
        if surplus > 0 and not _is_written_to(root):
            surplus -= 1
        else:
            kept.append(root)
    return kept


def _is_written_to(root: str) -> bool:
    return any(living(os.path.join(root, LEASES_DIRECTORY)))
