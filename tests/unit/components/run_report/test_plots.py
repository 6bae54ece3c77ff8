from importlib.resources import files

import numpy as np
import pytest

from components.retrieval_evaluator.baselines.registry import BASELINES
from components.run_report.plots import Estimates, Line, draw_estimates, draw_lines, thin_out
from components.run_report.svg import COLORS, MARKERS, shorten

pytestmark = pytest.mark.unit


def test_a_label_with_dollars_and_tags_is_shown_as_it_is() -> None:
    labels = ["$x^2$", "<b>&\"'"]
    svg = draw_lines("plot", "what & <how>", [Line(label, [1, 2], [3, 4]) for label in labels], "x", "y")
    assert ">$x^2$</text>" in svg
    assert ">&lt;b&gt;&amp;" in svg
    assert 'aria-label="what &amp; &lt;how&gt;"' in svg


def test_every_model_of_a_report_has_a_colour_and_a_marker_of_its_own() -> None:
    models = ["model", "released", *BASELINES]
    assert len(set(COLORS)) == len(set(MARKERS)) >= len(models)
    styles = files("components.run_report").joinpath("templates/page.css").read_text(encoding="utf-8")
    for number in range(len(COLORS)):
        # In light and in dark.
        assert styles.count(f"--color-{number}: #") == 2


def test_an_estimate_without_a_value_leaves_its_row_empty() -> None:
    nothing = float("nan")
    svg = draw_estimates(
        "plot",
        "label",
        ["first", "second"],
        [Estimates("e", [0.5, nothing], [0.4, nothing], [0.6, nothing])],
        "x",
    )
    assert ">second</text>" in svg
    assert "nan" not in svg


def test_ids_of_two_plots_differ() -> None:
    lines = [Line("a", [1, 2], [3, 4])]
    first, second = (draw_lines(name, "label", lines, "x", "y") for name in ("one", "two"))
    assert first != second
    assert first.replace("one-", "two-") == second


def test_long_lines_are_means_of_neighbours() -> None:
    x, y = thin_out(np.arange(8.0), np.array([1.0, 3, 5, 7, 0, 2, 4, 4]), most=4)
    assert x.tolist() == [0.5, 2.5, 4.5, 6.5]
    assert y.tolist() == [2.0, 6.0, 1.0, 4.0]
    assert thin_out(x, y, most=4)[0] is x


@pytest.mark.parametrize(("text", "shown"), [("abcd", "abcd"), ("abcde", "abc…")])
def test_shortens(text: str, shown: str) -> None:
    assert shorten(text, 4) == shown
