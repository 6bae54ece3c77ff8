import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import ConfigError
from schemas.features import FeatureSpec, load_feature_spec
from schemas.strict_config import from_json, parse, to_json, to_short_json
from schemas.yaml_files import locate, parse_yaml

pytestmark = pytest.mark.unit

SPEC = """
name: shop
history: {length: 5}
features:
  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, oov_buckets: 3}}
  - {name: price, dtype: float, tower: item, encoding: {kind: z_score}, minimum: 0, default: 1}
  - {name: tags, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: device, dtype: string, tower: context, encoding: {kind: vocabulary}, values: [app, web],
     default: web}
  - {name: hour, dtype: int, tower: context, encoding: {kind: bucketize, buckets: 4}, minimum: 0, maximum: 23}
  - {name: note, dtype: string, tower: user}
"""


def spec_data() -> dict[str, Any]:
    data = parse_yaml(SPEC)
    assert isinstance(data, dict)
    return data


def test_a_spec_answers_what_the_parts_ask() -> None:
    spec = parse(FeatureSpec, spec_data(), source="shop.yaml")

    assert spec.user_id.name == "user"
    assert spec.item_id.name == "item"
    assert spec.timestamp == "timestamp"
    assert spec.history is not None
    assert (spec.history.name, spec.history.length) == ("history", 5)
    assert [f.name for f in spec.tower_features("user")] == ["user", "device", "hour"]
    assert [f.name for f in spec.tower_features("item")] == ["item", "price", "tags"]
    assert [f.name for f in spec.table_features("user")] == ["user", "note"]
    assert [f.name for f in spec.table_features("context")] == ["device", "hour"]
    assert from_json(FeatureSpec, to_json(spec)) == spec


def test_defaults_and_kinds_of_lists_and_labels() -> None:
    data = spec_data()
    data["features"] += [
        {"name": "look", "dtype": "float", "length": 3, "tower": "item", "encoding": {"kind": "vector"},
         "default": 0.5},
        {"name": "words", "dtype": "string", "tower": "item", "encoding": {"kind": "text", "buckets": 9}},
        {"name": "shade", "dtype": "int", "tower": "item", "encoding": {"kind": "hashed", "buckets": 9}},
    ]  # fmt: skip
    data["features"][3]["default"] = "none"
    features = {feature.name: feature for feature in parse(FeatureSpec, data, source="shop.yaml").features}
    assert features["look"].default_value == [0.5, 0.5, 0.5]
    assert features["tags"].default_value == ["none"]
    assert features["price"].default_value == 1
    assert features["note"].default_value is None
    assert {name for name, feature in features.items() if feature.is_list} == {"look", "tags"}
    assert {name for name, feature in features.items() if feature.is_categorical} == {
        "user", "item", "tags", "device", "note", "shade",
    }  # fmt: skip


def test_the_shipped_schema_is_valid() -> None:
    spec = load_feature_spec("schemas/movielens_100k.yaml")
    assert [f.name for f in spec.features] == [
        "user_id",
        "age",
        "gender",
        "occupation",
        "item_id",
        "year",
        "genres",
    ]
    assert spec.history is not None
    assert spec.history.length == 20


FEATURES = {"user": 0, "item": 1, "price": 2, "tags": 3, "device": 4, "hour": 5, "note": 6}


