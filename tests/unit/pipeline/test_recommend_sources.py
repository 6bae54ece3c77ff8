import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import PipelineConfig
from pipeline.recommend import read_user
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

LOG = [("ann", 1, 30, 5), ("bob", 2, 10, 5), ("ann", 3, 20, 4), ("ann", 4, 40, 1), ("ann", None, 50, 5)]


@pytest.mark.parametrize("ending", ["jsonl.gz", "csv", "parquet"])
def test_a_users_rows_are_found_in_every_kind_of_source(tmp_path, ending):
    names = ("customer", "sku", "at", "stars")
    rows = [dict(zip(names, row, strict=True)) for row in LOG]
    for day, part in (("2026-11-21", rows[:2]), ("2026-11-22", rows[2:])):
        path = tmp_path / f"{day}.{ending}"
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(part), path)
        elif ending == "csv":
            lines = [",".join("" if value is None else str(value) for value in row.values()) for row in part]
            path.write_text("\n".join([",".join(names), *lines]))
        else:
            path.write_bytes(gzip.compress("\n".join(map(json.dumps, part)).encode()))
    (tmp_path / "users.csv").write_text("customer,age\nbob,20\nann,31\n")
    vocabulary = {"kind": "vocabulary"}
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": vocabulary},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": vocabulary},
    ]
    log = {
        "file": f"{{date}}.{ending}",
        "timestamp": "time",
        "columns": {"user": "customer", "item": "sku", "time": "at"},
    }
    tables = {"interactions": log, "users": {"file": "users.csv", "columns": {"user": "customer"}}}
    spec = parse(FeatureSpec, {"name": "shop", "features": features, "tables": tables}, source="test")
    config = parse(
        PipelineConfig,
        {
            "run": {"name": "shop", "directory": "runs"},
            "data": {"schema": "shop.yaml", "directory": str(tmp_path)},
            "serving": {"directory": "serving"},
            "ingest": {"positives": {"column": "stars", "at_least": 4}},
        },
        source="test",
    )
    record = read_user(config, spec, "ann")
    assert record.features == {"user": "ann", "age": 31}
    assert (record.positives, sorted(record.interacted)) == (["3", "1"], ["1", "3", "4"])
    assert read_user(config, spec, "nobody").interacted == []
