import numpy as np
import pytest

from schemas.ranges import list_positions

pytestmark = pytest.mark.unit


def test_positions_of_ranges_one_after_the_other():
    np.testing.assert_array_equal(
        list_positions(np.array([5, 2, 2, 9]), np.array([7, 2, 5, 10])), [5, 6, 2, 3, 4, 9]
    )
    assert list_positions(np.array([3]), np.array([3])).tolist() == []
