"""What a model's lists are like, whether or not the held-out items are in them."""

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.ranking import ItemSets

LIST_ITEMS: Final = 10
"""Length of the lists that are looked at."""

_BLOCK_QUERIES: Final = 8192


def describe_lists(
    top_items: npt.NDArray[np.int32],
    targets: ItemSets,
    popularity: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.int64],
    user_count: int,
    embeddings: npt.NDArray[np.float32],
) -> dict[str, float | None]:
    """Describe the lists of all queries.

    Args:
        top_items: [queries, k] rows in the catalogue, best first; -1: none. The first 10 count.
        targets: The held-out items.
        popularity: [items] known positives.
        item_users: [items] users who are known to have each item.
        user_count: Number of users who have anything.
        embeddings: [items, dim].

    Returns:
        The figures of the report's `lists`; None where no list says anything.
    """
    items = top_items[:, :LIST_ITEMS]
    return {
        f"coverage_at_{LIST_ITEMS}": measure_coverage(items, len(popularity)),
        "mean_popularity_recommended": _mean(mean_over_lists(items, popularity)),
        "mean_popularity_held_out": _mean(mean_over_targets(targets, popularity)),
        f"novelty_at_{LIST_ITEMS}": _mean(mean_over_lists(items, self_information(item_users, user_count))),
        f"intra_list_similarity_at_{LIST_ITEMS}": _mean(intra_list_similarity(items, embeddings)),
    }


def measure_coverage(items: npt.NDArray[np.int32], item_count: int) -> float:
    """Tell which share of the catalogue is in any list.

    Args:
        items: [queries, k] rows in the catalogue; -1: none.
        item_count: Number of items in the catalogue.

    Returns:
        In [0, 1].
    """
    is_listed = np.zeros(item_count, bool)
    is_listed[items[items >= 0]] = True
    return float(is_listed.mean())


def mean_over_lists(items: npt.NDArray[np.int32], values: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Average a number of the items over each list.

    Args:
        items: [queries, k] rows in the catalogue; -1: none.
        values: [items].

    Returns:
        [queries]; NaN for an empty list.
    """
    is_there = items >= 0
    counts = is_there.sum(axis=1)
    sums = np.where(is_there, values[items], 0).sum(axis=1, dtype=np.float64)
    return np.divide(sums, counts, out=np.full(len(items), np.nan), where=counts > 0)


def mean_over_targets(targets: ItemSets, values: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Average a number of the items over each query's held-out items.

    Args:
        targets: The held-out items, at least one for each query.
        values: [items].

    Returns:
        [queries].
    """
    sums = np.bincount(targets.owners, weights=values[targets.items], minlength=targets.query_count)
    return sums / targets.sizes


def self_information(item_users: npt.NDArray[np.int64], user_count: int) -> npt.NDArray[np.float64]:
    """Tell how surprising each item is: -log2 of the share of users who have it, in bits.

    Its mean over a list is the list's novelty (Zhou et al. 2010, "Solving the apparent diversity-accuracy
    dilemma"; Vargas and Castells 2011). An item that nobody has counts as if one user had it.

    Args:
        item_users: [items] number of users who have each item.
        user_count: Number of users.

    Returns:
        [items], at least 0.
    """
    return -np.log2(np.maximum(item_users, 1) / max(user_count, 1))


def intra_list_similarity(
    items: npt.NDArray[np.int32], embeddings: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Average the cosine over all pairs of each list (Ziegler et al. 2005).

    With n unit vectors v the sum over ordered pairs is |sum of v|^2 - n.

    Args:
        items: [queries, k] rows in the catalogue; -1: none.
        embeddings: [items, dim]; one of length 0 has cosine 0 with every other.

    Returns:
        [queries]; NaN for a list of less than two items.
    """
    result = np.full(len(items), np.nan)
    for start in range(0, len(items), _BLOCK_QUERIES):
        block = items[start : start + _BLOCK_QUERIES]
        vectors = np.where((block >= 0)[:, :, np.newaxis], embeddings[block], 0).astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        vectors = np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        n = (block >= 0).sum(axis=1)
        own = (vectors**2).sum(axis=(1, 2))
        pairs = (vectors.sum(axis=1) ** 2).sum(axis=1) - own
        block_result = result[start : start + _BLOCK_QUERIES]
        np.divide(pairs, n * (n - 1), out=block_result, where=n > 1)
    return result


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None
