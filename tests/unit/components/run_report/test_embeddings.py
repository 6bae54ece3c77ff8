import numpy as np
import pytest

from components.run_report.embeddings import make_histogram, measure_norms, measure_similarities, project

pytestmark = pytest.mark.unit


def test_norms_of_three_four_five() -> None:
    norms = measure_norms(np.array([[3, 4], [0, 2], [6, 8]], np.float32))
    assert (norms.low, norms.high, norms.counts.sum()) == (2.0, 10.0, 3)
    assert norms.mean == pytest.approx(17 / 3)


def test_equal_values_have_a_histogram_that_can_be_seen() -> None:
    histogram = make_histogram(np.ones(5))
    assert histogram.counts.sum() == 5
    assert histogram.edges[0] < 1 < histogram.edges[-1]
    assert histogram.deviation == 0.0


def test_cosines_are_of_pairs_of_different_items() -> None:
    opposite = measure_similarities(np.array([[2, 0], [-1, 0]], np.float32))
    assert opposite is not None
    assert (opposite.low, opposite.high) == (-1.0, -1.0)
    assert measure_similarities(np.ones((1, 2), np.float32)) is None


def test_principal_components_of_a_cross() -> None:
    # Variances 8/4 and 2/4 along the second and the third axis, none along the first.
    points = np.array([[5, 2, 0], [5, -2, 0], [5, 0, 1], [5, 0, -1]], np.float32)
    projection = project(points, most=10)
    np.testing.assert_allclose(projection.points, [[2, 0], [-2, 0], [0, 1], [0, -1]], atol=1e-9)
    assert projection.explained == pytest.approx(1.0)


def test_the_share_of_the_variance_that_two_components_have() -> None:
    points = np.array([[3, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    assert project(points, most=10).explained == pytest.approx((9 + 4) / (9 + 4 + 1))


def test_of_many_items_a_sample_is_drawn() -> None:
    points = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    first, second = project(points, most=50), project(points, most=50)
    assert len(set(first.rows.tolist())) == 50
    np.testing.assert_array_equal(first.rows, second.rows)
    assert first.points.shape == (50, 2)


def test_one_item_and_one_dimension_have_a_map() -> None:
    assert project(np.ones((1, 3), np.float32), most=10).points.tolist() == [[0.0, 0.0]]
    assert project(np.array([[1], [3]], np.float32), most=10).points.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
