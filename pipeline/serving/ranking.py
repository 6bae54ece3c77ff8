"""The best items of some users at once: by the retriever, by an approximate index, or by all scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from components.ann_index.search import Ann, search
from pipeline.queries.ranking import rank_items
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.models import Signature, Tensor
from schemas.contract import (
    EMBEDDING_OUTPUT,
    EXCLUDE_INPUT,
    FILTER_INPUT,
    ITEM_IDS_OUTPUT,
    K_INPUT,
    SCORES_OUTPUT,
)


@dataclass(frozen=True)
class Query:
    """A user, and what is asked for the user."""

    inputs: dict[str, np.ndarray]
    """The user tower's raw inputs, each without the batch's dimension."""
    excluded: npt.NDArray[np.integer]
    """Rows of items that are left out, in any order. The longest is the width of a whole batch."""
    k: int
    """How many items."""
    filter: tuple[str, ...] = ()
    """Values of which an item must have one; none: no filter."""


@dataclass(frozen=True)
class Ranking:
    """The best items of a query, best first; of equal ones the first in the catalogue is first."""

    rows: npt.NDArray[np.integer]
    """Rows in the catalogue: k, or as many as there are."""
    scores: npt.NDArray[np.floating]
    """Their scores."""


_NAN: Final = Ranking(np.zeros(1, np.int32), np.full(1, np.nan, np.float32))

Ranker = Callable[[Sequence[Query]], list[Ranking]]
"""Ranks the items of some queries, all at once."""


def make_retriever_ranker(signature: Signature, catalogue: Catalogue) -> Ranker:
    """Rank by the retriever.

    Args:
        signature: The retriever's.
        catalogue: The items.

    Returns:
        The ranker.
    """
    own = {EXCLUDE_INPUT, K_INPUT, FILTER_INPUT}
    tower = {name: tensor for name, tensor in signature.inputs.items() if name not in own}

    def rank(queries: Sequence[Query]) -> list[Ranking]:
        arrays = stack(tower, [query.inputs for query in queries])
        arrays[EXCLUDE_INPUT] = _pad([catalogue.id_bytes[query.excluded] for query in queries])
        arrays[K_INPUT] = np.array([query.k for query in queries], signature.inputs[K_INPUT].dtype)
        if FILTER_INPUT in signature.inputs:
            arrays[FILTER_INPUT] = _pad([[value.encode() for value in query.filter] for query in queries])
        outputs = signature.call(arrays)
        rankings = []
        for query, ids, scores in zip(
            queries, outputs[ITEM_IDS_OUTPUT].tolist(), outputs[SCORES_OUTPUT], strict=True
        ):
            # '' and -inf stand where no item is left; a score that is no number is told further on.
            found = int(np.count_nonzero(~np.isneginf(scores[: query.k])))
            rows, _ = catalogue.find_all([item.decode() for item in ids[:found]])
            rankings.append(Ranking(rows, scores[:found]))
        return rankings

    return rank


def make_tower_ranker(signature: Signature, embeddings: npt.NDArray[np.float32], ann: Ann | None) -> Ranker:
    """Rank by the user tower and the index.

    Args:
        signature: The user tower's.
        embeddings: [items, dim] the index.
        ann: An approximate index of it; None: all scores are looked at.

    Returns:
        The ranker; it knows no filter. The score of a user whose embedding is no numbers is NaN.
    """

    def rank(queries: Sequence[Query]) -> list[Ranking]:
        users = signature.call(stack(signature.inputs, [query.inputs for query in queries]))[EMBEDDING_OUTPUT]
        # A search for what is no numbers finds nothing, as one for a user to whom no item is left does.
        is_embedded = np.isfinite(users).all(axis=1)
        found = search_all(np.where(is_embedded[:, np.newaxis], users, 0), queries)
        return [ranking if is_one else _NAN for ranking, is_one in zip(found, is_embedded, strict=True)]

    def search_all(users: npt.NDArray[np.float32], queries: Sequence[Query]) -> list[Ranking]:
        if ann is None:
            scores = users @ embeddings.T
            return [
                Ranking(*rank_items(row, query.excluded, query.k))
                for row, query in zip(scores, queries, strict=True)
            ]
        return [
            search_without(ann, user, query.excluded, query.k)
            for user, query in zip(users, queries, strict=True)
        ]

    return rank


def join_rankers(without_filter: Ranker, with_filter: Ranker) -> Ranker:
    """Let one ranker answer the queries with a filter, and another one the rest.

    Args:
        without_filter: Ranks those without a filter.
        with_filter: Ranks those with one.

    Returns:
        The ranker of both.
    """

    def rank(queries: Sequence[Query]) -> list[Ranking]:
        filtered = [number for number, query in enumerate(queries) if query.filter]
        others = [number for number, query in enumerate(queries) if not query.filter]
        rankings: dict[int, Ranking] = {}
        for numbers, ranker in ((filtered, with_filter), (others, without_filter)):
            if numbers:
                found = ranker([queries[number] for number in numbers])
                rankings |= zip(numbers, found, strict=True)
        return [rankings[number] for number in range(len(queries))]

    return rank


def search_without(
    ann: Ann, query: npt.NDArray[np.float32], excluded: npt.NDArray[np.integer], k: int
) -> Ranking:
    """Search an index for the best items that are not excluded.

    Args:
        ann: The index.
        query: [dim].
        excluded: Rows that are left out.
        k: How many items.

    Returns:
        The items; exact where the index does not find enough.
    """
    items = len(ann.embeddings)
    excluded = np.unique(excluded)
    found = search(ann, query[np.newaxis], min(items, k + len(excluded)))
    rows, scores = found.items[0], found.scores[0]
    is_left = (rows >= 0) & ~np.isin(rows, excluded)
    if np.count_nonzero(is_left) < min(k, items - len(excluded)):
        return Ranking(*rank_items(ann.embeddings @ query, excluded, k))
    return Ranking(rows[is_left][:k], scores[is_left][:k])


def stack(tensors: dict[str, Tensor], rows: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put rows together to a batch.

    Args:
        tensors: The inputs of a signature.
        rows: A value for each input, in each row.

    Returns:
        [rows, ...] by input; lists of texts of any length are filled up with empty ones.
    """
    return {
        name: _pad([row[name] for row in rows])
        if tensor.is_text and tensor.shape[1:] == (None,)
        else np.stack([row[name] for row in rows])
        for name, tensor in tensors.items()
    }


def _pad(rows: Sequence[Sequence[bytes] | np.ndarray]) -> np.ndarray:
    padded = np.full((len(rows), max(1, *map(len, rows))), b"", object)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded
