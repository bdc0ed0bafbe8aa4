from __future__ import annotations

import errno
import gzip
import os
import stat
import threading
from pathlib import Path

import pytest
from helpers import run_python

from sessionlog_handlers.pipeline import compression, leftovers
from sessionlog_handlers.pipeline.compression import adopt_compressed, compress_file
from sessionlog_handlers.pipeline.files import NotRegularError
from sessionlog_handlers.pipeline.locks import FileLock

CONTENT = b"".join(b"line %d\n" % number for number in range(5000))


@pytest.fixture
def lock(tmp_path):
    """
    The lock of the files, beside them.
    """
    (tmp_path / "logs").mkdir()
    made = FileLock(str(tmp_path / "lock"))
    yield made
    made.close()


@pytest.fixture
def path(tmp_path, lock):
    """
    A full file.
    """
    path = tmp_path / "logs" / "a.log.1"
    path.write_bytes(CONTENT)
    return path


def _names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


class TestCompressFile:
    def test_takes_the_files_place(self, path, lock):
        """
        The copy holds the same bytes, is private, has the file's time, and the plain file is gone.
        """
        os.utime(path, (1_700_000_000, 1_700_000_000))
        name = compress_file(str(path), lock)
        assert name == f"{path}.gz"
        assert _names(path) == ["a.log.1.gz"]
        assert gzip.decompress(Path(name).read_bytes()) == CONTENT
        found = os.stat(name)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_mtime == 1_700_000_000
        assert found.st_size < len(CONTENT) / 4

    @pytest.mark.parametrize(("beside", "replaced"), [(CONTENT[:100], True), (b"another\n", False)])
    def test_another_beside_it(self, path, lock, beside, replaced):
        """
        A compressed file that is there already is replaced only if it holds nothing that the plain one lacks.
        """
        packed = Path(f"{path}.gz")
        packed.write_bytes(gzip.compress(beside))
        assert compress_file(str(path), lock) == (str(packed) if replaced else None)
        assert gzip.decompress(packed.read_bytes()) == (CONTENT if replaced else beside)
        assert path.exists() is not replaced

    def test_same_content_same_bytes(self, path, lock):
        """
        Equal logs give equal archives, whatever they are called and when they are made.
        """
        other = path.with_name("b.log.7")
        other.write_bytes(CONTENT)
        one, two = (Path(compress_file(str(name), lock)).read_bytes() for name in (path, other))
        assert one == two

    def test_identical_neighbours(self, path, lock):
        """
        Of two slots with identical content, each gets its own archive and neither is taken for the other.
        """
        other = path.with_name("a.log.2")
        other.write_bytes(CONTENT)
        names = [str(path), str(other)]
        assert compress_file(str(other), lock, names=names) == f"{other}.gz"
        assert _names(path) == ["a.log.1", "a.log.2.gz"]

    def test_gone(self, path, lock):
        """
        A file that is not there any more needs no copy.
        """
        path.unlink()
        assert compress_file(str(path), lock) is None
        assert _names(path) == []

    def test_moved_meanwhile(self, path, lock, monkeypatch):
        """
        A file that another rotation moved while the copy was made gets its copy where it is now.
        """
        copy = compression._write_copy

        def rotate(*args: object) -> None:
            copy(*args)
            os.rename(path, path.with_name("a.log.2"))
            path.write_bytes(b"another one\n")

        monkeypatch.setattr(compression, "_write_copy", rotate)
        names = [str(path.with_name(f"a.log.{slot}")) for slot in (1, 2, 3)]
        assert compress_file(str(path), lock, names=names) == f"{names[1]}.gz"
        assert _names(path) == ["a.log.1", "a.log.2.gz"]
        assert path.read_bytes() == b"another one\n"

    @pytest.mark.parametrize("what", ["deleted", "replaced", "grew"])
    def test_changed_meanwhile(self, path, lock, monkeypatch, what):
        """
        A file that was deleted, replaced or appended to while the copy was made is left as it is.
        """
        copy = compression._write_copy

        def change(*args: object) -> None:
            copy(*args)
            if what == "grew":
                with open(path, "ab") as log:
                    log.write(b"late\n")
            else:
                keep = path.with_name("keep")
                os.rename(path, keep)
                if what == "replaced":
                    path.write_bytes(CONTENT)

        monkeypatch.setattr(compression, "_write_copy", change)
        assert compress_file(str(path), lock) is None
        expected = {"deleted": ["keep"], "replaced": ["a.log.1", "keep"], "grew": ["a.log.1"]}[what]
        assert _names(path) == expected

    @pytest.mark.parametrize("step", ["open_for_append", "_commit"])
    def test_session_was_removed_meanwhile(self, path, lock, monkeypatch, step):
        """
        If the directory is moved away while the copy is made, there is nothing left to do, and nothing to report.
        """
        original = getattr(compression, step)

        def move(*args: object, **kwargs: object) -> object:
            os.rename(path.parent, path.parent.with_name("elsewhere"))
            return original(*args, **kwargs)

        monkeypatch.setattr(compression, step, move)
        assert compress_file(str(path), lock) is None
        assert (path.parent.with_name("elsewhere") / path.name).read_bytes() == CONTENT
        assert not path.parent.exists()

    def test_not_allowed(self, path, lock):
        """
        Who asks may say under the lock that the file is needed.
        """
        assert compress_file(str(path), lock, allowed=lambda: False) is None
        assert _names(path) == ["a.log.1"]

    def test_commits_under_the_lock_only(self, path, lock, monkeypatch):
        """
        The copy is made without the lock; while somebody else holds it, nothing is replaced.
        """
        monkeypatch.setattr(compression, "LOCK_TIMEOUT", 0.05)
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with lock.hold():
                held.set()
                release.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            assert compress_file(str(path), lock) is None
            assert _names(path) == ["a.log.1"]
        finally:
            release.set()
            thread.join()
        assert compress_file(str(path), lock) == f"{path}.gz"

    def test_full_disk(self, path, lock, monkeypatch):
        """
        When the copy can't be made, the plain file stays and no part of a copy is left.
        """

        def full(source: object, target: object, size: int) -> None:
            target.write(b"some")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(compression.shutil, "copyfileobj", full)
        with pytest.raises(OSError, match="No space"):
            compress_file(str(path), lock)
        assert _names(path) == ["a.log.1"]
        assert path.read_bytes() == CONTENT

    @pytest.mark.parametrize("step", ["replace", "unlink", "fsync", "utime"])
    def test_crash(self, path, step):
        """
        Killed before any step, it leaves the plain file or the whole copy; the next call finishes the work.
        """
        program = """
import os, signal, sys
from sessionlog_handlers.pipeline import compression, leftovers
from sessionlog_handlers.pipeline.locks import FileLock
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(compression.os, sys.argv[2], die)
compression.compress_file(sys.argv[1], FileLock(sys.argv[1] + ".lock"))
"""
        assert run_python(program, path, step).returncode == -9
        assert path.read_bytes() == CONTENT
        lock = FileLock(f"{path}.lock")
        assert compress_file(str(path), lock) == f"{path}.gz"
        lock.close()
        assert gzip.decompress(path.with_name("a.log.1.gz").read_bytes()) == CONTENT
        assert not path.exists()

    def test_leftovers(self, path, lock, monkeypatch):
        """
        Old copies of the same log that killed processes left are removed; new ones and other files are not.
        """
        orphans = [path.with_name(f".a.log{slot}.0123456789ab.tmp") for slot in ("", ".1", ".12")]
        others = [
            path.with_name(name)
            for name in (
                ".b.log.1.0123456789ab.tmp",
                ".a.log.1.tmp",
                ".a.log.x.0123456789ab.tmp",
                "a.log.0123456789ab.tmp",
            )
        ]
        link = path.with_name(".a.log.0123456789ff.tmp")
        link.symlink_to(others[0])
        for leftover in (*orphans, *others):
            leftover.write_bytes(b"half")
            os.utime(leftover, (1_700_000_000, 1_700_000_000))
        assert compress_file(str(path), lock)  # a copy that was touched just now may be about to be put in its place
        assert all(leftover.exists() for leftover in (*orphans, *others))
        path.write_bytes(CONTENT)
        monkeypatch.setattr(leftovers, "ORPHAN_AGE", -1.0)
        assert compress_file(str(path), lock)
        assert _names(path) == sorted(["a.log.1.gz", link.name, *(other.name for other in others)])

    @pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
    def test_not_regular(self, path, lock, kind):
        """
        What is no regular file is refused, without hanging, and left as it is.
        """
        path.unlink()
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to("/etc/passwd")
        else:
            path.mkdir()
        with pytest.raises(OSError, match=r"a\.log\.1") as caught:
            compress_file(str(path), lock)
        assert isinstance(caught.value, NotRegularError) or caught.value.errno == errno.ELOOP
        assert _names(path) == ["a.log.1"]


class TestAdopt:
    def test_becomes_the_youngest(self, path, lock):
        """
        A log that was compressed at its session's end becomes the youngest old file.
        """
        log = path.with_name("a.log")
        os.rename(compress_file(str(path), lock), f"{log}.gz")
        adopt_compressed(str(log), lambda slot: f"{log}.{slot}")
        assert _names(path) == ["a.log.1.gz"]

    def test_not_beside_a_plain_one(self, path, lock):
        """
        While the plain log is there it is the log, and nothing is moved.
        """
        log = path.with_name("a.log")
        log.write_bytes(b"plain\n")
        path.with_name("a.log.gz").write_bytes(b"half")
        adopt_compressed(str(log), lambda slot: f"{log}.{slot}")
        assert _names(path) == ["a.log", "a.log.1", "a.log.gz"]
