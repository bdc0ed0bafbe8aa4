"""
Change what a session keeps while it runs: from the app, and from another process as `sessionlog level` does it.
"""

import logging
import subprocess
import sys
import time

from sessionlog_handlers import SessionLevel, configure, start_session

configure(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"sessions": {"class": "sessionlog_handlers.SessionHandler", "directory": "example-logs"}},
        "root": {"level": "DEBUG", "handlers": ["sessions"]},
    }
)
log = logging.getLogger("app")

with start_session() as session:
    log.debug("not kept at %s", session.level)
    session.set_level("full")
    log.debug("kept at %s", session.level)

    session.flush()  # so that its files are there for the other process
    subprocess.run([sys.executable, "-m", "sessionlog_handlers", "level", session.id, "spawns"], check=True)
    deadline = time.monotonic() + 5
    while session.level is not SessionLevel.SPAWNS and time.monotonic() < deadline:
        time.sleep(0.05)
    log.error("not kept at %s", session.level)

session.flush()
print(session.log_path.read_text(), end="")
