"""The history that serving looks up is the one that the ingest's sequences end with."""

import random
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.outputs import IngestOutputs
from components.interaction_ingest.run import run_ingest
from components.interaction_ingest.user_lookup import read_user
from schemas.contract import CATALOGUE_FILE
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.integration

DAY = 86_400
VOCABULARY = {"kind": "vocabulary"}
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "tables": {"interactions": {"file": "log", "columns": {"user": "customer"}}},
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
            {"name": "age", "dtype": "int", "tower": "user", "default": 30},
            {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
            {"name": "brand", "dtype": "string", "tower": "item", "default": "none"},
        ],
        "history": {"length": 3},
    },
    source="test",
)
USERS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory):
    """Twelve items of which two are in no table, few times for many rows, and three files."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "log").mkdir()
    source = random.Random(3)
    for file in range(3):
        rows = [
            {
                "customer": source.randrange(USERS + 1),
                "item": source.randrange(12),
                "timestamp": DAY * source.randrange(5) + source.randrange(3),
                "stars": source.randrange(1, 6),
            }
            for _ in range(60)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "log" / f"{file}.parquet", row_group_size=25)
    # The last user is in no table either.
    pq.write_table(pa.table({"user": list(range(USERS)), "age": [20] * USERS}), folder / "users.parquet")
    pq.write_table(pa.table({"item": list(range(10)), "brand": ["b"] * 10}), folder / "items.parquet")
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"repeated": "keep_last", "validation": True},
        {"repeated": "keep_first", "split": {"kind": "latest_per_user", "skip_latest": 2}},
        {"max_positives_per_user": 5, "positives": {"column": "stars", "at_least": 3}},
        {"repeated": "keep_last", "max_positives_per_user": 4, "split": {"kind": "last_days", "days": 2}},
        {"repeated": "keep_first", "missing_metadata": "default", "max_positives_per_user": 7},
        {
            "repeated": "keep_last",
            "window": {"last": "1970-01-04"},
            "split": {"kind": "last_days", "days": 1},
        },
    ],
)
def test_the_history_of_a_look_up_is_that_of_the_sequences(data, tmp_path, config: dict[str, Any]):
    rules = parse(IngestConfig, {"missing_metadata": "drop", **config}, source="test")
    names = ("sequences", "users", "items", "contexts", "catalogue", "report", "dead_letters")
    options = PipelineOptions(["--runner=FnApiRunner"])
    report = run_ingest(
        lambda: beam.Pipeline(options=options),
        SPEC,
        rules,
        str(data),
        IngestOutputs(**{name: tmp_path / name for name in names}),
        window=rules.window,
    )
    catalogue = pq.read_table(tmp_path / "catalogue" / CATALOGUE_FILE).column("item").combine_chunks()
    sequences = {
        row["user"]: list(zip(row["item"], row["timestamp"], strict=True))
        for path in (tmp_path / "sequences").iterdir()
        for row in pq.read_table(path).to_pylist()
    }
    assert len(sequences) == USERS + (config.get("missing_metadata") == "default")
    assert sum(map(len, sequences.values())) == report["rows_kept"]
    found = {user: read_user(SPEC, rules, str(data), user, catalogue) for user in sequences}
    assert {
        user: list(zip(record.positives, record.seconds, strict=True)) for user, record in found.items()
    } == sequences
