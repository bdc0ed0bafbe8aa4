from __future__ import annotations

from pathlib import Path

from sessionlog_handlers.formats.archives import archives


class TestArchives:
    def test_oldest_first(self, tmp_path: Path) -> None:
        """
        Slots are given by their numbers, the highest first, plain or compressed; the log itself is none of them.
        """
        for name in ("a.log", "a.log.1", "a.log.2.gz", "a.log.10"):
            (tmp_path / name).touch()
        assert archives(tmp_path / "a.log") == [
            (10, tmp_path / "a.log.10"),
            (2, tmp_path / "a.log.2.gz"),
            (1, tmp_path / "a.log.1"),
        ]

    def test_plain_before_compressed(self, tmp_path: Path) -> None:
        """
        A slot with both files is given once, as the plain one.
        """
        for name in ("a.log.1", "a.log.1.gz"):
            (tmp_path / name).touch()
        assert archives(tmp_path / "a.log") == [(1, tmp_path / "a.log.1")]

    def test_other_names(self, tmp_path: Path) -> None:
        """
        Temporary files, other logs and slots that no rotation would number so are left alone.
        """
        for name in ("a.log.1.gz.tmp", "a.log.0", "a.log.01", "a.log.x", "ab.log.1", "a.log2.1", "a.log.1.bz2"):
            (tmp_path / name).touch()
        assert archives(tmp_path / "a.log") == []

    def test_no_directory(self, tmp_path: Path) -> None:
        """
        A log that was never written has no archives.
        """
        assert archives(tmp_path / "none" / "a.log") == []
