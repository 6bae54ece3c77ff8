"""Ranks and metrics against hand-worked cases and against every order of the tied items."""

import itertools
import math

import numpy as np
import pytest

from schemas.ranking import (
    METRICS,
    ItemSets,
    Ranks,
    compute_metrics,
    rank_by_common_scores,
    rank_in_blocks,
    rank_targets,
    score_by_inner_product,
)
from schemas.ranking.metrics import metric_names
from schemas.ranking.ranks import rank_first_places

pytestmark = pytest.mark.unit


def sets(*rows):
    queries = [query for query, row in enumerate(rows) for _ in row]
    return ItemSets.from_pairs(np.array(queries, int), np.array(list(itertools.chain(*rows)), int), len(rows))


def scores(*rows):
    return np.array(rows, np.float32)


def places(ranks):
    return list(zip(ranks.better.tolist(), ranks.tied.tolist(), strict=True))


def test_item_sets_keep_each_pair_once_and_queries_without_a_pair():
    grouped = ItemSets.from_pairs(np.array([2, 0, 2, 2]), np.array([5, 1, 3, 5]), 4)
    assert grouped.sizes.tolist() == [1, 0, 2, 0]
    assert grouped.items.tolist() == [1, 3, 5]
    assert grouped.owners.tolist() == [0, 2, 2]
    part = grouped.of_queries(slice(1, 3))
    assert part.sizes.tolist() == [0, 2]
    assert part.items.tolist() == [3, 5]


def test_item_sets_of_the_users_of_queries():
    taken = sets([1, 4], [], [3]).take(np.array([2, 0, 1, 0]))
    assert taken.offsets.tolist() == [0, 1, 3, 3, 5]
    assert taken.items.tolist() == [3, 1, 4, 1, 4]
    assert taken.items.dtype == np.int32
    assert sets([1], []).take(np.array([], int)).query_count == 0


def test_item_sets_one_after_the_other():
    together = ItemSets.concatenate([sets([1, 4], []), sets(), sets([3])])
    assert together.offsets.tolist() == [0, 2, 2, 3]
    assert together.items.tolist() == [1, 4, 3]


def test_item_sets_of_one_item_each():
    one = ItemSets.of_one(np.array([3, 3, 0]))
    assert one.sizes.tolist() == [1, 1, 1]
    assert one.items.tolist() == [3, 3, 0]


@pytest.mark.parametrize(
    ("seen", "place"),
    [
        ([], (1, 1)),  # item 0 is better, item 2 ties
        ([0], (0, 1)),  # the better one is masked
        ([0, 2], (0, 0)),  # the tied one too
        ([3], (1, 1)),  # a masked item that was worse changes nothing
    ],
)
def test_places_with_a_tie_and_seen_items_out(seen, place):
    assert places(rank_targets(scores([0.9, 0.5, 0.5, 0.1]), sets([1]), sets(seen))) == [place]


@pytest.mark.parametrize(
    "rank",
    [
        rank_targets,
        lambda s, *sets: rank_first_places(s, *sets, 2),
        lambda s, *sets: rank_by_common_scores(s[0], *sets),
    ],
)
def test_a_masked_target_is_refused(rank):
    with pytest.raises(ValueError, match="1 of 2 targets are masked"):
        rank(scores([3, 2, 1]), sets([0, 1]), sets([1]))


def test_places_of_several_targets():
    ranks = rank_targets(
        scores([4, 3, 2, 1], [5, 5, 1, 0], [1, 2, 3, 4]),
        sets([0, 2], [0, 1], [0]),
        sets([], [], [3]),
    )
    assert places(ranks) == [(0, 0), (2, 0), (0, 1), (0, 1), (2, 0)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "rank",
    [
        rank_targets,
        lambda s, *sets: rank_first_places(s, *sets, 2),
        lambda s, *sets: rank_by_common_scores(s[0], *sets),
    ],
)
def test_non_finite_scores_are_refused(rank, bad):
    with pytest.raises(ValueError, match="Expected finite scores"):
        rank(scores([1, bad, 0]), sets([0]), sets([]))


