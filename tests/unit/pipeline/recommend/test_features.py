import pytest

from pipeline.recommend.features import check_feature, parse_feature
from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

SPEC = parse(
    FeatureSpec,
    {
        "name": "toy",
        "features": [
            {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
            {"name": "n", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
            {"name": "x", "dtype": "float", "tower": "user", "encoding": {"kind": "z_score"}},
            {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id",
             "encoding": {"kind": "vocabulary"}},
        ],
    },
    source="test",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [("n", 2**63 - 1), ("n", -5), ("x", 3), ("x", 1.5), ("x", 3.4e38)]
)
def test_numbers_that_the_tower_can_hold(name, value):
    assert check_feature(SPEC, name, value) == value
    assert parse_feature(SPEC, name, str(value)) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 2**63), ("n", 10**400), ("x", 3.5e38), ("x", 10**400), ("x", float("nan")), ("x", float("inf"))],
)
def test_numbers_that_it_cannot_hold_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"features.{name}: expected a number from -"):
        check_feature(SPEC, name, value)
    with pytest.raises(ConfigError, match=f"--feature {name}: expected a number from -"):
        parse_feature(SPEC, name, str(value))


@pytest.mark.parametrize(("name", "value"), [("n", 1.0), ("n", "1"), ("n", None), ("x", True), ("x", [1.0])])
def test_values_of_another_type_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"features.{name}: expected a"):
        check_feature(SPEC, name, value)
