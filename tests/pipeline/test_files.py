from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionlog_handlers.pipeline import files
from sessionlog_handlers.pipeline.files import (
    NotRegularError,
    free_space,
    load_json,
    make_directory,
    make_root,
    open_for_append,
    open_lock_file,
    read_json,
    read_private,
    replace_file,
    write_all,
)

KINDS = {
    "directory": "a directory",
    "link": "a symbolic link",
    "dangling": "a symbolic link",
    "fifo": "a FIFO",
    "socket": "a socket",
}


def _make(kind: str, path: Path) -> None:
    """Put a thing of that kind in the path's place."""
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        target = path.with_name("target")
        target.write_bytes(b"not ours\n")
        path.symlink_to(target)
    elif kind == "dangling":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            directory = os.open(path.parent, os.O_RDONLY)  # the path itself may be longer than a socket's may be
            try:
                server.bind(f"/proc/self/fd/{directory}/{path.name}")
            finally:
                os.close(directory)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """
    The process's umask for a test.
    """
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


class TestOpenForAppend:
    def test_is_private(self, tmp_path, umask):
        """
        A new log is for its owner only under any umask, is appended to, and does not go to children.
        """
        path = tmp_path / "a.log"
        descriptor, _ = open_for_append(str(path), 0o600)
        try:
            os.write(descriptor, b"one\n")
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"two\n")
            assert not os.get_inheritable(descriptor)
        finally:
            os.close(descriptor)
        assert _mode(path) == 0o600
        assert path.read_bytes() == b"one\ntwo\n"

    @pytest.mark.parametrize("kind", KINDS)
    def test_refuses_what_is_not_regular(self, tmp_path, kind):
        """
        Anything but a regular file is refused by name and left as it is, and nothing hangs.
        """
        path = tmp_path / "a.log"
        _make(kind, path)
        before = path.lstat()
        with pytest.raises(NotRegularError, match=KINDS[kind]) as caught:
            open_for_append(str(path), 0o600)
        assert caught.value.filename == str(path)
        after = path.lstat()
        assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
        assert not path.with_name("nowhere").exists()

    def test_refuses_a_device(self):
        """
        A device is refused unless the caller says that it may be one.
        """
        with pytest.raises(NotRegularError, match="a character device"):
            open_for_append("/dev/null", 0o600)
        os.close(open_for_append("/dev/null", 0o600, devices=True)[0])

    def test_refuses_what_was_put_there_meanwhile(self, tmp_path, monkeypatch):
        """
        A link that takes the path's place between the look and the opening is not followed either.
        """
        path = tmp_path / "a.log"
        _make("link", path)
        target = path.with_name("target")
        monkeypatch.setattr(files.os, "lstat", lambda _: target.stat())
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            open_for_append(str(path), 0o600)
        assert target.read_bytes() == b"not ours\n"


class TestReading:
    @pytest.mark.parametrize("kind", KINDS)
    def test_reads_only_regular_files(self, tmp_path, kind):
        """
        Anything but a regular file is an error, without hanging and without a descriptor left open.
        """
        path = tmp_path / "metadata.json"
        _make(kind, path)
        with pytest.raises(OSError, match=re.escape(str(path))):
            read_private(str(path))
        assert read_json(str(path), dict[str, Any]) is None
        assert load_json(str(path), dict[str, Any]) is None

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES])
    def test_what_can_not_be_read_now(self, tmp_path, monkeypatch, number):
        """
        A file that can't be read now is None for a reader, and an error for whoever would replace it.
        """
        path = tmp_path / "a.json"
        path.write_bytes(b"[1]")

        def fail(path: str, flags: int) -> int:
            raise OSError(number, os.strerror(number), path)

        monkeypatch.setattr(files.os, "open", fail)
        assert read_json(str(path), list[int]) is None
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            load_json(str(path), list[int])

    def test_device_is_not_read(self):
        """
        A device without an end is not read.
        """
        with pytest.raises(NotRegularError):
            read_private("/dev/zero")

    def test_absent(self, tmp_path):
        """
        A file that is not there is None, in a directory that is not there as well.
        """
        assert read_private(str(tmp_path / "a")) is None
        assert read_json(str(tmp_path / "b" / "a"), list[int]) is None
        (tmp_path / "file").write_bytes(b"")
        for name in ("a", "file/a", "x" * 300, "a\0b"):
            assert load_json(str(tmp_path / name), list[int]) is None

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[1, 2",
            b'["\xff"]',
            b'["\\ud800"]',
            b"[" * 100_000,
            b'{"a": 1}',
            b'["text"]',
            b"\0" * 4096,
            b"[1e999]",
        ],
        ids=lambda content: repr(content[:12]),
    )
    def test_broken_json(self, tmp_path, content):
        """
        What is not the JSON that was expected is None, whatever it is.
        """
        path = tmp_path / "a.json"
        path.write_bytes(content)
        assert read_json(str(path), list[int]) is None
        path.write_bytes(b"[1, 2]")
        assert read_json(str(path), list[int]) == [1, 2]


