"""
A WSGI app that logs each request to a session of the worker that serves it. `SESSIONLOG_TEST_ROOT` is its root.
"""

import logging
import os
from urllib.parse import parse_qs

from sessionlog_handlers import SessionHandler, start_session, use_session

log = logging.getLogger("app")
log.setLevel("INFO")
log.propagate = False
log.addHandler(SessionHandler(os.environ["SESSIONLOG_TEST_ROOT"], session_level="prompts", overflow="wait"))

# With --preload this runs in the master, and each worker goes on with it; else each worker begins or joins it.
server = start_session("server")


def application(environ, start_response):
    """Answer with the worker's number."""
    number = int(parse_qs(environ["QUERY_STRING"])["number"][0])
    with use_session(server):
        log.info("request", extra={"number": number})
    with start_session(f"request-{number}"):
        log.info("in its own session", extra={"number": number})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
