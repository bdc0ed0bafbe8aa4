"""
What the environment says about settings: the session level, above what the configuration says.
"""

from __future__ import annotations

from collections.abc import Mapping

from sessionlog_handlers.exceptions import ConfigurationError
from sessionlog_handlers.levels import SessionLevel

# The first that holds a level counts.
LEVEL_VARIABLES = ("SESSIONLOG_LEVEL", "FUGUE_SESSION_LOG", "CCMUX_SESSION_LOG")


def read_level(environ: Mapping[str, str]) -> tuple[SessionLevel | None, list[str]]:
    """
    The session level that the environment asks for, and a sentence for each value that is none.
    """
    complaints: list[str] = []
    for variable in LEVEL_VARIABLES:
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            return SessionLevel.parse(text), complaints
        except ConfigurationError as error:
            complaints.append(f"the environment variable {variable} is ignored: {error.message}")
    return None, complaints
