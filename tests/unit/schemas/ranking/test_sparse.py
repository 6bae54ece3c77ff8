"""Ranks by sparse scores against a hand-worked case and against those on the dense matrix."""

import numpy as np
import pytest
import scipy.sparse

from schemas.ranking import ItemSets, rank_targets
from schemas.ranking.sparse import rank_by_sparse_scores

pytestmark = pytest.mark.unit


def sets(*rows):
    queries = [query for query, row in enumerate(rows) for _ in row]
    return ItemSets.from_pairs(
        np.array(queries, int), np.array([i for row in rows for i in row], int), len(rows)
    )


def sparse(*rows):
    return scipy.sparse.csr_array(np.array(rows, np.float32))


def places(ranks):
    return list(zip(ranks.better.tolist(), ranks.tied.tolist(), strict=True))


def test_worked_by_hand():
    scores = sparse([0, 3, 2, 2, 0, 0], [0, 0, 0, 0, 0, 0], [5, 4, 0, 1, 1, 0])
    targets = sets([0, 2], [5], [2, 3])
    # Item 0 of query 0: of 3, 2 and 2 item 3 is masked, so two are better; 4 is masked too, so 5 ties.
    # Item 2: only 3 is better; the other 2 is masked. Query 1: all six tie. Query 2: 5 is masked, 4, 1 and 1
    # are above item 2, which ties with 5; item 3 is below 4 and ties with item 4.
    assert places(rank_by_sparse_scores(scores, targets, sets([3, 4], [], [0]))) == [
        (2, 1),
        (1, 0),
        (0, 5),
        (3, 1),
        (1, 1),
    ]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("has_sorted_indices", [True, False])
def test_is_the_dense_ranking(seed, has_sorted_indices):
    rng = np.random.default_rng(seed)
    queries, items = 50, 40
    share = rng.choice([0.0, 0.1, 0.5, 1.0], (queries, 1))
    dense = rng.integers(1, 6, (queries, items)).astype(np.float32) / 7
    dense[rng.random((queries, items)) >= share] = 0
    kind = rng.choice(3, (queries, items), p=[0.6, 0.1, 0.3])
    targets = ItemSets.from_pairs(*np.nonzero(kind == 1), queries)
    masked = ItemSets.from_pairs(*np.nonzero(kind == 2), queries)
    scores = scipy.sparse.csr_array(dense)
    if not has_sorted_indices:
        for start, end in zip(scores.indptr[:-1], scores.indptr[1:], strict=True):
            order = start + rng.permutation(end - start)
            scores.indices[start:end], scores.data[start:end] = scores.indices[order], scores.data[order]
        scores.has_sorted_indices = False
    ranks = rank_by_sparse_scores(scores, targets, masked)
    expected = rank_targets(dense, targets, masked)
    np.testing.assert_array_equal(ranks.better, expected.better)
    np.testing.assert_array_equal(ranks.tied, expected.tied)


def test_a_stored_zero_is_a_zero():
    scores = scipy.sparse.csr_array((np.array([0.0, -0.0, 2.0], np.float32), [0, 1, 2], [0, 3]), shape=(1, 4))
    assert places(rank_by_sparse_scores(scores, sets([0, 3]), sets([1]))) == [(1, 1), (1, 1)]


def test_no_query_and_no_target():
    assert (
        places(rank_by_sparse_scores(scipy.sparse.csr_array((0, 3), dtype=np.float32), sets(), sets())) == []
    )
    assert places(rank_by_sparse_scores(sparse([0, 1], [1, 0]), sets([], [1]), sets([], []))) == [(1, 0)]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1])
def test_scores_that_cannot_be_ranked_are_refused(wrong):
    with pytest.raises(ValueError, match=r"finite scores|no score below 0"):
        rank_by_sparse_scores(sparse([1, wrong]), sets([0]), sets([]))


def test_another_type_or_shape_is_refused():
    with pytest.raises(ValueError, match=r"Expected float32 scores of 1 queries\. Received: float64"):
        rank_by_sparse_scores(sparse([1, 0]).astype(np.float64), sets([0]), sets([]))
    with pytest.raises(ValueError, match=r"of 2 queries\. Received: float32 scores of 1 queries"):
        rank_by_sparse_scores(sparse([1, 0]), sets([0], [1]), sets([], []))


def test_a_masked_target_is_refused():
    with pytest.raises(ValueError, match="1 of 1 targets are masked"):
        rank_by_sparse_scores(sparse([1, 0]), sets([0]), sets([0, 1]))
