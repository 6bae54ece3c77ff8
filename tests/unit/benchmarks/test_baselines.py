import importlib

import numpy as np
import pytest
import scipy.sparse

pytestmark = pytest.mark.unit


@pytest.fixture
def baselines(benchmarks):
    return importlib.import_module("baselines")


def test_ease_is_the_ridge_regression_of_each_item_on_the_others(baselines):
    dense = (np.random.default_rng(0).random((30, 8)) < 0.4).astype(float)
    expected = np.empty_like(dense)
    for target in range(8):
        others = np.delete(dense, target, axis=1)
        weights = np.linalg.solve(others.T @ others + 5.0 * np.eye(7), others.T @ dense[:, target])
        expected[:, target] = others @ weights
    found = baselines.fit_ease(scipy.sparse.csr_array(dense.astype(np.float32)), l2_weight=5.0)
    np.testing.assert_allclose(dense @ found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("score_ease", {"l2_weight": 1.0}), ("score_als", {"factors": 4, "regularization": 0.01, "alpha": 1.0})],
)
def test_the_item_that_only_the_user_lacks_of_a_group_comes_first(baselines, block_tasks, name, settings):
    _, final = block_tasks
    ranks = final.rank(getattr(baselines, name)(final, settings))
    np.testing.assert_array_equal(ranks.better, np.zeros(20))


def test_settings_are_chosen_by_the_validation_task(baselines, block_tasks):
    validation, _ = block_tasks

    def score(task, settings):
        assert task is validation
        place = np.zeros((len(task.users), task.item_count), np.float32)
        place[task.queries.targets.owners, task.queries.targets.items] = settings["sign"]
        return lambda queries: place[queries].copy()

    assert baselines.choose_settings(validation, score, {"sign": (-1, 1)}) == {"sign": 1}


def test_users_without_a_known_item_get_the_popular_ones(baselines, benchmarks):
    held_out = importlib.import_module("held_out")
    sequences = held_out.SplitSequences(
        offsets=np.array([0, 3, 4]),
        items=np.array([1, 1, 2, 1], np.int32),
        times=np.zeros(4, np.int64),
        train_ends=np.array([2, 3]),
        known_ends=np.array([2, 3]),
        eval_ends=np.array([3, 4]),
        item_count=3,
    )
    _, final = held_out.make_tasks(sequences, "new", k=2)
    scores = np.array([[0, 0, 1], [1, 0, 1]], np.float32)
    ranks = baselines.rank_known_users(final, lambda queries: scores[queries].copy())
    # User 1 has nothing before; item 1 is the popular one, whatever the scores say.
    np.testing.assert_array_equal(ranks.better, [0, 0])
