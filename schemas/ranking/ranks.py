"""Where the held-out items of a query stand among all items.

The items that the query's user has already seen are left out, its targets excepted. Items with equal
scores are in no order, so a rank is not a number: a target with `better` items above it and `tied` others
of its score has each of the places better + 1 to better + tied + 1 with the same probability. The metrics
are the expectations over it, so that a tie is neither an advantage nor a loss.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.ranking.item_sets import ItemSets

BLOCK_SCORES: Final = 2**26
"""Scores that are held at once: 256 MiB of float32. With a million items these are 67 queries; a matrix
product of fewer is slower, since it reads all items for each block."""

ScoreBlock = Callable[[slice], npt.NDArray[np.float32]]
"""Scores of the queries of a slice: [block, items], larger is better, finite, and not used again by whoever
gives them, since masked entries are overwritten."""


class Ranks(NamedTuple):
    """The places of the targets, in the order of `targets.items`."""

    better: npt.NDArray[np.int64]
    """[targets] number of ranked items with a larger score."""
    tied: npt.NDArray[np.int64]
    """[targets] number of other ranked items with the same score, other targets among them."""


def rank_targets(scores: npt.NDArray[np.floating], targets: ItemSets, seen: ItemSets) -> Ranks:
    """Rank each target among all items that the user has not seen and all the query's targets.

    Args:
        scores: [queries, items], finite; masked entries are overwritten.
        targets: The held-out items of each query.
        seen: The items left out of the ranking, unless they are targets.

    Returns:
        The targets' places.

    Raises:
        ValueError: A score is not finite.
    """
    refuse_non_finite_scores(scores)
    own = scores[targets.owners, targets.items]
    scores[seen.owners, seen.items] = -np.inf
    scores[targets.owners, targets.items] = own
    better = np.empty(len(own), np.int64)
    same = np.empty(len(own), np.int64)
    # Row by row: a row stays in the processor's cache for all that is counted in it, and NumPy counts what
    # is true in a whole array several times faster than along an axis.
    for row, start, end in zip(scores, targets.offsets[:-1], targets.offsets[1:], strict=True):
        for pair in range(start, end):
            better[pair] = np.count_nonzero(row > own[pair])
            same[pair] = np.count_nonzero(row == own[pair])
    return Ranks(better, same - 1)


def rank_in_blocks(
    score_block: ScoreBlock,
    targets: ItemSets,
    seen: ItemSets,
    item_count: int,
    block_scores: int = BLOCK_SCORES,
) -> Ranks:
    """Rank the targets of all queries, a block of queries at a time.

    A matrix of scores is ranked with `lambda queries: matrix[queries].copy()`.

    Args:
        score_block: Called with consecutive slices of queries.
        targets: The held-out items of each query.
        seen: The items left out of the ranking, unless they are targets.
        item_count: Number of items.
        block_scores: Scores per block, which bounds the memory: a block has this many divided by
            `item_count` queries, and at least one.

    Returns:
        The targets' places.

    Raises:
        ValueError: A score is not finite.
    """
    block = max(1, block_scores // max(1, item_count))
    blocks = [Ranks(np.empty(0, np.int64), np.empty(0, np.int64))]
    for start in range(0, targets.query_count, block):
        queries = slice(start, min(start + block, targets.query_count))
        blocks.append(
            rank_targets(score_block(queries), targets.of_queries(queries), seen.of_queries(queries))
        )
    return Ranks(
        np.concatenate([block.better for block in blocks]), np.concatenate([block.tied for block in blocks])
    )


def rank_by_common_scores(scores: npt.NDArray[np.number], targets: ItemSets, seen: ItemSets) -> Ranks:
    """Rank each target by scores that are the same for every query, such as the items' popularity.

    It is what `rank_targets` gives on a matrix with these scores in every row, in time and memory that grow
    with items + pairs instead of queries x items.

    Args:
        scores: [items], finite.
        targets: The held-out items of each query.
        seen: The items left out of the ranking, unless they are targets.

    Returns:
        The targets' places.

    Raises:
        ValueError: A score is not finite.
    """
    refuse_non_finite_scores(scores)
    values, levels, counts = np.unique(scores, return_inverse=True, return_counts=True)
    above = len(scores) - np.cumsum(counts)
    own = levels[targets.items]

    item_count = len(scores)
    masked = ~np.isin(
        seen.owners * item_count + seen.items, targets.owners * item_count + targets.items, kind="sort"
    )
    # The masked items of each query, worst first.
    keys = np.sort(seen.owners[masked] * len(values) + levels[seen.items[masked]])
    key = targets.owners * len(values) + own
    first, last = np.searchsorted(keys, key, side="left"), np.searchsorted(keys, key, side="right")
    end = np.searchsorted(keys, (targets.owners + 1) * len(values), side="left")
    return Ranks(above[own] - (end - last), counts[own] - 1 - (last - first))


def refuse_non_finite_scores(scores: npt.NDArray[np.number]) -> None:
    """Stop on scores with a NaN or an infinity.

    Args:
        scores: [..., items].

    Raises:
        ValueError: A score is not finite.
    """
    # The sum is not finite where a score is not, and takes a fraction of the time of looking at each.
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(scores.sum())
    if not is_finite and not np.isfinite(scores).all():
        raise ValueError("Expected finite scores. Received: NaN or infinity among them.")
