"""
A level set from outside: one small file per root that commands replace and running apps look at once a second.
"""

from __future__ import annotations

import os
import time

import msgspec

from sessionlog_handlers.pipeline.files import load_json, make_directory, read_json, replace_file
from sessionlog_handlers.pipeline.layout import CONTROL_FILE, LOCKS_DIRECTORY
from sessionlog_handlers.pipeline.locks import FileLock

POLL_INTERVAL = 0.5  # seconds; a level set from outside is in force within one second
MAX_AGE = 3600.0  # seconds after which a request is dropped from the file


class LevelRequest(msgspec.Struct, kw_only=True, frozen=True):
    """
    Somebody wants a session's level changed.

    Args:
        session: The id.

        level: A session level or a severity, by name.

        at: Seconds since the epoch. Each process takes a request once.
    """

    session: str
    level: str
    at: float


class ControlFile:
    """
    One root's control file.

    Args:
        root: The root directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._path = os.path.join(root, CONTROL_FILE)
        self._seen = (0, 0)  # modification time and inode that were read last: a clock tick is long enough for two
        self._taken: set[LevelRequest] = set()  # those in the file that were given before

    def request(self, session_id: str, level: str) -> LevelRequest:
        """
        Ask whichever process writes the session to change its level.

        Raises:
            OSError: If the file can't be written.
        """
        make_directory(os.path.join(self._root, LOCKS_DIRECTORY))
        wanted = LevelRequest(session=session_id, level=level, at=time.time())
        with FileLock(os.path.join(self._root, LOCKS_DIRECTORY, "control"), keep_open=False).hold():
            known = load_json(self._path, list[LevelRequest]) or []
            kept = [old for old in known if wanted.at - old.at < MAX_AGE and old.session != session_id]
            replace_file(self._path, msgspec.json.encode([*kept, wanted]))
        return wanted

    def changed(self) -> list[LevelRequest]:
        """
        The requests that came into the file since the last look.
        """
        try:
            status = os.stat(self._path)
        except OSError:
            return []
        seen = (status.st_mtime_ns, status.st_ino)
        if seen == self._seen:
            return []
        self._seen = seen
        requests = read_json(self._path, list[LevelRequest]) or []
        new = [request for request in requests if request not in self._taken]
        self._taken = set(requests)
        return new
