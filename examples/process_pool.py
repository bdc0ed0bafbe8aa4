"""
A session over a pool of processes: each worker, a new interpreter, logs to it without a call of its own.
"""

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from sessionlog_handlers import SessionHandler, current_session_id, start_session

log = logging.getLogger("app")


def square(number):
    log.info("%d is worked on for %s", number, current_session_id())
    return number * number


if __name__ == "__main__":
    log.addHandler(SessionHandler("example-logs", session_level="prompts"))
    log.setLevel(logging.INFO)

    context = multiprocessing.get_context("spawn")
    with start_session("squares") as session, ProcessPoolExecutor(2, mp_context=context) as pool:
        session.event("completion", squares=list(pool.map(square, range(4))))

    session.flush()
    print(session.log_path.read_text(), end="")
