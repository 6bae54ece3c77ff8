import json
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.data_check.expected_cost import ROUGHNESS, expect_cost

pytestmark = pytest.mark.unit

RESULTS = Path(__file__).resolve().parents[4] / "benchmarks" / "results" / "pipeline.json"


@pytest.mark.parametrize(("name", "rows"), [("1m", 1_000_000), ("10m", 10_000_000)])
def test_it_gives_what_was_measured(name, rows):
    figures = json.loads(RESULTS.read_text())["figures"]
    config = load_config("pipeline/configs/movielens_100k.yaml", ("training.epochs=1",))
    cost = expect_cost(rows, config, config.load_features())
    for value, measured in (
        (cost.seconds, figures[f"seconds_{name}"]["value"]),
        (cost.epoch_seconds, figures[f"epoch_seconds_{name}"]["value"]),
        (cost.memory_bytes / 1e9, figures[f"peak_gb_{name}"]["value"]),
    ):
        assert measured / ROUGHNESS < value < measured * ROUGHNESS


def test_a_second_training_is_counted():
    overrides = ("training.epochs=10", "ingest.validation=true")
    once = load_config("pipeline/configs/movielens_100k.yaml", (*overrides, "training.early_stopping={}"))
    twice = load_config(
        "pipeline/configs/movielens_100k.yaml", (*overrides, "training.early_stopping={refit: true}")
    )
    spec = once.load_features()
    more = expect_cost(1_000, twice, spec).seconds - expect_cost(1_000, once, spec).seconds
    assert more == pytest.approx(10 * expect_cost(1_000, once, spec).epoch_seconds)
