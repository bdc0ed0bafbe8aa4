"""
The roots that were ever written to, so that commands find sessions: `~/.sessionlog/roots.json`.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from sessionlog_handlers.pipeline.files import make_directory, read_json, replace_file
from sessionlog_handlers.pipeline.locks import FileLock

HOME_VARIABLE = "SESSIONLOG_HOME"
MAX_ROOTS = 200  # the newest are kept


def home() -> Path:
    """
    The directory of what belongs to the user and not to a root: ``$SESSIONLOG_HOME``, or ``~/.sessionlog``.
    """
    return Path(os.environ.get(HOME_VARIABLE) or Path.home() / ".sessionlog")


def known_roots() -> list[str]:
    """
    The roots noted so far, oldest first. A broken file counts as empty: it is only a convenience.
    """
    content = read_json(str(home() / "roots.json"), list[object]) or []
    return [root for root in content if isinstance(root, str)]


def note_root(directory: str) -> None:
    """
    Remember a root, if it is not known yet.

    Raises:
        OSError: If the file can't be written.
    """
    directory = os.path.abspath(directory)
    if directory in known_roots():
        return
    make_directory(str(home()))
    with FileLock(str(home() / ".roots.lock"), keep_open=False).hold():
        roots = [root for root in known_roots() if root != directory and os.path.isdir(root)]
        replace_file(str(home() / "roots.json"), msgspec.json.encode([*roots, directory][-MAX_ROOTS:]))
