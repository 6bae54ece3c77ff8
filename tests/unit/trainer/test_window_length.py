import pytest

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.config import TrainingConfig
from trainer.window_length import choose_window_length

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
FEATURES = [
    {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
    {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
    {
        "name": "item",
        "dtype": "string",
        "tower": "item",
        "role": "item_id",
        "encoding": {"kind": "vocabulary"},
    },
]


def make_spec(history):
    return parse(FeatureSpec, {"name": "shop", "features": FEATURES, "history": history}, "test")


def make_training(**options):
    return parse(TrainingConfig, {"rows": "windows", "per_replica_batch": 60, **options}, "training")


def test_a_window_is_as_long_as_a_history_unless_said_otherwise():
    assert choose_window_length(make_training(), make_spec({"length": 20})) == 20
    assert choose_window_length(make_training(window_length=12), make_spec({"length": 20})) == 12
    assert choose_window_length(make_training(rows="interactions"), make_spec({"length": 20})) is None


@pytest.mark.parametrize(
    ("training", "history", "message"),
    [
        ({}, None, "the schema file has no history"),
        ({}, {"length": 20, "time_gap_buckets": 4}, "expected interactions with history.time_gap_buckets"),
        ({"window_length": 30}, {"length": 20}, "at most history.length, 20.* Received: 30"),
        ({"per_replica_batch": 64}, {"length": 20}, "whole number of windows of 20 rows.* Set it to 60"),
    ],
)
def test_windows_that_no_history_has_are_refused(training, history, message):
    with pytest.raises(ConfigError, match=message):
        choose_window_length(make_training(**training), make_spec(history))
