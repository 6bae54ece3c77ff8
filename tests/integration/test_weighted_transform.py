"""Transform over a table with weights, against a row for each train row, on data with skewed activity."""

import functools
from collections import Counter

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse, to_json
from schemas.yaml_files import parse_yaml
from trainer.data.entities import transform_table
from trainer.data.transform_graphs import TransformGraphs
from trainer.preprocessing import preprocessing_fn

pytestmark = pytest.mark.integration

SPEC = """
name: shop
features:
  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, minimum_count: 3}}
  - {name: year, dtype: int, tower: item, encoding: {kind: vocabulary, top_k: 5}}
  - {name: tags, dtype: string, tower: item, multi_valued: true,
     encoding: {kind: vocabulary, minimum_count: 40}}
  - {name: price, dtype: float, tower: item, encoding: {kind: bucketize, buckets: 8}}
  - {name: size, dtype: float, tower: item, encoding: {kind: z_score}}
  - {name: added, dtype: int, tower: item, encoding: {kind: z_score}}
"""
ITEMS = 400
# TFT's own bound of a column's quantiles.
EPSILON = 0.01


def make_items(seed):
    """Few items with most of the rows, and many that neither split holds."""
    generator = np.random.default_rng(seed)
    rows = np.floor(0.6 * generator.pareto(0.8, ITEMS)).clip(0, 3000).astype(int)
    return [
        {
            "item": f"i {number}",
            "year": int(generator.integers(1990, 2000)),
            "tags": [f"t{tag}" for tag in generator.integers(0, 9, generator.integers(0, 4))],
            "price": float(np.float32(generator.exponential())),
            "size": float(np.float32(generator.normal(3.0, 0.1))),
            "added": 1_700_000_000 + int(generator.integers(0, 5)),
            "train_rows": int(rows[number]),
            "validation_rows": int(generator.integers(0, 2)),
        }
        for number in range(ITEMS)
    ]


def learn(spec, rows, folder, splits):
    function = functools.partial(
        preprocessing_fn,
        custom_config={"feature_spec": to_json(spec), "tower": "item", "counted_splits": splits},
    )
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(folder / "beam")):
        raw = (pipeline | beam.Create(rows, reshuffle=False), DatasetMetadata(build_schema(spec, "item")))
        _ = raw | tft_beam.AnalyzeDataset(function) | tft_beam.WriteTransformFn(str(folder / "graph"))
    graphs = TransformGraphs(user="", item=str(folder / "graph"))
    columns = transform_table(
        pa.Table.from_pylist(rows).to_batches(), spec.table_features("item"), graphs.item
    )
    return graphs, columns


@pytest.fixture(scope="module")
def spec():
    return parse(FeatureSpec, parse_yaml(SPEC), "test")


@pytest.fixture(scope="module", params=[["train"], ["train", "validation"]], ids=["train", "both"])
def learnt(request, spec, tmp_path_factory):
    """What Transform learnt over the items, and how often each counts."""
    items = make_items(seed=1)
    graphs, columns = learn(spec, items, tmp_path_factory.mktemp("weighted"), request.param)
    counts = np.array([sum(item[f"{split}_rows"] for split in request.param) for item in items])
    assert (counts == 0).sum() > 20
    # Skewed: the tenth with most rows has most of all.
    assert np.sort(counts)[-ITEMS // 10 :].sum() > 0.6 * counts.sum()
    return graphs, columns, items, counts


def rank(values, counts):
    """Sort labels as TFT does: by falling count, ties by falling bytes; only those that a row has."""
    totals = Counter()
    for labels, count in zip(values, counts, strict=True):
        for label in labels:
            totals[label.encode()] += int(count)
    return [(label, n) for n, label in sorted(((n, label) for label, n in totals.items()), reverse=True) if n]


def test_vocabularies_are_those_of_a_row_for_each_train_row(spec, learnt):
    graphs, _, items, counts = learnt
    features = {feature.name: feature for feature in spec.features}
    ids = rank([[item["item"]] for item in items], counts)
    assert sum(n < 3 for _, n in ids) > 50
    assert graphs.read_vocabulary(features["item"]) == [label for label, n in ids if n >= 3]
    years = rank([[str(item["year"])] for item in items], counts)
    assert graphs.read_vocabulary(features["year"]) == [label for label, _ in years][:5]
    tags = rank([item["tags"] for item in items], counts)
    assert graphs.read_vocabulary(features["tags"]) == [label for label, n in tags if n >= 40]


def test_quantiles_are_those_of_a_row_for_each_train_row(learnt):
    _, columns, _, counts = learnt
    shares = np.bincount(columns["price"], counts, minlength=8) / counts.sum()
    # A boundary is off by the share of TFT's bound at most, and by the rows of the item that it falls on.
    allowed = EPSILON + counts.max() / counts.sum()
    np.testing.assert_allclose(np.cumsum(shares)[:-1], np.arange(1, 8) / 8, atol=allowed)


def test_scales_are_those_of_a_row_for_each_train_row(learnt):
    _, columns, items, counts = learnt
    for name in ("size", "added"):
        # As float64 less a constant: a second of a billion of them is not lost.
        values = np.array([item[name] for item in items], np.float64)
        values -= values.min()
        rows = np.repeat(values, counts)
        np.testing.assert_allclose(columns[name], (values - rows.mean()) / rows.std(), atol=2e-5)


def test_counts_are_exact_beyond_what_a_float_holds(spec, tmp_path):
    # As float32, 2**24 + 1 would be 2**24, and c before b.
    items = make_items(seed=2)[:4]
    for item, label, rows in zip(items, "abcd", (2**40, 2**24 + 1, 2**24, 0), strict=True):
        item |= {"item": label, "train_rows": rows}
    graphs, _ = learn(spec, items, tmp_path, ["train"])
    [feature] = [feature for feature in spec.features if feature.name == "item"]
    assert graphs.read_vocabulary(feature) == [b"a", b"b", b"c"]
    swapped = [
        item | {"train_rows": {"b": 2**24, "c": 2**24 + 1}.get(item["item"], item["train_rows"])}
        for item in items
    ]
    (tmp_path / "swapped").mkdir()
    graphs, _ = learn(spec, swapped, tmp_path / "swapped", ["train"])
    assert graphs.read_vocabulary(feature) == [b"a", b"c", b"b"]
