"""
Which files a session has: a layout by name, or its files spelled out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.layouts import LAYOUTS, TAKES, FileSpec, Layout, Takes
from sessionlog_handlers.settings.values import (
    parse_choice,
    parse_fields,
    parse_mapping,
    parse_text,
    parse_within,
    show,
)

FORMATS = ("jsonl", "fugue", "text", "event_line", "pty")

CUSTOM = "custom"  # the name of a layout whose files are spelled out
_FILES_SHAPE = "{session.log: level, audit.log: {format: jsonl, takes: user}}"
_PLACEHOLDER = re.compile(r"\{[^}]*\}|[{}]")
_SLOT = re.compile(r"\.\d+(\.gz)?$")


def parse_layout(value: object) -> Layout:
    """
    Read a layout by its name.
    """
    if isinstance(value, Layout):
        return value
    return LAYOUTS[parse_choice(value, LAYOUTS)]


def parse_files(value: object) -> Layout:
    """
    Read a session's files, spelled out as NAME: TAKES or NAME: {format, takes}; the first is the session's log.

    A NAME without ``{id}`` is below ``{id}/``.

    Raises:
        ConfigurationError: If a path leaves the root, does not tell sessions apart, or clashes with another file.
    """
    files = parse_mapping(value, _FILES_SHAPE)
    if not files:
        raise ConfigurationError("a session needs at least one file; leave the key out for those of the layout")
    specs = tuple(parse_within(name, partial(_parse_file, name), files[name]) for name in files)
    flat = not any(spec.path.startswith("{id}/") for spec in specs)
    layout = Layout(CUSTOM, specs, metadata=".sessions/{id}/metadata.json" if flat else "{id}/metadata.json")
    _refuse_clashes([spec.path for spec in specs], layout.metadata)
    return layout


def _parse_file(name: str, value: object) -> FileSpec:
    path = _parse_file_path(name)
    if isinstance(value, str):
        value = {"takes": value}
    options = parse_fields(value, {"format": parse_format, "takes": _parse_takes}, "a file")
    return FileSpec(path, options.get("format", "jsonl"), options.get("takes", "level"))


def _parse_takes(value: object) -> Takes:
    return cast(Takes, parse_choice(value, TAKES))


def _parse_file_path(name: str) -> str:
    path = parse_text(name)
    if path.startswith(("/", "~")) or "\\" in path or re.match(r"[A-Za-z]:", path):
        raise ConfigurationError("a file's path is relative to the root and written with /")
    if "{id}" not in path:
        path = "{id}/" + path
    unknown = [found for found in _PLACEHOLDER.findall(path) if found != "{id}"]
    if unknown:
        raise ConfigurationError(f"{show(unknown[0])} can't be filled in; {{id}} is the only placeholder")
    parts = path.split("/")
    if ".." in parts:
        raise ConfigurationError("a file can't be above the root; leave out the '..'")
    if "" in parts or "." in parts:
        raise ConfigurationError("a part of the path is empty")
    if parts[-1] == "{id}":
        raise ConfigurationError("{id} alone is the session's directory; name the file, such as {id}.log")
    if parts[0].startswith(".") and parts[:2] != [".sessions", "{id}"]:
        raise ConfigurationError("names with a leading dot are the package's own at the root")
    return path


def _refuse_clashes(paths: Sequence[str], metadata: str) -> None:
    taken: set[str] = {metadata.casefold()}
    for path in paths:
        folded = path.casefold()
        if folded in taken:
            raise ConfigurationError(f"{show(path)} is there twice, or is the place of metadata.json")
        taken.add(folded)
    for path in paths:
        if _SLOT.sub("", path.casefold()) in taken - {path.casefold()}:
            raise ConfigurationError(f"{show(path)} is what a rotated file of its neighbour is called")
        if any(other.casefold().startswith(path.casefold() + "/") for other in (*paths, metadata)):
            raise ConfigurationError(f"{show(path)} can't be a file and a directory at once")


def choose_layout(default: Layout, values: dict[str, Any]) -> Layout:
    """
    The layout that the keys ``layout``, ``files``, ``format`` and ``audit`` make together.

    Raises:
        ConfigurationError: If no file is left.
    """
    layout: Layout = values.get("files") or values.get("layout") or default
    if "format" in values:
        first, *others = layout.files
        layout = replace(layout, files=(replace(first, format=values["format"]), *others))
    if values.get("audit", True):
        return layout
    without = layout.without_audit()
    if not without.files:
        raise ConfigurationError("every file is an audit file, so that none is left", "audit")
    return without


def parse_format(value: object) -> str:
    """
    Read the name of a line format.
    """
    return parse_choice(value, FORMATS)
