from __future__ import annotations

import errno
import inspect
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from concurrent_log_handler import ConcurrentRotatingFileHandler
from helpers import child_environment, run_python
from hypothesis import given
from hypothesis import strategies as st

from sessionlog_handlers.pipeline import writer as module
from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.writer import Descriptor, Writer


@pytest.fixture
def make(tmp_path):
    """
    Makes writers of one file that give their descriptors back.
    """
    made = []

    def make(max_bytes: int = 0, backup_count: int = 0, name: str = "a.log", **options: object) -> Writer:
        policy = RotationPolicy(
            max_bytes=max_bytes,
            backup_count=backup_count,
            **{key: options.pop(key) for key in list(options) if key in ("when", "clock")},
        )
        made.append(Writer(str(tmp_path / name), policy, **options))
        return made[-1]

    yield make
    for writer in made:
        writer.release_file()


@pytest.fixture
def writes(monkeypatch):
    """
    The size of each call of `os.write` that the writer makes.
    """
    sizes = []
    write = os.write

    def counting(descriptor: int, content: bytes) -> int:
        written = write(descriptor, content)
        sizes.append(written)
        return written

    monkeypatch.setattr(module.os, "write", counting)
    return sizes


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def _lines(*texts: object) -> list[bytes]:
    return [f"{text}\n".encode() for text in texts]


class TestAppend:
    def test_one_call_for_a_batch(self, make, writes, tmp_path):
        """
        A batch is one call of the system, however many lines it has.
        """
        writer = make()
        assert writer.append(_lines(*range(1000)), rotate=True) == 1000
        assert len(writes) == 1
        assert (tmp_path / "a.log").read_bytes() == b"".join(_lines(*range(1000)))
        writer.append(_lines("x"), rotate=True)
        assert len(writes) == 2

    def test_nothing(self, make, tmp_path):
        """
        An empty batch does nothing, not even open the file.
        """
        assert make().append([], rotate=True) == 0
        assert _files(tmp_path) == {}

    @pytest.mark.needs_program("strace")
    def test_calls_of_the_system(self, tmp_path):
        """
        In steady state a batch costs three looks at the file and one write, and no other call on it.
        """
        program = """
import sys
from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.writer import Writer
writer = Writer(sys.argv[1], RotationPolicy(max_bytes=10**9, backup_count=3))
for _ in range(101):
    writer.append([b"0123456789\\n"] * 64, rotate=True)
"""
        log, trace = tmp_path / "a.log", tmp_path / "trace"
        subprocess.run(
            ["strace", "-o", str(trace), "-P", str(log), sys.executable, "-c", program, str(log)],
            env=child_environment(),
            check=True,
        )
        calls = [line.partition("(")[0] for line in trace.read_text().splitlines() if not line.startswith(("+", "-"))]
        assert calls.count("write") == 101
        assert len(calls) <= 4 * 101 + 10

    def test_makes_missing_directories(self, make, tmp_path):
        """
        Directories that are not there are made, private to their owner.
        """
        assert make(name="x/y/a.log").append(_lines("a"), rotate=False) == 1
        assert stat.S_IMODE((tmp_path / "x" / "y").stat().st_mode) == 0o700

    @pytest.mark.parametrize("umask", [0, 0o027, 0o077])
    def test_private_files(self, make, tmp_path, umask):
        """
        The file and those that follow it are for their owner only, under any umask.
        """
        before = os.umask(umask)
        try:
            make(max_bytes=10, backup_count=2).append(_lines(*["x" * 9] * 3), rotate=True)
        finally:
            os.umask(before)
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
        assert len(_files(tmp_path)) == 3

    def test_unregistered(self, make):
        """
        A writer is unknown to `logging`, whose locks it must never wait for.
        """
        import logging

        writer = make()
        assert all(reference() is not writer for reference in logging._handlerList)

    def test_is_new(self, make):
        """
        A writer tells that its file's name is new until it is told that this was dealt with.
        """
        writer = make()
        writer.append(_lines("a"), rotate=False)
        assert writer.is_new
        writer.release_file()
        writer.append(_lines("b"), rotate=False)
        assert not writer.is_new


