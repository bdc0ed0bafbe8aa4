"""
One configuration in the place of another: all is made first, then the loggers change over, then the old is closed.

The standard library closes all handlers first and takes them off a logger before it puts others on. What other threads
log meanwhile is lost there, and so is the old configuration if the new one turns out to be impossible half-way.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from sessionlog_handlers.config.changeover import LoggerState, change_over, let_pass
from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.pipeline.lifecycle import Trial, load_writing
from sessionlog_handlers.pipeline.report import Reporter
from sessionlog_handlers.settings.values import join_path

_PARTS = ("formatters", "filters", "handlers")  # the sections of what is made
_NAMING = ("class", "()", "queue", "listener")  # keys whose text is a dotted name; the last two of a queue handler

_OURS = "sessionlog_handlers.handlers"  # loaded where a handler of ours is named, or was made

_UNSAID = -1  # a level that is none
_UNMADE = " not configured yet"  # how the standard library says that a handler refers to one that is made later

_logging: Any = logging  # what it keeps for itself, and `dictConfig` works on, has no types
_reporter = Reporter()


class _Setting(NamedTuple):
    """
    What a configuration made of a logger.
    """

    before: LoggerState
    after: LoggerState


# By logger: what the last version of a configuration made of it, so that the next one takes back what it says no more.
Ledger = dict[logging.Logger, _Setting]


def apply(document: Mapping[str, Any], ledger: Ledger | None = None) -> None:
    """
    Put a configuration in the place of the one in force, as a whole or not at all.

    It means what it means to :func:`logging.config.dictConfig`. While it changes over, no record is left out that both
    configurations take.

    Args:
        document: What `logging.config.dictConfig` would get, and what was found right in it.

        ledger: What an earlier version of this configuration did, to be replaced by what this one does. What that one
            set and this one does not name is taken back. (default: it stays, as with `dictConfig`)

    Raises:
        ConfigurationError: If a part of it can't be made. Everything is then as it was.
    """
    _Configurator(dict(document), {} if ledger is None else ledger).configure()


class _Configurator(logging.config.DictConfigurator):
    """
    The standard library's, which makes the parts; when they take effect is decided here.
    """

    def __init__(self, document: dict[str, Any], ledger: Ledger) -> None:
        super().__init__(document)
        self._ledger = ledger

    def configure(self) -> None:
        """Apply the configuration."""
        if not self.config.get("incremental"):
            self._load({section: self.config.get(section) for section in _PARTS}, set())
            if _OURS in sys.modules:
                load_writing()
        with _logging._lock:
            if self.config.get("incremental"):
                self._configure_levels()
                return
            registered = _Registered()
            try:
                with Trial() as trial:
                    self._make_parts()
                    plan, named = self._plan()
                    trial.accept()
            except BaseException:
                registered.come_back()
                raise
            change_over(plan)
            self._ledger.clear()
            self._ledger.update({logger: _Setting(base, plan[logger]) for logger, base in named.items()})
        trial.settle()
        let_pass()  # with an old handler, to which it must still be open
        registered.close_unused(self.config.get("handlers", {}))

    def _configure_levels(self) -> None:
        for name in self.config.get("handlers", {}):
            if name not in _logging._handlers:
                raise ConfigurationError("no handler has that name now", join_path("handlers", name))
        super().configure()  # only sets levels, each of which was found right

    def _load(self, value: Any, seen: set[int]) -> None:
        """
        Import what is named anywhere in it. Once `logging`'s lock is held, an import would wait for other threads that
        import the same module, and they for the lock, since nearly every module makes a logger.
        """
        if not isinstance(value, dict | list | tuple) or id(value) in seen:
            return
        seen.add(id(value))
        for key in value if isinstance(value, dict) else range(len(value)):
            with suppress(Exception):  # whoever makes the part will tell of it
                inner = value[key]
                if key in _NAMING and isinstance(inner, str):
                    self.resolve(inner)
                self._load(inner, seen)

    # -- what is made ------------------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        makers: dict[str, Any] = {"formatters": self.configure_formatter, "filters": self.configure_filter}
        for section, make in makers.items():
            parts = self.config.get(section, {})
            for name in parts:
                with _naming(section, name):
                    parts[name] = make(parts[name])
        handlers = self.config.get("handlers", {})
        waiting = []  # for others that they refer to
        for name in sorted(handlers):
            try:
                self._make_handler(handlers, name)
            except Exception as error:
                if _UNMADE not in str(error.__cause__):
                    raise _unable(error, "handlers", name) from error
                waiting.append(name)
        for name in waiting:
            with _naming("handlers", name):
                self._make_handler(handlers, name)

    def _make_handler(self, handlers: dict[str, Any], name: str) -> None:
        handler = self.configure_handler(handlers[name])
        handler.name = name
        handlers[name] = handler

    # -- what changes ------------------------------------------------------------------------------------------------

    def _plan(self) -> tuple[dict[logging.Logger, LoggerState], dict[logging.Logger, LoggerState]]:
        """How every logger is to stand that changes; and those that are named, as they stand without this version."""
        configs: dict[tuple[str, ...], Any] = {
            (name,): config for name, config in self.config.get("loggers", {}).items()
        }
        if self.config.get("root"):
            configs[()] = self.config["root"]
        drafts = {path: self._draft(config, path) for path, config in configs.items()}
        plan = {logger: self._without_ours(logger) for logger in self._ledger}
        self._plan_others(plan, {name for path in configs for name in path})
        named = {}
        for path, draft in drafts.items():
            logger = logging.getLogger(*path)
            named[logger] = self._without_ours(logger)
            plan[logger] = self._complete(self._without_ours(logger), draft, configs[path])
        return plan, named

    def _draft(self, config: Any, path: tuple[str, ...]) -> logging.Logger:
        with _naming(*(("loggers", *path) if path else ("root",))):
            draft = _Draft("draft", _UNSAID)
            self.common_logger_config(draft, config)
            return draft

    def _plan_others(self, plan: dict[logging.Logger, LoggerState], names: set[str]) -> None:
        """The loggers that are there and not named: disabled or not, or, below a named one, left to that."""
        disable = bool(self.config.get("disable_existing_loggers", True))
        for name, logger in logging.root.manager.loggerDict.items():
            if name in names or not isinstance(logger, logging.Logger):
                continue
            state = plan.setdefault(logger, LoggerState.of(logger))
            if any(name.startswith(f"{other}.") for other in names):
                state.level, state.handlers, state.propagate = logging.NOTSET, [], True
            else:
                state.disabled = disable

    def _without_ours(self, logger: logging.Logger) -> LoggerState:
        """How a logger would stand without the last version. What the app has changed since then is left alone."""
        now = LoggerState.of(logger)
        if logger in self._ledger:
            before, after = self._ledger[logger]
            now.level = before.level if now.level == after.level else now.level
            now.propagate = before.propagate if now.propagate == after.propagate else now.propagate
            now.handlers = [handler for handler in now.handlers if handler not in after.handlers]
            now.filters = [one for one in now.filters if one in before.filters or one not in after.filters]
        return now

    @staticmethod
    def _complete(state: LoggerState, draft: logging.Logger, config: Mapping[str, Any]) -> LoggerState:
        """The state with what is said of the logger. Its handlers are those that are named, and no others."""
        state.level = state.level if draft.level == _UNSAID else draft.level
        state.handlers = draft.handlers
        state.filters += [one for one in draft.filters if one not in state.filters]
        propagate = config.get("propagate")
        state.propagate = state.propagate if propagate is None else propagate
        state.disabled = False
        return state


class _Draft(logging.Logger):
    """
    A logger that nobody finds: what a configuration says of the one that it stands for.
    """

    def setLevel(self, level: int | str) -> None:
        """Leave alone what other loggers remember of levels."""
        self.level = _logging._checkLevel(level)


class _Registered:
    """
    The handlers that `logging` knows, before others are made. `logging`'s module lock is held.
    """

    def __init__(self) -> None:
        self._names: dict[str, logging.Handler] = dict(_logging._handlers.items())  # they may vanish meanwhile
        self._references: list[Any] = [*_logging._handlerList]

    def come_back(self) -> None:
        """
        Close those that were made since, and give the names back.
        """
        known = {id(reference) for reference in self._references}
        made = [reference for reference in _logging._handlerList if id(reference) not in known]
        for reference in reversed(made):
            _close(reference)
        _logging._handlers.clear()
        _logging._handlers.update(self._names)
        _logging._handlerList[:] = [reference for reference in _logging._handlerList if id(reference) in known]

    def close_unused(self, made: Mapping[str, logging.Handler]) -> None:
        """
        Close those that nothing uses any more. The lock is not held: it takes its time, and others log meanwhile.
        """
        used = {id(handler) for handler in _in_use(made.values())}
        for reference in reversed(self._references):
            handler = reference()
            if handler is None or id(handler) in used:
                continue
            _close(reference)
            with _logging._lock:
                if reference in _logging._handlerList:
                    _logging._handlerList.remove(reference)
                if handler.name in made:  # closing has taken the name from its successor
                    _logging._handlers[handler.name] = made[handler.name]


def _in_use(made: Iterable[logging.Handler]) -> Iterator[logging.Handler]:
    """The handlers just made, those that enabled loggers have, and those behind them."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    attached = [one.handlers for one in loggers if isinstance(one, logging.Logger) and not one.disabled]
    waiting: list[Any] = [*made, *(handler for handlers in attached for handler in handlers), logging.lastResort]
    seen: set[int] = set()
    while waiting:
        handler = waiting.pop()
        if isinstance(handler, logging.Handler) and id(handler) not in seen:
            seen.add(id(handler))
            yield handler
            waiting.append(getattr(handler, "target", None))  # of a memory handler
            waiting += getattr(getattr(handler, "listener", None), "handlers", ())  # of a queue handler


def _close(reference: Any) -> None:
    try:
        logging.shutdown([reference])
    except Exception as error:  # of a handler of another package; the new configuration is in force
        _reporter.report(f"close {error!r:.100}", f"{reference()!r} could not be closed: {error!r}")


@contextmanager
def _naming(*path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _unable(error, *path) from error


def _unable(error: Exception, *path: str) -> ConfigurationError:
    """The same failure with its key and its cause, not the standard library's wrapping."""
    cause = error
    while isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, ConfigurationError):
        return ConfigurationError(cause.message, join_path(*path, cause.key))
    return ConfigurationError(f"it can't be made: {str(cause) or type(cause).__name__}", join_path(*path))