def test_scores_whose_sum_overflows_are_finite():
    large = np.finfo(np.float32).max
    assert places(rank_targets(scores([large, large, 0]), sets([0]), sets([]))) == [(0, 1)]


def test_metrics_worked_by_hand():
    # Query 0 has two targets, with ranks 1 and 3; query 1 has one, beyond every cut-off.
    ranks = Ranks(np.array([0, 2, 9]), np.array([0, 0, 0]))
    found = compute_metrics(ranks, sets([0, 1], [0]), [1, 2, 3])
    ideal = 1 + 1 / math.log2(3)
    expected = {
        "recall_at_1": [1, 0],
        "recall_at_2": [1 / 2, 0],
        "recall_at_3": [1, 0],
        "ndcg_at_1": [1, 0],
        "ndcg_at_2": [1 / ideal, 0],
        "ndcg_at_3": [(1 + 1 / 2) / ideal, 0],
        "mrr_at_1": [1, 0],
        "mrr_at_2": [1, 0],
        "mrr_at_3": [1, 0],
        "map_at_1": [1, 0],
        "map_at_2": [1 / 2, 0],
        "map_at_3": [(1 + 2 / 3) / 2, 0],
        "hit_rate_at_1": [1, 0],
        "hit_rate_at_2": [1, 0],
        "hit_rate_at_3": [1, 0],
    }
    assert list(found) == list(expected) == metric_names([1, 2, 3])
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


def test_reciprocal_rank_is_zero_beyond_the_cut_off():
    ranks, targets = Ranks(np.array([3]), np.array([0])), sets([0])
    assert METRICS["mrr"](ranks, targets, 3).tolist() == [0]
    assert METRICS["mrr"](ranks, targets, 4).tolist() == [0.25]


def test_a_tie_of_all_items_is_chance():
    # Ten items with equal scores, two of them targets: the first three places hold each with probability
    # 3/10, and the better of the two is the j-th with probability (10 - j) / C(10, 2) = (10 - j) / 45.
    found = compute_metrics(
        rank_targets(np.zeros((1, 10), np.float32), sets([4, 7]), sets([])), sets([4, 7]), [3]
    )
    assert found["recall_at_3"] == pytest.approx([2 * 3 / 10 / 2])
    assert found["mrr_at_3"] == pytest.approx([(9 / 1 + 8 / 2 + 7 / 3) / 45])
    gain = (1 + 1 / math.log2(3) + 1 / 2) / 10
    assert found["ndcg_at_3"] == pytest.approx([2 * gain / (1 + 1 / math.log2(3))])
    # Neither is there with probability 8/10 x 7/9 x 6/8. At place p, reached by each with 1/10, the other one
    # is before it with (p - 1) / 9.
    assert found["hit_rate_at_3"] == pytest.approx([1 - 8 * 7 * 6 / (10 * 9 * 8)])
    precision = sum((1 + (place - 1) / 9) / place for place in (1, 2, 3)) / 10
    assert found["map_at_3"] == pytest.approx([2 * precision / 2])