@pytest.mark.parametrize(
    ("feature", "change", "expected"),
    [
        ("user", {"multi_valued": True}, "feature 'user': an id is a single string without a default"),
        (
            "user",
            {"dtype": "int"},
            "feature 'user': expected dtype: string, since ids are texts inside, also those that are whole "
            r"numbers in the tables\. Received: dtype: int\. Write dtype: string; the tables can stay",
        ),
        ("item", {"default": "x"}, "feature 'item': an id is a single string without a default"),
        ("user", {"tower": "item"}, "feature 'user': role 'user_id' does not fit tower 'item'"),
        (
            "price",
            {"encoding": {"kind": "vocabulary"}},
            "feature 'price': a vocabulary needs dtype string or int",
        ),
        ("note", {"encoding": {"kind": "z_score"}}, "feature 'note': z_score needs a single int or float"),
        ("tags", {"encoding": {"kind": "bucketize", "buckets": 3}}, "bucketize needs a single int or float"),
        (
            "hour",
            {"multi_valued": True},
            "only strings can be multi_valued|bucketize needs a single int or float",
        ),
        (
            "user",
            {"encoding": {"kind": "z_score"}},
            "feature 'user': an id is encoded with kind 'vocabulary' or 'hashed', or not at all",
        ),
        ("note", {"encoding": {"kind": "vector"}}, "feature 'note': vector needs dtype float and 'length'"),
        ("price", {"encoding": {"kind": "vector"}}, "feature 'price': vector needs dtype float and 'length'"),
        ("note", {"length": 2}, "feature 'note': 'length' is for lists of floats; set dtype to float"),
        ("price", {"length": 2}, "feature 'price': z_score needs a single int or float"),
        (
            "price",
            {"length": 2, "encoding": {"kind": "vector"}, "drift_threshold": 0.1},
            "feature 'price': the drift of a text or a vector is not measured",
        ),
        ("tags", {"encoding": {"kind": "text", "buckets": 9}}, "feature 'tags': text needs a single string"),
        ("hour", {"encoding": {"kind": "text", "buckets": 9}}, "feature 'hour': text needs a single string"),
        (
            "price",
            {"encoding": {"kind": "hashed", "buckets": 9}},
            "'price': hashed needs dtype string or int",
        ),
        ("note", {"drift_threshold": 0}, r"features\.6\.drift_threshold \(note\): expected more than 0"),
        ("note", {"name": "weight"}, r"reserved weight, .*: \['weight'\] repeat"),
        ("hour", {"values": ["1"]}, "feature 'hour': 'values' is for strings; use minimum and maximum"),
        ("note", {"minimum": 3}, "feature 'note': minimum and maximum are for numbers; use 'values'"),
        ("note", {"values": []}, "feature 'note': 'values' is empty"),
        ("hour", {"minimum": 24}, "feature 'hour': minimum 24 is above maximum 23"),
        ("hour", {"default": 24}, "feature 'hour': default 24 is outside minimum and maximum"),
        ("hour", {"default": -1}, "feature 'hour': default -1 is outside minimum and maximum"),
        ("hour", {"default": "noon"}, "feature 'hour': default 'noon' is no int"),
        ("hour", {"default": 1.5}, "feature 'hour': default 1.5 is no int"),
        ("note", {"default": 3}, "feature 'note': default 3 is no string"),
        (
            "device",
            {"default": "fridge"},
            r"feature 'device': default 'fridge' is none of its values \('app', 'web'\)",
        ),
        ("note", {"name": ""}, "feature '': a name is letters, digits and underscores"),
        ("note", {"name": "a b"}, "feature 'a b': a name is letters, digits and underscores"),
        ("note", {"name": "2nd"}, "feature '2nd': a name is letters, digits and underscores"),
        ("note", {"name": "price"}, r"names must be unique .*\['price'\] repeat"),
        ("note", {"name": "timestamp"}, r"\['timestamp'\] repeat"),
        ("note", {"name": "history"}, r"\['history'\] repeat"),
        ("item", {"role": None}, r"expected exactly one feature with role 'item_id'\. Received: \[\]"),
        ("item", {"encoding": None}, "a history needs an encoding on the item id 'item'"),
        (
            "hour",
            {"encodng": {"kind": "z_score"}},
            r"unknown key 'features\.5\.encodng' \(hour\); did you mean 'features\.5\.encoding'\?",
        ),
        (
            "hour",
            {"encoding": {"kind": "bucketise"}},
            r"features\.5\.encoding\.kind \(hour\): .*did you mean 'bucketize'\?",
        ),
        (
            "hour",
            {"encoding": {"kind": "bucketize"}},
            r"missing key 'features\.5\.encoding\.buckets' \(hour\)",
        ),
        (
            "hour",
            {"encoding": {"kind": "bucketize", "buckets": 1}},
            r"features\.5\.encoding\.buckets \(hour\): expected at least 2",
        ),
        (
            "item",
            {"encoding": {"kind": "vocabulary", "buckets": 2}},
            r"unknown key 'features\.1\.encoding\.buckets' \(item\)",
        ),
        ("hour", {"encoding": "z_score"}, r"features\.5\.encoding \(hour\): expected a mapping with a kind"),
        (
            "hour",
            {"dtype": "integer"},
            r"features\.5\.dtype \(hour\): expected 'string' or 'int' or 'float' \(did you mean 'int'",
        ),
        (
            "device",
            {"values": ["app", True]},
            r"features\.4\.values\.1 \(device\)|features\.4\.values\.1: expected text",
        ),
    ],
)
def test_a_wrong_feature_is_named(feature: str, change: dict[str, Any], expected: str) -> None:
    data = spec_data()
    data["features"][FEATURES[feature]] |= change
    with pytest.raises(ConfigError, match=expected):
        parse(FeatureSpec, data, source="shop.yaml")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data.pop("name"), "missing key 'name'"),
        (
            lambda data: data.update(feature=data.pop("features")),
            "unknown key 'feature'; did you mean 'features'",
        ),
        (lambda data: data["history"].update(lenght=3), r"'history\.lenght'; did you mean 'history\.length'"),
        (
            lambda data: data["history"].update(length=0),
            r"history\.length: expected at least 1\. Received: 0",
        ),
        (
            lambda data: data.update(tables={"item": {}}),
            r"unknown key 'tables\.item'; did you mean 'tables\.items'",
        ),
        (
            lambda data: data.update(tables={"items": {"dispaly": []}}),
            r"unknown key 'tables\.items\.dispaly'; did you mean 'tables\.items\.display'",
        ),
        (lambda data: data["features"].append(copy.deepcopy(data["features"][0])), "repeat"),
        (lambda data: data["features"].append("age"), r"features\.7: expected a mapping"),
        (lambda data: data.update(features=[]), "expected exactly one feature with role 'user_id'"),
    ],
)
def test_a_wrong_spec_says_what_to_change(change: Callable[[dict[str, Any]], Any], expected: str) -> None:
    data = spec_data()
    change(data)
    with pytest.raises(ConfigError, match=expected):
        parse(FeatureSpec, data, source="shop.yaml")


