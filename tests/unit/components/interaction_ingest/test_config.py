import pytest

from components.interaction_ingest.config import IngestConfig, WindowConfig
from schemas.errors import ConfigError
from schemas.strict_config import from_json, parse, to_json

pytestmark = pytest.mark.unit


def test_one_condition_and_a_list_of_them():
    one = parse(IngestConfig, {"positives": {"column": "stars", "at_least": 4}}, source="test")
    both = parse(
        IngestConfig,
        {
            "positives": {
                "all_of": [{"column": "event", "one_of": ["buy"]}, {"column": "dwell", "at_least": 30}]
            },
            "weight": {"column": "event", "by_value": {"buy": 5, "view": 0.5}},
            "split": {"kind": "last_days", "days": 7},
        },
        source="test",
    )
    assert [vars(c) for c in one.positives.conditions] == [
        {"column": "stars", "at_least": 4.0, "one_of": None}
    ]
    assert [(c.column, c.at_least, c.one_of) for c in both.positives.conditions] == [
        ("event", None, ("buy",)),
        ("dwell", 30.0, None),
    ]
    assert both.weight.by_value == {"buy": 5.0, "view": 0.5}
    assert from_json(IngestConfig, to_json(both)) == both


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"positives": {}}, "expected column with at_least or one_of.* Received: neither"),
        ({"positives": {"column": "a"}}, "expected at_least, a number, or one_of.* Received: neither"),
        (
            {"positives": {"column": "a", "at_least": 1, "one_of": ["x"]}},
            "expected at_least, a number, or one_of.* Received: both",
        ),
        ({"positives": {"column": "a", "one_of": []}}, "at least one. Received: neither"),
        (
            {"positives": {"column": "a", "at_least": 1, "all_of": [{"column": "b", "at_least": 1}]}},
            "expected column .* Received: both",
        ),
        (
            {"positives": {"at_least": 1, "all_of": [{"column": "b", "at_least": 1}]}},
            "inside the conditions of all_of",
        ),
        ({"positives": {"all_of": [{"column": "b"}]}}, r"positives\.all_of\.0: expected at_least"),
        ({"weight": {"column": "a", "by_value": {}}}, "expected by_value with at least one value"),
        ({"weight": {"column": "a", "by_value": {"x": -1}}}, r"weight\.by_value\.x: expected at least 0"),
        ({"max_positives_per_user": 1}, "max_positives_per_user: expected at least 2"),
        ({"repeated": "keep_newest"}, "repeated: expected 'keep_all'"),
    ],
)
def test_rules_that_say_nothing_or_two_things_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        parse(IngestConfig, data, source="test")


@pytest.mark.parametrize(
    ("maximum", "days", "allowed"),
    # Unless it is set: one of each seven days that have begun.
    [
        (None, 0, 0),
        (None, 1, 1),
        (None, 7, 1),
        (None, 8, 2),
        (None, 28, 4),
        (None, 30, 5),
        (0, 30, 0),
        (9, 2, 9),
    ],
)
def test_how_many_days_may_have_no_file(maximum: int | None, days: int, allowed: int) -> None:
    assert WindowConfig(maximum_missing_days=maximum).count_allowed_missing(days) == allowed
