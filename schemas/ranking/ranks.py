"""Where the held-out items of a query stand among all items.

Masked items are left out, and no target is among them (schemas.ranking.candidates). Items with equal
scores are in no order, so a rank is not a number: a target with `better` items above it and `tied` others
of its score has each of the places better + 1 to better + tied + 1 with the same probability. The metrics
are the expectations over it, so that a tie is neither an advantage nor a loss.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.ranking.item_sets import ItemSets
from schemas.ranking.top_items import TopItems, list_top_items, select_leaders

BLOCK_SCORES: Final = 2**26
"""Scores that are held at once: 256 MiB of float32. With a million items these are 67 queries; a matrix
product of fewer is slower, since it reads all items for each block."""

_MOST_LEVELS: Final = 2**22

ScoreBlock = Callable[[slice], npt.NDArray[np.float32]]
"""Scores of the queries of a slice: [block, items], larger is better, finite. They may be overwritten, and
are not used any more when the next block is asked for."""


class Ranks(NamedTuple):
    """The places of the targets, in the order of `targets.items`."""

    better: npt.NDArray[np.int64]
    """[targets] number of ranked items with a larger score."""
    tied: npt.NDArray[np.int64]
    """[targets] number of other ranked items with the same score, other targets among them."""
    depth: int | None = None
    """How far the places are known: a target that cannot be among the first `depth` has `better` = `depth`
    and `tied` = 0. None: all are exact."""


class Ranking(NamedTuple):
    """What one pass over the scores of all queries gives."""

    ranks: Ranks
    """The places of the targets."""
    top: TopItems | None
    """The best items of each query, where they were asked for."""


def score_by_inner_product(queries: npt.NDArray[np.float32], items: npt.NDArray[np.float32]) -> ScoreBlock:
    """Score by inner products, in memory that all blocks share.

    Args:
        queries: [queries, dim].
        items: [items, dim].

    Returns:
        What `rank_in_blocks` takes.
    """
    transposed = np.asarray(items).T
    buffer = np.empty((0, len(items)), np.float32)

    def score(block: slice) -> npt.NDArray[np.float32]:
        nonlocal buffer
        rows = queries[block]
        if len(buffer) < len(rows):
            buffer = np.empty((len(rows), len(items)), np.float32)
        return np.matmul(rows, transposed, out=buffer[: len(rows)])

    return score


def rank_targets(scores: npt.NDArray[np.floating], targets: ItemSets, masked: ItemSets) -> Ranks:
    """Rank each target among all items that are not masked.

    Args:
        scores: [queries, items], finite; masked entries are overwritten.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, no target among them.

    Returns:
        The targets' places.

    Raises:
        ValueError: A score is not finite, or a target is masked.
    """
    own = _mask(scores, targets, masked)
    better = np.empty(len(own), np.int64)
    same = np.empty(len(own), np.int64)
    # Row by row: a row stays in the processor's cache for all that is counted in it, and NumPy counts what
    # is true in a whole array several times faster than along an axis.
    for row, start, end in zip(scores, targets.offsets[:-1], targets.offsets[1:], strict=True):
        for pair in range(start, end):
            better[pair] = np.count_nonzero(row > own[pair])
            same[pair] = np.count_nonzero(row == own[pair])
    return Ranks(better, same - 1)


def rank_first_places(
    scores: npt.NDArray[np.floating], targets: ItemSets, masked: ItemSets, k: int
) -> Ranking:
    """Rank the targets as far as place k, and list the first k items, in one pass over the scores.

    Args:
        scores: [queries, items], finite; masked entries are overwritten.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, no target among them.
        k: The last place.

    Returns:
        The places, of depth k, and the items.

    Raises:
        ValueError: A score is not finite, or a target is masked.
    """
    own = _mask(scores, targets, masked)
    better, tied = np.full(len(own), k, np.int64), np.zeros(len(own), np.int64)
    top = TopItems(np.empty((len(scores), k), np.int32), np.empty((len(scores), k), np.float32))
    for query, row in enumerate(scores):
        leaders = select_leaders(row, k)
        top.items[query], top.scores[query] = list_top_items(leaders, k)
        pairs = slice(targets.offsets[query], targets.offsets[query + 1])
        rising = leaders.above_scores[::-1]
        first, end = (np.searchsorted(rising, own[pairs], side=side) for side in ("left", "right"))
        is_last = own[pairs] == leaders.last_score
        is_within = own[pairs] >= leaders.last_score
        better[pairs] = np.where(is_within, len(rising) - end, k)
        tied[pairs] = np.where(is_within, np.where(is_last, len(leaders.last), end - first) - 1, 0)
    return Ranking(Ranks(better, tied, depth=k), top)


def rank_in_blocks(
    score_block: ScoreBlock,
    targets: ItemSets,
    masked: ItemSets,
    item_count: int,
    k: int | None = None,
    block_scores: int = BLOCK_SCORES,
) -> Ranking:
    """Rank the targets of all queries, a block of queries at a time.

    A matrix of scores is ranked with `lambda queries: matrix[queries].copy()`.

    Args:
        score_block: Called with consecutive slices of queries.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, no target among them.
        item_count: Number of items.
        k: How far the places are told, the largest cut-off of the metrics, and how many items are listed.
            None: all places, whose cost grows with items x targets, and no lists.
        block_scores: Scores per block, which bounds the memory: a block has this many divided by
            `item_count` queries, and at least one.

    Returns:
        The targets' places, and the best items.

    Raises:
        ValueError: A score is not finite, or a target is masked.
    """
    block = max(1, block_scores // max(1, item_count))
    rankings = []
    for start in range(0, targets.query_count, block):
        queries = slice(start, min(start + block, targets.query_count))
        of_block = score_block(queries), targets.of_queries(queries), masked.of_queries(queries)
        rankings.append(
            Ranking(rank_targets(*of_block), None) if k is None else rank_first_places(*of_block, k)
        )
    return _concatenate(rankings, k)


def rank_by_common_scores(scores: npt.NDArray[np.number], targets: ItemSets, masked: ItemSets) -> Ranks:
    """Rank each target by scores that are the same for every query, such as the items' popularity.

    It is what `rank_targets` gives on a matrix with these scores in every row, in time and memory that grow
    with items + pairs instead of queries x items.

    Args:
        scores: [items], finite.
        targets: The held-out items of each query.
        masked: The items left out of the ranking, no target among them.

    Returns:
        The targets' places.

    Raises:
        ValueError: A score is not finite, or a target is masked.
    """
    refuse_non_finite_scores(scores)
    refuse_masked_targets(targets, masked)
    levels, counts = _find_levels(scores)
    above = len(scores) - np.cumsum(counts)
    own = levels[targets.items]

    # The masked items of each query, worst first.
    keys = np.sort(masked.owners * len(counts) + levels[masked.items])
    key = targets.owners * len(counts) + own
    first, last = np.searchsorted(keys, key, side="left"), np.searchsorted(keys, key, side="right")
    end = np.searchsorted(keys, (targets.owners + 1) * len(counts), side="left")
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


def refuse_masked_targets(targets: ItemSets, masked: ItemSets) -> None:
    """Stop on targets that are not ranked.

    Args:
        targets: The held-out items of each query.
        masked: The items left out of the ranking.

    Raises:
        ValueError: A target is masked.
    """
    is_masked = targets.are_in(masked)
    if is_masked.any():
        raise ValueError(
            "Expected targets that are ranked; choose_targets gives such. Received: "
            f"{is_masked.sum()} of {len(is_masked)} targets are masked."
        )


def _mask(scores: npt.NDArray[np.floating], targets: ItemSets, masked: ItemSets) -> npt.NDArray[np.floating]:
    """Take the masked items out of the ranking, and give the targets' own scores."""
    refuse_non_finite_scores(scores)
    scores[masked.owners, masked.items] = -np.inf
    own = scores[targets.owners, targets.items]
    if np.isneginf(own).any():
        refuse_masked_targets(targets, masked)
    return own


def _find_levels(
    scores: npt.NDArray[np.number],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the different scores, worst first; give each item's number and how many items have each."""
    lowest = scores.min(initial=0)
    if np.issubdtype(scores.dtype, np.integer) and scores.max(initial=0) - lowest < _MOST_LEVELS:
        # Counts are levels already, those that no item has among them, and need no sort.
        levels = (scores - lowest).astype(np.int64, copy=False)
        return levels, np.bincount(levels)
    _, levels, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return levels, counts


def _concatenate(rankings: list[Ranking], k: int | None) -> Ranking:
    empty = np.empty(0, np.int64)
    better, tied = (
        np.concatenate([empty, *(getattr(ranking.ranks, name) for ranking in rankings)])
        for name in ("better", "tied")
    )
    if k is None:
        return Ranking(Ranks(better, tied), None)
    tops = [ranking.top for ranking in rankings if ranking.top is not None]
    top = TopItems(
        np.concatenate([np.empty((0, k), np.int32), *(top.items for top in tops)]),
        np.concatenate([np.empty((0, k), np.float32), *(top.scores for top in tops)]),
    )
    return Ranking(Ranks(better, tied, depth=k), top)
