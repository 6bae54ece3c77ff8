import numpy as np
import pytest

from components.retrieval_evaluator.baselines.popularity import rank_by_popularity

pytestmark = pytest.mark.unit


def test_worked_by_hand(make_log, make_queries):
    popularity = np.array([5, 3, 3, 0])
    result = rank_by_popularity(make_log([]), make_queries([[], [0]], [[1], [3]]), popularity)
    # Item 1: 0 is more popular, 2 ties. Item 3: 1 and 2 are, 0 is known.
    assert result.ranks.better.tolist() == [1, 2]
    assert result.ranks.tied.tolist() == [1, 0]
    assert result.note is None
