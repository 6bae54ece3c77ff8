"""The schema of the raw examples, entry by entry."""

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}


@pytest.fixture(scope="module")
def spec():
    return parse(
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


@pytest.fixture(scope="module")
def schema(spec):
    """Every table's entries by name."""
    tables = [build_schema(spec, tower) for tower in ("user", "item", "context")]
    return {feature.name: feature for table in tables for feature in table.feature}


@pytest.mark.parametrize(
    ("tower", "names"),
    [
        ("user", ["user", "age", "plan", "train_rows", "validation_rows"]),
        ("item", ["item", "price", "tags", "train_rows", "validation_rows"]),
        ("context", ["shop"]),
    ],
)
def test_a_table_has_its_features_and_the_rows_that_hold_an_entity(spec, tower, names):
    assert [feature.name for feature in build_schema(spec, tower).feature] == names


def test_numbers_of_rows_are_required_and_not_negative(schema):
    for name in ("train_rows", "validation_rows"):
        assert schema[name].type == schema_pb2.INT
        assert schema[name].HasField("shape")
        assert schema[name].presence.min_fraction == 1.0
        assert schema[name].int_domain.min == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("user", schema_pb2.BYTES),
        ("age", schema_pb2.INT),
        ("price", schema_pb2.FLOAT),
        ("train_rows", schema_pb2.INT),
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


def test_values_are_a_string_domain(schema):
    assert list(schema["plan"].string_domain.value) == ["free", "paid"]
    assert schema["user"].WhichOneof("domain_info") is None


def test_lists_of_numbers_and_labels():
    look = {"name": "look", "dtype": "float", "length": 4, "tower": "item", "encoding": {"kind": "vector"}}
    shade = {"name": "shade", "dtype": "int", "tower": "item", "encoding": {"kind": "hashed", "buckets": 9}}
    ids = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
    ]
    spec = parse(FeatureSpec, {"name": "shop", "features": [*ids, look, shade]}, "test")
    found = {feature.name: feature for feature in build_schema(spec, "item").feature}
    assert found["look"].type == schema_pb2.FLOAT
    assert [dim.size for dim in found["look"].shape.dim] == [4]
    assert found["look"].float_domain.disallow_nan
    assert found["shade"].int_domain.is_categorical


def test_minimum_and_maximum_are_domains(schema):
    assert (schema["age"].int_domain.min, schema["age"].int_domain.max) == (0, 120)
    assert schema["price"].float_domain.min == 0.5
    assert not schema["price"].float_domain.HasField("max")


def test_a_float_must_not_be_nan(schema):
    assert schema["price"].float_domain.disallow_nan


def test_an_integer_label_is_categorical(schema):
    assert schema["shop"].int_domain.is_categorical
    assert not schema["age"].int_domain.is_categorical
