"""The plots of the report, each from plain numbers to an SVG element."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.run_report.svg import COLORS, INK, MARKERS, QUIET, draw, link_titles, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")
_MOST_STEPS = 400


@dataclass(frozen=True)
class Estimates:
    """One number with its interval for every row of a plot; NaN where there is none."""

    label: str
    """What they are."""
    values: Sequence[float]
    """The numbers."""
    lows: Sequence[float]
    """The lower ends."""
    highs: Sequence[float]
    """The upper ends."""


@dataclass(frozen=True)
class Line:
    """A line of a plot."""

    label: str
    """What it is."""
    x: Sequence[float]
    """Its points."""
    y: Sequence[float]
    """Their values."""


def draw_estimates(
    name: str,
    label: str,
    rows: Sequence[str],
    estimates: Sequence[Estimates],
    x_label: str,
    reference: float | None = None,
    judged: Sequence[bool] | None = None,
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw estimates as dots with their intervals as whiskers.

    Args:
        name: The plot's name in the page.
        label: What it shows, for who cannot see it.
        rows: What the rows are, from top to bottom.
        estimates: What there is for every row.
        x_label: What is measured.
        reference: A value that is marked by a line.
        judged: Whether each row counts; those that do not are drawn as circles. None: all do.
        limits: What the axis holds, with a margin, so that plots can be compared; None: the estimates.

    Returns:
        The SVG element.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        if reference is not None:
            axes.axvline(reference, color=QUIET, linewidth=1.0, linestyle="--")
        places = np.arange(len(rows), dtype=float)
        spread = 0.6 / len(estimates)
        filled = np.ones(len(rows), bool) if judged is None else np.asarray(judged, bool)
        for number, one in enumerate(estimates):
            y = places + (number - (len(estimates) - 1) / 2) * spread
            values, lows, highs = (np.asarray(x, float) for x in (one.values, one.lows, one.highs))
            color = COLORS[number % len(COLORS)]
            axes.hlines(y, lows, highs, color=color, linewidth=1.4)
            for is_filled in (True, False):
                chosen = filled == is_filled
                if chosen.any():
                    axes.plot(
                        values[chosen], y[chosen], MARKERS[number % len(MARKERS)], color=color,
                        markerfacecolor=color if is_filled else "none",
                        label=shorten(one.label) if is_filled or not filled.any() else None,
                    )  # fmt: skip
        axes.set_yticks(places, [shorten(row, 26) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        if limits is not None:
            margin = 0.05 * (limits[1] - limits[0]) or 0.05
            axes.set_xlim(limits[0] - margin, limits[1] + margin)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(x_label)
        if len(estimates) > 1:
            figure.legend(loc="outside upper right", ncols=min(4, len(estimates)))

    return draw(name, 0.75 + 0.14 * len(rows) * (1 + len(estimates)), paint, label)


def draw_lines(
    name: str,
    label: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    is_log: bool = False,
    has_markers: bool = False,
) -> str:
    """Draw lines.

    Args:
        name: The plot's name in the page.
        label: What it shows, for who cannot see it.
        lines: The lines; of more than 400 points means of neighbours are drawn.
        x_label: What x is.
        y_label: What y is.
        is_log: Whether x is on a logarithmic scale.
        has_markers: Whether each point is marked.

    Returns:
        The SVG element.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for number, line in enumerate(lines):
            x, y = thin_out(np.asarray(line.x, float), np.asarray(line.y, float))
            axes.plot(
                x, y, _LINES[number % len(_LINES)], color=COLORS[number % len(COLORS)],
                marker=MARKERS[number % len(MARKERS)] if has_markers or len(x) == 1 else None,
                label=shorten(line.label),
            )  # fmt: skip
        if is_log:
            from matplotlib.ticker import NullFormatter, StrMethodFormatter

            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(lines) > 1:
            figure.legend(loc="outside upper left", ncols=2)

    return draw(name, 2.9 + 0.09 * (len(lines) if len(lines) > 1 else 0), paint, label)


def thin_out(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], most: int = _MOST_STEPS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Make a line of many points one of few, by means of neighbours.

    Args:
        x: [points].
        y: [points].
        most: The most points that are left.

    Returns:
        Both, as they are where there are not too many.
    """
    if len(x) <= most:
        return x, y
    parts = [np.array_split(values, most) for values in (x, y)]
    return np.array([part.mean() for part in parts[0]]), np.array([part.mean() for part in parts[1]])


def draw_histogram(
    name: str,
    label: str,
    edges: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    x_label: str,
    y_label: str,
) -> str:
    """Draw a histogram.

    Args:
        name: The plot's name in the page.
        label: What it shows, for who cannot see it.
        edges: [bins + 1] the edges of the bins.
        counts: [bins] how much is in each.
        x_label: What is measured.
        y_label: What is counted.

    Returns:
        The SVG element.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.stairs(counts, edges, fill=True, color=COLORS[0], alpha=0.85)
        axes.ticklabel_format(useOffset=False)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)

    return draw(name, 2.4, paint, label)


def draw_map(
    name: str,
    label: str,
    points: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    group_labels: Sequence[str],
    titles: Sequence[str],
) -> str:
    """Draw points in two dimensions with a title on each.

    Args:
        name: The plot's name in the page.
        label: What it shows, for who cannot see it.
        points: [points, 2].
        groups: [points] the number of each point's group.
        group_labels: What the groups are, eight at most.
        titles: [points] what is shown for a point under the pointer.

    Returns:
        The SVG element.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for number, group_label in enumerate(group_labels):
            [chosen] = np.nonzero(groups == number)
            drawn: Any = axes.scatter(
                points[chosen, 0], points[chosen, 1], s=11, marker=MARKERS[number],
                color=COLORS[number], alpha=0.75, linewidths=0, label=shorten(group_label, 22),
            )  # fmt: skip
            link_titles(drawn, chosen.tolist())
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second principal component")
        if len(group_labels) > 1:
            legend = figure.legend(loc="outside upper left", ncols=3, markerscale=1.6)
            for text in legend.get_texts():
                text.set_color(INK)

    return draw(name, 4.6, paint, label, titles)
