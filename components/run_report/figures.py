"""Numbers as a report shows them."""

from collections.abc import Mapping
from typing import Any, Final

from components.run_report.blocks import Cell, Tone

MISSING: Final = "not measured"


def show_figure(value: float | None) -> str:
    """Show a number that need not be whole.

    Args:
        value: The number; None where there is none.

    Returns:
        Four digits after the point, two from 100 on, or four significant ones where it is far from 1.
    """
    if value is None:
        return MISSING
    if value and not 0.001 <= abs(value) < 1e9:
        return f"{value:.4g}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.2f}"


def count_cell(value: int | None) -> Cell:
    """Make a cell of a whole number.

    Args:
        value: The number; None where there is none.

    Returns:
        The cell.
    """
    return Cell(MISSING, tone="quiet") if value is None else Cell(f"{value:,}", value)


def figure_cell(value: float | None, tone: Tone | None = None) -> Cell:
    """Make a cell of a number that need not be whole.

    Args:
        value: The number; None where there is none.
        tone: What it means.

    Returns:
        The cell.
    """
    return Cell(MISSING, tone="quiet") if value is None else Cell(show_figure(value), value, tone)


def interval_cell(estimate: Mapping[str, Any], tone: Tone | None = None) -> Cell:
    """Make a cell of a number with its interval.

    Args:
        estimate: `value`, `low` and `high`, each of them a number or null.
        tone: What it means.

    Returns:
        The cell, such as `0.2460 [0.2200, 0.2730]`, its value that of the estimate.
    """
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return figure_cell(value, tone)
    return Cell(f"{show_figure(value)} [{show_figure(low)}, {show_figure(high)}]", value, tone)


def tone_of_difference(estimate: Mapping[str, float]) -> Tone | None:
    """Tell what a difference means by its interval.

    Args:
        estimate: `low` and `high` of a difference to something that should be beaten.

    Returns:
        `good` where all of the interval is above 0, `bad` where all of it is below, else None.
    """
    if estimate["low"] > 0:
        return "good"
    return "bad" if estimate["high"] < 0 else None
