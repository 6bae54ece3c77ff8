import datetime
import os
import shutil

import pytest

from pipeline.retraining.retention_rules import judge_unfinished

pytestmark = pytest.mark.unit

NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
TWO_DAYS_AGO = (NOW - datetime.timedelta(days=2)).timestamp()


def test_what_a_run_removes_meanwhile_counts_as_not_there(tmp_path, monkeypatch):
    stays, goes = tmp_path / "a" / ".temp", tmp_path / "b" / ".temp"
    for folder in (stays, goes):
        folder.mkdir(parents=True)
        for name, size in (("kept", 5), ("removed", 7)):
            (folder / name).write_bytes(bytes(size))
            os.utime(folder / name, (TWO_DAYS_AGO, TWO_DAYS_AGO))
        os.utime(folder, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    walk = os.walk

    def walk_and_remove(path):
        found = list(walk(path))
        (stays / "removed").unlink(missing_ok=True)
        os.utime(stays, (TWO_DAYS_AGO, TWO_DAYS_AGO))
        return found

    monkeypatch.setattr(os, "walk", walk_and_remove)
    shutil.rmtree(goes)
    [found] = judge_unfinished([stays, goes], tmp_path, 1.0, NOW)
    assert (found.name, found.size_bytes, found.age_days) == ("a/.temp", 5, 2.0)
