import numpy as np
import pytest

from pipeline.data_check.histograms import count_classes, draw_bar, draw_histogram

pytestmark = pytest.mark.unit


def test_classes_are_powers_of_two():
    assert count_classes(np.array([1, 2, 3, 3, 8])) == [(1, 1, 1), (2, 3, 3), (4, 7, 0), (8, 15, 1)]
    assert count_classes(np.zeros(0, np.int64)) == []


@pytest.mark.parametrize(
    ("value", "bar"),
    [(80, "█" * 40), (40, "█" * 20), (1, "▌"), (0.001, "▏"), (0, ""), (3, "█▌")],
)
def test_a_bar_is_exact_to_an_eighth(value, bar):
    # 80 is 40 characters, so that 1 is a half.
    assert draw_bar(value, 80) == bar


def test_a_histogram_has_a_line_for_each_class():
    assert draw_histogram(np.array([1, 2, 3]), "users") == [
        "       1  " + "█" * 20 + " 1 users",
        "  2 to 3  " + "█" * 40 + " 2 users",
    ]
