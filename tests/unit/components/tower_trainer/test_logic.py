import json

import pytest

from components.tower_trainer.logic import compose_custom_config, drop_epochs
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SETTINGS = '{"model": {"dim": 8}, "training": {"epochs": 15, "seed": 1}}'


def test_epochs_stand_in_one_place_only() -> None:
    assert json.loads(drop_epochs(SETTINGS)) == {"model": {"dim": 8}, "training": {"seed": 1}}


def test_the_run_fn_gets_the_epochs_of_the_run() -> None:
    composed = json.loads(compose_custom_config("{}", drop_epochs(SETTINGS), 3))
    assert composed["feature_spec"] == "{}"
    assert json.loads(composed["trainer_config"]) == {
        "model": {"dim": 8},
        "training": {"epochs": 3, "seed": 1},
    }


def test_an_orchestrator_may_send_every_number_as_a_float() -> None:
    composed = json.loads(compose_custom_config("{}", drop_epochs(SETTINGS), 3.0))
    assert '"epochs": 3,' in composed["trainer_config"]


@pytest.mark.parametrize("epochs", [0, -1, 1.5])
def test_impossible_epochs_are_refused(epochs: float) -> None:
    with pytest.raises(ConfigError, match=r"epochs: expected a whole number from 1 on\. Received: "):
        compose_custom_config("{}", drop_epochs(SETTINGS), epochs)
