"""The catalogue through the item part of a real transform graph."""

import functools

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import yaml
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse, to_json
from trainer.catalogue import read_catalogue
from trainer.preprocessing import preprocessing_fn

pytestmark = pytest.mark.integration

SCHEMA = """
name: shop
history: {name: history, length: 2}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, oov_buckets: 2}}
  - {name: year, dtype: int, tower: item, encoding: {kind: bucketize, buckets: 2}}
  - {name: price, dtype: float, tower: item, encoding: {kind: z_score}}
  - {name: genres, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: look, dtype: float, length: 2, tower: item, encoding: {kind: vector}}
  - {name: title, dtype: string, tower: item, encoding: {kind: text, ngrams: 2, buckets: 100}, default: ''}
"""
SPEC = parse(FeatureSpec, yaml.safe_load(SCHEMA), "test")
ITEMS = [
    {"item_id": "a b", "year": 1990, "price": 1.0, "genres": [], "look": [1.0, 0.5], "title": "Red socks"},
    {"item_id": "c", "year": 2000, "price": 3.0, "genres": ["x", "y"], "look": [0.0, 2.0], "title": ""},
    {
        "item_id": "d",
        "year": 2010,
        "price": 5.0,
        "genres": ["y"],
        "look": [3.0, 3.0],
        "title": "One two three",
    },
]
NEVER_SOLD = {"item_id": "e", "year": 1, "price": 3.0, "genres": ["z"], "look": [9.0, 9.0], "title": "socks"}
# Each item as often as it says: c is the first of the vocabulary, d the second.
TRAIN = [ITEMS[0], *[ITEMS[1]] * 3, *[ITEMS[2]] * 2]
TYPES = pa.schema(
    {
        "item_id": pa.string(), "year": pa.int64(), "price": pa.float32(), "genres": pa.list_(pa.string()),
        "look": pa.list_(pa.float32()), "title": pa.string(),
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """Run the real Transform over the train rows and give its graph."""
    directory = tmp_path_factory.mktemp("transform")
    user = {"user_id": "u", "history": ["", ""], "timestamp": 0}
    rows = [item | user for item in TRAIN]
    function = functools.partial(preprocessing_fn, custom_config={"feature_spec": to_json(SPEC)})
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(directory / "beam")):
        raw = (pipeline | beam.Create(rows, reshuffle=False), DatasetMetadata(build_schema(SPEC)))
        _, transform_fn = raw | tft_beam.AnalyzeAndTransformDataset(function)
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory / "graph"))
    return tft.TFTransformOutput(str(directory / "graph"))


def write_catalogue(folder, items):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(items, TYPES), folder / "catalogue.parquet")
    return str(folder)


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_every_item_is_encoded_as_the_train_rows_are(transformed, tmp_path, batch_rows):
    folder = write_catalogue(tmp_path / "catalogue", [*ITEMS, NEVER_SOLD])
    columns = read_catalogue(folder, SPEC, transformed, batch_rows)
    assert set(columns) == {"item_id", "year", "price", "genres", "look", "title"}
    # Rows per item: c 3, d 2, a b 1; e is in no vocabulary, and its key is above it.
    assert columns["item_id"][:3].tolist() == [2, 0, 1]
    assert columns["item_id"][3] > 2
    # The median year of the train rows is 2000.
    assert columns["year"].tolist() == [0, 1, 1, 0]
    prices = np.array([1.0, 3.0, 3.0, 3.0, 5.0, 5.0])
    expected = (np.array([1.0, 3.0, 5.0, 3.0]) - prices.mean()) / prices.std()
    np.testing.assert_allclose(columns["price"], expected, rtol=1e-5)
    # Values per genre: y 5, x 3; z is none of them.
    assert columns["genres"].tolist() == [[-1, -1], [1, 0], [0, -1], [2, -1]]
    np.testing.assert_array_equal(columns["look"], [[1.0, 0.5], [0.0, 2.0], [3.0, 3.0], [9.0, 9.0]])
    # Words and pairs of words; no two hashes of these are equal among 100.
    assert (columns["title"] >= 0).sum(axis=1).tolist() == [3, 0, 5, 1]
    assert columns["title"].shape == (4, 5)
    assert columns["title"][3, 0] == columns["title"][0, 1]


def test_the_dtypes_are_those_of_the_examples(transformed, tmp_path):
    columns = read_catalogue(write_catalogue(tmp_path / "catalogue", ITEMS), SPEC, transformed)
    assert {name: column.dtype.name for name, column in columns.items()} == {
        "item_id": "int64", "year": "int64", "price": "float32", "genres": "int64", "look": "float32",
        "title": "int64",
    }  # fmt: skip


def test_an_empty_catalogue_is_refused(transformed, tmp_path):
    with pytest.raises(DataError, match=r"expected at least one item with item_id.*Received: no item"):
        read_catalogue(write_catalogue(tmp_path / "catalogue", []), SPEC, transformed)


def test_a_missing_column_is_named(transformed, tmp_path):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(ITEMS, TYPES).drop_columns(["look"]), folder / "catalogue.parquet")
    with pytest.raises(DataError, match=r"Received: no look"):
        read_catalogue(str(folder), SPEC, transformed)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"year": None}, r"'year': expected no missing value\. Received: 1"),
        ({"look": [1.0]}, r"'look': expected lists of 2 values\. Received: a list of 1"),
        ({"genres": [None]}, r"'genres': expected no missing value\. Received: 1"),
    ],
)
def test_values_that_cannot_be_used_are_named(transformed, tmp_path, change, match):
    folder = write_catalogue(tmp_path / "catalogue", [ITEMS[0] | change])
    with pytest.raises(DataError, match=match):
        read_catalogue(folder, SPEC, transformed)
