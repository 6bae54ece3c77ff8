"""The schema of the raw examples, entry by entry."""

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}


@pytest.fixture(scope="module")
def schema():
    spec = parse(
        FeatureSpec,
        {
            "name": "shop",
            "tables": {"interactions": {"timestamp": "seconds"}},
            "history": {"name": "liked", "length": 3},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "age", "dtype": "int", "tower": "user", "minimum": 0, "maximum": 120},
                {"name": "plan", "dtype": "string", "tower": "user", "values": ["free", "paid"]},
                {"name": "shop", "dtype": "int", "tower": "context", "encoding": VOCABULARY},
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": VOCABULARY,
                },
                {"name": "price", "dtype": "float", "tower": "item", "minimum": 0.5},
                {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True},
            ],
        },
        "test",
    )
    return {feature.name: feature for feature in build_schema(spec).feature}


def test_has_every_feature_then_history_and_timestamp(schema):
    assert list(schema) == ["user", "age", "plan", "shop", "item", "price", "tags", "liked", "seconds"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("user", schema_pb2.BYTES),
        ("age", schema_pb2.INT),
        ("price", schema_pb2.FLOAT),
        ("seconds", schema_pb2.INT),
    ],
)
def test_single_value_is_a_scalar_in_every_example(schema, name, kind):
    assert schema[name].type == kind
    assert schema[name].HasField("shape")
    assert list(schema[name].shape.dim) == []
    assert schema[name].presence.min_fraction == 1.0


def test_multi_valued_has_any_number_of_values_and_may_be_absent(schema):
    assert schema["tags"].type == schema_pb2.BYTES
    assert not schema["tags"].HasField("shape")
    assert not schema["tags"].HasField("presence")


def test_history_has_a_fixed_length(schema):
    assert schema["liked"].type == schema_pb2.BYTES
    assert [dim.size for dim in schema["liked"].shape.dim] == [3]
    assert schema["liked"].presence.min_fraction == 1.0


def test_what_a_history_carries_has_the_shape_of_its_items_values():
    encodings = {
        "brand": {"dtype": "string", "encoding": VOCABULARY, "values": ["a", "b"]},
        "tags": {"dtype": "string", "multi_valued": True, "encoding": VOCABULARY},
        "shelf": {"dtype": "int", "encoding": VOCABULARY, "minimum": 1},
        "look": {"dtype": "float", "length": 4, "encoding": {"kind": "vector"}, "minimum": 1},
    }
    ids = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
    ]
    features = [*ids, *({"name": name, "tower": "item", **rest} for name, rest in encodings.items())]
    history = {
        "name": "liked",
        "length": 3,
        "item_features": list(encodings),
        "values_per_item": 2,
        "time_gap_buckets": 5,
    }
    spec = parse(FeatureSpec, {"name": "shop", "features": features, "history": history}, "test")
    found = {feature.name: feature for feature in build_schema(spec).feature}
    columns = [name for name in found if name.startswith("liked")]
    assert columns == ["liked", "liked_brand", "liked_tags", "liked_shelf", "liked_look", "liked_gap_seconds"]
    sizes = {name: [dim.size for dim in found[name].shape.dim] for name in columns}
    assert sizes == {
        "liked": [3],
        "liked_brand": [3],
        "liked_tags": [3, 2],
        "liked_shelf": [3],
        "liked_look": [3, 4],
        "liked_gap_seconds": [3],
    }
    kinds = [found[name].type for name in columns]
    assert kinds == [
        schema_pb2.BYTES,
        schema_pb2.BYTES,
        schema_pb2.BYTES,
        schema_pb2.INT,
        schema_pb2.FLOAT,
        schema_pb2.INT,
    ]
    assert all(found[name].presence.min_fraction == 1.0 for name in columns)
    # Padding is none of an item's values.
    assert found["liked_brand"].WhichOneof("domain_info") is None
    assert found["liked_shelf"].WhichOneof("domain_info") is None
    assert not found["liked_look"].float_domain.HasField("min")
    assert found["liked_gap_seconds"].int_domain.min == -1


def test_values_are_a_string_domain(schema):
    assert list(schema["plan"].string_domain.value) == ["free", "paid"]
    assert schema["user"].WhichOneof("domain_info") is None


def test_lists_of_numbers_labels_and_weights():
    look = {"name": "look", "dtype": "float", "length": 4, "tower": "item", "encoding": {"kind": "vector"}}
    shade = {"name": "shade", "dtype": "int", "tower": "item", "encoding": {"kind": "hashed", "buckets": 9}}
    ids = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
    ]
    spec = parse(FeatureSpec, {"name": "shop", "features": [*ids, look, shade]}, "test")
    assert "weight" not in {feature.name for feature in build_schema(spec).feature}
    found = {feature.name: feature for feature in build_schema(spec, has_weights=True).feature}
    assert found["look"].type == schema_pb2.FLOAT
    assert [dim.size for dim in found["look"].shape.dim] == [4]
    assert found["look"].float_domain.disallow_nan
    assert found["shade"].int_domain.is_categorical
    assert found["weight"].type == schema_pb2.FLOAT
    assert found["weight"].presence.min_fraction == 1.0
    assert found["weight"].float_domain.min == 0.0


def test_minimum_and_maximum_are_domains(schema):
    assert (schema["age"].int_domain.min, schema["age"].int_domain.max) == (0, 120)
    assert schema["price"].float_domain.min == 0.5
    assert not schema["price"].float_domain.HasField("max")


def test_a_float_must_not_be_nan(schema):
    assert schema["price"].float_domain.disallow_nan


def test_an_integer_label_is_categorical(schema):
    assert schema["shop"].int_domain.is_categorical
    assert not schema["age"].int_domain.is_categorical
