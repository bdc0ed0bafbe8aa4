"""
Children of `multiprocessing`: a handler like their parent's, its session, and an end that loses nothing.

A forked child has its parent's handlers in its memory. One that is spawned, or comes from a fork server, is a new
interpreter: it gets a description of them, in the configuration that `multiprocessing` hands down by itself.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sessionlog_handlers import context, unhandled
from sessionlog_handlers.exceptions import SessionLogWarning
from sessionlog_handlers.formats.encoding import safe_repr
from sessionlog_handlers.pipeline import lifecycle
from sessionlog_handlers.pipeline.late import when_loaded
from sessionlog_handlers.pipeline.reasons import ends_with
from sessionlog_handlers.pipeline.report import Reporter

if TYPE_CHECKING:
    from sessionlog_handlers.context import HasId
    from sessionlog_handlers.handlers import SessionHandler

CONFIG_KEY = "sessionlog"  # in what `multiprocessing` hands down
AFTER_OTHERS = -100  # priority of our finalizer: what others do at the end may still log

_plain_kind: type[SessionHandler] | None = None  # the class of handlers; None until there is one


class _LoggerPlace(NamedTuple):
    """A logger that the handler hangs on."""

    name: str
    level: int
    propagate: bool


class _HandlerPlan(NamedTuple):
    """A handler as a child needs it. What may not be to be had there is pickled by itself."""

    kinds: list[bytes]  # its class, and the one to take instead
    place: str
    options: dict[str, bytes]
    name: str | None
    level: int
    filters: list[bytes]
    loggers: list[_LoggerPlace]


class _SessionPlan(NamedTuple):
    """A session that the child joins."""

    id: str
    place: str
    level: Any
    severity: int
    metadata: dict[str, Any]
    opened: float
    started: float
    own_level: bool
    own_severity: bool


class _Plan(NamedTuple):
    """All that a child gets: handlers, sessions, and the ids of the current and the default one."""

    handlers: list[_HandlerPlan]
    sessions: list[_SessionPlan]
    current: str | None
    default: str | None


class _Heritage:
    """
    Stands in the configuration that each process of `multiprocessing` copies from its parent.

    It is pickled when a child starts, in the thread that starts it, and unpickled first thing in the child.
    """

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return _take_over, (_pack(),)


def serve_children(plain_kind: type[SessionHandler]) -> None:
    """
    Let children of `multiprocessing` have what they need, as soon as the app loads that. Doing it twice does nothing.

    Args:
        plain_kind: The class of handlers, for those of a class that can't be had in a child.
    """
    global _plain_kind
    if _plain_kind is None:
        _plain_kind = plain_kind
        when_loaded("multiprocessing.process", _attach_to_process)
        when_loaded("multiprocessing.util", _attach_to_util)


def _attach_to_process(process: Any) -> None:
    """In each process: what its children get, and what is done where it is such a child itself."""
    process.current_process()._config[CONFIG_KEY] = _Heritage()
    begin = process.BaseProcess._bootstrap

    def bootstrap(self: Any, *args: Any, **others: Any) -> Any:
        with suppress(Exception):  # a class of the app's may refuse to be watched
            _watch_run(self)
        return begin(self, *args, **others)

    process.BaseProcess._bootstrap = bootstrap


def _attach_to_util(util: Any) -> None:
    """Have our say at the end of each process: a child leaves without exit functions, but runs these finalizers."""
    util.register_after_fork(lifecycle.at_exit, _begin_child)
    util.Finalize(None, lifecycle.at_exit, exitpriority=AFTER_OTHERS)


def _begin_child(_: object) -> None:
    """A child forgets its parent's finalizers before it calls this."""
    from multiprocessing.util import Finalize

    Finalize(None, lifecycle.at_exit, exitpriority=AFTER_OTHERS)


def _watch_run(process: Any) -> None:
    """Learn of what ends a child: it prints that by itself, and calls no hook."""
    own = vars(process)
    before = own.get("run")
    run = process.run

    def put_back() -> None:
        own.pop("run", None)
        if before is not None:
            own["run"] = before

    def watched() -> None:
        put_back()  # the instance may be pickled from now on, by a child that starts one of its own
        try:
            run()
        except BaseException as error:
            ends_with(error)
            unhandled.tell_current(error, "process", context.current(), process=process.name)
            raise

    own["run"] = watched
    if process.run is not watched:  # a property
        put_back()


# -- in the parent ---------------------------------------------------------------------------------------------------


def _pack() -> bytes:
    """The plan for a child that is about to start. Whatever fails, the child starts, if need be without a handler."""
    try:
        handlers = lifecycle.live_handlers()
        if not handlers:
            return b""
        for root in lifecycle.all_roots():
            root.before_fork()  # so that it is not the child that begins the session
        here, default = context.current(), context.current_in(None)
        found = {session.id: session for session in map(_open_session, (here, default)) if session is not None}
        plan = _Plan(
            [_describe(handler) for handler in handlers],
            [_describe_session(session) for session in found.values()],
            context.id_of(here),
            context.id_of(default),
        )
        return pickle.dumps(plan)
    except Exception as error:
        _report(f"a child process starts without a handler: {safe_repr(error):.200}")
        return b""


