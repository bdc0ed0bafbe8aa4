"""
Code as a user writes it. `make types` checks it with ``mypy --strict``; nothing runs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import assert_type

import sessionlog_handlers
from sessionlog_handlers import (
    FULL,
    ConfigurationError,
    DiskMark,
    EventType,
    JsonLinesFormatter,
    Line,
    Session,
    SessionExecutor,
    SessionFilter,
    SessionHandler,
    SessionLevel,
    SessionNotFoundError,
    SessionRotatingFileHandler,
    Watch,
    bind,
    configure,
    current_session,
    current_session_id,
    read_path,
    read_session,
    set_default_session,
    start_session,
    use_session,
    watch,
)

logger = logging.getLogger(__name__)


def set_up(path: Path) -> None:
    try:
        configure(path)
    except ConfigurationError as error:
        logger.error("%s: %s", error.key, error.message)


def set_up_and_follow(path: Path) -> int:
    with watch(path, interval="500 ms", sighup=True) as following:
        assert_type(following, Watch)
        following.reload()
        logger.info("%s: %s", following.path, following.last_error)
    following = watch(str(path))
    following.stop()
    return following.reloads + following.errors


def on_mark(mark: DiskMark) -> None:
    if mark.passed:
        logger.error("%s: %s, %.0f %% are free", mark.directory, mark.name, 100 * mark.free / mark.total)


def watch_the_disk(directory: Path) -> logging.Handler:
    return SessionHandler(directory, marks={"warn": "1 GB", "suspend": "1%"}, on_mark=on_mark, flood={"rate": 1000})


def build_by_hand(directory: Path) -> logging.Handler:
    handler = SessionHandler(directory)
    handler.setLevel(FULL)
    handler.addFilter(SessionFilter())
    logging.getLogger().addHandler(handler)
    other = SessionRotatingFileHandler(directory / "app.log", maxBytes=1_000_000, backupCount=3)
    other.setFormatter(JsonLinesFormatter())
    return other


def serve(identifier: str) -> Path:
    with start_session(identifier, level="full", metadata={"user": "ada"}) as session:
        assert_type(session, Session)
        session.event("initial_prompt", text="hello", tokens=12)
        session.output(b"bytes of a terminal")
        session.input(b"\r")
        session.prompt("continue?")
        try:
            logger.info("ordinary record", extra={"key": "value"})
        except OSError as error:
            session.error(error)
        session.set_level(SessionLevel.PROMPTS)
        assert_type(session.id, str)
        assert_type(session.closed, bool)
        return Path(session.log_path)


def begin_and_end_by_hand() -> None:
    session = start_session()
    session.end("done")


def double(number: int) -> int:
    return number * 2


async def answer(text: str) -> str:
    return text


def in_other_threads(session: Session) -> int:
    bound: Callable[[int], int] = bind(double)
    with SessionExecutor(max_workers=2) as executor:
        future = executor.submit(bound, 21)
    with use_session(session):
        assert_type(current_session_id(), str | None)
        assert_type(current_session(), Session | None)
    set_default_session(session)
    set_default_session(None)
    return future.result()


def in_tasks() -> str:
    bound: Callable[[str], Awaitable[str]] = bind(answer)

    async def main() -> str:
        return await bound("yes")

    return asyncio.run(main())


def read(path: Path) -> list[str]:
    texts = []
    for line in read_path(path):
        assert_type(line, Line)
        texts.append(line.msg or line.event)
    try:
        texts += [line.event for line in read_session("abc123", directory=path.parent)]
    except SessionNotFoundError as error:
        texts.append(error.session_id)
    return texts


def describe() -> EventType:
    assert_type(sessionlog_handlers.__version__, str)
    return EventType("cache_filled", SessionLevel.SIGNALS, audit="system", durable=True)
