"""What a plot is, however it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Line:
    """A line of a plot."""

    label: str
    """What it is."""
    x: npt.NDArray[np.float64]
    """[points] ascending."""
    y: npt.NDArray[np.float64]
    """[points]."""


@dataclass(frozen=True)
class Plot:
    """A plot."""

    name: str
    """Of its file: lower case and hyphens."""
    title: str
    """What it shows, with its main figure."""
    x_label: str
    """What x is."""
    y_label: str
    """What y is."""
    lines: Sequence[Line]
    """At least one."""
    has_log_x: bool = False
    """Whether the x axis is logarithmic; all x are above 0 then."""
    has_log_y: bool = False
    """Whether the y axis is logarithmic; all y are above 0 then."""
    has_days: bool = False
    """Whether x is in days since 1970."""
    has_bars: bool = False
    """Whether y begins at 0 and is filled, as counts are."""
    has_markers: bool = False
    """Whether each point is marked."""
