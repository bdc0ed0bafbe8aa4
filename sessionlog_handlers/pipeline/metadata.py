"""
`metadata.json`: what is known about a session beside its lines. Several processes keep it, each its own part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec

from sessionlog_handlers.formats.encoding import encode_object, escape_unsafe
from sessionlog_handlers.pipeline.files import decode_json, load_json, read_json, replace_file

VERSION = 1
UNSURE = "unsure"  # of a writer: it lived when the metadata was made anew, and may have nothing to do with the session
MAX_HISTORY = 1000  # level changes kept; the first ones and the newest matter, a runaway loop does not


class Rotations(TypedDict, total=False):
    """
    What is remembered of a file's rotations: count, time of the last, sizes of the last ones.
    """

    count: int
    last: str
    sizes: list[int]


class Metadata(msgspec.Struct, kw_only=True, omit_defaults=False):
    """
    The content of ``metadata.json``. Times are UTC text as in the lines.

    Args:
        version: Of this file's format.

        session: The id, as the app gave it.

        state: ``running``, ``ended`` or ``crashed``.

        start: When the session began, for the first time.

        end: When it ended.

        reason: Why it ended.

        final: Whether the app ended it, so that no mere record begins it again.

        on_end: What was to become of its files by the settings in force when it ended; empty while it has not

        implicit: Whether it began by its first record.

        resumed: How often it was begun again after an end.

        owner: The lease of the process that began it and will end it.

        pid: That process.

        level: The session level now.

        severity: The severity threshold now; empty for none.

        level_history: Each change: time, from, to.

        writers: By lease: pid, host, counters; or that it only may be one.

        command: What runs in the session, if the app said so.

        metadata: The app's own.

        pinned: Whether it was pinned by itself, so that retention never removes it.

        config: The log configuration in force.

        files: The log's files, by their path below the root.

        rotations: By file: count, time of the last, sizes of the last ones.

        seq: The number of the owner's last line.
    """

    version: int = VERSION
    session: str = ""
    state: str = "running"
    start: str = ""
    end: str | None = None
    reason: str | None = None
    final: bool = False
    on_end: str = ""
    implicit: bool = False
    resumed: int = 0
    owner: str = ""
    pid: int = 0
    level: str = ""
    severity: str = ""
    level_history: list[dict[str, Any]] = []
    writers: dict[str, dict[str, Any]] = {}
    command: list[str] | str | None = None
    metadata: dict[str, Any] = {}
    pinned: bool = False
    config: dict[str, Any] = {}
    files: list[str] = []
    rotations: dict[str, Rotations] = {}
    seq: int = 0


def read_metadata(path: str) -> Metadata | None:
    """
    Read the file; None if it is not there, can't be read or is none of ours.
    """
    return _if_ours(read_json(path, Metadata, strict=False))


def load_metadata(path: str) -> Metadata | None:
    """
    As `read_metadata`, for whoever goes on with the session and will replace the file.

    Raises:
        OSError: If it is there and can't be read now.
    """
    return _if_ours(load_json(path, Metadata, strict=False))


def write_metadata(path: str, metadata: Metadata, mode: int = 0o600) -> None:
    """
    Replace the file atomically, after reading what other processes wrote.

    With the session's lock held; where a session's own process can't have it, it says what it has to say all the same.

    Raises:
        OSError: If it can't be written.
    """
    if len(metadata.level_history) > MAX_HISTORY:
        metadata.level_history[1 : len(metadata.level_history) - MAX_HISTORY + 1] = []
    content = encode_metadata(metadata)
    try:
        content = msgspec.json.format(content, indent=2)
    except ValueError:  # escaped halves of surrogate pairs
        content = json.dumps(json.loads(content), indent=2).encode()
    replace_file(path, content + b"\n", mode)


def encode_metadata(metadata: Metadata) -> bytes:
    """
    The metadata as JSON on one line.
    """
    try:
        # All of it is plain: what came from the app was frozen, the rest is ours or was read from JSON.
        return escape_unsafe(msgspec.json.encode(metadata))
    except (ValueError, TypeError):  # halves of surrogate pairs
        return json.dumps(json.loads(encode_object(as_mapping(metadata)))).encode()


def decode_metadata(content: bytes) -> Metadata | None:
    """
    Read it back; None if it is none of ours.
    """
    return _if_ours(decode_json(content, Metadata, strict=False))


def _if_ours(metadata: Metadata | None) -> Metadata | None:
    """Any JSON object can be read as metadata. Ours names a session, or if that was damaged, its files."""
    return metadata if metadata is not None and (metadata.session or metadata.files) else None


def as_mapping(metadata: Metadata) -> Mapping[str, Any]:
    """
    The metadata as a plain mapping, in the order of the file.
    """
    return {name: getattr(metadata, name) for name in Metadata.__struct_fields__}
