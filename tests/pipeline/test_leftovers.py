from __future__ import annotations

import os

import pytest

from sessionlog_handlers.pipeline import leftovers
from sessionlog_handlers.pipeline.files import temporary_name
from sessionlog_handlers.pipeline.leftovers import find_leftovers, log_of, remove_leftovers, temporary_of


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("session.log", "session.log"),
        ("session.log.1", "session.log"),
        ("session.log.12", "session.log"),
        ("metadata.json", "metadata.json"),
        (".metadata.json", ".metadata.json"),
    ],
)
def test_names(name, log):
    """
    A temporary name tells which log it stands for, whatever number the rotated file had.
    """
    temporary = os.path.basename(temporary_name(f"/somewhere/{name}"))
    assert temporary_of(temporary) == log_of(name) == log


@pytest.mark.parametrize(
    "name", ["session.log", ".session.log.tmp", ".session.log.0123456789a.tmp", ".0123456789ab.tmp"]
)
def test_other_names(name):
    """
    Any other name stands for nothing.
    """
    assert temporary_of(name) is None


def test_only_old_ones_of_those_names(tmp_path, monkeypatch):
    """
    What was touched of late may be in use, and what stands for other files is not ours.
    """
    ours, others = tmp_path / ".a.log.2.0123456789ab.tmp", tmp_path / ".b.log.0123456789ab.tmp"
    for path in (ours, others):
        path.write_bytes(b"half")
    assert [*find_leftovers(str(tmp_path), ["a.log"])] == []
    monkeypatch.setattr(leftovers, "ORPHAN_AGE", -1.0)
    assert [*find_leftovers(str(tmp_path), ["a.log"])] == [str(ours)]
    remove_leftovers(str(tmp_path), ["a.log"])
    assert os.listdir(tmp_path) == [others.name]


def test_without_directory(tmp_path):
    """
    Where there is no directory, there is nothing.
    """
    remove_leftovers(str(tmp_path / "nowhere"), ["a.log"])
    assert os.listdir(tmp_path) == []
