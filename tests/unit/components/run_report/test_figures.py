import pytest

from components.run_report.figures import interval_cell, show_figure, tone_of_difference

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.24602, "0.2460"),
        (0, "0.0000"),
        (-0.5, "-0.5000"),
        (2.5e-5, "2.5e-05"),
        (22373.329, "22,373.33"),
        (None, "not measured"),
    ],
)
def test_figures(value, shown) -> None:
    assert show_figure(value) == shown


def test_an_interval_without_ends_is_a_figure() -> None:
    assert interval_cell({"value": 0.5, "low": 0.25, "high": None}).text == "0.5000"
    assert interval_cell({"value": 0.5, "low": 0.25, "high": 0.75}).text == "0.5000 [0.2500, 0.7500]"
    assert interval_cell({"value": None, "low": None, "high": None}).value is None
    with pytest.raises(KeyError, match="low"):
        interval_cell({"value": 0.5})


@pytest.mark.parametrize(
    ("low", "high", "tone"),
    [(0.1, 0.2, "good"), (-0.2, -0.1, "bad"), (-0.1, 0.1, None), (0, 0.1, None)],
)
def test_a_difference_counts_where_its_interval_leaves_out_0(low, high, tone) -> None:
    assert tone_of_difference({"low": low, "high": high}) == tone
