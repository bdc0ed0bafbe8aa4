"""
Named layouts: which files a session has, in which format, and which of its events each file takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

# level   all that the session's level lets through
# user    events audited on the user's side, at every session level (`full` events only at full)
# system  the same for the system's side
# rest    the system's side as `system`, everything without an audit side as `level`; nothing of the user's side
# bytes   a terminal's output, input and resizes, by level
# records all but those, by level
Takes = Literal["level", "user", "system", "rest", "bytes", "records"]
TAKES: tuple[Takes, ...] = ("level", "user", "system", "rest", "bytes", "records")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """
    One file of a session.

    Args:
        path: Below the root, with ``{id}`` where the session's directory name goes.

        format: A line format's name: ``jsonl``, ``fugue``, ``text``, ``event_line`` or ``pty``.

        takes: Which events it takes, in the words above.
    """

    path: str
    format: str
    takes: Takes

    @property
    def audits(self) -> bool:
        """Whether it is an audit file."""
        return self.takes in ("user", "system")


@dataclass(frozen=True, slots=True)
class Layout:
    """
    Where a session's files are.

    Args:
        name: The layout's name, ``custom`` when its files are spelled out.

        files: The session's files; the first is its log (`Session.log_path`).

        metadata: The path of ``metadata.json``, below the root.
    """

    name: str
    files: tuple[FileSpec, ...]
    metadata: str = "{id}/metadata.json"

    def without_audit(self) -> Layout:
        """The same layout without its audit files."""
        return replace(self, files=tuple(spec for spec in self.files if not spec.audits))


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "multiplexer",
            (
                FileSpec("{id}/session.log", "jsonl", "level"),
                FileSpec("{id}/audit_user.log", "jsonl", "user"),
                FileSpec("{id}/audit_system.log", "jsonl", "system"),
            ),
        ),
        Layout(
            "fugue",
            (
                FileSpec("{id}/system.jsonl", "fugue", "rest"),
                FileSpec("{id}/audit.jsonl", "fugue", "user"),
            ),
        ),
        Layout("recorder", (FileSpec("{id}/session.log", "text", "level"),), metadata="{id}/.metadata.json"),
        Layout(
            "terminal",
            (
                FileSpec("{id}.jsonl", "pty", "bytes"),
                FileSpec(".sessions/{id}/session.log", "jsonl", "records"),
                FileSpec(".sessions/{id}/audit_user.log", "jsonl", "user"),
                FileSpec(".sessions/{id}/audit_system.log", "jsonl", "system"),
            ),
            metadata=".sessions/{id}/metadata.json",
        ),
    )
}
