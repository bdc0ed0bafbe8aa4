"""
Which rotated files a log has, by their names alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_SLOT = re.compile(r"\.([1-9][0-9]{0,8})(\.gz)?")


def archives(path: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """
    The rotated files of the log at *path* with their slots, oldest (the highest slot) first. Nothing is opened.

    Where a slot has both a plain file and a ``.gz``, the plain one is given: a compression was cut off or is about to
    commit, and what the two hold must not count twice.
    """
    log = Path(path)
    try:
        names = os.listdir(log.parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    slots: dict[int, str] = {}
    for name in names:
        if not name.startswith(log.name + "."):
            continue
        match = _SLOT.fullmatch(name, len(log.name))
        if match and (match[2] is None or int(match[1]) not in slots):
            slots[int(match[1])] = name
    return [(slot, log.parent / slots[slot]) for slot in sorted(slots, reverse=True)]
