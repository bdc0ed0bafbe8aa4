"""
What runs in the children: one module per kind of app.
"""

from __future__ import annotations

# What `queue.mixed` logs in turn, a writer for each; the harness knows them by their place.
KINDS_MIXED = ("info", "debug", "initial_prompt", "state_change", "error")
