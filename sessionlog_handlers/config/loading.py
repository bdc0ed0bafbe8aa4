"""
From a YAML file to a mapping, with the place of each mistake. What the mapping means is checked elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.settings.values import show

if TYPE_CHECKING:
    import yaml


def load_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """
    Read a configuration file.

    Raises:
        ConfigurationError: If it can't be read or is no YAML mapping; the text has file, line and column.
    """
    return load_text(read_file(path), os.fspath(path))


def read_file(path: str | os.PathLike[str]) -> str:
    """
    The text of a configuration file.

    Raises:
        ConfigurationError: If it can't be read or is no text.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8-sig", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError(f"{name} can't be read: it is not a regular file")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{name} can't be read: {reason}") from error


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would wait for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def load_text(text: str, name: str = "the text") -> Mapping[str, Any]:
    """
    Read YAML; *name* says in errors where it came from.
    """
    try:
        import yaml
    except ImportError as error:
        raise ConfigurationError(
            "reading YAML needs PyYAML; install it (pip install PyYAML), or pass a mapping instead of a path"
        ) from error
    try:
        document = _load_once(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}{_place_of(error, text)}: {_reason_of(error)}") from error
    except RecursionError as error:  # a file that is all brackets
        raise ConfigurationError(f"{name}: it is nested too deeply") from error
    except ValueError as error:  # a date that is none
        raise ConfigurationError(f"{name}: {error}") from error
    if document is None:
        raise ConfigurationError(f"{name} is empty; it needs at least 'version: 1' and handlers")
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{name} holds {type(document).__name__}, not a mapping; begin with 'version: 1'")
    return document


def _load_once(text: str) -> Any:
    import yaml

    # yaml.safe_load keeps the last of two equal keys and says nothing.
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_doubles(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_doubles(node: yaml.Node, seen: set[int]) -> None:
    import yaml

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, Any]] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys and not key.tag.endswith(":merge"):
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {show(key.value)} is there twice", problem_mark=key.start_mark
                    )
                keys.add((key.tag, key.value))
            _refuse_doubles(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_doubles(value, seen)


def _place_of(error: yaml.YAMLError, text: str) -> str:
    import yaml

    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        return f", line {before.count(chr(10)) + 1}, column {error.position - before.rfind(chr(10))}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _reason_of(error: yaml.YAMLError) -> str:
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    reason = "; ".join(part for part in parts if part) or " ".join(str(error).split())
    if "'\\t'" in reason:
        reason += "; indent with spaces, YAML takes no tabs"
    return reason
