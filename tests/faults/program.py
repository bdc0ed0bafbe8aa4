"""
The logging program as a child sees it: its options, its handler, and the way to its end.

Run as ``python -m faults.program OPTIONS``, the options being a JSON object. What it logs is in `faults.programs`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from faults.acks import DONE, READY, Acks

if TYPE_CHECKING:
    from sessionlog_handlers import Session, SessionHandler

PAUSE = 0.0005  # seconds between two looks for the harness's word
PATIENCE = 60.0  # seconds that a program waits for it


class Job:
    """
    What a program is to do, and how it tells of it.

    Args:
        options: As the harness gave them.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.root: str = options["root"]
        self.acks = Acks(options["acks"])
        self.handler: SessionHandler | None = None
        self.at_last: list[Callable[[], object]] = []  # called when the package's own end is over
        atexit.register(self._leave)  # exit functions run in reverse order, and the package is not yet loaded

    def get(self, name: str, default: Any) -> Any:
        """
        An option.
        """
        return self.options.get(name, default)

    def make_handler(self, **settings: Any) -> SessionHandler:
        """
        The handler, with its threads already running: a tracer can be attached to each of them.
        """
        from sessionlog_handlers import SessionHandler

        self.handler = SessionHandler(self.root, **{**self.get("handler", {}), **settings})
        root = self.handler.root
        root.listener.start()
        root.keeper.submit(lambda: None, slow=True)
        root.syncer.start()
        return self.handler

    def ready(self) -> None:
        """
        Say that the program is, and wait for the word to go.
        """
        threads = {thread.name: thread.native_id for thread in threading.enumerate()}
        self.acks.note(threads=threads)
        self.acks["pid"] = os.getpid()
        self.acks["state"] = READY
        self.wait_for(1)

    def wait_for(self, step: int) -> None:
        """
        Wait until the harness has said *go* so many times.
        """
        deadline = time.monotonic() + PATIENCE
        while self.acks["go"] < step:
            if time.monotonic() > deadline:
                sys.exit("the harness never said go")
            time.sleep(PAUSE)

    def log(
        self, session: Session, index: int, first: int, last: int, call: Callable[[int], None] | None = None
    ) -> None:
        """
        Log the records *first* to *last* - 1 of a writer, by the job's options.

        Args:
            session: Where.

            index: Which writer of this program.

            first, last: The numbers.

            call: What logs a record, instead of an event of the session.
        """
        acks, writer = self.acks, self.acks["base"] + index
        every, durable = self.get("flush_every", 0), self.get("durable", False)
        event, text, pause = self.get("event", "state_change"), "x" * self.get("size", 60), self.get("pause", 0.0)
        acks.bind(index, session.id)
        whole = True  # everything so far was acknowledged
        for number in range(first, last):
            acks.attempt(index, number + 1)
            if call is not None:
                call(number)
            else:
                whole &= self._event(session, event, writer=writer, number=number, text=text)
            acks.accept(index, number + 1)
            if every and (number + 1) % every == 0:
                if session.flush(durable=durable):
                    acks.acknowledge(index, number + 1)
            elif self.get("waits", False) and whole:
                acks.acknowledge(index, number + 1)
            if pause:
                time.sleep(pause)

    def _event(self, session: Session, event: str, **data: Any) -> bool:
        from sessionlog_handlers import AuditWriteError

        try:
            session.event(event, **data)
        except AuditWriteError:
            return False
        return True

    def _leave(self) -> None:
        for call in self.at_last:
            call()
        if self.handler is not None:
            self.acks.note(stats=self.handler.stats())

    def finish(self) -> None:
        """
        End all sessions as the process's end would, and leave the last counters.
        """
        from sessionlog_handlers.pipeline import lifecycle

        lifecycle.close_all()
        self.acks["state"] = DONE


def main() -> None:
    """
    Run the program that the options name.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    options = json.loads(sys.argv[1])
    job = Job(options)
    if options.get("calls"):
        from faults import calls

        calls.install(options["calls"], job.acks)  # first: the package keeps some of the functions
    if options.get("broken"):
        from faults import broken

        broken.install(options["broken"])
    module, function = options["program"].rsplit(".", 1)
    getattr(importlib.import_module(f"faults.programs.{module}"), function)(job)


if __name__ == "__main__":
    main()
