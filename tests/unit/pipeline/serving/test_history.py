import numpy as np
import pyarrow as pa
import pytest

from pipeline.queries.history import history_inputs
from pipeline.serving.history import HistoryValues
from pipeline.serving.models import Tensor
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

TEXT, WHOLE, REAL = np.dtype(object), np.dtype(np.int64), np.dtype(np.float32)
SPEC = parse(
    FeatureSpec,
    {
        "name": "toy",
        "history": {
            "name": "history", "length": 4, "item_features": ["genres", "year", "look"], "values_per_item": 2,
            "time_gap_buckets": 2,
        },
        "features": [
            {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
            {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id",
             "encoding": {"kind": "vocabulary"}},
            {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True,
             "encoding": {"kind": "vocabulary"}},
            {"name": "year", "dtype": "int", "tower": "item", "encoding": {"kind": "z_score"}},
            {"name": "look", "dtype": "float", "length": 3, "tower": "item", "encoding": {"kind": "vector"}},
        ],
    },
    source="test",
)  # fmt: skip
CATALOGUE = pa.table(
    {
        "item_id": ["a", "b", "c"],
        "genres": [["x", "y", "z"], [], ["", "x"]],
        "year": pa.array([2001, 2002, 2003], pa.int64()),
        "look": pa.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], pa.list_(pa.float32())),
    }
)
INPUTS = {
    "history": Tensor(TEXT, (None, 4)),
    "history_genres": Tensor(TEXT, (None, 4, 2)),
    "history_year": Tensor(WHOLE, (None, 4)),
    "history_look": Tensor(REAL, (None, 4, 3)),
    "history_gap_seconds": Tensor(WHOLE, (None, 4)),
}


def test_the_newest_items_padded_on_the_left():
    values = HistoryValues(SPEC, SPEC.history, INPUTS, CATALOGUE)
    columns = values.take(np.array([2, 0]), np.array([10, 30]), now=40)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "history": [b"", b"", b"c", b"a"],
        "history_genres": [[b"", b""], [b"", b""], [b"x", b""], [b"x", b"y"]],
        "history_year": [0, 0, 2003, 2001],
        "history_look": [[0, 0, 0], [0, 0, 0], [7, 8, 9], [1, 2, 3]],
        "history_gap_seconds": [-1, -1, 30, 10],
    }
    longer = values.take(np.array([1, 2, 0, 0, 1]), np.arange(5), now=5)
    assert longer["history"].tolist() == [b"c", b"a", b"a", b"b"]
    assert longer["history_gap_seconds"].tolist() == [4, 3, 2, 1]
    assert values.take(np.zeros(0, int), np.zeros(0, int), 0)["history"].tolist() == [b""] * 4


@pytest.mark.parametrize("length", [0, 1, 4, 9])
def test_they_are_what_the_command_gives_the_tower(length):
    generator = np.random.default_rng(length)
    rows, seconds = generator.integers(0, 3, length), generator.integers(0, 99, length)
    ours = HistoryValues(SPEC, SPEC.history, INPUTS, CATALOGUE).take(rows, seconds, 100)
    theirs = history_inputs(SPEC, SPEC.history, rows, seconds, 100, CATALOGUE)
    assert ours.keys() == theirs.keys()
    for name, column in theirs.items():
        [expected] = column.to_pylist()
        found = [
            value.decode() if isinstance(value, bytes) else value for value in ours[name].ravel().tolist()
        ]
        assert found == expected


def test_only_what_the_tower_reads_is_made():
    values = HistoryValues(SPEC, SPEC.history, {"history": INPUTS["history"]}, CATALOGUE)
    assert not values.reads_gaps
    assert list(values.take(np.array([1]), np.array([1]), 1)) == ["history"]


def test_a_catalogue_without_a_feature_is_refused():
    with pytest.raises(ReleaseError, match=r"\['year'\], which the release's catalogue does not have"):
        HistoryValues(SPEC, SPEC.history, INPUTS, CATALOGUE.drop_columns(["year"]))
