"""
Exporters by name: each writes lines in another shape. Packages add theirs by an entry point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.escaping import escape_json
from sessionlog_handlers.formats.jsonl import JsonLinesFormat
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.reading.readable import readable_line, readable_traceback
from sessionlog_handlers.settings.values import did_you_mean

ENTRY_POINTS = "sessionlog_handlers.exporters"

ExportFunction: TypeAlias = Callable[[Iterable[Line], BinaryIO], None]


@dataclass(frozen=True, slots=True)
class Exporter:
    """
    A shape that lines can be written in.

    Args:
        name: What it is asked for by.

        function: Takes the lines and a binary stream, and writes them there as they come.

        description: One sentence for those who choose.

    .. versionadded:: 0.1.0
    """

    name: str
    function: ExportFunction
    description: str = ""

    def export(self, lines: Iterable[Line], stream: BinaryIO) -> None:
        """Write *lines* to *stream*."""
        self.function(lines, stream)


_registered: dict[str, Exporter] = {}


def register_exporter(name: str, function: ExportFunction, *, description: str = "") -> None:
    """
    Add an exporter, or replace the one of that name.

    A package makes its own known without a call by an entry point of the group ``sessionlog_handlers.exporters``, whose
    name is the exporter's and whose object is the function; the first line of its docstring is the description.

    Args:
        name: What it will be asked for by, such as ``csv``.

        function: Takes an iterable of `Line` and a binary stream, and writes the lines there as they come.

        description: One sentence for those who choose. (default: none)

    Raises:
        ConfigurationError: If the name is empty or *function* can't be called.

    .. versionadded:: 0.1.0
    """
    if not str(name or "").strip():
        raise ConfigurationError(f"{name!r} can't name an exporter; give it a text that is not empty")
    if not callable(function):
        raise ConfigurationError(f"the exporter {name!r} is {type(function).__name__}, which can't be called")
    _registered[name] = Exporter(name, function, description)


def exporter(name: str) -> Exporter:
    """
    The exporter of that name.

    Raises:
        ConfigurationError: If there is none, or its package can't be loaded; the text lists those that there are.
    """
    found = _registered.get(name) or _load(name)
    if found is None:
        names = exporter_names()
        hint = did_you_mean(name, names)
        raise ConfigurationError(f"there is no exporter {name!r}; choose one of {', '.join(names)}{hint}")
    return found


def exporter_names() -> list[str]:
    """
    The names of all exporters, sorted. Nothing is loaded for it.
    """
    from importlib.metadata import entry_points  # slower to import than all of this module

    return sorted({*_registered, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def exporters() -> list[Exporter]:
    """
    All exporters by name. Those of other packages that can't be loaded are left out.
    """
    found = []
    for name in exporter_names():
        try:
            found.append(exporter(name))
        except ConfigurationError:
            continue
    return found


def _load(name: str) -> Exporter | None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        try:
            function = point.load()
        except Exception as error:  # a package of others, which may fail in any way
            raise ConfigurationError(f"the exporter {name!r} of {point.value} can't be loaded: {error!r}") from error
        description = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
        register_exporter(name, function, description=description)
        return _registered[name]
    return None


def _export_jsonl(lines: Iterable[Line], stream: BinaryIO) -> None:
    line_format = JsonLinesFormat(max_record_bytes=0)
    for line in lines:
        # Whoever lets it run on a terminal is safe, and for a program the escapes mean the same.
        text = line_format.format(line).decode("utf-8").rstrip("\n")
        stream.write(escape_json(text).encode("utf-8") + b"\n")


def _export_text(lines: Iterable[Line], stream: BinaryIO) -> None:
    for line in lines:
        shown = [readable_line(line), *readable_traceback(line)]
        stream.write("\n".join(shown).encode("utf-8") + b"\n")


register_exporter("jsonl", _export_jsonl, description="JSON Lines, whatever format the log itself has.")
register_exporter("text", _export_text, description="One line of text for each, as `sessionlog show` has it.")
