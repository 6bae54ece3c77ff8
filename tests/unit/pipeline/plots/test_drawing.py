"""One plot as characters, and as a picture."""

import numpy as np
import pytest
from matplotlib import image

from pipeline.plots.plot import Line, Plot
from pipeline.plots.png import write_png
from pipeline.plots.terminal import render_plot

pytestmark = pytest.mark.unit

BARS = Plot(
    "interactions", "By day", "day", "interactions",
    [Line("all", np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 10.0, 5.0, 10.0]))],
    has_days=True, has_bars=True,
)  # fmt: skip


def column(text, number):
    """The height of a column, in full characters."""
    return sum(row[12 + number] == "█" for row in text.splitlines() if len(row) > 12 + number and "┤" in row)


def test_bars_are_as_high_as_their_values():
    # 13 characters stand left of four columns.
    text = render_plot(BARS, width=17)
    assert text.startswith("By day\n")
    heights = [column(text, number) for number in range(4)]
    assert heights[0] == 0
    # Nine whole characters and seven eighths of the tenth.
    assert heights[1] == heights[3] == 9
    assert heights[2] in (4, 5)
    assert "1970-01-01" in text
    assert "1970-01-04" in text


def test_no_row_is_wider_than_the_terminal():
    lines = [Line(name, np.geomspace(1, 1e6, 500), np.geomspace(1e6, 1, 500)) for name in ("a", "b")]
    text = render_plot(Plot("p", "t", "rank", "count", lines, has_log_x=True, has_log_y=True), width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("count by rank (logarithmic: x, y)") == 2
    # A straight line on these axes: it falls by the same height each time.
    rows = [row for row in text.splitlines() if "┤" in row][:10]
    widths = np.diff([row.count("█") for row in rows])
    assert widths.max() - widths.min() <= 1


def test_a_single_point_is_drawn():
    plot = Plot("recall", "t", "epoch", "recall", [Line("recall", np.array([1.0]), np.array([0.5]))])
    assert "0.5 ┤" in render_plot(plot)


def test_a_picture_has_its_size_and_is_not_empty(tmp_path):
    write_png(BARS, tmp_path / "bars.png")
    picture = image.imread(tmp_path / "bars.png")
    assert picture.shape[:2] == (660, 1350)
    # The bars' blue.
    blue = np.abs(picture[:, :, :3] - np.array([0x1F, 0x6F, 0xB4]) / 255).max(axis=2) < 0.02
    assert blue.mean() > 0.1
