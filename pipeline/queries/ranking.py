"""The exact best items of one user."""

import numpy as np
import numpy.typing as npt

from schemas.ranking.top_items import list_top_items, select_leaders


def rank_items(
    scores: npt.NDArray[np.floating], excluded: npt.NDArray[np.integer], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Find the best items; of equal ones the first in the catalogue is first.

    Args:
        scores: [items].
        excluded: Rows of items that are left out, in any order.
        k: How many items, at least 1.

    Returns:
        Rows and scores of the items, best first: k, or as many as are left.
    """
    candidates = np.array(scores)
    candidates[excluded] = -np.inf
    items, best = list_top_items(select_leaders(candidates, k), k)
    is_item = items >= 0
    return items[is_item], best[is_item]
