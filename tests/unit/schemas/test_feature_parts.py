"""What of a schema file each step is given."""

import copy

import pytest

from schemas.feature_parts import gate_part, ingest_part, model_part, schema_part
from schemas.features import FeatureSpec, load_feature_spec
from schemas.metadata import build_schema
from schemas.strict_config import from_json, parse, to_short_json
from schemas.yaml_files import parse_yaml

pytestmark = pytest.mark.unit

# The timestamp's usual name is a feature's, and so is the history's.
FILE = """
name: shop
tables:
  interactions: {file: log.csv, timestamp: seconds, columns: {user: customer}}
  items: {file: things.parquet, display: [label]}
history:
  name: past
  length: 7
  item_features: [tags, year, price, look, title]
  values_per_item: 3
  time_gap_buckets: 4
features:
  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: hashed, buckets: 50}}
  - {name: history, dtype: int, tower: user, default: 3, minimum: 0, drift_threshold: 0.1}
  - {name: plan, dtype: string, tower: user, values: [free, paid], default: free, drift_threshold: 0.1}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, top_k: 9}}
  - {name: tags, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: year, dtype: int, tower: item, encoding: {kind: hashed, buckets: 9}, minimum: 1900, maximum: 2100}
  - {name: price, dtype: float, tower: item, encoding: {kind: z_score}, drift_threshold: 0.2}
  - {name: look, dtype: float, length: 4, tower: item, encoding: {kind: vector}, default: 0}
  - {name: title, dtype: string, tower: item, encoding: {kind: text, buckets: 50}, default: ''}
  - {name: timestamp, dtype: string, tower: context, encoding: {kind: vocabulary, minimum_count: 2}}
"""
PARTS = {"ingest": ingest_part, "schema": schema_part, "gate": gate_part, "model": model_part}


def read(file):
    return parse(FeatureSpec, file, "test")


def change(spec, path, value):
    """Set one key, such as features.1.minimum."""
    spec = copy.deepcopy(spec)
    *parents, key = path.split(".")
    place = spec
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    place[key] = value
    return spec


@pytest.fixture
def file():
    return parse_yaml(FILE)


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ("name", "store", set()),
        ("tables.items.display", ["label", "image"], set()),
        ("features.1.drift_threshold", 0.5, {"gate"}),
        ("features.2.values", ["free", "paid", "trial"], {"schema", "gate"}),
        ("features.5.maximum", 3000, {"schema"}),
        ("features.2.default", "paid", {"ingest", "model"}),
        ("features.0.encoding.buckets", 60, {"model"}),
        ("features.3.encoding", {"kind": "hashed", "buckets": 9}, {"model"}),
        ("features.5.encoding", {"kind": "bucketize", "buckets": 9}, {"schema", "gate", "model"}),
        ("features.6.encoding", {"kind": "bucketize", "buckets": 9}, {"model"}),
        ("tables.items.file", "other.parquet", {"ingest"}),
        ("tables.interactions.columns", {"user": "client"}, {"ingest"}),
        ("tables.interactions.timestamp", "when", {"ingest", "schema", "gate", "model"}),
        ("tables.interactions.unit", "ms", {"ingest"}),
        ("features.5.time_part", "year", {"ingest"}),
        ("history.length", 8, {"model"}),
        ("history.time_gap_buckets", 5, {"model"}),
        # The ingest counts the values that have no place.
        ("history.values_per_item", 4, {"ingest", "model"}),
    ],
)
def test_a_changed_key_changes_the_parts_that_read_it(file, path, value, changed):
    before, after = read(file), read(change(file, path, value))
    assert {name for name, part in PARTS.items() if part(before) != part(after)} == changed


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back_from_its_short_text(file, name):
    for spec in (read(file), load_feature_spec("schemas/movielens_100k.yaml")):
        part = PARTS[name](spec)
        assert from_json(FeatureSpec, to_short_json(part)) == part
        assert PARTS[name](part) == part


def test_a_part_has_what_its_step_makes_of_the_whole(file):
    spec = read(file)
    for tower in ("user", "item", "context"):
        assert build_schema(schema_part(spec), tower) == build_schema(spec, tower)
    assert model_part(spec).history == spec.history
    for part, whole in zip(gate_part(spec).features, spec.features, strict=True):
        assert part.is_categorical == whole.is_categorical
        assert (part.drift_threshold, part.values) == (whole.drift_threshold, whole.values)
    for part, whole in zip(ingest_part(spec).features, spec.features, strict=True):
        assert part.default_value == whole.default_value


def test_without_lists_in_the_history_the_ingest_has_none(file):
    assert ingest_part(read(change(file, "history.item_features", ["year"]))).history is None
