import numpy as np
import pytest

from components.interaction_ingest.rules.limit import newest_of_user

pytestmark = pytest.mark.unit


def test_the_newest_rows_of_each_user_stay():
    keep = newest_of_user(np.array([0, 3, 4, 6]), 2)
    assert keep.tolist() == [False, True, True, True, True, True]
