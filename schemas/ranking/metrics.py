"""What is measured of the targets' places: an array with a value for each query.

With n targets of a query that have the ranks r:

    Recall@K = #{r <= K} / min(K, n)
    NDCG@K   = sum over r <= K of 1 / log2(1 + r)  /  sum over i = 1..min(K, n) of 1 / log2(1 + i)
    MRR@K    = 1 / min(r) if min(r) <= K, else 0

(binary gains; Järvelin and Kekäläinen 2002 for NDCG). Where scores tie, each is the exact expectation over
all orders of the tied items.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.ranking.item_sets import ItemSets
from schemas.ranking.ranks import Ranks

Metric = Callable[[Ranks, ItemSets, int], npt.NDArray[np.float64]]
"""From the targets' places, the targets and K to [queries] values."""


def recall(ranks: Ranks, targets: ItemSets, k: int) -> npt.NDArray[np.float64]:
    """Tell which share of what could be among the first K is there.

    Args:
        ranks: The targets' places.
        targets: The held-out items, at least one for each query.
        k: The cut-off.

    Returns:
        [queries] in [0, 1].
    """
    first, last = _places_within(ranks, k)
    return _sum_by_query((last - first) / (ranks.tied + 1), targets) / np.minimum(k, targets.sizes)


def ndcg(ranks: Ranks, targets: ItemSets, k: int) -> npt.NDArray[np.float64]:
    """Tell the discounted gain of the first K, as a share of the best that is possible.

    Args:
        ranks: The targets' places.
        targets: The held-out items, at least one for each query.
        k: The cut-off.

    Returns:
        [queries] in [0, 1].
    """
    first, last = _places_within(ranks, k)
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))])
    gained = _sum_by_query((gains[last] - gains[first]) / (ranks.tied + 1), targets)
    return gained / gains[np.minimum(k, targets.sizes)]


def mrr(ranks: Ranks, targets: ItemSets, k: int) -> npt.NDArray[np.float64]:
    """Tell the reciprocal rank of the query's first target, 0 where it is not among the first K.

    Args:
        ranks: The targets' places.
        targets: The held-out items, at least one for each query.
        k: The cut-off.

    Returns:
        [queries] in [0, 1].
    """
    # The first target is one of those with the best score. Of n items with that score, m of them targets,
    # the first target is the j-th with the probability C(n - j, m - 1) / C(n, m).
    better = np.minimum.reduceat(ranks.better, targets.offsets[:-1])
    is_best = ranks.better == better[targets.owners]
    m = _sum_by_query(is_best, targets)
    n = 1.0 + np.maximum.reduceat(np.where(is_best, ranks.tied, 0), targets.offsets[:-1])
    steps = np.minimum(n - m + 1, k - better)
    result = np.zeros(targets.query_count)
    queries = np.flatnonzero(steps > 0)
    probability = m[queries] / n[queries]
    j = 1
    while len(queries):
        result[queries] += probability / (better[queries] + j)
        left = steps[queries] > j
        queries = queries[left]
        probability = probability[left] * (n[queries] - j - m[queries] + 1) / (n[queries] - j)
        j += 1
    return result


METRICS: Final[dict[str, Metric]] = {"recall": recall, "ndcg": ndcg, "mrr": mrr}
"""Every metric by its name; with a cut-off it is called `<name>_at_<K>`."""


def metric_names(ks: Sequence[int]) -> list[str]:
    """Name every metric at every cut-off.

    Args:
        ks: The cut-offs.

    Returns:
        `<name>_at_<K>`, the cut-offs of a metric side by side.
    """
    return [f"{name}_at_{k}" for name in METRICS for k in ks]


def compute_metrics(ranks: Ranks, targets: ItemSets, ks: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
    """Compute every metric at every cut-off, for each query.

    Args:
        ranks: The targets' places.
        targets: The held-out items.
        ks: The cut-offs.

    Returns:
        [queries] values by `metric_names`.

    Raises:
        ValueError: There is no query, or one has no target.
    """
    if not targets.query_count or (targets.sizes < 1).any():
        raise ValueError(
            "Expected at least one query, each with at least one held-out item. Received: "
            f"{targets.query_count} queries, {np.count_nonzero(targets.sizes < 1)} of them without one."
        )
    return {f"{name}_at_{k}": metric(ranks, targets, k) for name, metric in METRICS.items() for k in ks}


def _places_within(ranks: Ranks, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the possible places of each target that are among the first K: first + 1 to last."""
    return np.minimum(ranks.better, k), np.minimum(ranks.better + ranks.tied + 1, k)


def _sum_by_query(values: npt.NDArray[np.generic], targets: ItemSets) -> npt.NDArray[np.float64]:
    sums = np.bincount(targets.owners, weights=values, minlength=targets.query_count)
    return sums.astype(np.float64, copy=False)
