"""
The quick start of the README, by `dictConfig` alone: a configuration, a session, and what lands in its log.
"""

import logging.config
from pathlib import Path

import yaml

from sessionlog_handlers import start_session

logging.config.dictConfig(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text()))
log = logging.getLogger("app")

with start_session("abc123", metadata={"user": "ada"}) as session:
    log.info("%d pictures to convert", 3, extra={"folder": "holiday"})
    session.prompt("make them black and white")
    log.debug("left out: it is below the session's level")
    session.set_level("full")
    log.debug("kept from now on")

session.flush()
print(session.log_path.read_text(), end="")