class TestReplaceFile:
    def test_replaces_at_once(self, tmp_path):
        """
        A reader sees the old content or the new one, never a part.
        """
        path = tmp_path / "metadata.json"
        contents = [bytes([65 + number]) * 50_000 for number in range(2)]
        replace_file(str(path), contents[0])
        over = threading.Event()
        seen = set()

        def read() -> None:
            while not over.is_set():
                seen.add(path.read_bytes())

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(200):
            replace_file(str(path), contents[number % 2])
        over.set()
        reader.join()
        assert seen <= set(contents)
        assert os.listdir(tmp_path) == ["metadata.json"]

    def test_is_private(self, tmp_path, umask):
        """
        The new file is for its owner only, whatever the old one was.
        """
        path = tmp_path / "metadata.json"
        path.write_bytes(b"")
        path.chmod(0o644)
        replace_file(str(path), b"x")
        assert _mode(path) == 0o600

    def test_does_not_follow_a_link(self, tmp_path):
        """
        A link in the file's place is replaced, and what it points to is untouched.
        """
        path = tmp_path / "metadata.json"
        _make("link", path)
        replace_file(str(path), b"new")
        assert not path.is_symlink()
        assert path.with_name("target").read_bytes() == b"not ours\n"

    def test_failure_leaves_the_old_file(self, tmp_path, monkeypatch):
        """
        When it can't be written, the old file stays whole and no temporary one is left behind.
        """
        path = tmp_path / "metadata.json"
        replace_file(str(path), b"old")

        def full(descriptor: int, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", full)
            with pytest.raises(OSError, match="No space"):
                replace_file(str(path), b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["metadata.json"]


class TestDirectories:
    def test_are_private(self, tmp_path, umask):
        """
        Directories made on the way are for their owner only under any umask.
        """
        path = tmp_path / "a" / "b" / "c"
        assert make_directory(str(path))
        assert not make_directory(str(path))
        assert {_mode(path), _mode(path.parent), _mode(path.parent.parent)} == {0o700}

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
    def test_refuse_what_is_none(self, tmp_path, kind):
        """
        Where something else is, a link to a directory included, there is no directory to be had.
        """
        path = tmp_path / "session"
        _make(kind, path)
        with pytest.raises(NotRegularError, match="directory is needed"):
            make_directory(str(path))

    def test_session_directory_through_a_link(self, tmp_path):
        """
        A link to a directory can't stand for a session's directory, but for a root it can.
        """
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with pytest.raises(NotRegularError):
            make_directory(str(tmp_path / "link"))
        make_root(str(tmp_path / "link"))

    def test_made_by_several_at_once(self, tmp_path):
        """
        Threads that make the same path all succeed, and one of them made it.
        """
        path = tmp_path / "a" / "b" / "c" / "d"
        barrier = threading.Barrier(8)
        made = []

        def work() -> None:
            barrier.wait()
            made.append(make_directory(str(path)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made) == [False] * 7 + [True]


def test_lock_file_is_private(tmp_path, umask):
    """
    Lock files are for their owner only, too.
    """
    os.close(open_lock_file(str(tmp_path / "lock")))
    assert _mode(tmp_path / "lock") == 0o600


def test_writes_all_of_it(monkeypatch):
    """
    Content is written to its end though the system takes only some of it at a time.
    """
    written = []

    def some(descriptor: int, content: memoryview) -> int:
        written.append(bytes(content[:3]))
        return min(len(content), 3)

    monkeypatch.setattr(files.os, "write", some)
    write_all(7, b"0123456789")
    assert b"".join(written) == b"0123456789"


class TestFreeSpace:
    def test_of_a_directory(self, tmp_path):
        """
        What is free for this user, and all that the disk has, as `df` tells it.
        """
        free, total = free_space(str(tmp_path))
        usage = shutil.disk_usage(tmp_path)
        assert total == usage.total
        assert abs(free - usage.free) < 2**30  # others write meanwhile

    def test_of_nothing(self, tmp_path):
        """
        Of a directory that is not there, nothing can be told.
        """
        with pytest.raises(FileNotFoundError):
            free_space(str(tmp_path / "nowhere"))

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
    def test_without_a_size(self):
        """
        A file system that says of itself that it has no blocks tells nothing.
        """
        with pytest.raises(OSError, match="tells no size"):
            free_space("/proc")
