"""The first places of a row against a sort of all of it."""

import numpy as np
import pytest

from schemas.ranking import ItemSets, rank_in_blocks
from schemas.ranking.top_items import list_top_items, select_leaders

pytestmark = pytest.mark.unit


def sort_all(row, k):
    """The first k ranked items, and all that tie with the last of them."""
    ranked = sorted((-score, item) for item, score in enumerate(row.tolist()) if score > -np.inf)
    first = ranked[:k]
    last = first[-1][0] if first else None
    return [item for _, item in first], [item for score, item in ranked if score == last]


@pytest.mark.parametrize("item_count", [1, 5, 99, 1000, 25_000])
@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("values", [2, 50, 10**6])
@pytest.mark.parametrize("masked_share", [0.0, 0.5, 0.999])
def test_same_as_a_sort_of_all_items(item_count, k, values, masked_share):
    random = np.random.default_rng(item_count + k + values)
    row = random.integers(-values, values, item_count).astype(np.float32)
    row[random.random(item_count) < masked_share] = -np.inf
    leaders = select_leaders(row, k)
    expected, level = sort_all(row, k)
    items, scores = list_top_items(leaders, k)
    left = k - len(expected)
    assert items.tolist() == expected + [-1] * left
    assert scores.tolist() == [*row[expected].tolist(), *[-np.inf] * left]
    assert leaders.last.tolist() == level
    assert len(leaders.above) < k


def test_best_items_in_each_block_at_each_end_and_in_what_is_no_whole_chunk():
    row = np.zeros(10_007, np.float32)
    best = [10_006, 0, 9_999, 5_000, 1]
    row[best] = [9, 8, 7, 6, 5]
    assert list_top_items(select_leaders(row, 5), 5)[0].tolist() == best


def test_lists_of_all_queries_in_one_pass():
    matrix = np.array([[1, 3, 2, 3], [4, 1, 2, 3], [1, 2, 3, 4]], np.float32)
    targets = ItemSets.of_one(np.array([2, 0, 3]))
    masked = ItemSets.from_pairs(np.array([1, 2, 2]), np.array([3, 0, 1]), 3)
    ranking = rank_in_blocks(lambda block: matrix[block].copy(), targets, masked, 4, k=3, block_scores=4)
    assert ranking.top.items.tolist() == [[1, 3, 2], [0, 2, 1], [3, 2, -1]]
    assert ranking.top.scores.tolist() == [[3, 3, 2], [4, 2, 1], [4, 3, -np.inf]]
    assert (ranking.ranks.better.tolist(), ranking.ranks.tied.tolist()) == ([2, 0, 0], [0, 0, 0])
    assert ranking.ranks.depth == 3


def test_no_query_has_no_list():
    nobody = ItemSets.empty(0)
    ranking = rank_in_blocks(lambda block: np.zeros((0, 4)), nobody, nobody, 4, k=2)
    assert ranking.top.items.shape == (0, 2)
