import sys

import numpy as np
import pytest

from components.retrieval_evaluator.baselines import als
from components.retrieval_evaluator.baselines.als import rank_by_als

pytestmark = pytest.mark.unit


@pytest.fixture
def groups(make_log, make_queries):
    """Two groups of ten users with ten items each; a user lacks one item of the own group."""
    rows = [[i for i in range(20) if i // 10 == u // 10 and i != u] for u in range(20)]
    log = make_log(rows)
    return log, rows, np.bincount(log.items, minlength=20)


def test_finds_the_missing_item_also_of_users_outside_the_log(groups, make_log, make_queries, monkeypatch):
    pytest.importorskip("implicit")
    monkeypatch.setattr(als, "FACTORS", 4)
    monkeypatch.setattr(als, "REGULARIZATION", 0.01)
    log, rows, popularity = groups
    queries = make_queries(rows, [[user] for user in range(20)])
    result = rank_by_als(log, queries, popularity)
    assert (result.ranks.better.tolist(), result.note) == ([0] * 20, None)
    half = make_log([row for user, row in enumerate(rows) if user % 10 >= 3])
    assert rank_by_als(half, queries, popularity).ranks.better.tolist() == [0] * 20


def test_repeats_and_tells_of_unknown_users(groups, make_queries):
    pytest.importorskip("implicit")
    log, rows, _ = groups
    queries = make_queries([[], *rows[1:]], [[7], *([user] for user in range(1, 20))], k=5)
    popularity = np.arange(20)
    result = rank_by_als(log, queries, popularity)
    assert (result.ranks.better[0], result.ranks.tied[0]) == (12, 0)
    assert result.note == "popularity for 1 of 20 users, of whom no item is known"
    again = rank_by_als(log, queries, popularity).ranks
    np.testing.assert_array_equal(result.ranks.better, again.better)
    np.testing.assert_array_equal(result.ranks.tied, again.tied)


def test_says_that_implicit_is_missing(groups, make_queries, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    log, rows, popularity = groups
    result = rank_by_als(log, make_queries(rows, [[user] for user in range(20)]), popularity)
    assert result.ranks is None
    assert result.note == "not computed: implicit is not installed (pip install implicit)"
