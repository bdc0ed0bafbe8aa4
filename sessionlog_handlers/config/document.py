"""
A whole `dictConfig` document, checked before any of it is applied: references, names, levels, and the settings of ours.
"""

from __future__ import annotations

import inspect
import logging
import logging.config
import logging.handlers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.formats.escaping import make_visible
from sessionlog_handlers.levels import SessionLevel
from sessionlog_handlers.settings.keys import KEYS
from sessionlog_handlers.settings.model import Settings
from sessionlog_handlers.settings.values import did_you_mean, join_path, no_name, parse_size, show

SESSION_HANDLER = frozenset({"sessionlog_handlers.SessionHandler", "sessionlog_handlers.handlers.SessionHandler"})

TOP_LEVEL_KEYS = (
    "version",
    "incremental",
    "disable_existing_loggers",
    "formatters",
    "filters",
    "handlers",
    "loggers",
    "root",
)
LOGGER_KEYS = ("level", "handlers", "filters", "propagate")

# What dictConfig itself takes from a handler's mapping; the rest are its arguments.
_OWN_KEYS = frozenset({"class", "()", "formatter", "level", "filters", "."})
_SESSION_LEVELS = frozenset(level.value for level in SessionLevel)
MAX_LEVELS = 100  # of mappings and lists in each other
MAX_VALUES = 100_000  # of a whole document, what aliases stand for written out

_OWN_PREFIX = "x-"  # a place for anchors
_CFG_REFERENCE = re.compile(r"cfg://(\w+)")


@dataclass(slots=True)
class Findings:
    """
    What is wrong with a document, and what its author may have meant otherwise.
    """

    problems: list[ConfigurationError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, message: str, *path: str) -> None:
        """Note a problem of the key at *path*."""
        self.problems.append(ConfigurationError(message, join_path(*path)))


def examine_document(document: object, environ: Mapping[str, str] | None = None) -> Findings:
    """
    Check a document for `logging.config.dictConfig`. Nothing is configured; classes that it names are imported.
    """
    findings = Findings()
    if not isinstance(document, Mapping):
        findings.add(f"a configuration is a mapping, and this is {type(document).__name__}")
        return findings
    try:
        _measure(document, "", {}, [])
    except ConfigurationError as error:
        findings.problems.append(error)
        return findings
    _examine_values(document, findings)
    before = len(findings.problems)
    _examine_shape(document, findings)
    if len(findings.problems) == before:
        filled = _fill_in(document, findings)
        if len(findings.problems) == before:
            _Document(filled, findings, environ).examine()
    return findings


def _measure(value: Any, path: str, known: dict[int, tuple[int, int, Any]], within: list[int]) -> tuple[int, int]:
    """
    How many values there are, written out, and how many levels. YAML's aliases can make both endless of a few lines.
    """
    if not isinstance(value, Mapping | list | tuple):
        return 1, 0
    if id(value) in within:
        raise ConfigurationError("it contains itself", path)
    if id(value) not in known:
        size = height = 0
        within.append(id(value))
        if len(within) <= MAX_LEVELS:
            for key in value if isinstance(value, Mapping) else range(len(value)):
                inner = value[key] if not isinstance(value, dict | list | tuple) else _plain_item(value, key)
                inner_size, inner_height = _measure(inner, join_path(path, str(key)), known, within)
                size, height = size + inner_size, max(height, inner_height)
        within.pop()
        known[id(value)] = size + 1, height + 1, value  # which keeps its id from being another's
    size, height, _ = known[id(value)]
    if len(within) + height > MAX_LEVELS:
        raise ConfigurationError(f"it is nested too deeply; the most is {MAX_LEVELS} levels", path)
    if size > MAX_VALUES:
        raise ConfigurationError(f"it is too large; the most is {MAX_VALUES} values, aliases written out", path)
    return size, height


def _plain_item(value: Any, key: Any) -> Any:
    """An entry as it is: dictConfig's own containers would look up ext:// and cfg:// values."""
    return next(kind for kind in _CONTAINERS if isinstance(value, kind)).__getitem__(value, key)


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for key in value if isinstance(value, Mapping) else range(len(value)):
            yield from _texts_of(_plain_item(value, key) if isinstance(value, _CONTAINERS) else value[key])


def _examine_values(document: Mapping[str, Any], findings: Findings) -> None:
    if "version" not in document:
        findings.add("the configuration needs 'version: 1'")
    elif document["version"] != 1 or isinstance(document["version"], bool):
        findings.add(f"{show(document['version'])} is not a version that logging knows; write 1", "version")
    for key in ("incremental", "disable_existing_loggers"):
        if not isinstance(document.get(key, False), bool):
            findings.add(f"{show(document[key])} is neither true nor false", key)