HISTORY = {"length": 5, "item_features": ["price", "tags"], "values_per_item": 2, "time_gap_buckets": 8}


def test_a_history_names_its_columns_and_their_shapes() -> None:
    data = spec_data() | {"history": HISTORY}
    data["features"].append(
        {"name": "look", "dtype": "float", "length": 3, "tower": "item", "encoding": {"kind": "vector"}}
    )
    data["history"] = HISTORY | {"item_features": ["tags", "look", "price"]}
    spec = parse(FeatureSpec, data, source="shop.yaml")
    assert spec.history is not None
    assert [feature.name for feature in spec.history_features] == ["tags", "look", "price"]
    assert spec.history.columns == (
        "history",
        "history_tags",
        "history_look",
        "history_price",
        "history_gap_seconds",
    )
    shapes = [spec.history.feature_shape(feature) for feature in spec.history_features]
    assert shapes == [(5, 2), (5, 3), (5,)]
    plain = parse(FeatureSpec, spec_data(), source="shop.yaml")
    assert plain.history is not None
    assert (plain.history_features, plain.history.columns) == ((), ("history",))
    del data["history"]
    assert parse(FeatureSpec, data, source="shop.yaml").history_features == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["prise"], r"Received: 'prise'\. Did you mean 'price'\?"),
        (["hour"], "expected features of the item tower, with an encoding. Received: 'hour'"),
        (["sku"], "expected features of the item tower, with an encoding. Received: 'sku'"),
        (["item"], "the item id 'item' is in every history; leave it out"),
        (["price", "price"], r"expected each of item_features once\. Received twice: \['price'\]"),
    ],
)
def test_the_features_of_a_history_are_those_of_the_item_tower(names: list[str], expected: str) -> None:
    data = spec_data() | {"history": HISTORY | {"item_features": names}}
    data["features"].append({"name": "sku", "dtype": "string", "tower": "item"})
    with pytest.raises(ConfigError, match=expected):
        parse(FeatureSpec, data, source="shop.yaml")


@pytest.mark.parametrize("name", ["history_tags", "history_gap_seconds"])
def test_no_feature_is_called_as_a_column_of_the_history(name: str) -> None:
    data = spec_data() | {"history": HISTORY}
    data["features"].append({"name": name, "dtype": "string", "tower": "user"})
    with pytest.raises(ConfigError, match=rf"names must be unique .*\['{name}'\] repeat"):
        parse(FeatureSpec, data, source="shop.yaml")


def test_a_table_that_is_not_named_is_looked_for_where_it_has_features() -> None:
    vocabulary = {"kind": "vocabulary"}
    ids = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": vocabulary},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": vocabulary},
    ]
    age = {"name": "age", "dtype": "int", "tower": "user"}
    price = {"name": "price", "dtype": "float", "tower": "item"}

    def files(features: list[dict[str, Any]], tables: dict[str, Any]) -> list[str | None]:
        spec = parse(
            FeatureSpec, {"name": "shop", "features": features, "tables": tables}, source="shop.yaml"
        )
        # As a step is given it.
        tables_of_step = from_json(FeatureSpec, to_short_json(spec)).tables
        assert tables_of_step == spec.tables
        return [None if table is None else table.file for table in (spec.tables.users, spec.tables.items)]

    assert files(ids, {}) == files(ids, {"users": None, "items": None}) == [None, None]
    assert files([*ids, age], {}) == ["users.parquet", None]
    assert files([*ids, price], {}) == [None, "items.parquet"]
    assert files(ids, {"users": {"file": "u.csv"}, "items": {}}) == ["u.csv", "items.parquet"]


def test_towers_must_read_something() -> None:
    data = spec_data()
    for feature in data["features"]:
        if feature["tower"] != "item":
            feature.pop("encoding", None)
    assert parse(FeatureSpec, data, source="shop.yaml").tower_features("user") == ()
    del data["history"]
    with pytest.raises(
        ConfigError, match="the user tower has neither a feature with an encoding nor a history"
    ):
        parse(FeatureSpec, data, source="shop.yaml")

    data = spec_data()
    for feature in data["features"]:
        if feature["tower"] == "item":
            feature.pop("encoding", None)
    with pytest.raises(ConfigError, match="the item tower has no feature with an encoding"):
        parse(FeatureSpec, data, source="shop.yaml")


def test_a_missing_schema_file_suggests_the_shipped_one() -> None:
    assert locate("schemas/movielens_100k.yaml").is_file()
    with pytest.raises(
        ConfigError, match=r"'schemas/movielens100k\.yaml' does not exist.*'schemas/movielens_100k\.yaml'"
    ):
        load_feature_spec("schemas/movielens100k.yaml")
