import numpy as np
import pytest

from components.retrieval_evaluator.changes import compare_lists, largest_gains, largest_losses

pytestmark = pytest.mark.unit


def test_overlap_and_exposure_by_hand():
    now = np.array([[0, 1, 2], [3, 4, -1], [5, 6, 7]])
    before = np.array([[2, 1, 0], [4, -1, -1], [0, 1, 2]])
    changes = compare_lists(now, before, item_count=9)
    # The same three in another order; one of two; none.
    np.testing.assert_allclose(changes.overlap, [1.0, 0.5, 0.0])
    assert changes.before.tolist() == [2, 2, 2, 0, 1, 0, 0, 0, 0]
    assert changes.now.tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 0]


def test_the_largest_changes_come_first_and_unchanged_items_are_none():
    now = np.array([[0, 1], [0, 2], [0, 3]])
    before = np.array([[4, 1], [4, 2], [4, 2]])
    changes = compare_lists(now, before, item_count=6)
    assert largest_gains(changes, 5).tolist() == [0, 3]
    assert largest_losses(changes, 5).tolist() == [4, 2]
    assert largest_losses(changes, 1).tolist() == [4]
