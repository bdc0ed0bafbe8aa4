from __future__ import annotations

import pytest

from sessionlog_handlers.pipeline.belongings import owns
from sessionlog_handlers.pipeline.metadata import Metadata, write_metadata


@pytest.fixture
def root(tmp_path):
    """
    A root with some sessions, of which each has one file somewhere else.
    """
    for name, path in {"job": "of-job.log", "job-2": "of-job-2.log", "other": "other.jsonl"}.items():
        (tmp_path / name).mkdir()
        write_metadata(str(tmp_path / name / "metadata.json"), Metadata(session=name, files=[path]))
    (tmp_path / ".sessions" / "flat-job").mkdir(parents=True)  # its metadata is lost
    return str(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "job/session.log",
        "job/a/b.log",
        ".sessions/job/session.log",
        "job.jsonl",
        "job.log",
        "of-job.log",
        "logs/of-job.log",
        "logs/job/a.log",
        "of-job-3.log",
    ],
)
def test_own_files(root, path):
    """
    What is in the session's directory is its own, and what has its name elsewhere and is no other's.
    """
    assert owns(root, path, "job")


@pytest.mark.parametrize(
    "path",
    [
        "../job/session.log",
        "/job/session.log",
        "session.log",
        "logs/session.log",
        "other/session.log",
        "other/job/session.log",
        "other/job.log",
        "job-2/session.log",
        "job-2/job.log",
        "./job-2/session.log",
        "job//../job-2/session.log",
        "of-job-2.log",
        ".//of-job-2.log",
        "flat-job.jsonl",
        "jobs.log",
        "myjob.log",
        ".sessions/job",
        ".sessions/job-2/session.log",
        ".locks/job",
        ".trash/job/session.log",
    ],
)
def test_others_files(root, path):
    """
    What is in another session's directory is not its own, nor what another session with a longer name has.
    """
    assert not owns(root, path, "job")


def test_name_that_ends_with_a_mark(tmp_path):
    """
    A name may end with what parts others.
    """
    assert owns(str(tmp_path), "logs/of-job-/a.log", "job-")
