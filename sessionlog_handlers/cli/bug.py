"""
What a person needs to report a bug of a command: a file with the traceback and the versions.
"""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence

from sessionlog_handlers.formats.escaping import make_visible
from sessionlog_handlers.pipeline.files import make_directory, replace_file
from sessionlog_handlers.pipeline.roots import home

REPORT = "bug-report.txt"  # in the directory of `pipeline.roots.home`; the last bug's


def write_report(error: Exception, args: Sequence[str], version: str) -> str:
    """
    Write the report and give its path; where it can't be written it goes to stderr, and the path is empty.
    """
    text = _describe(error, args, version)
    path = os.path.join(home(), REPORT)
    try:
        make_directory(os.path.dirname(path))
        replace_file(path, text.encode("utf-8", "backslashreplace"))
    except OSError:
        print(text, file=sys.stderr)
        return ""
    return path


def _describe(error: Exception, args: Sequence[str], version: str) -> str:
    trace = "".join(traceback.format_exception(error))
    head = [
        f"sessionlog {version}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"arguments: {list(args)!r}",
        "",
    ]
    return "\n".join([*head, *(make_visible(line) for line in trace.splitlines())]) + "\n"
