"""The schemas that the schema file gives, against real TFDV statistics of good and of bad examples."""

import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl

from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse
from schemas.yaml_files import parse_yaml

pytestmark = pytest.mark.integration

SPEC = """
name: shop
features:
  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}
  - {name: stars, dtype: int, tower: context, minimum: 1, maximum: 5}
  - {name: kind, dtype: string, tower: context, values: [a, b]}
  - {name: price, dtype: float, tower: context, minimum: 0.0, default: 0.0}
  - {name: tags, dtype: string, tower: context, multi_valued: true, values: [x, y], default: x}
  - {name: vector, dtype: float, length: 2, tower: context, encoding: {kind: vector}, minimum: -1.0}
  - {name: shelf, dtype: int, tower: item, minimum: 1}
  - {name: brand, dtype: string, tower: item, values: [a, b]}
  - {name: look, dtype: float, length: 2, tower: item, encoding: {kind: vector}}
"""
GOOD = {
    "stars": (pa.int64(), [3]),
    "kind": (pa.binary(), ["a"]),
    "price": (pa.float32(), [1.0]),
    "tags": (pa.binary(), ["x", "y"]),
    "vector": (pa.float32(), [0.5, 0.25]),
}
GOOD_ITEM = {
    "item": (pa.binary(), ["i"]),
    "shelf": (pa.int64(), [3]),
    "brand": (pa.binary(), ["a"]),
    "look": (pa.float32(), [0.5, 0.25]),
    "train_rows": (pa.int64(), [5]),
    "validation_rows": (pa.int64(), [0]),
}


def find_anomalies(tower="context", **third_row):
    """Validate four rows, of which the third is different; a column whose value is () is left out."""
    columns = {}
    for name, (kind, value) in (GOOD if tower == "context" else GOOD_ITEM).items():
        rows = [value] * 4
        if name in third_row:
            rows[2] = third_row[name]
        if third_row.get(name) != ():
            columns[name] = pa.array(rows, pa.list_(kind))
    schema = build_schema(parse(FeatureSpec, parse_yaml(SPEC), source="test"), tower)
    weight = None if tower == "context" else "train_rows"
    found = stats_impl.generate_statistics_in_memory(
        pa.record_batch(columns), tfdv.StatsOptions(schema=schema, weight_feature=weight)
    )
    anomalies = tfdv.validate_statistics(found, schema)
    return {
        name: {reason.short_description for reason in anomaly.reason}
        for name, anomaly in anomalies.anomaly_info.items()
    }


def test_good_rows_pass():
    assert find_anomalies() == {}
    assert find_anomalies("item") == {}
    assert find_anomalies("item", train_rows=[0]) == {}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("stars", [9], "Out-of-range values"),
        ("stars", [1, 2], "Feature shape dropped"),
        ("kind", ["z"], "Unexpected string values"),
        ("kind", None, "Column dropped"),
        ("kind", (), "Column dropped"),
        ("tags", ["q"], "Unexpected string values"),
        ("price", [-1.0], "Out-of-range values"),
        ("vector", [0.0, 0.0, 0.0], "Feature shape dropped"),
        ("vector", [-5.0, 0.0], "Out-of-range values"),
    ],
)
def test_one_bad_row_is_an_anomaly_of_its_column(name, value, reason):
    anomalies = find_anomalies(**{name: value})
    assert anomalies.keys() == {name}
    assert reason in anomalies[name]


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("shelf", [0], "Out-of-range values"),
        ("look", [0.0], "Feature shape dropped"),
        ("validation_rows", [-1], "Out-of-range values"),
    ],
)
def test_a_wrong_number_or_shape_is_an_anomaly_whatever_the_train_rows(rows, name, value, reason):
    anomalies = find_anomalies("item", **{name: value, "train_rows": [rows]})
    assert anomalies.keys() == {name}
    assert reason in anomalies[name]


def test_tfdv_sees_unexpected_strings_of_train_rows_alone():
    """Which is why the gate looks for those of the other rows itself."""
    assert find_anomalies("item", brand=["z"]) == {"brand": {"Unexpected string values"}}
    assert find_anomalies("item", brand=["z"], train_rows=[0]) == {}
