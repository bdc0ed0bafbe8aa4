"""
Many sessions in one event loop: each task logs to the session it was started in, and sessions nest.
"""

import asyncio
import logging

from sessionlog_handlers import configure, start_session

configure(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "sessions": {
                "class": "sessionlog_handlers.SessionHandler",
                "directory": "example-logs",
                "session_level": "prompts",
            }
        },
        "root": {"level": "INFO", "handlers": ["sessions"]},
    }
)
log = logging.getLogger("app")


async def fetch(part):
    await asyncio.sleep(0.01)
    log.info("fetched part %d", part)  # a task inherits the session of the code that made it


async def conversation(name):
    async with start_session(metadata={"user": name}) as session:
        await asyncio.gather(fetch(1), fetch(2))
        with start_session(metadata={"part of": session.id}) as inner:
            log.info("in a session of its own")
        log.info("%s is back in the outer one", name)
    return session, inner


async def main():
    return await asyncio.gather(conversation("ada"), conversation("grace"))


for sessions in asyncio.run(main()):
    for session in sessions:
        session.flush()
        print(session.log_path.read_text())
