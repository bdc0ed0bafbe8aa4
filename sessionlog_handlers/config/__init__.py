"""
Configuration from a file: checked as a whole, then applied by :func:`logging.config.dictConfig`; and ready profiles.
"""

from sessionlog_handlers.config.configure import check_file, configure, validate
from sessionlog_handlers.config.profiles import profile_names, profile_text

__all__ = ["check_file", "configure", "profile_names", "profile_text", "validate"]
