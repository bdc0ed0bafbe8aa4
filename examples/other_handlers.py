"""
Other handlers beside the sessions: `SessionFilter` gives their formats the session, and `JsonLinesFormatter` our lines.
"""

import logging

from sessionlog_handlers import configure, start_session

configure(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"session": {"()": "sessionlog_handlers.SessionFilter", "session_level": "prompts"}},
        "formatters": {
            "short": {"format": "%(levelname)-7s [%(session_id)s, %(session_level)s] %(message)s"},
            "json": {"()": "sessionlog_handlers.JsonLinesFormatter"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "filters": ["session"],  # on the handler: a filter on a logger misses the logger's children
                "formatter": "short",
            },
            "everything": {"class": "logging.FileHandler", "filename": "example-everything.jsonl", "formatter": "json"},
            "sessions": {"class": "sessionlog_handlers.SessionHandler", "directory": "example-logs"},
        },
        "root": {"level": "DEBUG", "handlers": ["console", "everything", "sessions"]},
    }
)
log = logging.getLogger("app")

log.info("of no session")
with start_session("other-handlers") as session:
    log.info("of a session")
    log.debug("beyond the console's level")
    session.event("completion", tokens=128)  # other handlers get events as records of logger sessionlog.session
