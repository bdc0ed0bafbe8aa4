from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.registry import get_format
from sessionlog_handlers.reading.reader import MAX_LINE_BYTES, read_path, read_rotated

NAMES = ["jsonl", "fugue", "pty", "text", "event_line"]


def make_raw(name: str, first: int, last: int) -> bytes:
    """
    Lines of a format, numbered in their ``n`` from *first* up to, but without *last*.
    """
    line_format = get_format(name)
    return b"".join(
        line_format.format(Line(ts=1767875696.0 + n, level="error", session="abc", event="error", data={"n": n}))
        for n in range(first, last)
    )


def numbers(lines: list[Line]) -> list[int]:
    """
    The seconds of the lines, which number them in every format.
    """
    return [int(line.ts - 1767875696.0) for line in lines]


class TestReadPath:
    @pytest.mark.parametrize("name", NAMES)
    def test_finds_the_format(self, tmp_path: Path, name: str) -> None:
        """
        A file of any format is read without being told which, as often as asked.
        """
        (tmp_path / "a.log").write_bytes(make_raw(name, 0, 50))
        reader = read_path(tmp_path / "a.log")
        assert numbers(list(reader)) == list(range(50))
        assert numbers(list(reader)) == list(range(50))
        assert (reader.line_count, reader.bad_count, reader.bad) == (50, 0, [])

    @pytest.mark.parametrize("name", NAMES)
    def test_cut_at_every_byte(self, tmp_path: Path, name: str) -> None:
        """
        Of a file that was cut anywhere every whole line is given and nothing else; the rest is counted and named.
        """
        raw = make_raw(name, 0, 4)
        path = tmp_path / "a.log"
        for length in range(raw.index(b"\n") + 1, len(raw)):
            path.write_bytes(raw[:length])
            reader = read_path(path)
            found = numbers(list(reader))
            whole = raw[:length].count(b"\n")
            proven = name in ("jsonl", "fugue", "pty") and raw[length : length + 1] == b"\n"
            torn = not proven and raw[length - 1 : length] != b"\n"
            assert found == list(range(whole + proven))
            assert [(bad.lineno, bad.reason) for bad in reader.bad] == (
                [(whole + 1, "torn: no line end")] if torn else []
            )

    def test_damage_is_counted_by_line(self, tmp_path: Path) -> None:
        """
        Garbage, NULs and binary between the lines cost nothing but themselves.
        """
        parts = make_raw("jsonl", 0, 4).splitlines(keepends=True)
        damage = [b"\x00" * 50, b"garbage\n", b"\xff\xfe\x1b\n", b'{"ts":"2026\n']
        path = tmp_path / "a.log"
        path.write_bytes(
            damage[0] + parts[0] + damage[1] + parts[1] + b"\n\r\n" + damage[2] + parts[2] + damage[3] + parts[3]
        )
        reader = read_path(path)
        assert numbers(list(reader)) == [0, 1, 2, 3]
        assert [bad.lineno for bad in reader.bad] == [1, 2, 6, 8]
        assert str(reader.bad[0]) == f"{path}:1: 50 NUL bytes"

    def test_one_nul_byte(self, tmp_path: Path) -> None:
        """
        One is one.
        """
        path = tmp_path / "one.log"
        path.write_bytes(b"\0" + make_raw("jsonl", 0, 1))
        reader = read_path(path)
        assert len(list(reader)) == 1
        assert reader.bad[0].reason == "1 NUL byte"

    def test_every_flipped_bit(self, tmp_path: Path) -> None:
        """
        One flipped bit costs at most the two lines that it touches.
        """
        raw = make_raw("jsonl", 0, 6)
        path = tmp_path / "a.log"
        for bit in range(0, len(raw) * 8, 7):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            reader = read_path(path, format="jsonl")
            assert len(list(reader)) >= 4
            assert reader.line_count + reader.bad_count >= 5

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(st.binary(max_size=3000))
    def test_any_bytes(self, tmp_path: Path, content: bytes) -> None:
        """
        Whatever is in a file, reading it ends without an error.
        """
        path = tmp_path / "a.log"
        path.write_bytes(content)
        reader = read_path(path)
        assert len(list(reader)) == reader.line_count

    def test_strict(self, tmp_path: Path) -> None:
        """
        On request the first bad line is an error that names its place.
        """
        path = tmp_path / "a.log"
        path.write_bytes(make_raw("jsonl", 0, 2) + b"garbage\n")
        with pytest.raises(InvalidLineError) as caught:
            list(read_path(path, strict=True))
        assert (caught.value.path, caught.value.lineno, caught.value.line) == (str(path), 3, b"garbage")

    def test_memory_is_flat(self, tmp_path: Path) -> None:
        """
        A line that never ends is skipped in little memory, and the line behind it is given.
        """
        path = tmp_path / "a.log"
        with path.open("wb") as file:
            file.write(make_raw("jsonl", 0, 1))
            for _ in range(4):
                file.write(b"x" * MAX_LINE_BYTES)
            file.write(b"\n" + make_raw("jsonl", 1, 2))
        reader = read_path(path)
        tracemalloc.start()
        try:
            assert numbers(list(reader)) == [0, 1]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * MAX_LINE_BYTES
        assert [bad.lineno for bad in reader.bad] == [2]

    def test_windows_and_editors(self, tmp_path: Path) -> None:
        """
        A mark of UTF-8 at the beginning and carriage returns at the ends of lines do no harm.
        """
        path = tmp_path / "a.log"
        path.write_bytes(b"\xef\xbb\xbf" + make_raw("text", 0, 3).replace(b"\n", b"\r\n"))
        reader = read_path(path)
        assert numbers(list(reader)) == [0, 1, 2]
        assert reader.bad_count == 0

    def test_not_a_file(self, tmp_path: Path) -> None:
        """
        A pipe in a file's place is refused, not waited for.
        """
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):
            list(read_path(tmp_path / "pipe"))
        with pytest.raises(FileNotFoundError):
            list(read_path(tmp_path / "none"))


