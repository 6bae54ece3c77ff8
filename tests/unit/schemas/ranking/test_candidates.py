import numpy as np
import pytest

from schemas.ranking import ItemSets, choose_targets

pytestmark = pytest.mark.unit


def sets(*rows):
    queries = [query for query, row in enumerate(rows) for _ in row]
    items = [item for row in rows for item in row]
    return ItemSets.from_pairs(np.array(queries, int), np.array(items, int), len(rows))


def rows_of(item_sets):
    return [
        item_sets.items[start:end].tolist()
        for start, end in zip(item_sets.offsets[:-1], item_sets.offsets[1:], strict=True)
    ]


# User 0 holds out 5, which is new; user 1 holds out 2, which the user has, and 7; user 2 only what the user
# has; user 3 has nothing.
HELD_OUT = sets([5], [2, 7], [0, 1], [2])
SEEN = sets([2, 7], [2], [0, 1, 5], [])


def test_new_candidates_leave_repeats_and_users_without_a_target_out():
    chosen = choose_targets(HELD_OUT, SEEN, "new")
    assert chosen.queries.tolist() == [0, 1, 3]
    assert rows_of(chosen.targets) == [[5], [7], [2]]
    assert rows_of(chosen.masked) == [[2, 7], [2], []]
    assert chosen.has_repeat.tolist() == [False, True, False]
    assert (chosen.held_out, chosen.repeated) == (6, 3)


def test_all_candidates_mask_nothing():
    chosen = choose_targets(HELD_OUT, SEEN, "all")
    assert chosen.queries.tolist() == [0, 1, 2, 3]
    assert rows_of(chosen.targets) == [[5], [2, 7], [0, 1], [2]]
    assert rows_of(chosen.masked) == [[], [], [], []]
    assert chosen.has_repeat.tolist() == [False, True, True, False]
    assert (chosen.held_out, chosen.repeated) == (6, 3)


@pytest.mark.parametrize("candidates", ["new", "all"])
def test_a_query_without_held_out_items_is_none(candidates):
    assert choose_targets(sets([], [1]), sets([1], [0]), candidates).queries.tolist() == [1]


def test_nothing_is_left_where_everybody_has_everything():
    chosen = choose_targets(sets([0]), sets([0, 1]), "new")
    assert (len(chosen.queries), chosen.targets.query_count, chosen.masked.query_count) == (0, 0, 0)


def test_sets_of_other_queries_are_refused():
    with pytest.raises(ValueError, match=r"sets of 4 queries\. Received: sets of 1"):
        choose_targets(HELD_OUT, sets([1]), "new")
