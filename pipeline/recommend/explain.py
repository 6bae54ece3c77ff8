"""Which items of a history pulled a recommendation up: its score with each of them, less that without."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Influence:
    """What one item of the history did to one recommendation."""

    item_id: str
    """The item of the history."""
    score_change: float
    """The recommendation's score less what it would be without the item; above 0 the item pulled it up."""


def leave_each_out(rows: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_]]:
    """Say what is left of a history without each of its items, however often it is in there.

    Args:
        rows: [places] rows in the catalogue.

    Returns:
        [items] each item once, and [items, places] bool, whether a place is kept without that item.
    """
    items = np.unique(rows)
    return items, rows[np.newaxis, :] != items[:, np.newaxis]


def measure_influences(
    recommended: npt.NDArray[np.floating],
    user: npt.NDArray[np.floating],
    users_without: npt.NDArray[np.floating],
) -> npt.NDArray[np.floating]:
    """Compare scores with each item of the history and without it.

    Args:
        recommended: [recommendations, dim] the recommended items' embeddings.
        user: [dim] the user's embedding.
        users_without: [items, dim] the user's embedding without each item of the history.

    Returns:
        [recommendations, items] the score with the item less that without it.
    """
    return (recommended @ user)[:, np.newaxis] - recommended @ users_without.T
