"""
Every error and warning that this package raises, in one tree.

    SessionLogError(Exception)
    ├── ConfigurationError(…, ValueError)      .key
    │   └── HandlerNotFoundError(…, LookupError)
    ├── InvalidSessionIdError(…, ValueError)   .session_id
    ├── SessionNotFoundError(…, LookupError)   .session_id
    ├── AuditWriteError(…, OSError)            .session_id .event
    └── InvalidLineError(…, ValueError)        .path .lineno .line
    SessionLogWarning(UserWarning)
"""

from __future__ import annotations


class SessionLogError(Exception):
    """
    Base of every error of this package.
    """


class ConfigurationError(SessionLogError, ValueError):
    """
    A setting is unknown, of the wrong type, out of range, or contradicts another.

    Args:
        message: One sentence: what was given and what is allowed.

        key: Dotted path of the setting, such as ``handlers.sessions.max_bytes``. Empty if no single key is to blame.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message, key)
        self.message = message
        self.key = key

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class HandlerNotFoundError(ConfigurationError, LookupError):
    """
    No `SessionHandler` has that name.
    """


class InvalidSessionIdError(SessionLogError, ValueError):
    """
    The text can't name a session, or its directory is not one that a log may be written to.
    """

    def __init__(self, message: str, session_id: object = "") -> None:
        super().__init__(message, session_id)
        self.message = message
        self.session_id = session_id

    def __str__(self) -> str:
        return self.message


class SessionNotFoundError(SessionLogError, LookupError):
    """
    No session of that id is there, or none that still runs.
    """

    def __init__(self, message: str, session_id: str = "") -> None:
        super().__init__(message, session_id)
        self.message = message
        self.session_id = session_id

    def __str__(self) -> str:
        return self.message


class AuditWriteError(SessionLogError, OSError):
    """
    An audited event is not known to be on the disk. Raised to callers who asked for it (``audit_on_error: raise``).
    """

    def __init__(self, message: str, session_id: str = "", event: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.session_id = session_id
        self.event = event

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type[AuditWriteError], tuple[str, str, str]]:
        return type(self), (self.message, self.session_id, self.event)


class InvalidLineError(SessionLogError, ValueError):
    """
    A stored line is torn or not of its format.

    Args:
        message: What is wrong with it.

        line: The bytes as read, without the line end.

        path: The file, when known.

        lineno: Counted from 1 within the file, 0 when not known.
    """

    def __init__(self, message: str, line: bytes = b"", path: str = "", lineno: int = 0) -> None:
        super().__init__(message, line, path, lineno)
        self.message = message
        self.line = line
        self.path = path
        self.lineno = lineno

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: {self.message}" if self.path else self.message


class SessionLogWarning(UserWarning):
    """
    Something was configured or called in a way that works, but not as its author probably meant.

    The text says what happened and what to change; silence it with :mod:`warnings` once it is understood.
    """
