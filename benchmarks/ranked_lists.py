"""The places of held-out items in lists that another program has made."""

import numpy as np

from schemas.ranking import ItemSets, Ranks


def rank_in_lists(lists: np.ndarray, targets: ItemSets) -> Ranks:
    """Find the held-out items of each query in its list.

    Args:
        lists: [queries, k] items, the best first, none of them masked; -1 where the program knows no more.
        targets: The held-out items of each query.

    Returns:
        Their places; an item that is not in the list is behind it.
    """
    depth = lists.shape[1]
    is_target = lists[targets.owners] == targets.items[:, np.newaxis]
    places = np.where(is_target.any(axis=1), is_target.argmax(axis=1), depth).astype(np.int64)
    return Ranks(places, np.zeros_like(places), depth=depth)
