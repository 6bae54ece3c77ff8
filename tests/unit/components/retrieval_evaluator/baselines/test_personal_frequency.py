import numpy as np
import pytest

from components.retrieval_evaluator.baselines.personal_frequency import rank_by_personal_frequency

pytestmark = pytest.mark.unit


def test_worked_by_hand(make_log, make_queries):
    log = make_log([[4, 1, 4, 2], []])
    popularity = np.array([9, 1, 3, 9, 2, 3])
    known = [[4, 1, 4, 2], [4, 1, 4, 2], []]
    result = rank_by_personal_frequency(
        log, make_queries(known, [[4, 1, 2], [0, 5], [3, 2]], candidates="all"), popularity
    )
    # The user has 4 twice, and of 2 and 1, which are there once each, 2 is the more popular. Behind these
    # three 0 and 3 tie, and 5 is the last. Nothing is known of the last user, for whom 2 and 5 tie as third.
    assert dict(zip([1, 2, 4], result.ranks.better[:3].tolist(), strict=True)) == {4: 0, 2: 1, 1: 2}
    assert result.ranks.better[3:].tolist() == [3, 5, 2, 0]
    assert result.ranks.tied.tolist() == [0, 0, 0, 1, 0, 1, 1]
    assert result.note is None


@pytest.mark.parametrize("seed", range(5))
def test_is_the_dense_computation(random_case, assert_ranked_by, seed):
    log, queries, popularity = random_case(seed, "all")
    scores = np.tile(popularity / 1000, (len(queries.recent_items), 1))
    for pair, (query, item) in enumerate(zip(queries.seen.owners, queries.seen.items, strict=True)):
        scores[query, item] += queries.seen_counts[pair]
    assert_ranked_by(rank_by_personal_frequency(log, queries, popularity).ranks, scores, queries)


def test_there_is_none_where_what_users_have_is_no_candidate(make_log, make_queries):
    result = rank_by_personal_frequency(make_log([[0]]), make_queries([[0]], [[1]]), np.array([1, 0]))
    assert result.ranks is None
    assert result.note == "not computed: candidates are new, which leaves out all that users have"
