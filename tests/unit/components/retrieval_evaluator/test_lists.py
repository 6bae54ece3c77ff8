import math

import numpy as np
import pytest

from components.retrieval_evaluator.lists import (
    describe_lists,
    intra_list_similarity,
    mean_over_lists,
    mean_over_targets,
    measure_coverage,
    self_information,
)
from schemas.ranking import ItemSets

pytestmark = pytest.mark.unit

LISTS = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]], np.int32)


def test_coverage_is_the_share_of_items_in_any_list():
    assert measure_coverage(LISTS, 8) == 4 / 8
    assert measure_coverage(LISTS[2:], 8) == 0


def test_means_over_lists_and_over_targets():
    popularity = np.array([9, 3, 0, 1])
    np.testing.assert_allclose(mean_over_lists(LISTS, popularity), [4, 5, np.nan])
    targets = ItemSets(np.array([0, 1, 3, 4]), np.array([3, 0, 1, 2], np.int32))
    assert mean_over_targets(targets, popularity).tolist() == [1, 6, 0]


def test_self_information_in_bits():
    # 4 of 8 users: 1 bit; all of them: 0; one of them, or nobody: 3.
    assert self_information(np.array([4, 8, 1, 0]), 8).tolist() == [1, 0, 3, 3]


def test_similarity_is_the_mean_cosine_over_the_pairs():
    embeddings = np.array([[1, 0], [0, 2], [1, 1], [3, 4], [0, 0]], np.float32)
    found = intra_list_similarity(np.array([[0, 1, 2], [0, 3, -1], [2, -1, -1], [0, 4, -1]]), embeddings)
    half = math.sqrt(0.5)
    np.testing.assert_allclose(found, [(0 + half + half) / 3, 0.6, np.nan, 0], atol=1e-6)


def test_similarity_is_the_same_pair_by_pair():
    random = np.random.default_rng(0)
    embeddings = random.standard_normal((40, 5)).astype(np.float32)
    items = np.array([random.choice(40, 6, replace=False) for _ in range(9)], np.int32)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(6) for j in range(i)]
    expected = [np.mean([unit[row[i]] @ unit[row[j]] for i, j in pairs]) for row in items]
    np.testing.assert_allclose(intra_list_similarity(items, embeddings), expected, atol=1e-5)


def test_the_figures_of_a_report():
    targets = ItemSets(np.array([0, 1, 2, 3]), np.array([3, 0, 2], np.int32))
    counts, users = np.array([9, 3, 0, 1]), np.array([8, 2, 0, 1])
    # Only the first ten of a list count.
    lists = np.pad(LISTS, ((0, 0), (0, 8)), constant_values=-1)
    lists[1, 10] = 2
    found = describe_lists(lists, targets, counts, users, 8, np.eye(4, dtype=np.float32))
    assert found == pytest.approx(
        {
            "coverage_at_10": 1.0,
            "mean_popularity_recommended": (4 + 5) / 2,
            "mean_popularity_held_out": (1 + 9 + 0) / 3,
            "novelty_at_10": ((0 + 2 + 3) / 3 + (0 + 3) / 2) / 2,
            "intra_list_similarity_at_10": 0.0,
        }
    )


def test_lists_that_say_nothing_are_null():
    empty = np.full((1, 10), -1, np.int32)
    target = ItemSets.of_one(np.array([0]))
    found = describe_lists(empty, target, np.ones(1, int), np.ones(1, int), 1, np.ones((1, 2), np.float32))
    assert found == {
        "coverage_at_10": 0.0,
        "mean_popularity_recommended": None,
        "mean_popularity_held_out": 1.0,
        "novelty_at_10": None,
        "intra_list_similarity_at_10": None,
    }
