import json

import pytest

from components.tower_trainer.logic import compose_custom_config, drop_run_parameters
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SETTINGS = json.dumps(
    {
        "model": {"dim": 8},
        "training": {"epochs": 15, "seed": 1, "checkpoint": {"directory": "/somewhere", "keep": 2}},
    }
)


def compose(epochs: float = 3) -> dict[str, object]:
    return json.loads(
        compose_custom_config(
            "{}",
            drop_run_parameters(SETTINGS),
            epochs=epochs,
            checkpoint_directory="s3://bucket/checkpoints",
            serving_directory="/srv",
            catalogue="/artifacts/catalogue",
            validation_files=["/artifacts/Split-validation/*"],
        )
    )


def test_run_parameters_stand_in_one_place_only() -> None:
    assert json.loads(drop_run_parameters(SETTINGS)) == {
        "model": {"dim": 8},
        "training": {"seed": 1, "checkpoint": {"keep": 2}},
    }


def test_the_run_fn_gets_the_run_parameters() -> None:
    composed = compose()
    assert json.loads(composed.pop("trainer_config")) == {
        "model": {"dim": 8},
        "training": {"epochs": 3, "seed": 1, "checkpoint": {"keep": 2}},
    }
    assert composed == {
        "feature_spec": "{}",
        "checkpoint_directory": "s3://bucket/checkpoints",
        "serving_directory": "/srv",
        "catalogue": "/artifacts/catalogue",
        "validation_files": ["/artifacts/Split-validation/*"],
    }


def test_an_orchestrator_may_send_every_number_as_a_float() -> None:
    assert '"epochs": 3,' in compose(3.0)["trainer_config"]


@pytest.mark.parametrize("epochs", [0, -1, 1.5])
def test_impossible_epochs_are_refused(epochs: float) -> None:
    with pytest.raises(ConfigError, match=r"epochs: expected a whole number from 1 on\. Received: "):
        compose(epochs)
