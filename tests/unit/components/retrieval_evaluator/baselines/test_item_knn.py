import numpy as np
import pytest
import scipy.sparse

from components.retrieval_evaluator.baselines import item_knn
from components.retrieval_evaluator.baselines.item_knn import (
    find_neighbours,
    keep_largest,
    limit_interactions,
    rank_by_item_knn,
)

pytestmark = pytest.mark.unit


def test_worked_by_hand(make_log, make_queries):
    # Items 0 and 1 share two users of two and three, 1 and 2 one of three and one, 3 is alone.
    log = make_log([[0, 1, 1], [1, 0], [1, 2], [3]])
    # cos(0, 1) = 2 / sqrt(2 * 3) = 0.8165; cos(1, 2) = 1 / sqrt(3 * 1) = 0.5774.
    neighbours = find_neighbours(log.as_matrix(4), 2).toarray()
    expected = [[0, 0.8165, 0, 0], [0.8165, 0, 0.5774, 0], [0, 0.5774, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(neighbours, expected, atol=1e-4)
    queries = make_queries([[1], [1], [1], [0]], [[0], [2], [3], [2]])
    result = rank_by_item_knn(log, queries, np.bincount(log.items))
    # With item 1 known, the order is 0, 2, 3; with item 0 it is 1, then 2 and 3.
    assert result.ranks.better.tolist() == [0, 1, 2, 1]
    assert result.ranks.tied.tolist() == [0, 0, 0, 1]
    assert result.note is None


def test_a_user_without_a_known_item_gets_the_popular_ones(make_log, make_queries):
    log = make_log([[0, 1], [1, 2], [1]])
    result = rank_by_item_knn(log, make_queries([[], [0]], [[1], [2]]), np.bincount(log.items))
    assert result.ranks.better.tolist() == [0, 1]
    assert result.ranks.tied.tolist() == [0, 0]
    assert result.note == "popularity for 1 of 2 users, of whom no item is known"


@pytest.mark.parametrize("candidates", ["new", "all"])
@pytest.mark.parametrize("seed", range(5))
def test_is_the_dense_computation(random_case, assert_ranked_by, seed, candidates, monkeypatch):
    monkeypatch.setattr(item_knn, "NEIGHBOURS", 4)
    log, queries, popularity = random_case(seed, candidates)
    has = np.zeros((len(log.train_ends), 12))
    has[log.owners, log.items] = 1
    together = has.T @ has
    users = np.maximum(together.diagonal(), 1)
    similarity = together / np.sqrt(np.outer(users, users))
    np.fill_diagonal(similarity, 0)
    for row in similarity:
        # A stable sort leaves the first of the catalogue first.
        row[np.argsort(-row.astype(np.float32), kind="stable")[4:]] = 0
    scores = np.zeros((queries.seen.query_count, 12))
    for query, item in zip(queries.seen.owners, queries.seen.items, strict=True):
        scores[query] += similarity[:, item]
    scores[queries.seen.sizes == 0] = popularity
    assert_ranked_by(rank_by_item_knn(log, queries, popularity).ranks, scores, queries)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_of_each_row(seed):
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 4, (20, 9)).astype(np.float32)
    dense[0] = 0
    expected = dense.copy()
    for row in expected:
        row[np.argsort(-row, kind="stable")[3:]] = 0
    np.testing.assert_array_equal(keep_largest(scipy.sparse.csr_array(dense), 3).toarray(), expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_is_the_largest_that_keeps_to_the_pairs(seed):
    sizes = np.random.default_rng(seed).integers(0, 40, 50)

    def pairs(limit):
        return (np.minimum(sizes, limit) ** 2).sum()

    assert limit_interactions(sizes, pairs(40)) is None
    for most in (100, 1_000, 5_000, pairs(40) - 1):
        limit = limit_interactions(sizes, most)
        assert pairs(limit) <= most < pairs(limit + 1)
    assert limit_interactions(np.zeros(0, int), 5) is None


def test_the_latest_interactions_count_where_there_are_too_many(make_log, make_queries, monkeypatch):
    monkeypatch.setattr(item_knn, "MOST_PAIRS", 8)
    log = make_log([[0, 1, 2], [0, 1, 2]])
    result = rank_by_item_knn(log, make_queries([[2], [0]], [[1], [1]]), np.bincount(log.items))
    # Only 1 and 2 were together: with 0 known, nothing is like it.
    assert result.ranks.better.tolist() == [0, 0]
    assert result.ranks.tied.tolist() == [0, 1]
    assert result.note == "similarities from each user's latest 2 interactions"
