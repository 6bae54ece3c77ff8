"""Ranking by the product of two sparse matrices: what a query holds, and what goes with it."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from schemas.ranking import ItemSets, Ranks
from schemas.ranking.sparse import rank_by_sparse_scores

BLOCK_PRODUCTS: Final = 2**22
"""Products of two entries in a block, each of which may become an entry of 8 bytes; ranking a block takes
some five times this."""


def rank_by_product(
    left: scipy.sparse.csr_array, right: scipy.sparse.csr_array, targets: ItemSets, masked: ItemSets
) -> Ranks:
    """Rank by the scores left @ right, a block of queries at a time.

    Args:
        left: [queries, items] float32, not negative: the items that say something about a query.
        right: [items, items] float32, not negative: the scores that such an item gives.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, none of them a target.

    Returns:
        The targets' places.
    """
    blocks = [Ranks(np.empty(0, np.int64), np.empty(0, np.int64))]
    for queries in split_into_blocks(left, right, BLOCK_PRODUCTS):
        blocks.append(
            rank_by_sparse_scores(
                left[queries] @ right, targets.of_queries(queries), masked.of_queries(queries)
            )
        )
    return Ranks(
        np.concatenate([block.better for block in blocks]), np.concatenate([block.tied for block in blocks])
    )


def split_into_blocks(
    left: scipy.sparse.csr_array, right: scipy.sparse.csr_array, block_products: int
) -> Iterator[slice]:
    """Split the rows of a sparse product so that the memory of each block is bounded.

    Args:
        left: [rows, inner].
        right: [inner, columns].
        block_products: A block has no more products of two entries than this, unless it is one row.

    Yields:
        Slices of rows, in order.
    """
    products = count_products(left, right)
    start = 0
    ends = np.cumsum(products)
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + block_products, side="right")))
        yield slice(start, stop)
        start = stop


def count_products(left: scipy.sparse.csr_array, right: scipy.sparse.csr_array) -> npt.NDArray[np.int64]:
    """Count the products of two entries that each row of a sparse product takes.

    Args:
        left: [rows, inner].
        right: [inner, columns].

    Returns:
        [rows].
    """
    sums = np.concatenate([[0], np.cumsum(np.diff(right.indptr).astype(np.int64)[left.indices])])
    return np.diff(sums[left.indptr])
