import numpy as np
import pytest

from components.retrieval_evaluator.baselines.labels import LABELS
from components.retrieval_evaluator.baselines.registry import BASELINES
from schemas.ranking import compute_metrics

pytestmark = pytest.mark.unit


def test_every_baseline_has_a_label():
    names = ["chance", "popularity", "recent_popularity", "personal_frequency", "item_knn", "markov", "als"]
    assert list(BASELINES) == list(LABELS) == names


@pytest.mark.parametrize("candidates", ["new", "all"])
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_for_all_targets_and_leaves_what_it_was_given(random_case, name, candidates):
    log, queries, popularity = random_case(0, candidates)
    seen = queries.seen
    given = (log.offsets, log.items, log.times, seen.offsets, seen.items, queries.seen_counts, popularity)
    before = [array.copy() for array in given]
    result = BASELINES[name](log, queries, popularity)
    for old, new in zip(before, given, strict=True):
        np.testing.assert_array_equal(old, new)
    if name == "personal_frequency" and candidates == "new":
        assert result.ranks is None
        return
    if result.ranks is None:
        pytest.skip(result.note)
    assert len(result.ranks.better) == len(queries.targets.items)
    assert (result.ranks.tied >= 0).all()
    assert all(np.isfinite(v).all() for v in compute_metrics(result.ranks, queries.targets, [1, 10]).values())


@pytest.mark.parametrize("candidates", ["new", "all"])
@pytest.mark.parametrize("name", BASELINES)
def test_a_log_without_interactions_gives_chance(make_log, make_queries, name, candidates):
    queries = make_queries([[], []], [[0], [2]], k=3, candidates=candidates)
    ranks = BASELINES[name](make_log([[], []]), queries, np.zeros(3, np.int64)).ranks
    if ranks is not None:
        assert (ranks.better.tolist(), ranks.tied.tolist()) == ([0, 0], [2, 2])


@pytest.mark.parametrize("candidates", ["new", "all"])
def test_a_sampled_log_is_said_by_those_that_read_it(random_case, candidates):
    log, queries, popularity = random_case(0, candidates)
    sampled = type(log)(log.offsets, log.train_ends, log.items, log.times, sampled_of=4 * len(log.items))
    for name, rank in BASELINES.items():
        result = rank(sampled, queries, popularity)
        if result.ranks is not None:
            assert ("(25.0%): all those of randomly drawn users" in (result.note or "")) == (
                name not in ("chance", "popularity", "personal_frequency")
            )
