import numpy as np
import pytest

from pipeline.recommend.explain import leave_each_out, measure_influences

pytestmark = pytest.mark.unit


def test_an_item_is_left_out_however_often_it_is_there():
    items, kept = leave_each_out(np.array([7, 3, 7]))
    assert items.tolist() == [3, 7]
    assert kept.tolist() == [[True, False, True], [False, True, False]]


def test_a_history_without_items_leaves_nothing_out():
    items, kept = leave_each_out(np.zeros(0, np.int64))
    assert (items.shape, kept.shape) == ((0,), (0, 0))


def test_an_influence_is_the_score_with_less_the_score_without():
    recommended = np.array([[1.0, 0.0], [0.6, 0.8]])
    # With everything the scores are 0.6 and 0.36 + 0.64 = 1.
    user = np.array([0.6, 0.8])
    without = np.array([[0.0, 1.0], [1.0, 0.0]])
    # Without the first item 0 and 0.8, without the second 1 and 0.6.
    assert measure_influences(recommended, user, without) == pytest.approx(
        np.array([[0.6, -0.4], [0.2, 0.4]])
    )
