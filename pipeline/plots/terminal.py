"""Plots in the characters of a terminal."""

import datetime

import numpy as np
import numpy.typing as npt

from pipeline.plots.plot import Line, Plot

_HEIGHT = 10
# Of the numbers on the left.
_MARGIN = 10
_BLOCKS = " ▁▂▃▄▅▆▇█"


def render_plot(plot: Plot, width: int = 80) -> str:
    """Draw a plot as columns of blocks, one below the other for each of its lines.

    Args:
        plot: The plot.
        width: The most characters of a row.

    Returns:
        Rows without a line break at the end.
    """
    parts = [plot.title]
    for line in plot.lines:
        if len(plot.lines) > 1:
            parts.append(f"  {line.label}")
        parts += _render_line(plot, line, width)
    return "\n".join(parts)


def _render_line(plot: Plot, line: Line, width: int) -> list[str]:
    x = np.log10(line.x) if plot.has_log_x else line.x
    y = np.log10(line.y) if plot.has_log_y else line.y
    columns = _resample(x, y, width - _MARGIN - 3)
    low, high = (0.0 if plot.has_bars else float(columns.min())), float(columns.max())
    names = [_show(10**value if plot.has_log_y else value) for value in (high, low)]
    # In eighths of a character; the lowest value is one, so that it is told from nothing.
    scale = (8 * _HEIGHT - 1) / (high - low) if high > low else 0.0
    lowest = 0 if plot.has_bars else 1
    eighths = np.round((columns - low) * scale + lowest).astype(int)
    rows = []
    for row in range(_HEIGHT - 1, -1, -1):
        name = names[0] if row == _HEIGHT - 1 else names[1] if row == 0 else ""
        blocks = "".join(_BLOCKS[int(filled)] for filled in np.clip(eighths - 8 * row, 0, 8))
        rows.append(f"{name:>{_MARGIN}} ┤{blocks}".rstrip())
    first, last = (_show_x(plot, float(value)) for value in (line.x[0], line.x[-1]))
    space = max(1, len(columns) - len(first) - len(last))
    logarithmic = [name for name, is_log in (("x", plot.has_log_x), ("y", plot.has_log_y)) if is_log]
    scale_name = f" (logarithmic: {', '.join(logarithmic)})" if logarithmic else ""
    rows.append(f"{'':>{_MARGIN}}  {first}{' ' * space}{last}")
    rows.append(f"{'':>{_MARGIN}}  {plot.y_label} by {plot.x_label}{scale_name}")
    return rows


def _resample(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """Give the mean of each column's points, and between points what lies between them."""
    columns = max(1, most)
    if x[-1] == x[0]:
        return np.full(columns, y.mean())
    edges = np.linspace(x[0], x[-1], columns + 1)
    column = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, columns - 1)
    counts = np.bincount(column, minlength=columns)
    sums = np.bincount(column, weights=y, minlength=columns)
    between = np.interp((edges[:-1] + edges[1:]) / 2, x, y)
    means = np.divide(sums, counts, out=between, where=counts > 0)
    return np.asarray(means, np.float64)


def _show(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _show_x(plot: Plot, value: float) -> str:
    if plot.has_days:
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=int(value)))
    return _show(value)
