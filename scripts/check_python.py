"""
Say in one sentence why this interpreter can't be used, and exit with 1; say nothing if it can.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "sessionlog_handlers needs Python 3.11 or newer, and %s is %d.%d; name another one: make PYTHON=python3.12 ..."
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )

try:
    import ensurepip  # noqa: F401 - Debian splits it from venv, which can be imported without it
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        "%s has no module venv, which makes the virtual environment; on Debian: apt-get install python%d.%d-venv"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
