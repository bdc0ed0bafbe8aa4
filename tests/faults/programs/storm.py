"""
Writers and cleaners of `retention_storm`, as children of the harness.
"""

from __future__ import annotations

from pathlib import Path

import retention_storm

from faults.program import Job


def write(job: Job) -> None:
    """
    A writer, which prints what it was told.
    """
    job.ready()
    retention_storm.write(Path(job.root).parent, job.options["number"], job.get("seconds", 1.0))
    job.finish()


def clean(job: Job) -> None:
    """
    A cleaner, until it is killed.
    """
    job.ready()
    retention_storm.clean(Path(job.root).parent, job.options["number"], is_rude=job.get("rude", False))
