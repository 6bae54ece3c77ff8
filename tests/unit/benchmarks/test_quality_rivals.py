import importlib
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.unit


@pytest.fixture
def rivals(benchmarks):
    return importlib.import_module("quality_rivals")


class ChosenBySign:
    """Puts what is held out first or last by the sign that it is given, and notes its settings."""

    def __init__(self):
        self.measured = []

    def score(self, task, settings):
        self.measured.append(settings)
        scores = np.zeros((len(task.users), task.item_count), np.float32)
        scores[task.queries.targets.owners, task.queries.targets.items] = settings["sign"]
        return lambda queries: scores[queries].copy()


@pytest.fixture
def experiment(rivals, block_tasks):
    validation, final = block_tasks
    rows = importlib.import_module("quality_rows")
    ours = rows.Configured(rows.OURS, rows.CONFIG)
    return rivals.Experiment(validation, final, (5,), (1, 2, 3), ours, {}, Path(), 1, None)


@pytest.mark.parametrize(
    ("is_random", "last"),
    [(False, [{"sign": 1}]), (True, [{"sign": 1, "seed": seed} for seed in (1, 2, 3)])],
)
def test_a_random_model_is_measured_with_each_seed_and_another_once(rivals, experiment, is_random, last):
    model = ChosenBySign()
    tuned = rivals.Tuned(model.score, {"sign": (-1, 1)}, {"sign": (-1,)}, is_random=is_random)
    found = rivals.measure_tuned(tuned, experiment, quick=False)
    assert model.measured == [{"sign": -1}, {"sign": 1}, *last]
    assert found.chosen == "sign 1"
    # Each user's one held-out item comes first.
    assert found.means("recall_at_5") == [1.0] * len(last)
    assert rivals.measure_tuned(tuned, experiment, quick=True).chosen == "sign -1"


def test_a_model_of_too_many_items_is_not_run(rivals, experiment):
    def build(most_items):
        return rivals.Tuned(ChosenBySign().score, {"sign": (1,)}, {"sign": (1,)}, most_items=most_items)

    assert rivals.measure_tuned(build(20), experiment, quick=False).metrics
    refused = rivals.measure_tuned(build(19), experiment, quick=False)
    assert refused.chosen == "not run: 20 items, and it needs a matrix of items x items"
    assert not refused.metrics
