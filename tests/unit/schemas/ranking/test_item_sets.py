import numpy as np
import pytest

from schemas.ranking import ItemSets

pytestmark = pytest.mark.unit


def test_items_of_a_range_and_how_often_each_is_there():
    items = np.array([4, 1, 4, 2, 9, 1, 7], np.int32)
    starts, ends = np.array([0, 3, 4, 3]), np.array([3, 3, 7, 5])
    sets = ItemSets.from_ranges(items, starts, ends)
    assert sets.offsets.tolist() == [0, 2, 2, 5, 7]
    assert sets.items.tolist() == [1, 4, 1, 7, 9, 2, 9]
    assert sets.count_in_ranges(items, starts, ends).tolist() == [1, 2, 1, 1, 1, 1, 1]
    # In other ranges: the first query has 4 alone, the last one nothing of 2 and 9.
    assert sets.count_in_ranges(items, starts, np.array([1, 3, 4, 3])).tolist() == [0, 1, 0, 0, 0, 0, 0]