@pytest.mark.parametrize("held_out", [(), ([1], [])])
def test_metrics_need_queries_with_held_out_items(held_out):
    with pytest.raises(ValueError, match="at least one held-out item"):
        compute_metrics(
            Ranks(np.zeros(len(held_out) // 2, int), np.zeros(len(held_out) // 2, int)), sets(*held_out), [10]
        )


def slow_metrics(row, targets, seen, ks):
    """The mean of the metrics over every order of the items that agrees with the scores."""
    ranked = [item for item in range(len(row)) if item not in seen]
    groups = {}
    for item in ranked:
        groups.setdefault(row[item], []).append(item)
    totals, count = dict.fromkeys(metric_names(ks), 0.0), 0
    for arrangement in itertools.product(
        *(itertools.permutations(groups[score]) for score in sorted(groups, reverse=True))
    ):
        order = list(itertools.chain(*arrangement))
        ranks = [order.index(target) + 1 for target in targets]
        for k in ks:
            n = min(k, len(targets))
            hits = [rank for rank in ranks if rank <= k]
            totals[f"recall_at_{k}"] += len(hits) / n
            ideal = sum(math.log(2) / math.log(place + 1) for place in range(1, n + 1))
            totals[f"ndcg_at_{k}"] += sum(math.log(2) / math.log(rank + 1) for rank in hits) / ideal
            totals[f"mrr_at_{k}"] += 1 / min(hits) if hits else 0
            precisions = [sum(other <= rank for other in ranks) / rank for rank in hits]
            totals[f"map_at_{k}"] += sum(precisions) / n
            totals[f"hit_rate_at_{k}"] += bool(hits)
        count += 1
    return {name: total / count for name, total in totals.items()}


def make_case(seed, query_count=12, item_count=8, values=4):
    random = np.random.default_rng(seed)
    matrix = random.integers(0, values, (query_count, item_count)).astype(np.float32)
    targets = [
        random.choice(item_count, random.integers(1, 5), replace=False).tolist() for _ in range(query_count)
    ]
    seen = [
        [
            item
            for item in random.choice(item_count, random.integers(0, 5), replace=False).tolist()
            if item not in own
        ]
        for own in targets
    ]
    return matrix, targets, seen


def assert_same_as_every_order(matrix, targets, seen, ks, k=None, block_scores=10_000):
    held_out = sets(*targets)
    ranking = rank_in_blocks(
        lambda queries: matrix[queries].copy(), held_out, sets(*seen), matrix.shape[1], k, block_scores
    )
    found = compute_metrics(ranking.ranks, held_out, ks)
    for query, row in enumerate(matrix.tolist()):
        expected = slow_metrics(row, targets[query], seen[query], ks)
        assert {name: values[query] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("block_scores", [1, 20, 10_000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_same_as_the_mean_over_every_order_of_the_tied_items(seed, block_scores):
    assert_same_as_every_order(*make_case(seed), [1, 2, 3, 5, 20], block_scores=block_scores)


@pytest.mark.parametrize(("k", "ks"), [(1, [1]), (3, [1, 3]), (5, [2, 5]), (20, [1, 2, 3, 5, 20])])
@pytest.mark.parametrize("seed", [5, 6])
def test_the_first_places_are_enough(seed, k, ks):
    assert_same_as_every_order(*make_case(seed), ks, k, block_scores=20)
    assert_same_as_every_order(*make_case(seed, values=2), ks, k)


def test_metrics_beyond_the_known_places_are_refused():
    ranking = rank_in_blocks(lambda queries: np.eye(3, dtype=np.float32)[queries], sets([1]), sets([]), 3, 2)
    with pytest.raises(ValueError, match="cut-offs up to 2"):
        compute_metrics(ranking.ranks, sets([1]), [1, 3])


def sorted_metrics(row, targets, seen, ks):
    """The metrics where no two scores are equal, by sorting all items."""
    order = np.argsort(-np.where(np.isin(np.arange(len(row)), seen), -np.inf, row))
    is_target = np.isin(order, targets)
    found = {}
    for k in ks:
        hits, n = is_target[:k], min(k, len(targets))
        discounts = 1 / np.log2(2 + np.arange(len(hits)))
        first = np.flatnonzero(hits)
        found[f"recall_at_{k}"] = hits.sum() / n
        found[f"ndcg_at_{k}"] = (hits * discounts).sum() / discounts[:n].sum()
        found[f"mrr_at_{k}"] = 1 / (first[0] + 1) if len(first) else 0
        found[f"map_at_{k}"] = (hits * np.cumsum(hits) / (1 + np.arange(len(hits)))).sum() / n
        found[f"hit_rate_at_{k}"] = float(hits.any())
    return found


@pytest.mark.parametrize("k", [None, 100])
def test_same_as_sorting_all_items_of_a_large_catalogue(k):
    ks, item_count = [1, 10, 100], 20_011
    random = np.random.default_rng(7)
    # What is held out has better scores, so that all cut-offs count; half of the users have no history.
    embeddings, items = random.standard_normal((30, 8)), random.standard_normal((item_count, 8))
    matrix = (embeddings @ items.T).astype(np.float32)
    # Any two scores are different.
    matrix = np.argsort(np.argsort(matrix, axis=1), axis=1).astype(np.float32)
    targets = [
        np.argsort(-row)[random.choice(200, 1 + number % 7, replace=False)].tolist()
        for number, row in enumerate(matrix)
    ]
    seen = [
        sorted(set(np.argsort(-row)[:150:3].tolist()) - set(own)) if number % 2 else []
        for number, (row, own) in enumerate(zip(matrix, targets, strict=True))
    ]
    held_out = sets(*targets)
    ranking = rank_in_blocks(
        lambda block: matrix[block].copy(), held_out, sets(*seen), item_count, k, 100_000
    )
    found = compute_metrics(ranking.ranks, held_out, ks)
    for query, row in enumerate(matrix):
        expected = sorted_metrics(row, targets[query], seen[query], ks)
        assert {name: values[query] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


def test_inner_products_are_those_of_the_block():
    random = np.random.default_rng(0)
    queries, items = (random.standard_normal((rows, 4), dtype=np.float32) for rows in (7, 11))
    score = score_by_inner_product(queries, items)
    for block in (slice(0, 3), slice(3, 6), slice(6, 7)):
        np.testing.assert_allclose(score(block), queries[block] @ items.T, rtol=1e-6)
    assert score(slice(0, 3)).base is score(slice(3, 6)).base


@pytest.mark.parametrize("seed", [3, 4])
def test_common_scores_give_what_a_matrix_of_them_gives(seed):
    matrix, targets, seen = make_case(seed, query_count=40, item_count=30, values=6)
    common, held_out, masked = matrix[0], sets(*targets), sets(*seen)
    expected = rank_targets(np.tile(common, (40, 1)), held_out, masked)
    assert places(rank_by_common_scores(common, held_out, masked)) == places(expected)


def test_popularity_example():
    # Counts of items a b c d: 3 2 2 1. User 0 saw a and holds out c: b ties with it, so it is first or
    # second. User 1 saw b and c and holds out d: a stands above it. User 2 saw nothing and holds out a.
    targets = sets([2], [3], [0])
    ranks = rank_by_common_scores(np.array([3, 2, 2, 1], np.float32), targets, sets([0], [1, 2], []))
    assert places(ranks) == [(0, 1), (1, 0), (0, 0)]
    found = compute_metrics(ranks, targets, [1, 2])
    assert found["recall_at_1"] == pytest.approx([1 / 2, 0, 1])
    assert found["mrr_at_2"] == pytest.approx([(1 + 1 / 2) / 2, 1 / 2, 1])


@pytest.mark.parametrize("widest", [5, 10**9])
def test_counts_rank_like_the_same_floats(widest):
    rng = np.random.default_rng(0)
    counts = np.where(rng.random(30) < 0.1, widest, rng.integers(-2, 5, 30))
    kind = rng.choice(3, (40, 30), p=[0.6, 0.1, 0.3])
    targets, masked = (ItemSets.from_pairs(*np.nonzero(kind == which), 40) for which in (1, 2))
    expected = rank_targets(np.tile(counts.astype(float), (40, 1)), targets, masked)
    ranks = rank_by_common_scores(counts, targets, masked)
    assert places(ranks) == places(expected)
