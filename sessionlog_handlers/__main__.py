"""
``python -m sessionlog_handlers`` is the command ``sessionlog``.
"""

from __future__ import annotations

from sessionlog_handlers.cli.main import main

if __name__ == "__main__":
    main()