def _examine_shape(document: Mapping[str, Any], findings: Findings) -> None:
    referred = {name for text in _texts_of(document) for name in _CFG_REFERENCE.findall(text)}
    names: Iterable[object] = document
    for key in names:
        if not isinstance(key, str):
            findings.add(no_name(key, "section"))
        elif key not in TOP_LEVEL_KEYS and key not in referred and not str(key).startswith(_OWN_PREFIX):
            hint = did_you_mean(key, TOP_LEVEL_KEYS) or f"; a configuration has {', '.join(TOP_LEVEL_KEYS)}"
            findings.add(f"no such section{hint}", str(key))
    for section in ("formatters", "filters", "handlers", "loggers"):
        value = document.get(section, {})
        if not isinstance(value, Mapping):
            findings.add(f"{show(value)} is not a mapping of names", section)
            continue
        for name in value:
            if not isinstance(value[name], Mapping):
                findings.add(f"{show(value[name])} is not a mapping", section, str(name))
    if not isinstance(document.get("root", {}), Mapping):
        findings.add(f"{show(document['root'])} is not a mapping", "root")


# Arguments of our other handlers that mean what the keys of `SessionHandler` mean.
_OUR_ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "maxBytes": parse_size,
    "when": KEYS["when"].parse,
    "file_mode": KEYS["file_mode"].parse,
}

_CONTAINERS: tuple[Any, ...] = (dict, list, tuple)


