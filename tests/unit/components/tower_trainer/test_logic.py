import json

import pytest

from components.tower_trainer.logic import drop_run_parameters, import_run_fn, restore_run_parameters
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
    restored = restore_run_parameters(drop_run_parameters(SETTINGS), epochs=4.0, start="")
    assert json.loads(restored)["training"] == {"epochs": 4, "seed": 1, "checkpoint": {"keep": 2}}
    assert '"epochs": 4,' in restored


@pytest.mark.parametrize("epochs", [0, 2.5])
def test_epochs_are_a_whole_number_from_one_on(epochs: float) -> None:
    with pytest.raises(ConfigError, match=rf"whole number from 1 on\. Received: {epochs}"):
        restore_run_parameters(drop_run_parameters(SETTINGS), epochs=epochs, start="")


@pytest.mark.parametrize(
    ("start", "expected"),
    [("", (True, 7)), (None, (True, 7)), ("warm", (True, None)), ("cold", (False, 7))],
)
def test_the_start_of_the_run_goes_before_the_settings(start: str | None, expected: object) -> None:
    training = {"epochs": 9, "checkpoint": {"directory": "/a"}, "warm_start": True, "cold_every": 7}
    settings = drop_run_parameters(json.dumps({"training": training}))
    restored = json.loads(restore_run_parameters(settings, epochs=1, start=start))["training"]
    assert (restored["warm_start"], restored["cold_every"]) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [("warm", r"training\.warm_start: true for warm\. Received: false"), ("hot", "warm, cold or an empty")],
)
def test_a_start_that_cannot_be_is_refused(start: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"start: expected {expected}"):
        restore_run_parameters(drop_run_parameters(SETTINGS), epochs=1, start=start)


def test_a_run_fn_is_found_by_its_path() -> None:
    assert import_run_fn("json.decoder.JSONDecoder") is json.JSONDecoder
