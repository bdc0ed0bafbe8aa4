"""
Events of your own: declared in YAML with their session level and audit side, logged by name with any fields.
"""

import logging
from pathlib import Path

from sessionlog_handlers import configure, start_session

configure(Path(__file__).with_suffix(".yaml"))

with start_session(level="full") as session:
    for number in range(100):
        session.event("heartbeat", number=number)
    session.event("build_finished", seconds=12.5)
    session.event("deploy", to="production", by="ada")
    # An ordinary record becomes an event by its `event` attribute, without an import of this package.
    logging.getLogger("app").info("again", extra={"event": "deploy", "event_data": {"to": "staging", "by": "grace"}})

session.flush()
print("session.log:")
print(session.log_path.read_text())
print("audit_user.log:")
print((session.directory / "audit_user.log").read_text(), end="")
