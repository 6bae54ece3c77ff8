import dataclasses
import datetime
import os

import pytest

from components.interaction_ingest import fingerprints
from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_days, fingerprint_inputs
from components.interaction_ingest.sources.parts import DataFile
from schemas.errors import DataError
from schemas.features import InteractionTable

pytestmark = pytest.mark.unit

DAYS = ["2026-11-18", "2026-11-19", "2026-11-21", "2026-11-22"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path):
    def run(*names):
        for name in names:
            (tmp_path / name).write_text(name)

    return run


@pytest.fixture
def daily(spec, make):
    """A spec of daily logs, whose files are there."""
    make("people.parquet", "things.parquet", *(f"{day}.csv" for day in DAYS))
    interactions = InteractionTable(file="{date}.csv", timestamp="at")
    return dataclasses.replace(spec, tables=dataclasses.replace(spec.tables, interactions=interactions))


def test_fingerprint_follows_the_contents_of_each_file(spec, tmp_path):
    names = ("log.parquet", "people.parquet", "things.parquet")
    for name in names:
        (tmp_path / name).write_bytes(b"1")
    first = fingerprint_inputs(spec, str(tmp_path))
    assert fingerprint_inputs(spec, str(tmp_path)) == first
    seen = {first}
    for name in names:
        (tmp_path / name).write_bytes(b"2")
        seen.add(fingerprint_inputs(spec, str(tmp_path)))
    assert len(seen) == 4
    (tmp_path / "log.parquet").unlink()
    with pytest.raises(DataError, match=r"No file .*log\.parquet.*people\.parquet, things\.parquet"):
        fingerprint_inputs(spec, str(tmp_path))


def test_fingerprint_of_daily_logs_follows_the_days_of_the_window(daily, make, tmp_path):
    def fingerprint():
        return fingerprint_inputs(daily, str(tmp_path), WindowConfig(last_days=2))

    first = fingerprint()
    make("2026-11-10.csv")
    (tmp_path / f"{DAYS[0]}.csv").write_text("older than the window")
    assert fingerprint() == first
    (tmp_path / f"{DAYS[2]}.csv").write_text(f"{DAYS[2]}.csV")
    changed = fingerprint()
    assert changed != first
    make("2026-11-23.csv")
    assert fingerprint() not in (first, changed)


def test_a_file_that_was_read_before_is_read_again_only_once_it_has_changed(spec, tmp_path, make):
    make("log.parquet", "people.parquet", "things.parquet")
    for file in tmp_path.glob("*.parquet"):
        # Older than the coarsest clock of a file system, by whose times a change is told.
        hour_ago = file.stat().st_mtime - 3600
        os.utime(file, (hour_ago, hour_ago))
    first = fingerprint_inputs(spec, str(tmp_path))
    (tmp_path / "log.parquet").write_text("log.parqueT")
    assert fingerprint_inputs(spec, str(tmp_path)) != first


def test_files_in_a_store_count_by_size_and_upload_and_are_not_read(spec, monkeypatch):
    def found(size_bytes, hour):
        uploaded = datetime.datetime(2026, 11, 22, hour, tzinfo=datetime.UTC)
        # There is no such bucket, so that reading would fail.
        file = DataFile("s3://nowhere/log.parquet", "log.parquet", "parquet", size_bytes, uploaded)
        monkeypatch.setattr(fingerprints, "list_input_files", lambda *_: {"interactions": (file,)})
        return fingerprint_inputs(spec, "s3://nowhere")

    assert found(5, 1) == found(5, 1)
    assert len({found(5, 1), found(6, 1), found(5, 2)}) == 3


def test_each_day_has_a_fingerprint_of_its_own(daily, make, tmp_path):
    window = WindowConfig(last_days=5, maximum_missing_days=5)
    first = fingerprint_days(daily, str(tmp_path), window)
    assert {table: list(days) for table, days in first.items()} == {
        "interactions": DAYS,
        "users": [""],
        "items": [""],
    }
    assert len({digest for days in first.values() for digest in days.values()}) == 6
    (tmp_path / f"{DAYS[2]}.csv").write_text("came late")
    make("2026-11-23.csv")
    second = fingerprint_days(daily, str(tmp_path), window)
    assert (second["users"], second["items"]) == (first["users"], first["items"])
    # The window of five days has moved by one.
    assert list(second["interactions"]) == [*DAYS[1:], "2026-11-23"]
    same = [day for day in DAYS[1:] if second["interactions"][day] == first["interactions"][day]]
    assert same == [DAYS[1], DAYS[3]]
