"""
`SessionRotatingFileHandler`: the standard library's `RotatingFileHandler`, for several processes on one file.
"""

import logging
import multiprocessing
import shutil
from pathlib import Path

from sessionlog_handlers import SessionRotatingFileHandler

LOG = Path("example-file/app.log")


def work(worker):
    handler = SessionRotatingFileHandler(LOG, maxBytes=20_000, backupCount=9)
    handler.setFormatter(logging.Formatter("%(process)d %(message)s"))
    log = logging.getLogger("shared")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    for number in range(500):
        log.info("worker %d says %d", worker, number)
    handler.close()


if __name__ == "__main__":
    shutil.rmtree(LOG.parent, ignore_errors=True)
    LOG.parent.mkdir(parents=True)
    workers = [multiprocessing.get_context("spawn").Process(target=work, args=[number]) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    files = sorted(LOG.parent.glob("app.log*"))
    said = [line.split(" ", 1)[1] for file in files for line in file.read_text().splitlines()]
    print(f"{len(files)} files, {len(said)} lines, {len(set(said))} different ones")
