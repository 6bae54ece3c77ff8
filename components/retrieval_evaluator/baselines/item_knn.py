"""Item-based nearest neighbours (Deshpande and Karypis 2004).

With U_i the users who have item i:

    S_ij = |U_i and U_j| / sqrt(|U_i| |U_j|)  for the items i that are the nearest of j, else 0
    score(u, j) = sum over the user's known items i of S_ij

A user without a known item gets the popular items.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from components.retrieval_evaluator.baselines.fallback import fall_back_to_popularity
from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog, to_binary_matrix
from components.retrieval_evaluator.baselines.notes import join_notes
from components.retrieval_evaluator.baselines.products import (
    BLOCK_PRODUCTS,
    rank_by_product,
    split_into_blocks,
)

NEIGHBOURS: Final = 20
"""Nearest items of each item, 8 bytes each. On MovieLens-100K 10 to 50 are equally good, within the noise,
and more are worse."""

MOST_PAIRS: Final = 2**28
"""Pairs of two interactions of a user that are looked at, which bounds the time: with
1,000,000 items less than a minute, with few items a fifth of that."""

_SCORE_BITS: Final = np.uint64(32)


def rank_by_item_knn(
    log: BaselineLog, queries: BaselineQueries, popularity: npt.NDArray[np.int64]
) -> BaselineResult:
    """Rank by the similarity of an item to all that the user has.

    Args:
        log: The known interactions.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places.
    """
    item_count = len(popularity)
    latest = limit_interactions(np.diff(log.offsets), MOST_PAIRS)
    neighbours = find_neighbours(_take_latest(log, latest, item_count), NEIGHBOURS)
    known = to_binary_matrix(queries.seen.offsets, queries.seen.items, item_count)
    ranks = rank_by_product(known, neighbours.T.tocsr(), queries.targets, queries.masked)
    limit = None if latest is None else f"similarities from each user's latest {latest:,} interactions"
    ranks, fallback = fall_back_to_popularity(ranks, queries, queries.seen.sizes == 0, popularity)
    return BaselineResult(ranks, join_notes(log.sample_note, limit, fallback))


def find_neighbours(interactions: scipy.sparse.csr_array, count: int) -> scipy.sparse.csr_array:
    """Find the items that are most similar to each, a block of items at a time.

    Args:
        interactions: [users, items] float32, 1 for each item that a user has.
        count: Neighbours of each item; of those that are equally similar, the first of the catalogue.

    Returns:
        [items, items] float32: in the row of an item, the similarity of its neighbours, all above 0.
    """
    by_item = interactions.T.tocsr()
    norms = np.sqrt(np.diff(by_item.indptr))
    blocks = []
    for items in split_into_blocks(by_item, interactions, BLOCK_PRODUCTS):
        block = by_item[items] @ interactions
        rows = np.repeat(np.arange(items.start, items.stop), np.diff(block.indptr))
        similarity = block.data / (norms[rows] * norms[block.indices])
        similarity[rows == block.indices] = 0
        block.data = similarity.astype(np.float32)
        blocks.append(keep_largest(block, count))
    return scipy.sparse.vstack(blocks, format="csr", dtype=np.float32)


def keep_largest(matrix: scipy.sparse.csr_array, count: int) -> scipy.sparse.csr_array:
    """Keep the largest entries of each row.

    Args:
        matrix: [rows, columns] float32, no entry below 0.
        count: Entries above 0 that a row keeps at most; of equal ones, those of the first columns.

    Returns:
        [rows, columns].
    """
    sizes = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    # The bits of floats that are not negative are in their order, and numbers sort several times faster
    # than an order of them is found.
    keys = np.sort((rows.astype(np.uint64) << _SCORE_BITS) | matrix.data.view(np.uint32))
    smallest = np.zeros(len(sizes), np.float32)
    has_more = sizes > count
    last = keys[matrix.indptr[1:][has_more] - count]
    smallest[has_more] = last.astype(np.uint32).view(np.float32)

    bound = smallest[rows]
    is_kept = matrix.data > bound
    left = count - np.bincount(rows[is_kept], minlength=len(sizes))
    ties = np.flatnonzero((matrix.data == bound) & (bound > 0))
    ties = ties[np.lexsort((matrix.indices[ties], rows[ties]))]
    place = np.arange(len(ties)) - np.searchsorted(rows[ties], rows[ties])
    is_kept[ties[place < left[rows[ties]]]] = True

    ends = np.cumsum(np.bincount(rows[is_kept], minlength=len(sizes)))
    return scipy.sparse.csr_array(
        (matrix.data[is_kept], matrix.indices[is_kept], np.concatenate([[0], ends])), shape=matrix.shape
    )


def limit_interactions(sizes: npt.NDArray[np.int64], most_pairs: int) -> int | None:
    """Choose how many interactions of a user may count, so that their pairs are bounded.

    Args:
        sizes: [users] the number of interactions of each.
        most_pairs: Pairs of two interactions of one user, over all users.

    Returns:
        The largest limit that keeps to it, at least 1; None: without one there are no more.
    """
    sizes = np.sort(sizes)
    pairs = np.cumsum(sizes**2)
    if not len(sizes) or pairs[-1] <= most_pairs:
        return None
    # With the limit at a user's size, those with fewer count whole, and all others count this many.
    first = np.searchsorted(pairs - sizes**2 + sizes**2 * np.arange(len(sizes), 0, -1), most_pairs, "right")
    whole = pairs[first - 1] if first else 0
    return max(1, int(np.sqrt((most_pairs - whole) / (len(sizes) - first))))


def _take_latest(log: BaselineLog, latest: int | None, item_count: int) -> scipy.sparse.csr_array:
    if latest is None:
        return log.as_matrix(item_count)
    sizes = np.diff(log.offsets)
    is_taken = np.arange(len(log.items)) >= np.repeat(log.offsets[1:] - latest, sizes)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(sizes, latest))])
    return to_binary_matrix(offsets, log.items[is_taken], item_count)