def _fill_in(document: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """
    The document with its ext:// and cfg:// values filled in by the standard library's own class, which applies nothing.
    """

    def fill(value: Any, path: str, within: tuple[int, ...]) -> Any:
        if not isinstance(value, _CONTAINERS) or id(value) in within:
            return value
        keys = value if isinstance(value, dict) else range(len(value))
        filled = {}
        for key in keys:
            inner_path = join_path(path, str(key))
            try:
                filled[key] = fill(value[key], inner_path, (*within, id(value)))
            except Exception:  # ext:// imports, and a module that is imported may raise anything
                findings.add(f"{show(_plain_item(value, key))} leads nowhere", inner_path)
        return filled if isinstance(value, dict) else list(filled.values())

    return cast(dict[str, Any], fill(logging.config.DictConfigurator(dict(document)).config, "", ()))


class _Document:
    """
    The sections of a document whose outer shape is right.
    """

    def __init__(self, document: Mapping[str, Any], findings: Findings, environ: Mapping[str, str] | None) -> None:
        self._document = document
        self._resolver = logging.config.DictConfigurator({})
        self._findings = findings
        self._environ = environ
        self._directories: dict[Path, str] = {}

    def examine(self) -> None:
        incremental = self._document.get("incremental", False)
        for name, handler in self._section("handlers"):
            self._examine_level(handler, "handlers", name)
            if not incremental:
                self._examine_handler(name, handler)
        for section in ("formatters", "filters"):
            for name, entry in self._section(section):
                self._examine_factory(section, name, entry)
        for name, logger in self._section("loggers"):
            self._examine_logger(logger, "loggers", name)
        self._examine_logger(self._document.get("root") or {}, "root")

    def _section(self, section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        entries = self._document.get(section) or {}
        for name in entries:
            yield name, entries[name]

    def _examine_handler(self, name: str, handler: Mapping[str, Any]) -> None:
        self._examine_references(handler, "filters", "handlers", name)
        self._examine_reference(handler.get("formatter"), "formatters", "handlers", name, "formatter")
        target = handler.get("()", handler.get("class"))
        if target is None:
            self._findings.add("it has neither 'class' nor '()'", "handlers", name)
        elif _is_session_handler(target):
            self._examine_session_handler(name, handler)
        else:
            self._examine_foreign_handler(name, handler, target)

    def _examine_session_handler(self, name: str, handler: Mapping[str, Any]) -> None:
        options = {key: handler[key] for key in handler if key not in _OWN_KEYS}
        examined = Settings.examine(options, key_prefix=f"handlers.{name}", environ=self._environ)
        self._findings.problems += examined.problems
        self._findings.warnings += examined.warnings
        if examined.settings:
            self._note_directory(name, examined.settings)

    def _note_directory(self, name: str, settings: Settings) -> None:
        other = self._directories.setdefault(settings.directory, name)
        if other != name:
            self._findings.warnings.append(
                f"handlers.{name}.directory is that of handlers.{other} too; one decides for all its sessions"
            )

    def _examine_foreign_handler(self, name: str, handler: Mapping[str, Any], target: object) -> None:
        key = "()" if "()" in handler else "class"
        factory = self._resolve(target, "handlers", name, key)
        if key == "class" and factory is not None and not _makes_handlers(factory):
            hint = "" if isinstance(factory, type) else "; a function that makes one is written as '()'"
            self._findings.add(f"{show(target)} is not a handler's class{hint}", "handlers", name, key)
            return
        for key in ("target", "handlers"):
            # A memory or queue handler refers to others. Their arguments are made by dictConfig, so they end here.
            if key in handler and isinstance(factory, type) and issubclass(factory, _REFERRING):
                self._examine_references(handler, key, "handlers", name, section="handlers")
        if factory is None or (isinstance(factory, type) and issubclass(factory, _REFERRING)):
            return
        self._examine_arguments(factory, [key for key in handler if key not in _OWN_KEYS], "handlers", name)
        if str(getattr(factory, "__module__", "")).startswith("sessionlog_handlers."):
            for key in _OUR_ARGUMENTS.keys() & handler.keys():
                self._examine_value(_OUR_ARGUMENTS[key], handler[key], "handlers", name, key)

    def _examine_value(self, parse: Callable[[Any], Any], value: object, *path: str) -> None:
        try:
            parse(value)
        except ConfigurationError as error:
            self._findings.add(error.message, *path, error.key)

    def _examine_arguments(self, factory: Callable[..., Any], names: Iterable[str], *path: str) -> None:
        try:
            parameters = inspect.signature(factory).parameters.values()
        except (TypeError, ValueError):
            return
        known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        given = list(names)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            for name in given:
                if name not in known:
                    hint = did_you_mean(name, known) or (f"; it takes {', '.join(known)}" if known else "")
                    self._findings.add(f"{_name_of(factory)} takes no such argument{hint}", *path, str(name))
        for one in parameters:
            if one.name in known and one.default is one.empty and one.name not in given:
                self._findings.add(f"{_name_of(factory)} needs {one.name!r}, which is missing", *path)

    def _examine_factory(self, section: str, name: str, entry: Mapping[str, Any]) -> None:
        for key in ("()", "class"):
            if key in entry:
                factory = self._resolve(entry[key], section, name, key)
                if key == "()" and factory is not None and "format" not in entry:
                    self._examine_arguments(factory, [name for name in entry if name not in ("()", ".")], section, name)
                return

    def _examine_logger(self, logger: Mapping[str, Any], *path: str) -> None:
        for key in logger:
            if key not in LOGGER_KEYS:
                hint = did_you_mean(key, LOGGER_KEYS) or f"; a logger has {', '.join(LOGGER_KEYS)}"
                self._findings.add(f"no such key{hint}", *path, str(key))
        if not isinstance(logger.get("propagate", True), (bool, type(None))):
            self._findings.add(f"{show(logger['propagate'])} is neither true nor false", *path, "propagate")
        self._examine_level(logger, *path)
        self._examine_references(logger, "handlers", *path)
        self._examine_references(logger, "filters", *path)

    def _examine_level(self, mapping: Mapping[str, Any], *path: str) -> None:
        level = mapping.get("level")
        names = logging.getLevelNamesMapping()
        if level is None or (isinstance(level, int) and not isinstance(level, bool)) or str(level) in names:
            return
        if path[0] == "handlers" and str(level) in _SESSION_LEVELS:
            hint = "; how much a session keeps is 'session_level'"
        else:
            hint = did_you_mean(level, names) or f"; choose one of {', '.join(names)}"
        self._findings.add(f"{show(level)} is not a level that logging knows{hint}", *path, "level")

    def _examine_references(self, mapping: Mapping[str, Any], key: str, *path: str, section: str = "") -> None:
        names = mapping.get(key)
        if key == "target":
            names = [names]
        if isinstance(names, str):
            self._findings.add(f"{show(names)} is not a list; write [{show(names)[1:-1]}]", *path, key)
        elif names is not None and not isinstance(names, (list, tuple)):
            self._findings.add(f"{show(names)} is not a list of names", *path, key)
        else:
            for name in names or ():
                self._examine_reference(name, section or key, *path, key)

    def _examine_reference(self, name: object, section: str, *path: str) -> None:
        if not name or not isinstance(name, str):
            return  # none, or an object, from ext:// or from code
        known = self._document.get(section) or {}
        if name not in known:
            hint = did_you_mean(name, known) or (f"; there are {', '.join(known)}" if known else "; there are none")
            self._findings.add(f"{show(name)} is not one of the {section}{hint}", *path)

    def _resolve(self, target: object, *path: str) -> Callable[..., Any] | None:
        if callable(target):
            return target
        if not isinstance(target, str):
            self._findings.add(f"{show(target)} is not the dotted name of a class", *path)
            return None
        try:
            found = self._resolver.resolve(target)
        except Exception as error:  # a module that is imported may raise anything
            reason = make_visible(str(error.__cause__ or error))
            self._findings.add(f"{show(target)} can't be imported: {reason:.200}{self._hint_for(target)}", *path)
            return None
        if callable(found):
            return found  # type: ignore[no-any-return]  # typeshed gives Any for what was imported
        self._findings.add(f"{show(target)} can't be called", *path)
        return None

    def _hint_for(self, target: str) -> str:
        module_name, _, name = target.rpartition(".")
        try:
            module = self._resolver.resolve(module_name)
        except Exception:  # as above
            return ""
        return did_you_mean(name, getattr(module, "__all__", dir(module)))


def _makes_handlers(factory: object) -> bool:
    # All that dictConfig asks of a handler; it need not be a `logging.Handler`.
    return isinstance(factory, type) and hasattr(factory, "handle") and hasattr(factory, "setLevel")


_REFERRING = (logging.handlers.MemoryHandler, logging.handlers.QueueHandler)


def _is_session_handler(target: object) -> bool:
    name = target if isinstance(target, str) else f"{getattr(target, '__module__', '')}.{_name_of(target)}"
    return name in SESSION_HANDLER


def _name_of(factory: object) -> str:
    return str(getattr(factory, "__qualname__", factory))
