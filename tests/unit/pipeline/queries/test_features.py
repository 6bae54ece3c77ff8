import pytest

from pipeline.queries.features import check_feature, fill_features, parse_feature
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


@pytest.mark.parametrize(
    ("encoding", "time_part", "dtype", "value"),
    [
        # 1,795,863,600.75 s is 2026-11-28 11:00:00.75 UTC, a Saturday.
        ({"kind": "vocabulary"}, "hour", "int", 11),
        ({"kind": "vocabulary"}, "weekday", "int", 5),
        ({"kind": "bucketize", "buckets": 4}, "seconds", "int", 1_795_863_600),
        ({"kind": "z_score"}, "seconds", "float", 1_795_863_600.75),
    ],
)
def test_a_part_of_the_logs_time_is_that_of_the_request(encoding, time_part, dtype, value):
    spec = parse(
        FeatureSpec,
        {
            "name": "toy",
            "tables": {"interactions": {"timestamp": "at", "columns": {"part": "at", "other": "sent_at"}}},
            "features": [
                {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
                {"name": "part", "dtype": dtype, "tower": "context", "time_part": time_part,
                 "encoding": encoding, "default": 0},
                {"name": "other", "dtype": dtype, "tower": "context", "time_part": time_part,
                 "encoding": encoding, "default": 0},
                {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id",
                 "encoding": {"kind": "vocabulary"}},
            ],
        },
        source="test",
    )  # fmt: skip

    def fill(**given):
        notes = []
        filled = fill_features(
            spec, "toy.yaml", ["part", "other"], None, None, given,
            find_median=lambda feature: None, set_by=lambda name: f"--feature {name}=...",
            now=1_795_863_600.75, notes=notes,
        )  # fmt: skip
        return filled, notes

    filled, notes = fill()
    assert filled == {"part": value, "other": 0}
    assert notes == [
        "part is not given: that of now was used. --feature part=... sets it.",
        "other is not known: its default 0 was used.",
    ]
    assert fill(part=7, other=8) == ({"part": 7, "other": 8}, [])
