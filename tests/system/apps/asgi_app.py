"""
An ASGI app that logs each request to a session of the worker that serves it. `SESSIONLOG_TEST_ROOT` is its root.
"""

import logging
import os
from urllib.parse import parse_qs

from sessionlog_handlers import SessionHandler, start_session, use_session

log = logging.getLogger("app")
log.setLevel("INFO")
log.propagate = False
handler = SessionHandler(
    os.environ["SESSIONLOG_TEST_ROOT"], session_level="prompts", overflow="wait", capture_signals=True
)
log.addHandler(handler)
server = start_session("server")


async def application(scope, receive, send):
    """Answer with the worker's number."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    number = int(parse_qs(scope["query_string"].decode())["number"][0])
    with use_session(server):
        log.info("request", extra={"number": number})
    async with start_session(f"request-{number}"):
        log.info("in its own session", extra={"number": number})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