def _open_session(here: HasId | str | None) -> Any:
    """The session that runs here under that name."""
    if isinstance(here, str):
        here = next((root.sessions[here] for root in reversed(lifecycle.all_roots()) if here in root.sessions), None)
    return here if here is not None and not getattr(here, "closed", True) else None


def _describe_session(session: Any) -> _SessionPlan:
    return _SessionPlan(
        id=session.id,
        place=lifecycle.place_of(session.root.settings),
        level=session.session_level,
        severity=session.severity,
        metadata=session.app_metadata,
        opened=session.opened,
        started=session.started,
        own_level=session.own_level,
        own_severity=session.own_severity,
    )


def _describe(handler: SessionHandler) -> _HandlerPlan:
    settings = handler.settings
    options = {**handler.options, "directory": settings.directory}
    for name, value in options.items():
        now = getattr(settings, name, None)
        if isinstance(now, Path):  # where the child is, a relative path may be another one
            value = str(now)
        options[name] = _pickled(value, f"setting {name!r}")
    kinds = (_pickled(kind, f"class {kind!r}") for kind in (type(handler), _plain_kind))
    return _HandlerPlan(
        [kind for kind in kinds if kind],
        lifecycle.place_of(settings),
        {name: packed for name, packed in options.items() if packed},
        handler.name,
        handler.level,
        [packed for wanted in handler.filters if (packed := _pickled(wanted, "a filter"))],
        _places_of(handler),
    )


def _places_of(handler: SessionHandler) -> list[_LoggerPlace]:
    known = {"": logging.root, **logging.Logger.manager.loggerDict}
    loggers = [(name, logger) for name, logger in known.items() if isinstance(logger, logging.Logger)]
    return [
        _LoggerPlace(name, logger.level, logger.propagate) for name, logger in loggers if handler in logger.handlers
    ]


def _pickled(value: object, what: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:
        _report(f"{what} does not go along to child processes: {safe_repr(error):.200}")
        return b""


def _report(message: str) -> None:
    reporter = next((root.reporter for root in lifecycle.all_roots()), None) or Reporter()
    reporter.report(f"child {message}", message)


# -- in the child ----------------------------------------------------------------------------------------------------


def _take_over(packed: bytes) -> _Heritage:
    """Make what the plan says, and give what this process's own children will get."""
    try:
        if packed:
            _follow(pickle.loads(packed))
    except Exception as error:
        _report(f"this child process has no handler from its parent: {safe_repr(error):.200}")
    return _Heritage()


def _follow(plan: _Plan) -> None:
    own = {lifecycle.place_of(root.settings) for root in lifecycle.all_roots()}
    for handler in plan.handlers:
        if handler.place not in own:  # else this child's main module has configured that by itself
            _make(handler)
    sessions: dict[str, Any] = {}
    roots = {lifecycle.place_of(root.settings): root for root in lifecycle.all_roots()}
    for joined in plan.sessions:
        root = roots.get(joined.place)
        if root is not None:
            sessions[joined.id] = session = root.join(joined.id, joined.level, joined.severity, joined.metadata)
            session.opened, session.started = joined.opened, joined.started
            session.own_level, session.own_severity = joined.own_level, joined.own_severity
    if plan.default is not None and context.current_in(None) is None:
        context.set_default_session(sessions.get(plan.default, plan.default))
    if plan.current is not None:
        context.enter(sessions.get(plan.current, plan.current))


def _make(plan: _HandlerPlan) -> None:
    options = {name: _loaded(packed, f"setting {name!r}") for name, packed in plan.options.items()}
    options = {name: value for name, value in options.items() if value is not None}
    kinds = [kind for packed in plan.kinds if (kind := _loaded(packed, "the handler's class")) is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SessionLogWarning)  # the parent was warned
        try:
            handler = kinds[0](**options)
        except TypeError:  # a class with arguments of its own
            handler = kinds[-1](**options)
    handler.name = plan.name
    handler.setLevel(plan.level)
    for packed in plan.filters:
        wanted = _loaded(packed, "a filter")
        if wanted is not None:
            handler.addFilter(wanted)
    for name, level, propagate in plan.loggers:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        if logger.level == (logging.NOTSET if name else logging.WARNING):  # what the child has set by itself stays
            logger.setLevel(level)
            logger.propagate = propagate


def _loaded(packed: bytes, what: str) -> Any:
    """What was pickled by itself, or None: `__main__` of a program that is no file can't be had here, for example."""
    with suppress(Exception):
        return pickle.loads(packed)
    _report(f"{what} of the parent process is not to be had in this child")
    return None
