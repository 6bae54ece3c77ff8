from typing import Any

import pytest

from schemas.defaults import add_defaults, choose_defaults
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}


def make_spec(**feature: Any) -> FeatureSpec:
    ids = [
        {
            "name": f"{tower}_id",
            "dtype": "string",
            "tower": tower,
            "role": f"{tower}_id",
            "encoding": VOCABULARY,
        }
        for tower in ("user", "item")
    ]
    return parse(FeatureSpec, {"name": "shop", "features": [*ids, {"name": "x", **feature}]}, source="test")


@pytest.mark.parametrize(
    ("feature", "default"),
    [
        ({"dtype": "string"}, ""),
        ({"dtype": "string", "multi_valued": True}, ""),
        ({"dtype": "string", "values": ["F", "M"]}, "F"),
        ({"dtype": "int"}, 0),
        ({"dtype": "float"}, 0.0),
        ({"dtype": "float", "length": 3}, 0.0),
        ({"dtype": "int", "minimum": 18}, 18),
        ({"dtype": "int", "minimum": 17.5}, 18),
        ({"dtype": "int", "maximum": -0.5}, -1),
        ({"dtype": "float", "minimum": -2, "maximum": -0.5}, -0.5),
    ],
)
def test_a_default_is_one_that_the_feature_may_have(
    feature: dict[str, Any], default: str | int | float
) -> None:
    for tower in ("user", "item"):
        spec = make_spec(tower=tower, **feature)
        chosen = choose_defaults(spec)
        assert chosen == {"x": default}
        assert type(chosen["x"]) is type(default)
        # Which the specification checks itself.
        assert add_defaults(spec, chosen).features[2].default == default


def test_what_the_schema_file_says_and_contexts_are_left_alone() -> None:
    assert choose_defaults(make_spec(tower="item", dtype="int", default=7)) == {}
    assert choose_defaults(make_spec(tower="context", dtype="int")) == {}
