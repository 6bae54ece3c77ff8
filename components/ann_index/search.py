"""Searching the catalogue: exactly, or by an index that was tuned to find nearly the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from components.ann_document import EXACT, AnnDocument, read_document
from components.ann_index.ladder import EFFORT_OF, Build, load_faiss
from schemas.contract import ANN_INDEX_FILE
from schemas.errors import ReleaseError
from schemas.ranking import TopItems
from schemas.ranking.ranks import BLOCK_SCORES
from schemas.ranking.top_items import list_top_items, select_leaders

_NOTHING: Final = -1


@dataclass(frozen=True)
class Ann:
    """An index that is ready to be searched. Many threads may search it at the same time."""

    document: AnnDocument
    """What is known of it."""
    embeddings: npt.NDArray[np.float32]
    """[items, dim] those of the candidate index."""
    index: Any
    """The faiss index; None where the search is exact."""


def read_ann(folder: Path, embeddings: npt.NDArray[np.float32], model_id: str) -> Ann:
    """Read an index that AnnIndexer wrote.

    Args:
        folder: The artifact, or a release's part.
        embeddings: [items, dim] those of the candidate index beside it.
        model_id: The training that these come from.

    Returns:
        The index.

    Raises:
        ReleaseError: There is none, or it is that of other embeddings.
    """
    document = read_document(folder)
    if (document.model_id, document.items) != (model_id, len(embeddings)):
        raise ReleaseError(
            f"The approximate index {folder} is that of {document.items:,} items of training "
            f"{document.model_id!r}. Expected {len(embeddings):,} items of training {model_id!r}. Use the "
            "parts of one release."
        )
    index = None
    if document.kind != EXACT:
        faiss = load_faiss()
        try:
            index = faiss.read_index(str(folder / ANN_INDEX_FILE))
        except RuntimeError as error:
            raise ReleaseError(
                f"Cannot read {folder / ANN_INDEX_FILE}: {error}. Build it again with `dssm run`."
            ) from error
        if (index.ntotal, index.d) != embeddings.shape:
            raise ReleaseError(
                f"{folder / ANN_INDEX_FILE} holds {index.ntotal:,} vectors of {index.d} numbers. Expected "
                f"{len(embeddings):,} of {embeddings.shape[1]}. Build it again with `dssm run`."
            )
    return Ann(document, embeddings, index)


def search(ann: Ann, queries: npt.NDArray[np.float32], k: int) -> TopItems:
    """Find the best items of each query.

    Args:
        ann: The index.
        queries: [queries, dim] user embeddings.
        k: How many items, at least 1. The recall was measured with `ann.document.k`; of longer lists it is
            lower.

    Returns:
        [queries, k] rows and exact scores, best first; of equal ones the first in the catalogue is first.
        Where fewer are found, -1 and -inf at the end.
    """
    document = ann.document
    if document.kind == EXACT:
        return search_exactly(ann.embeddings, queries, k)
    build = Build(document.kind, document.parameters)  # type: ignore[arg-type]
    return search_index(
        ann.index, build, document.parameters[EFFORT_OF[build.kind]], ann.embeddings, queries, k
    )


def search_index(
    index: Any,
    build: Build,
    effort: int,
    embeddings: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    k: int,
) -> TopItems:
    """Find the best items of each query by a faiss index.

    Args:
        index: The index.
        build: How it was built.
        effort: How much of it is looked at.
        embeddings: [items, dim].
        queries: [queries, dim].
        k: How many items.

    Returns:
        As `search`.
    """
    faiss = load_faiss()
    # Settings of a call and not of the index, which other threads search, too.
    settings = (
        faiss.SearchParametersHNSW(efSearch=max(effort, k))
        if build.kind == "hnsw"
        else faiss.SearchParametersIVF(nprobe=effort)
    )
    fetched = min(k * build.fetched, len(embeddings))
    _, rows = index.search(np.ascontiguousarray(queries, np.float32), fetched, params=settings)
    scores = np.einsum("qd,qkd->qk", queries, embeddings[rows])
    scores[rows == _NOTHING] = -np.inf
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    top = TopItems(
        np.full((len(queries), k), _NOTHING, np.int32), np.full((len(queries), k), -np.inf, np.float32)
    )
    top.items[:, : order.shape[1]] = np.take_along_axis(rows, order, axis=1)
    top.scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
    return top


def search_exactly(embeddings: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int) -> TopItems:
    """Find the best items of each query by the scores of all.

    Args:
        embeddings: [items, dim].
        queries: [queries, dim].
        k: How many items.

    Returns:
        As `search`.
    """
    top = TopItems(np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32))
    block = max(1, BLOCK_SCORES // max(1, len(embeddings)))
    for start in range(0, len(queries), block):
        for number, row in enumerate(queries[start : start + block] @ embeddings.T, start):
            top.items[number], top.scores[number] = list_top_items(select_leaders(row, k), k)
    return top
