"""
What a result depends on beside the code: the machine, the interpreter, and the versions of everything compared.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

DISTRIBUTIONS = (
    "concurrent-log-handler",
    "Logbook",
    "loguru",
    "msgspec",
    "orjson",
    "picologging",
    "python-json-logger",
    "sessionlog_handlers",
    "structlog",
)

IN_MEMORY = "/dev/shm"
ENOUGH = 2 * 10**9  # bytes; containers often have a few megabytes there
SAMPLE = 0.3  # seconds that show what others do with the machine


def python_minor() -> str:
    """The key of this Python's results, such as ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def python_name() -> str:
    """The interpreter and its version, such as ``CPython 3.11.7``."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def describe(directory: Path) -> dict[str, str | int | float]:
    """
    The machine, how much of it others use at the moment, and the filesystem of the directory that is written to.
    """
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "kernel": platform.system() + " " + platform.release().partition("-")[0],
        "filesystem": filesystem(directory),
        "busy_percent": psutil.cpu_percent(SAMPLE),
    }


def cpu_model() -> str:
    """What the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def filesystem(directory: Path) -> str:
    """The type of the filesystem that holds the directory."""
    place = directory.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    for parent in (place, *place.parents):
        if parent in mounts:
            return mounts[parent]
    return "unknown"


def memory_directory(directory: str = IN_MEMORY, enough: int = ENOUGH) -> str | None:
    """The directory whose files are in memory, or None where there is none that can be written and has enough room."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError:
        return None
    return directory if free >= enough and os.access(directory, os.W_OK) else None


def versions() -> dict[str, str]:
    """The versions of the package and of every peer that is installed."""
    found = {}
    for distribution in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[distribution] = metadata.version(distribution)
    return found
