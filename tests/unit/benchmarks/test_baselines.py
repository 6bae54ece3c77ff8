import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.unit

# The benchmarks are no part of the installed package.
_FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "baselines.py"
_spec = importlib.util.spec_from_file_location("benchmarks_baselines", _FILE)
baselines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(baselines)

# User 0 has items 0 and 1 (1 twice), user 1 has 0 and 1, user 2 has 1 and 2; nobody has item 3.
USERS = np.array([0, 0, 0, 1, 1, 2, 2])
ITEMS = np.array([0, 1, 1, 0, 1, 1, 2])
SHAPE = (3, 4)


def blocks():
    """Two groups of ten users with ten items each; a user lacks one item of the own group."""
    user, item = np.nonzero(np.kron(np.eye(2), 1 - np.eye(10)))
    return user, item, (20, 20)


def test_popularity_counts_every_interaction():
    scores = baselines.score_popularity(USERS, ITEMS, SHAPE)
    np.testing.assert_array_equal(scores, [[2, 4, 1, 0]] * 3)
    assert scores.dtype == np.float32
    assert scores.flags.writeable


def test_item_knn_worked_by_hand():
    # cos(0, 1) = 2 / sqrt(2 * 3) = 0.8165; cos(1, 2) = 1 / sqrt(3 * 1) = 0.5774; cos(0, 2) = 0.
    scores = baselines.score_item_knn(USERS, ITEMS, SHAPE, neighbours=4)
    expected = [[0.8165, 0.8165, 0.5774, 0], [0.8165, 0.8165, 0.5774, 0], [0.8165, 0.5774, 0.5774, 0]]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert scores.dtype == np.float32


def test_item_knn_keeps_the_nearest_neighbours_of_the_scored_item():
    # With one neighbour, item 1 keeps item 0 only, and items 0 and 2 keep item 1.
    scores = baselines.score_item_knn(USERS, ITEMS, SHAPE, neighbours=1)
    expected = [[0.8165, 0.8165, 0.5774, 0], [0.8165, 0.8165, 0.5774, 0], [0.8165, 0, 0.5774, 0]]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_ease_is_the_ridge_regression_of_each_item_on_the_others():
    rng = np.random.default_rng(0)
    dense = (rng.random((30, 8)) < 0.4).astype(float)
    user, item = np.nonzero(dense)
    expected = np.empty_like(dense)
    for target in range(8):
        others = np.delete(dense, target, axis=1)
        weights = np.linalg.solve(others.T @ others + 5.0 * np.eye(7), others.T @ dense[:, target])
        expected[:, target] = others @ weights
    scores = baselines.score_ease(user, item, dense.shape, l2_weight=5.0)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("score", [baselines.score_als, baselines.score_bpr])
def test_factorisations_find_the_missing_item_and_repeat_with_the_seed(score):
    user, item, shape = blocks()
    scores = score(user, item, shape, factors=4, regularization=0.01, iterations=100, seed=3)
    assert scores.shape == shape
    assert scores.dtype == np.float32
    group = np.arange(20) // 10
    own = group[:, None] == group[None, :]
    seen = np.zeros(shape, bool)
    seen[user, item] = True
    missing = scores[own & ~seen]
    assert (missing > np.where(own, -np.inf, scores).max(axis=1)).all()
    np.testing.assert_array_equal(
        scores, score(user, item, shape, factors=4, regularization=0.01, iterations=100, seed=3)
    )
    assert not np.array_equal(
        scores, score(user, item, shape, factors=4, regularization=0.01, iterations=100, seed=4)
    )