class TestSize:
    def test_split_at_the_limit(self, make, writes, tmp_path):
        """
        A batch is split where the size limit falls, with one call a file, and no file is larger than the limit.
        """
        writer = make(max_bytes=100, backup_count=9)
        lines = _lines(*(f"{number:08}" for number in range(50)))  # 9 bytes each, 11 to a file
        assert writer.append(lines, rotate=True) == 50
        assert {name: content.count(b"\n") for name, content in _files(tmp_path).items()} == {
            "a.log": 6,
            "a.log.1": 11,
            "a.log.2": 11,
            "a.log.3": 11,
            "a.log.4": 11,
        }
        assert len(writes) == 5
        assert b"".join(reversed(_files(tmp_path).values())) == b"".join(lines)
        assert [os.path.basename(name) for name in writer.rotated] == ["a.log.1"] * 4

    def test_exactly_full(self, make, tmp_path):
        """
        A file may be exactly as large as the limit.
        """
        writer = make(max_bytes=10, backup_count=2)
        writer.append([b"1234\n", b"5678\n"], rotate=True)
        assert _files(tmp_path) == {"a.log": b"1234\n5678\n"}
        writer.append([b"9\n"], rotate=True)
        assert _files(tmp_path) == {"a.log": b"9\n", "a.log.1": b"1234\n5678\n"}

    def test_oversize_line(self, make, tmp_path):
        """
        A line that is longer than the limit gets a file of its own.
        """
        writer = make(max_bytes=10, backup_count=5)
        writer.append([b"a\n", b"x" * 50 + b"\n", b"b\n", b"c\n"], rotate=True)
        assert _files(tmp_path) == {"a.log": b"b\nc\n", "a.log.1": b"x" * 50 + b"\n", "a.log.2": b"a\n"}

    def test_not_without_backups(self, make, tmp_path):
        """
        Where no old files are kept, a file grows and nothing is thrown away.
        """
        make(max_bytes=10, backup_count=0).append(_lines(*range(20)), rotate=True)
        assert _files(tmp_path) == {"a.log": b"".join(_lines(*range(20)))}

    def test_not_without_the_lock(self, make, tmp_path):
        """
        Without the lock the lines are appended and no new file is started.
        """
        make(max_bytes=10, backup_count=3).append(_lines(*range(20)), rotate=False)
        assert list(_files(tmp_path)) == ["a.log"]

    def test_oldest_goes(self, make, tmp_path):
        """
        Beyond the number of old files, the oldest goes.
        """
        writer = make(max_bytes=2, backup_count=2)
        for number in range(6):
            writer.append(_lines(number), rotate=True)
        assert _files(tmp_path) == {"a.log": b"5\n", "a.log.1": b"4\n", "a.log.2": b"3\n"}

    @given(
        st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), max_size=12),
        st.integers(1, 60),
        st.integers(1, 4),
    )
    def test_any_batches(self, tmp_path_factory, batches, max_bytes, backup_count):
        """
        Whatever the sizes, the files hold an unbroken run of the newest lines, in order, none of them twice.
        """
        directory = tmp_path_factory.mktemp("logs")
        writer = Writer(str(directory / "a.log"), RotationPolicy(max_bytes=max_bytes, backup_count=backup_count))
        everything = []
        for batch in batches:
            lines = [f"{len(everything) + number}:{'x' * size}\n".encode() for number, size in enumerate(batch)]
            everything += lines
            assert writer.append(lines, rotate=True) == len(lines)
        writer.release_file()
        files = _files(directory)
        found = [line for content in reversed(files.values()) for line in content.splitlines(keepends=True)]
        assert found == everything[len(everything) - len(found) :]
        assert len(files) <= backup_count + 1
        if len(files) <= backup_count:
            assert found == everything
        for content in files.values():
            assert len(content) <= max_bytes or content.count(b"\n") == 1


