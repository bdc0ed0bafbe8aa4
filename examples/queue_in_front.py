"""
`BoundedQueueHandler` in front of a slow handler: callers no longer wait for it, and nothing is lost at exit.
"""

import logging
import time

from sessionlog_handlers import BoundedQueueHandler


class SlowHandler(logging.Handler):
    taken = 0

    def emit(self, record):
        time.sleep(0.01)  # a mail server, say
        self.taken += 1


slow = SlowHandler()
queue = BoundedQueueHandler(slow, capacity=1_000)
log = logging.getLogger("app")
log.setLevel(logging.INFO)
log.addHandler(queue)

start = time.perf_counter()
for number in range(100):
    log.info("record %d", number)
waited = time.perf_counter() - start

queue.flush()
print(f"callers waited {'less' if waited < 0.5 else 'more'} than half a second; {slow.taken} records were handled")
print(f"dropped: {queue.dropped}")
