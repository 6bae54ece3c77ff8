import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.data_check import start
from pipeline.data_check.start import describe_start

pytestmark = pytest.mark.unit

# 2023-11-15 00:00 UTC.
START = 1_700_006_400


def settings(directory, *overrides):
    config = load_config("pipeline/configs/movielens_100k.yaml", (f"data.directory={directory}", *overrides))
    return config, config.load_features()


def test_the_main_lines_are_told(tmp_path):
    users, items = (
        {"user_id": ["a"], "age": [30], "gender": ["F"], "occupation": ["x"]},
        {"item_id": ["p", "q"]},
    )
    pq.write_table(pa.table(users), tmp_path / "users.parquet")
    items = {"item_id": ["p", "q"], "title": ["P", "Q"], "year": [1999, 2000], "genres": [["War"], ["Drama"]]}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    log = {"user_id": ["a", "a"], "item_id": ["p", "q"], "timestamp": [START, START + 5]}
    pq.write_table(pa.table(log), tmp_path / "interactions.parquet")
    lines = describe_start(*settings(tmp_path))
    assert lines[0] == "Data: 2 interactions; 2 positives of 1 users with 2 items, 100.000% of all pairs"
    assert lines[1].startswith("From 2023-11-15T00:00:00 to 2023-11-15T00:00:05 UTC; 1 train, 1 eval; 100.0%")
    assert any("Times: all positives are within a day, 2023-11-15." in line for line in lines)


def test_what_cannot_be_read_leaves_the_step_to_fail(tmp_path):
    [line] = describe_start(*settings(tmp_path / "nowhere"))
    assert line.startswith("Data: they cannot be read, it seems. No folder")


def test_a_large_log_is_not_read_whole_for_the_newest_row(tmp_path, monkeypatch):
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\na,p,{START}\na,q,{START + 5}\n")
    for name in ("users", "items"):
        (tmp_path / f"{name}.parquet").write_bytes(b"")
    config, features = settings(tmp_path, "ingest.window.last_days=7")
    log = dataclasses.replace(features.tables.interactions, file="log.csv")
    features = dataclasses.replace(features, tables=dataclasses.replace(features.tables, interactions=log))
    monkeypatch.setattr(start, "WHOLE_BYTES", 20)
    [line] = describe_start(config, features)
    assert "ingest.window.last_days counts back from the newest" in line
