"""Ranking by scores of which most are 0, such as those of co-occurrences.

Not among the names of schemas.ranking: whoever reads a configuration needs no SciPy.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from schemas.ranking.item_sets import ItemSets
from schemas.ranking.ranks import Ranks, refuse_masked_targets, refuse_non_finite_scores

_SCORE_BITS: Final = 32


def rank_by_sparse_scores(scores: scipy.sparse.csr_array, targets: ItemSets, masked: ItemSets) -> Ranks:
    """Rank each target by scores of which only those above 0 are stored.

    It is what `rank_targets` gives on the dense matrix, ties with the many zeros included, in memory that
    grows with what is stored + pairs instead of queries x items, and in time that does but for a sort of
    what is stored.

    Args:
        scores: [queries, items] float32, finite and not negative, each entry stored at most once; what is
            not stored is 0.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, none of them a target.

    Returns:
        The targets' places.

    Raises:
        ValueError: The scores have another type or shape, one is negative or not finite, or a target is
            masked.
    """
    _check(scores, targets)
    refuse_masked_targets(targets, masked)
    item_count = scores.shape[1]
    own, masked_scores = _look_up(scores, targets, masked)
    stored = np.sort(_make_keys(_rows_of(scores), scores.data))
    masked_stored = np.sort(_make_keys(masked.owners, masked_scores))
    key, end = _make_keys(targets.owners, own), _make_keys(targets.owners + 1, np.zeros_like(own))
    better = _count_between(stored, key, end) - _count_between(masked_stored, key, end)
    same = _count_equal(stored, key) - _count_equal(masked_stored, key)
    # Those of score 0 are not stored: all that are neither masked nor better.
    zeros = item_count - masked.sizes[targets.owners] - better
    return Ranks(better, np.where(own > 0, same, zeros) - 1)


def _check(scores: scipy.sparse.csr_array, targets: ItemSets) -> None:
    if scores.dtype != np.float32 or scores.shape[0] != targets.query_count:
        raise ValueError(
            f"Expected float32 scores of {targets.query_count} queries. Received: {scores.dtype} scores of "
            f"{scores.shape[0]} queries."
        )
    refuse_non_finite_scores(scores.data)
    if np.min(scores.data, initial=0) < 0:
        raise ValueError(f"Expected no score below 0. Received: {np.min(scores.data)} among them.")


def _make_keys(rows: npt.NDArray[np.integer], scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Make numbers in the order (row, score): the bits of floats that are not negative are in their order."""
    # Adding 0 makes a 0 of a -0, whose bits are others.
    bits = (scores + np.float32(0)).view(np.uint32)
    return (rows.astype(np.uint64) << np.uint64(_SCORE_BITS)) | bits


def _look_up(scores: scipy.sparse.csr_array, *sets: ItemSets) -> list[npt.NDArray[np.float32]]:
    """Give the score of each pair of each of the sets, which have no pair in common."""
    item_count = scores.shape[1]
    rows = np.concatenate([pairs.owners for pairs in sets])
    columns = np.concatenate([pairs.items for pairs in sets])
    # One product over all of them, since it reads all that is stored.
    pattern = scipy.sparse.coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=scores.shape)
    found = scores.multiply(pattern.tocsr())
    found_keys = _rows_of(found) * item_count + found.indices
    order = np.argsort(found_keys)
    found_keys, values = np.append(found_keys[order], -1), np.append(found.data[order], np.float32(0))
    keys = rows * item_count + columns
    places = np.searchsorted(found_keys[:-1], keys)
    looked_up = np.where(found_keys[places] == keys, values[places], np.float32(0))
    return np.split(looked_up, np.cumsum([len(pairs.items) for pairs in sets])[:-1])


def _rows_of(matrix: scipy.sparse.csr_array) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _count_between(
    keys: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], end: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Count the sorted keys above `low` and below `end`."""
    return np.searchsorted(keys, end, side="left") - np.searchsorted(keys, low, side="right")


def _count_equal(keys: npt.NDArray[np.uint64], key: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return np.searchsorted(keys, key, side="right") - np.searchsorted(keys, key, side="left")
