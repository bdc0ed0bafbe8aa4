"""
Carry a session into threads: a plain `Thread` starts without one, `bind` and `SessionExecutor` take it along.
"""

import logging
from threading import Thread

from sessionlog_handlers import SessionExecutor, bind, configure, current_session_id, start_session

configure(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "sessions": {
                "class": "sessionlog_handlers.SessionHandler",
                "directory": "example-logs",
                "session_level": "full",
            }
        },
        "root": {"level": "DEBUG", "handlers": ["sessions"]},
    }
)
log = logging.getLogger("app")


def work(name):
    log.info("%s works for %s", name, current_session_id())


with start_session() as session:
    for thread in (
        Thread(target=work, args=["a plain thread"]),  # of no session: its record is counted as unrouted
        Thread(target=bind(work), args=["a bound thread"]),
    ):
        thread.start()
        thread.join()
    with SessionExecutor(max_workers=2) as pool:
        pool.submit(work, "a job")

session.flush()
print(session.log_path.read_text(), end="")
