"""What is measured of the targets' places: an array with a value for each query.

With n targets of a query that have the ranks r:

    Recall@K = #{r <= K} / min(K, n)
    NDCG@K   = sum over r <= K of 1 / log2(1 + r)  /  sum over i = 1..min(K, n) of 1 / log2(1 + i)
    MRR@K    = 1 / min(r) if min(r) <= K, else 0
    MAP@K    = sum over r <= K of #{targets with a rank of at most r} / r  /  min(K, n)
    HitRate@K = 1 if min(r) <= K, else 0

(binary gains; Järvelin and Kekäläinen 2002 for NDCG). MAP@K is divided by what can be reached, as Recall@K
is, so that 1 is the best; programs that divide it by n give less where n > K. Where scores tie, each is the
exact expectation over all orders of the tied items.
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
    better, n, m = _find_first_group(ranks, targets)
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


def average_precision(ranks: Ranks, targets: ItemSets, k: int) -> npt.NDArray[np.float64]:
    """Tell the mean precision at the places of the targets among the first K (MAP is its mean over queries).

    Args:
        ranks: The targets' places.
        targets: The held-out items, at least one for each query.
        k: The cut-off.

    Returns:
        [queries] in [0, 1].
    """
    # A target with one of n equal scores, b items above them, c targets above and m targets among the n, has
    # each of the places b + p, p = 1..n, with probability 1 / n. Under p the targets up to there are c + 1
    # and, of the m - 1 others, each with probability (p - 1) / (n - 1). With H = sum of 1 / (b + p) and s
    # such places up to K, the sum of (p - 1) / (b + p) is s - (b + 1) H.
    first, last = _places_within(ranks, k)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, k + 1))])
    inverse = harmonic[last] - harmonic[first]
    above, together = _count_targets(ranks, targets)
    n = ranks.tied + 1
    share = (together - 1) / np.maximum(n - 1, 1)
    precision = (above + 1) * inverse + share * (last - first - (first + 1) * inverse)
    return _sum_by_query(precision / n, targets) / np.minimum(k, targets.sizes)


def hit_rate(ranks: Ranks, targets: ItemSets, k: int) -> npt.NDArray[np.float64]:
    """Tell whether a target is among the first K.

    Args:
        ranks: The targets' places.
        targets: The held-out items, at least one for each query.
        k: The cut-off.

    Returns:
        [queries] in [0, 1].
    """
    # Of the n items with the best target's score, m of them targets, s are among the first K. None of them is
    # a target with the probability C(n - m, s) / C(n, s): the first of the m is among the n - s others with
    # the probability (n - s) / n, the next one with (n - s - 1) / (n - 1), and so on.
    better, n, m = _find_first_group(ranks, targets)
    others = np.maximum(n - (k - better), 0)
    m = np.where(better < k, m, 0)
    missed = np.ones(targets.query_count)
    for j in range(int(m.max(initial=0))):
        has_more = j < m
        missed[has_more] *= np.maximum(others[has_more] - j, 0) / (n[has_more] - j)
    return 1.0 - missed


METRICS: Final[dict[str, Metric]] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": average_precision,
    "hit_rate": hit_rate,
}
"""Every metric by its name; with a cut-off it is called `<name>_at_<K>`."""


def metric_names(ks: Sequence[int]) -> list[str]:
    """Name every metric at every cut-off.

    Args:
        ks: The cut-offs.

    Returns:
        `<name>_at_<K>`, the cut-offs of a metric side by side.
    """
    return [f"{name}_at_{k}" for name in METRICS for k in ks]


def show_metric(name: str) -> str:
    """Write a metric's name as a person reads it.

    Args:
        name: Such as `recall_at_10`.

    Returns:
        Such as `recall@10`.
    """
    return name.replace("_at_", "@")


def compute_metrics(ranks: Ranks, targets: ItemSets, ks: Sequence[int]) -> dict[str, npt.NDArray[np.float64]]:
    """Compute every metric at every cut-off, for each query.

    Args:
        ranks: The targets' places.
        targets: The held-out items.
        ks: The cut-offs.

    Returns:
        [queries] values by `metric_names`.

    Raises:
        ValueError: There is no query, or one has no target, or a cut-off is beyond the depth of the ranks.
    """
    if not targets.query_count or (targets.sizes < 1).any():
        raise ValueError(
            "Expected at least one query, each with at least one held-out item. Received: "
            f"{targets.query_count} queries, {np.count_nonzero(targets.sizes < 1)} of them without one."
        )
    if ranks.depth is not None and max(ks) > ranks.depth:
        raise ValueError(
            f"Expected cut-offs up to {ranks.depth}, as far as the places are known. Received: {max(ks)}. "
            "Rank with a larger k."
        )
    return {f"{name}_at_{k}": metric(ranks, targets, k) for name, metric in METRICS.items() for k in ks}


def _places_within(ranks: Ranks, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the possible places of each target that are among the first K: first + 1 to last."""
    return np.minimum(ranks.better, k), np.minimum(ranks.better + ranks.tied + 1, k)


def _find_first_group(
    ranks: Ranks, targets: ItemSets
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Look at the items with the score of each query's best target.

    Returns:
        [queries] each: the items above them, their number, and how many of them are targets.
    """
    better = np.minimum.reduceat(ranks.better, targets.offsets[:-1])
    is_first = ranks.better == better[targets.owners]
    tied = np.maximum.reduceat(np.where(is_first, ranks.tied, 0), targets.offsets[:-1])
    return better, 1.0 + tied, _sum_by_query(is_first, targets)


def _count_targets(ranks: Ranks, targets: ItemSets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count for each target the query's targets with a larger score, and those with its own, with itself."""
    owners = targets.owners
    order = np.lexsort((ranks.better, owners))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(owners[order]) != 0) | (np.diff(ranks.better[order]) != 0)
    starts = np.flatnonzero(is_new)
    group = np.cumsum(is_new) - 1
    above, together = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    above[order] = starts[group] - targets.offsets[owners[order]]
    together[order] = np.diff(starts, append=len(order))[group]
    return above, together


def _sum_by_query(values: npt.NDArray[np.generic], targets: ItemSets) -> npt.NDArray[np.float64]:
    sums = np.bincount(targets.owners, weights=values, minlength=targets.query_count)
    return sums.astype(np.float64, copy=False)
