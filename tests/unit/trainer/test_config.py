import pytest

from schemas.errors import ConfigError
from schemas.strict_config import parse
from trainer.config import TrainerConfig

pytestmark = pytest.mark.unit


def make(model, **training):
    return parse(TrainerConfig, {"model": model, "training": training}, "trainer")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"history_encoders": ["last", "gru", "attention"]}, "Received: gru, attention"),
        ({"history_encoders": []}, "Received: none"),
        ({"history_encoders": ["transformer"], "transformer": {"positions": "learned"}}, "expected rotary"),
        ({"history_encoders": ["last"], "user_tower": "shop.build"}, "a user tower of your own"),
    ],
)
def test_towers_that_read_no_windows_are_refused(model, message):
    with pytest.raises(ConfigError, match=message):
        make(model, rows="windows")
    make(model)


def test_a_window_length_without_windows_is_refused():
    with pytest.raises(ConfigError, match=r"training\.window_length: expected none .* Received: 30"):
        make({}, window_length=30)
