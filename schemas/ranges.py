"""Ranges of positions, as of the sequences of some users."""

import numpy as np
import numpy.typing as npt


def list_positions(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """List the positions of ranges, one range after the other.

    Args:
        starts: [ranges] the first position.
        ends: [ranges] the position after the last one.

    Returns:
        [positions].
    """
    lengths = ends - starts
    offsets = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