class TestTime:
    def test_frozen_clock(self, make, tmp_path):
        """
        The first write after a boundary starts a new file, and no write before the next one does.
        """
        now = [1_767_873_600.0]  # a full hour
        path = tmp_path / "a.log"
        writer = make(backup_count=3, when="H", clock=lambda: now[0])

        def write(text: str) -> list[str]:
            writer.append(_lines(text), rotate=True)
            os.utime(path, (now[0], now[0]))
            return list(_files(tmp_path))

        assert write("a") == ["a.log"]
        now[0] += 3599
        assert write("b") == ["a.log"]
        now[0] += 1
        assert write("c") == ["a.log", "a.log.1"]
        assert write("d") == ["a.log", "a.log.1"]
        now[0] -= 7200  # the clock is set back
        assert write("e") == ["a.log", "a.log.1"]
        now[0] += 86_400 * 3  # nothing was written for days: one new file
        assert write("f") == ["a.log", "a.log.1", "a.log.2"]
        assert _files(tmp_path) == {"a.log": b"f\n", "a.log.1": b"c\nd\ne\n", "a.log.2": b"a\nb\n"}

    def test_late_clock_of_the_kernel(self, make, tmp_path, monkeypatch):
        """
        A line just after a boundary, which the kernel dates before it, starts one new file, not two, in any process.
        """
        hour = 1_767_873_600.0
        now = [hour - 0.002]
        path = tmp_path / "a.log"
        write = os.write

        def write_late(descriptor: int, content: bytes) -> int:
            written = write(descriptor, content)
            os.utime(descriptor, (now[0] - 0.004, now[0] - 0.004))
            return written

        monkeypatch.setattr(module.os, "write", write_late)
        writers = [make(backup_count=3, when="H", clock=lambda: now[0]) for _ in range(2)]
        for number in range(6):
            writers[number % 2].append(_lines(number), rotate=True)
            now[0] += 0.0015
        assert _files(tmp_path) == {"a.log": b"2\n3\n4\n5\n", "a.log.1": b"0\n1\n"}
        now[0] = hour + 1800
        writers[0].append(_lines("later"), rotate=True)
        assert path.stat().st_mtime == now[0] - 0.004

    def test_empty_file_stays(self, make, tmp_path):
        """
        A file without a line is not rotated, however old.
        """
        (tmp_path / "a.log").write_bytes(b"")
        os.utime(tmp_path / "a.log", (0, 0))
        make(backup_count=3, when="S").append(_lines("a"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"a\n"}


class TestOthers:
    def test_torn_last_line(self, make, tmp_path):
        """
        A file that a crash left without a line end gets one first.
        """
        (tmp_path / "a.log").write_bytes(b"whole\nto")
        make().append(_lines("next"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"whole\nto\nnext\n"}

    def test_torn_while_open(self, make, tmp_path):
        """
        A line that another process tore while the file was open here is ended, too, and only once.
        """
        writer = make()
        writer.append(_lines("one"), rotate=True)
        with open(tmp_path / "a.log", "ab") as other:
            other.write(b"to")
        writer.append(_lines("two"), rotate=True)
        writer.append(_lines("three"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"one\nto\ntwo\nthree\n"}

    def test_whole_lines_of_others(self, make, tmp_path):
        """
        Whole lines of another process get no empty line behind them.
        """
        writer = make()
        writer.append(_lines("one"), rotate=True)
        with open(tmp_path / "a.log", "ab") as other:
            other.write(b"other\n")
        writer.append(_lines("two"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"one\nother\ntwo\n"}

    def test_renamed(self, make, tmp_path):
        """
        A file that another process rotated is left to itself, and the next line is in the new one.
        """
        writer = make()
        writer.append(_lines("one"), rotate=True)
        os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
        writer.append(_lines("two"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"two\n", "a.log.1": b"one\n"}

    def test_deleted_with_its_directory(self, make, tmp_path):
        """
        A file that was deleted with its directory is made again.
        """
        writer = make(name="d/a.log")
        writer.append(_lines("one"), rotate=True)
        os.unlink(tmp_path / "d" / "a.log")
        os.rmdir(tmp_path / "d")
        assert writer.append(_lines("two"), rotate=True) == 1
        assert _files(tmp_path / "d") == {"a.log": b"two\n"}

    def test_truncated(self, make, tmp_path):
        """
        A file that was truncated goes on at its new end, without a hole.
        """
        writer = make()
        writer.append(_lines("one", "two"), rotate=True)
        os.truncate(tmp_path / "a.log", 0)
        writer.append(_lines("three"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"three\n"}

    def test_closed_descriptor(self, make, tmp_path):
        """
        A descriptor that somebody closed behind our back costs no line.
        """
        writer = make()
        writer.append(_lines("one"), rotate=True)
        os.close(writer.descriptor)
        writer.append(_lines("two"), rotate=True)
        assert _files(tmp_path) == {"a.log": b"one\ntwo\n"}

    def test_descriptor_of_somebody_else(self, make, tmp_path):
        """
        A descriptor that was closed behind our back and is another file's now is neither written to nor closed.
        """
        writer = make()
        writer.append(_lines("one"), rotate=True)
        number = writer.descriptor
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
        os.dup2(other, number)
        try:
            writer.append(_lines("two"), rotate=True)
            assert (tmp_path / "a.log").read_bytes() == b"one\ntwo\n"
            assert (tmp_path / "other").read_bytes() == b""
            assert os.fstat(number).st_ino == os.fstat(other).st_ino
        finally:
            os.close(number)
            os.close(other)

    def test_lines_that_are_joined_already(self, make, tmp_path):
        """
        Lines that come joined are written as they are where they fit, and one by one where they don't.
        """
        writer = make(max_bytes=8, backup_count=3)
        lines = _lines("a", "b", "c")
        assert writer.append(lines, rotate=True, joined=b"".join(lines)) == 3
        assert writer.append(lines, rotate=True, joined=b"".join(lines)) == 3
        assert _files(tmp_path) == {"a.log.1": b"a\nb\nc\na\n", "a.log": b"b\nc\n"}


@pytest.mark.parametrize("when", ["before", "while open"])
class TestNotRegular:
    @pytest.mark.parametrize("kind", ["directory", "fifo", "link", "dangling"])
    def test_untouched(self, make, tmp_path, kind, when):
        """
        Anything but a regular file in the log's place is refused with a clear error, not followed and not renamed.
        """
        path = tmp_path / "a.log"
        writer = make(max_bytes=4, backup_count=3)
        if when == "while open":
            writer.append(_lines("abc"), rotate=True)
            os.unlink(path)
        if kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("nowhere" if kind == "dangling" else "target")
            if kind == "link":
                (tmp_path / "target").write_bytes(b"not ours\n")
        names = sorted(os.listdir(tmp_path))
        before = path.lstat()
        for _ in range(2):
            assert writer.append(_lines("one", "two"), rotate=True) == 0
            assert "only a regular file can be a log" in str(writer.error)
            assert writer.error.filename == str(path)
        assert sorted(os.listdir(tmp_path)) == names
        assert path.lstat().st_ino == before.st_ino
        if kind == "link":
            assert (tmp_path / "target").read_bytes() == b"not ours\n"

    def test_device(self, tmp_path, when):
        """
        A device is not written to and not renamed.
        """
        writer = Writer("/dev/null", RotationPolicy(max_bytes=1, backup_count=3))
        assert writer.append(_lines("one"), rotate=True) == 0
        assert "a character device" in str(writer.error)
        assert stat.S_ISCHR(os.lstat("/dev/null").st_mode)


class TestTrouble:
    @pytest.mark.parametrize(("room", "kept"), [(0, 0), (1, 0), (4, 1), (7, 1), (8, 2), (11, 2)])
    @pytest.mark.parametrize("torn", [False, True])
    def test_disk_full_in_the_midst(self, make, tmp_path, monkeypatch, room, kept, torn):
        """
        When the disk fills in the midst of a write, whole lines stay, their number is told, the rest leaves no trace.
        """
        path = tmp_path / "a.log"
        if torn:
            path.write_bytes(b"to")
            room += 1  # the line end that comes first
        writer = make()
        left = [room]
        write = os.write

        def full(descriptor: int, content: bytes) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = write(descriptor, content[: left[0]])
            left[0] -= written
            return written

        with monkeypatch.context() as patch:
            patch.setattr(module.os, "write", full)
            assert writer.append([b"abc\n"] * 3, rotate=True) == kept
            assert writer.error.errno == errno.ENOSPC
        whole = b"abc\n" * kept
        assert path.read_bytes() == (b"to\n" if torn else b"") + whole
        assert writer.append([b"abc\n"] * (3 - kept), rotate=True) == 3 - kept
        assert writer.error is None
        assert path.read_bytes() == (b"to\n" if torn else b"") + b"abc\n" * 3

    def test_not_cut_without_the_lock(self, make, tmp_path, monkeypatch):
        """
        Without the lock a file is never cut, because another process may write behind us; the part's line is ended.
        """
        path = tmp_path / "a.log"
        writer = make()
        left = [6]
        write, truncate = os.write, os.ftruncate

        def full(descriptor: int, content: bytes) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = write(descriptor, content[: left[0]])
            left[0] -= written
            return written

        def late(descriptor: int, size: int) -> None:
            with open(path, "ab") as other:
                other.write(b"other\n")
            truncate(descriptor, size)

        with monkeypatch.context() as patch:
            patch.setattr(module.os, "write", full)
            patch.setattr(module.os, "ftruncate", late)
            assert writer.append([b"abc\n"] * 3, rotate=False) == 1
            assert writer.error.errno == errno.ENOSPC
        assert path.read_bytes() == b"abc\nab"
        assert writer.append([b"abc\n"] * 2, rotate=False) == 2
        assert path.read_bytes() == b"abc\nab\nabc\nabc\n"

    def test_short_writes(self, make, tmp_path, monkeypatch):
        """
        A system that takes only some bytes at a time gets the rest in further calls.
        """
        write = os.write
        monkeypatch.setattr(module.os, "write", lambda descriptor, content: write(descriptor, content[:3]))
        assert make().append(_lines("hello", "world"), rotate=True) == 2
        assert _files(tmp_path) == {"a.log": b"hello\nworld\n"}

    def test_limit_of_the_process(self, tmp_path):
        """
        At the process's limit for file sizes, whole lines stay and the writer reports how many there are.
        """
        program = """
import resource, signal, sys
from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1005, hard))
writer = Writer(sys.argv[1], RotationPolicy())
done = writer.append([b"123456789\\n"] * 200, rotate=True)
print(done, writer.error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print(writer.append([b"123456789\\n"] * (200 - done), rotate=True), writer.error)
"""
        result = run_python(program, tmp_path / "a.log", check=True)
        assert result.stdout.splitlines() == ["100 File too large", "100 None"]
        assert (tmp_path / "a.log").read_bytes() == b"123456789\n" * 200

    @pytest.mark.root
    def test_full_disk(self, tmp_path):
        """
        On a disk that is full, whole lines stay; when there is room again, the rest follows.
        """
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            ballast = disk / "ballast"
            ballast.write_bytes(b"x" * 40_000)
            writer = Writer(str(disk / "a.log"), RotationPolicy())
            lines = _lines(*(f"{number:098}" for number in range(300)))
            done = writer.append(lines, rotate=True)
            assert 0 < done < 300
            assert writer.error.errno == errno.ENOSPC
            assert (disk / "a.log").read_bytes() == b"".join(lines[:done])
            assert writer.append(lines[done:], rotate=True) == 0
            ballast.unlink()
            assert writer.append(lines[done:], rotate=True) == 300 - done
            assert (disk / "a.log").read_bytes() == b"".join(lines)
            writer.release_file()
        finally:
            subprocess.run(["umount", disk], check=True)

    @pytest.mark.parametrize("failing", ["the log", "an old file"])
    def test_rename_fails(self, make, tmp_path, monkeypatch, failing):
        """
        When a rename fails, the same file is written on, nothing is lost, and the next append tries again.
        """
        writer = make(max_bytes=4, backup_count=3)
        writer.append(_lines("one", "two"), rotate=True)

        def refuse(source: str, target: str) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted", source)

        with monkeypatch.context() as patch:
            if failing == "the log":
                patch.setattr(writer, "rotate", refuse)
            else:
                patch.setattr(os, "replace", refuse)
            assert writer.append(_lines("three", "four"), rotate=True) == 2
            assert isinstance(writer.rotation_error, PermissionError)
            assert writer.error is None
            assert b"".join(reversed(_files(tmp_path).values())) == b"one\ntwo\nthree\nfour\n"
        writer.append(_lines("five"), rotate=True)
        assert writer.rotation_error is None
        assert (tmp_path / "a.log").read_bytes() == b"five\n"
        assert b"".join(reversed(_files(tmp_path).values())) == b"one\ntwo\nthree\nfour\nfive\n"

    def test_unopenable(self, make, tmp_path):
        """
        A file that can't be opened is an error to look at, not an exception, and works once it can be.
        """
        (tmp_path / "d").write_bytes(b"")
        writer = make(name="d/a.log")
        assert writer.append(_lines("one"), rotate=True) == 0
        assert isinstance(writer.error, OSError)
        (tmp_path / "d").unlink()
        assert writer.append(_lines("one"), rotate=True) == 1
        assert writer.error is None

    def test_before_rotation(self, make, tmp_path):
        """
        Whoever has to sync the file sees its descriptor before it gets its new name.
        """
        seen = []

        def before(descriptor: int) -> None:
            seen.append((os.fstat(descriptor).st_size, sorted(os.listdir(tmp_path))))

        make(max_bytes=4, backup_count=1, before_rotation=before).append(_lines("one", "two"), rotate=True)
        assert seen == [(4, ["a.log"])]

    def test_release_is_idempotent(self, make):
        """
        Giving the descriptor back twice is no error, and it is closed.
        """
        writer = make()
        writer.append(_lines("a"), rotate=False)
        number = writer.descriptor
        writer.release_file()
        writer.release_file()
        assert writer.descriptor == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


PROCESS = """
import sys
from sessionlog_handlers.pipeline.locks import FileLock
from sessionlog_handlers.pipeline.rotation import RotationPolicy
from sessionlog_handlers.pipeline.writer import Writer
path, name = sys.argv[1:]
writer, lock = Writer(path, RotationPolicy(max_bytes=2_000, backup_count=200)), FileLock(path + ".lock")
for batch in range(50):
    with lock.hold(30) as locked:
        assert locked
        assert writer.append([f"{name} {batch * 10 + number}\\n".encode() for number in range(10)], rotate=True) == 10
"""


def test_processes_share_a_file(tmp_path):
    """
    Four processes that rotate one file lose no line, double none, and each one's lines are in order.
    """
    path = tmp_path / "a.log"
    children = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(path), str(number)], env=child_environment())
        for number in range(4)
    ]
    assert [child.wait(60) for child in children] == [0] * 4
    names = sorted(
        (name for name in os.listdir(tmp_path) if not name.endswith(".lock")),
        key=lambda name: -int(name.rpartition(".")[2]) if name != "a.log" else 1,
    )
    lines = [line.split() for name in names for line in (tmp_path / name).read_text().splitlines()]
    for process in range(4):
        assert [int(number) for name, number in lines if name == str(process)] == [*range(500)]
    assert len(lines) == 2000
    assert len(names) > 5


class TestSeams:
    """
    What is used of concurrent-log-handler is private there: these fail when it moves.
    """

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("rotation_filename", ["self", "default_name"]),
            ("rotate", ["self", "source", "dest"]),
            ("getLockFilename", ["self", "lock_file_directory"]),
        ],
    )
    def test_signatures(self, name, parameters):
        """
        The methods that are used take what they are given.
        """
        assert list(inspect.signature(getattr(ConcurrentRotatingFileHandler, name)).parameters) == parameters

    def test_names(self, make, tmp_path):
        """
        Old files are named by number, through *namer*, and moved through *rotator*.
        """
        writer = make(max_bytes=2, backup_count=2)
        assert writer.slot_name(1) == str(tmp_path / "a.log.1")
        writer.namer = lambda name: name.replace(".log", "-old")
        moved = []
        writer.rotator = lambda source, target: moved.append((source, target)) or os.replace(source, target)
        writer.append(_lines("a", "b"), rotate=True)
        assert moved == [(str(tmp_path / "a.log"), str(tmp_path / "a-old.1"))]
        assert _files(tmp_path) == {"a-old.1": b"a\n", "a.log": b"b\n"}

    def test_lock_file(self, make, tmp_path):
        """
        The lock file is where that library has it.
        """
        assert make().getLockFilename(None) == str(tmp_path / ".__a.lock")
        theirs = ConcurrentRotatingFileHandler(str(tmp_path / "a.log"), delay=True)
        try:
            assert theirs.getLockFilename(None) == str(tmp_path / ".__a.lock")
        finally:
            theirs.close()

    def test_descriptor(self, tmp_path):
        """
        The stand-in for a stream has what the standard library asks of one.
        """
        descriptor = Descriptor(os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT))
        os.write(descriptor.fileno(), b"abc")
        descriptor.flush()
        assert descriptor.seek(1) == 1
        assert descriptor.tell() == 3  # where the next write goes
        assert descriptor.seek(0, os.SEEK_END) == 3
        assert not descriptor.closed
        descriptor.close()
        descriptor.close()
        assert descriptor.closed


def test_speed_of_a_batch(make):
    """
    A hundred batches of 64 lines take far less than a second, so that the listener keeps up.
    """
    writer = make(max_bytes=10**9, backup_count=1)
    lines = [b"x" * 199 + b"\n"] * 64
    start = time.perf_counter()
    for _ in range(100):
        writer.append(lines, rotate=True)
    assert time.perf_counter() - start < 1
