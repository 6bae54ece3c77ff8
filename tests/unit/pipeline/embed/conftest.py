"""A small schema, and a tower whose embeddings show what it was given."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.features import FeatureSpec
from schemas.strict_config import parse

VOCABULARY = {"kind": "vocabulary"}


@pytest.fixture
def spec() -> FeatureSpec:
    return parse(
        FeatureSpec,
        {
            "name": "shop",
            "tables": {
                "users": {"file": "people.csv", "columns": {"user": "person"}},
                "items": {"file": "things.jsonl"},
            },
            "history": {"name": "seen", "length": 3, "time_gap_buckets": 4},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"},
                 "default": 30},
                {"name": "city", "dtype": "string", "tower": "user", "encoding": VOCABULARY},
                {"name": "note", "dtype": "string", "tower": "user"},
                {"name": "device", "dtype": "string", "tower": "context", "encoding": VOCABULARY,
                 "default": "web"},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id",
                 "encoding": VOCABULARY},
                {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
            ],
        },
        source="test",
    )  # fmt: skip


USER_INPUTS = {"age", "city", "device", "seen", "seen_gap_seconds"}


class FakeTower:
    """The embedding of a row is (its age, the length of its city, its newest gap)."""

    model_id = "m1"
    part = "user_tower"
    dim = 3

    def __init__(self, inputs=USER_INPUTS):
        self.inputs = dict.fromkeys(inputs)
        self.called_with: list[pa.Table] = []

    def embed(self, table, batch_rows):
        assert len(table) == batch_rows
        self.called_with.append(table)
        columns = [
            table["age"].to_pylist(),
            [len(city) for city in table["city"].to_pylist()],
            [gaps[-1] for gaps in table["seen_gap_seconds"].to_pylist()],
        ]
        return np.array(columns, np.float32).T


@pytest.fixture
def tower() -> FakeTower:
    return FakeTower()