class TestGzip:
    def test_whole(self, tmp_path: Path) -> None:
        """
        An archive is read like its original, also one of several members with padding behind them.
        """
        path = tmp_path / "a.log.1.gz"
        path.write_bytes(
            gzip.compress(make_raw("jsonl", 0, 500)) + gzip.compress(make_raw("jsonl", 500, 600)) + b"\0" * 20
        )
        reader = read_path(path)
        assert numbers(list(reader)) == list(range(600))
        assert reader.bad_count == 0

    def test_cut(self, tmp_path: Path) -> None:
        """
        Of an archive that was cut anywhere its prefix is read, and the cut is counted.
        """
        raw = make_raw("jsonl", 0, 2000)
        packed = gzip.compress(raw)
        path = tmp_path / "a.log.1.gz"
        counts = []
        for part in range(1, 51):
            path.write_bytes(packed[: len(packed) * part // 51])
            reader = read_path(path)
            found = numbers(list(reader))
            assert found == list(range(len(found)))
            assert reader.bad[-1].reason == "archive cut short"
            counts.append(len(found))
        assert counts == sorted(counts)
        assert counts[-1] > 1500

    def test_damaged(self, tmp_path: Path) -> None:
        """
        Of an archive with a damaged byte all lines before the damage are read.
        """
        packed = bytearray(gzip.compress(make_raw("jsonl", 0, 2000)))
        packed[-6] ^= 0xFF  # in the checksum, behind all of the text
        path = tmp_path / "a.log.1.gz"
        path.write_bytes(packed)
        reader = read_path(path)
        assert numbers(list(reader)) == list(range(2000))
        assert reader.bad[-1].reason.startswith("damaged archive")


class TestReadRotated:
    @pytest.mark.parametrize("kind", ["pipe", "directory"])
    def test_what_is_no_file_hides_no_other(self, tmp_path: Path, kind: str) -> None:
        """
        Something else in an old file's place is named as bad, and every other file is read.
        """
        (tmp_path / "a.log").write_bytes(make_raw("jsonl", 1, 2))
        (tmp_path / "a.log.2").write_bytes(make_raw("jsonl", 0, 1))
        os.mkfifo(tmp_path / "a.log.1") if kind == "pipe" else (tmp_path / "a.log.1").mkdir()
        reader = read_rotated(tmp_path / "a.log")
        assert numbers(list(reader)) == [0, 1]
        assert [(bad.path, bad.reason) for bad in reader.bad] == [(str(tmp_path / "a.log.1"), "not a regular file")]
        with pytest.raises(InvalidLineError, match="not a regular file"):
            list(read_rotated(tmp_path / "a.log", strict=True))

    def test_oldest_first(self, tmp_path: Path) -> None:
        """
        Rotated files are read before the log, the highest slot first, compressed or not, whatever their formats.
        """
        log = tmp_path / "a.log"
        log.write_bytes(make_raw("jsonl", 6, 8))
        (tmp_path / "a.log.1").write_bytes(make_raw("text", 4, 6))
        (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(make_raw("jsonl", 2, 4)))
        (tmp_path / "a.log.10").write_bytes(make_raw("jsonl", 0, 2))
        reader = read_rotated(log)
        assert numbers(list(reader)) == list(range(8))
        assert [path.name for path in reader.paths] == ["a.log.10", "a.log.2.gz", "a.log.1", "a.log"]

    def test_half_made_archive(self, tmp_path: Path) -> None:
        """
        A slot with both the original and an archive counts once.
        """
        log = tmp_path / "a.log"
        (tmp_path / "a.log.1").write_bytes(make_raw("jsonl", 0, 5))
        (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(make_raw("jsonl", 0, 5))[:30])
        reader = read_rotated(log)
        assert numbers(list(reader)) == [0, 1, 2, 3, 4]
        assert reader.bad_count == 0

    def test_rotation_while_reading(self, tmp_path: Path) -> None:
        """
        A rotation after the first line was asked for loses and doubles nothing of what was there.
        """
        log = tmp_path / "a.log"
        log.write_bytes(make_raw("jsonl", 4, 6))
        (tmp_path / "a.log.1").write_bytes(make_raw("jsonl", 2, 4))
        (tmp_path / "a.log.2").write_bytes(make_raw("jsonl", 0, 2))
        lines = iter(read_rotated(log))
        found = [next(lines)]
        (tmp_path / "a.log.2").unlink()
        (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
        log.rename(tmp_path / "a.log.1")
        log.write_bytes(make_raw("jsonl", 6, 7))
        found += lines
        assert numbers(found) == list(range(6))

    def test_rotation_while_opening(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A rotation between the opening of two files loses and doubles nothing.
        """
        log = tmp_path / "a.log"
        log.write_bytes(make_raw("jsonl", 2, 4))
        (tmp_path / "a.log.1").write_bytes(make_raw("jsonl", 0, 2))
        opened: list[object] = []
        open_file = os.open

        def rotate_after_first(path: object, *args: int) -> int:
            descriptor = open_file(path, *args)  # type: ignore[arg-type]  # any path that os.open takes
            opened.append(path)
            if len(opened) == 1:
                (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
                log.rename(tmp_path / "a.log.1")
            return descriptor

        monkeypatch.setattr("sessionlog_handlers.reading.reader.os.open", rotate_after_first)
        assert numbers(list(read_rotated(log))) == [0, 1, 2, 3]

    def test_nothing_there(self, tmp_path: Path) -> None:
        """
        Without the log and without archives there is nothing to read.
        """
        with pytest.raises(FileNotFoundError):
            list(read_rotated(tmp_path / "a.log"))
