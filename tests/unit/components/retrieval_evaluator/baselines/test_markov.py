import itertools

import numpy as np
import pytest

from components.retrieval_evaluator.baselines.markov import (
    count_followers,
    rank_by_markov_chain,
    weigh_last_items,
)

pytestmark = pytest.mark.unit


def test_only_what_followed_directly_counts(make_log):
    log = make_log([[0, 1, 2], [], [0, 1], [2], [2, 2]])
    assert count_followers(log, 3).toarray().tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 1]]


def test_the_weights_of_the_last_five_items():
    recent = np.array([[7, 5, 4, 3, 2, 3, 0], [-1, -1, -1, -1, -1, -1, 6], [-1] * 7], np.int32)
    # 0 is the newest; 3 is the second and the fourth; 7 and 5 are too old.
    expected = np.zeros((3, 8))
    expected[0, [0, 3, 2, 4]] = [1, 0.8 + 0.512, 0.64, 0.4096]
    expected[1, 6] = 1
    np.testing.assert_allclose(weigh_last_items(recent, 8).toarray(), expected, rtol=1e-6)


def test_worked_by_hand(make_log, make_queries):
    # After 0 came 1 twice and 2 once; after 1 came 3 twice.
    log = make_log([[0, 1], [0, 1, 3], [0, 2], [1, 3]])
    popularity = np.array([3, 3, 1, 2, 9])
    result = rank_by_markov_chain(
        log, make_queries([[0], [0], [1, 0], [1, 0], []], [[1], [3], [3], [2], [4]]), popularity
    )
    # With 0 known: 1 has 2 / 3^0.3 = 1.438, 2 has 1 / 1 = 1, and 3 ties with 4 at 0. With 1 and then 0:
    # 3 has 0.8 * 2 / 2^0.3 = 1.300, 2 has 1, 1 is known. Nothing is known of the last user, and 4 is the
    # most popular.
    assert result.ranks.better.tolist() == [0, 2, 0, 1, 0]
    assert result.ranks.tied.tolist() == [0, 1, 0, 0, 0]
    assert result.note == "popularity for 1 of 5 users, of whom no item is known"


@pytest.mark.parametrize("candidates", ["new", "all"])
@pytest.mark.parametrize("seed", range(5))
def test_is_the_dense_computation(random_case, assert_ranked_by, seed, candidates):
    log, queries, popularity = random_case(seed, candidates)
    counts = np.zeros((12, 12))
    for row in np.split(log.items, log.offsets[1:-1]):
        for before, after in itertools.pairwise(row):
            counts[before, after] += 1
    scores = np.zeros((len(queries.recent_items), 12))
    for query, recent in enumerate(queries.recent_items):
        known = [item for item in recent if item >= 0]
        for age, item in enumerate(reversed(known[-5:])):
            scores[query] += 0.8**age * counts[item] / np.maximum(popularity, 1) ** 0.3
        if not known:
            scores[query] = popularity
    assert_ranked_by(rank_by_markov_chain(log, queries, popularity).ranks, scores, queries)
