import json

import pytest

from components.tower_trainer.logic import drop_run_parameters, import_run_fn, restore_epochs
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SETTINGS = json.dumps(
    {"model": {"dim": 8}, "training": {"epochs": 99, "seed": 1, "checkpoint": {"directory": "/a", "keep": 2}}}
)


def test_run_parameters_stand_in_one_place_only() -> None:
    assert json.loads(drop_run_parameters(SETTINGS)) == {
        "model": {"dim": 8},
        "training": {"seed": 1, "checkpoint": {"keep": 2}},
    }


def test_the_epochs_of_the_run_are_put_back() -> None:
    restored = restore_epochs(drop_run_parameters(SETTINGS), 4.0)
    assert json.loads(restored)["training"] == {"epochs": 4, "seed": 1, "checkpoint": {"keep": 2}}
    assert '"epochs": 4,' in restored


@pytest.mark.parametrize("epochs", [0, 2.5])
def test_epochs_are_a_whole_number_from_one_on(epochs: float) -> None:
    with pytest.raises(ConfigError, match=rf"whole number from 1 on\. Received: {epochs}"):
        restore_epochs(drop_run_parameters(SETTINGS), epochs)


def test_a_run_fn_is_found_by_its_path() -> None:
    assert import_run_fn("json.decoder.JSONDecoder") is json.JSONDecoder
