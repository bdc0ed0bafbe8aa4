"""
Disks to spoil: small ones, read-only ones, and one that loses its power. All need root; each is gone after its block.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # ext4 stops as a machine without power does; needs CAP_SYS_ADMIN
LOG_FLUSH, NO_LOG_FLUSH = 1, 2  # its argument: whether the journal's running transaction gets to the disk
SIZE = 32  # MiB of an ext4
BUSY_TRIES = 50  # of unmounting while a killed process is still being taken apart


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    for _ in range(BUSY_TRIES):
        try:
            _run("umount", path)
            return
        except OSError:
            time.sleep(0.05)
    _run("umount", "--lazy", path)


@contextlib.contextmanager
def small(path: Path, size: str = "256k", options: str = "") -> Iterator[Path]:
    """
    A tmpfs of that size at *path* for a block.
    """
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", ",".join(filter(None, [f"size={size}", options])), "tmpfs", path)
    try:
        yield path
    finally:
        _unmount(path)


def remount(path: Path, options: str) -> None:
    """
    Change how a disk is mounted, to ``ro`` or ``rw`` for example.
    """
    _run("mount", "-o", f"remount,{options}", path)


class Powered:
    """
    An ext4 in a file, whose power can be cut.

    Args:
        directory: A place for the file and the mount point.
    """

    def __init__(self, directory: Path) -> None:
        self._image = directory / "disk.img"
        self.path = directory / "disk"
        self._is_mounted = False

    def __enter__(self) -> Powered:
        self.path.mkdir(parents=True)
        with open(self._image, "wb") as image:
            image.truncate(SIZE << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", self._image)
        self.mount()
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_mounted:
            _unmount(self.path)
        self._image.unlink(missing_ok=True)

    def mount(self) -> None:
        """
        Mount it; after a loss of power this replays the journal.
        """
        _run("mount", "-o", "loop", self._image, self.path)
        self._is_mounted = True

    def cut_power(self, flag: int = NO_LOG_FLUSH) -> None:
        """
        From now on nothing gets to the disk.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, flag.to_bytes(4, "little"))
        finally:
            os.close(descriptor)

    def restore(self) -> None:
        """
        Power comes back: what is on the disk is what survived.
        """
        _unmount(self.path)
        self._is_mounted = False
        self.mount()


@functools.cache
def can_mount() -> bool:
    """
    Whether a small disk can be mounted.
    """
    with tempfile.TemporaryDirectory() as directory:
        try:
            with small(Path(directory) / "small"):
                return True
        except OSError:
            return False


@functools.cache
def can_cut_power() -> bool:
    """
    Whether a loop-mounted ext4 can lose its power.
    """
    with tempfile.TemporaryDirectory() as directory:
        try:
            with Powered(Path(directory)) as disk:
                disk.cut_power()
                return True
        except OSError:
            return False
