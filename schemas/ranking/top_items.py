"""The best items of a query."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_CHUNK_ITEMS: Final = 256
_CHUNKS_PER_PLACE: Final = 8


class TopItems(NamedTuple):
    """The best items of each query, best first; of equal ones the first in the catalogue is first."""

    items: npt.NDArray[np.int32]
    """[queries, k] row numbers in the catalogue; -1 where fewer items are ranked."""
    scores: npt.NDArray[np.float32]
    """[queries, k] their scores; -inf where fewer items are ranked."""


class Leaders(NamedTuple):
    """The items of a query that stand among the first k under some order of the tied ones."""

    above: npt.NDArray[np.int64]
    """[less than k] the items with a larger score than the k-th best one, best first."""
    above_scores: npt.NDArray[np.floating]
    """[less than k] their scores, falling."""
    last: npt.NDArray[np.int64]
    """All items with the score of the k-th best one, ascending. Where fewer than k items are ranked, those
    with the lowest score."""
    last_score: float
    """Their score; inf where no item is ranked."""


def select_leaders(row: npt.NDArray[np.floating], k: int) -> Leaders:
    """Find the first k items of a query, and all that tie with the last of them.

    The scores are read once: the k-th largest of the maxima of more than k chunks is no larger than the k-th
    best score, since each of k chunks has an item of at least that, and a chunk whose maximum is below it
    has none of the first k. So only the items of about k chunks are looked at.

    Args:
        row: [items] scores; -inf where an item is not ranked.
        k: How many items, at least 1.

    Returns:
        The items.
    """
    candidates = _find_candidates(row, k)
    scores = row[candidates]
    if not len(scores):
        return Leaders(candidates, scores, candidates, np.inf)
    place = max(0, len(scores) - k)
    last_score = np.partition(scores, place)[place]
    is_above = scores > last_score
    order = np.argsort(-scores[is_above], kind="stable")
    return Leaders(
        candidates[is_above][order],
        scores[is_above][order],
        candidates[scores == last_score],
        float(last_score),
    )


def list_top_items(leaders: Leaders, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """List the first k items of a query.

    Args:
        leaders: What `select_leaders` found.
        k: How many items.

    Returns:
        [k] items and [k] scores, as `TopItems` has them.
    """
    items, scores = np.full(k, -1, np.int32), np.full(k, -np.inf, np.float32)
    above = len(leaders.above)
    last = leaders.last[: k - above]
    items[:above], scores[:above] = leaders.above, leaders.above_scores
    items[above : above + len(last)], scores[above : above + len(last)] = last, leaders.last_score
    return items, scores


def _find_candidates(row: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int64]:
    """List all items of at least the k-th best score, and perhaps a few more, ascending."""
    ranked = np.finfo(row.dtype).min
    width = min(_CHUNK_ITEMS, len(row) // (_CHUNKS_PER_PLACE * k))
    if width < 2:
        place = max(0, len(row) - k)
        return np.flatnonzero(row >= max(np.partition(row, place)[place], ranked))
    # Chunk c holds the items c, c + chunks, ...: the maximum along the first axis is the faster one.
    chunks = len(row) // width
    body, rest = row[: chunks * width].reshape(width, chunks), row[chunks * width :]
    maxima = body.max(axis=0)
    bound = max(np.partition(maxima, chunks - k)[chunks - k], ranked)
    numbers = np.flatnonzero(maxima >= bound)
    steps, places = np.nonzero(body[:, numbers] >= bound)
    return np.concatenate([steps * chunks + numbers[places], chunks * width + np.flatnonzero(rest >= bound)])
