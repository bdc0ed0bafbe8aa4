"""
Change the configuration of a running app: edit the file, and the app follows; break it, and it says so and goes on.
"""

import logging
import shutil
import time
from pathlib import Path

from sessionlog_handlers import start_session, watch

path = Path("example-reload.yaml")
shutil.copy(Path(__file__).with_name("reload.yaml"), path)
log = logging.getLogger("app")


def wait_for(condition):
    """An app would not wait; this one has to show what happens."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def edit(old, new):
    """What somebody does to the file with an editor."""
    path.write_text(path.read_text().replace(old, new))


with watch(path, interval=0.05) as watching, start_session() as session:
    log.debug("not kept at %s", session.level)

    edit("signals", "full")
    wait_for(lambda: watching.reloads)
    log.debug("kept at %s", session.level)

    edit("session_level", "session_levle")
    wait_for(lambda: watching.errors)
    log.debug("kept at %s, by the old configuration", session.level)
    print(watching.last_error)

session.flush()
print(session.log_path.read_text(), end="")
