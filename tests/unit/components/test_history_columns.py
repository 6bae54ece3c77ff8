import numpy as np
import pyarrow as pa
import pytest

from components.history_columns import history_columns
from schemas.errors import DataError
from schemas.features import FeatureSpec, History
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
QUANTILES = {"kind": "bucketize", "buckets": 3}
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "history": {
            "name": "recent",
            "length": 3,
            "item_features": ["tags", "brand", "year", "price", "look", "title"],
            "values_per_item": 2,
            "time_gap_buckets": 4,
        },
        "features": [
            {"name": "uid", "dtype": "string", "tower": "user", "role": "user_id"},
            {"name": "iid", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
            {"name": "brand", "dtype": "string", "tower": "item", "encoding": VOCABULARY},
            {
                "name": "tags",
                "dtype": "string",
                "tower": "item",
                "multi_valued": True,
                "encoding": VOCABULARY,
            },
            {
                "name": "year",
                "dtype": "int",
                "tower": "item",
                "encoding": QUANTILES,
            },
            {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
            {"name": "look", "dtype": "float", "length": 2, "tower": "item", "encoding": {"kind": "vector"}},
            {"name": "title", "dtype": "string", "tower": "item", "encoding": {"kind": "text", "buckets": 9}},
        ],
    },
    source="test",
)
CATALOGUE = pa.table(
    {
        "shown": ["not", "a", "feature", "!"],
        "iid": ["a", "b", "never", "c"],
        "brand": ["X", "Y", "Q", ""],
        "tags": pa.array([["s", "t", "u"], [], ["q"], ["", "v", "w", "x"]], pa.list_(pa.string())),
        "year": pa.array([2001, 2002, 1900, 2003], pa.int64()),
        "price": pa.array([0.5, 1.5, 9.5, 2.5], pa.float32()),
        "look": pa.array([[1, 2], [3, 4], [9, 9], [5, 6]], pa.list_(pa.float32())),
        "title": ["one", "two words", "never", "three"],
    }
)
# The histories b a c; b a; and none.
ROWS = np.array([[1, 0, 3], [-1, 1, 0], [-1, -1, -1]], np.int32)
SECONDS = np.array([[10, 70, 70], [0, 10, 70], [0, 0, 0]])
NOW = np.array([100, 70, 5])


def test_every_kind_of_feature_worked_by_hand():
    found = history_columns(ROWS, CATALOGUE, SPEC, SECONDS, NOW)
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "recent": [["b", "a", "c"], ["", "b", "a"], ["", "", ""]],
        # Two values for each item: a has one too many, b none, c an empty one that counts for nothing.
        "recent_tags": [["", "", "s", "t", "v", "w"], ["", "", "", "", "s", "t"], [""] * 6],
        "recent_brand": [["Y", "X", ""], ["", "Y", "X"], ["", "", ""]],
        "recent_year": [[2002, 2001, 2003], [0, 2002, 2001], [0, 0, 0]],
        "recent_price": [[1.5, 0.5, 2.5], [0.0, 1.5, 0.5], [0.0, 0.0, 0.0]],
        "recent_look": [[3, 4, 1, 2, 5, 6], [0, 0, 3, 4, 1, 2], [0] * 6],
        "recent_title": [["two words", "one", "three"], ["", "two words", "one"], ["", "", ""]],
        "recent_gap_seconds": [[90, 30, 30], [-1, 60, 0], [-1, -1, -1]],
    }
    assert tuple(found) == SPEC.history.columns
    kinds = {name: column.type.value_type for name, column in found.items()}
    assert (kinds["recent_year"], kinds["recent_gap_seconds"]) == (pa.int64(), pa.int64())
    assert (kinds["recent_price"], kinds["recent_look"]) == (pa.float32(), pa.float32())


def test_catalogue_in_chunks_and_slices():
    padded = pa.concat_tables([CATALOGUE, CATALOGUE]).slice(2, 4)
    # The rows of the slice: never, c, a, b.
    found = history_columns(np.array([[3, 2, 1]]), padded, SPEC)
    whole = history_columns(ROWS[:1], CATALOGUE, SPEC)
    assert {name: column.to_pylist() for name, column in found.items()} == {
        name: column.to_pylist() for name, column in whole.items()
    }


def test_without_times_there_are_no_gaps():
    assert "recent_gap_seconds" not in history_columns(ROWS, CATALOGUE, SPEC)
    plain = FeatureSpec(
        name="shop", features=SPEC.features, history=parse(History, {"name": "recent"}, source="test")
    )
    found = history_columns(ROWS, CATALOGUE, plain, SECONDS, NOW)
    assert {name: column.to_pylist() for name, column in found.items()} == {
        "recent": [["b", "a", "c"], ["", "b", "a"], ["", "", ""]]
    }


def test_no_query_no_item_and_no_history():
    empty = history_columns(np.zeros((0, 3), np.int32), CATALOGUE, SPEC, np.zeros((0, 3)), np.zeros(0))
    assert {len(column) for column in empty.values()} == {0}
    padding = history_columns(ROWS[2:], CATALOGUE.slice(0, 0), SPEC, SECONDS[2:], NOW[2:])
    assert padding["recent_look"].to_pylist() == [[0.0] * 6]
    assert padding["recent"].to_pylist() == [[""] * 3]
    features = [
        {"name": "uid", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
        {"name": "iid", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
    ]
    without = parse(FeatureSpec, {"name": "shop", "features": features}, source="test")
    assert history_columns(ROWS, CATALOGUE, without) == {}


def test_missing_column_is_named():
    with pytest.raises(DataError, match="Received: no look, year"):
        history_columns(ROWS, CATALOGUE.drop_columns(["year", "look"]), SPEC)


def test_towers_read_the_columns():
    import tensorflow as tf

    from components.towers import _to_numpy

    found = pa.table(history_columns(ROWS, CATALOGUE, SPEC, SECONDS, NOW))
    tags = _to_numpy(found["recent_tags"], "recent_tags", tf.TensorSpec([None, 3, 2], tf.string))
    assert tags[0].tolist() == [[b"", b""], [b"s", b"t"], [b"v", b"w"]]
    look = _to_numpy(found["recent_look"], "recent_look", tf.TensorSpec([None, 3, 2], tf.float32))
    assert look[1].tolist() == [[0, 0], [3, 4], [1, 2]]
