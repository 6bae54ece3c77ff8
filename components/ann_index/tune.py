"""Choosing an index by measurement: the fastest that finds enough of what exact search finds."""

import dataclasses
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from components.ann_document import EXACT, AnnDocument, Tried
from components.ann_index.config import AnnConfig
from components.ann_index.ladder import EFFORT_OF, EFFORTS, Build, build_index, list_branches, load_faiss
from components.ann_index.search import search_exactly, search_index
from schemas.contract import PROGRESS_LOGGER
from schemas.ranking import TopItems

MINIMUM_QUERIES: Final = 100
"""Fewer tell no recall."""

# How many standard errors above the target the recall has to be on the first half of the queries, so that it
# is not below it on the other half: the difference of two such means has a spread of 1.4.
_ERRORS_ABOVE: Final = 3.0
_Z_95: Final = 1.96
# A score that another sum of the same products can give. Items whose embeddings are equal, such as those that
# were never trained, tie with each other.
_TOLERANCE: Final = 1e-6
_TIMED_EXACT, _TIMED = 25, 200


@dataclass(frozen=True)
class Chosen:
    """What was chosen."""

    document: AnnDocument
    """What is known of it."""
    index: Any
    """The faiss index; None where the search is exact."""


@dataclass(frozen=True)
class _Built:
    build: Build
    index: Any
    effort: int
    tried: Tried


def choose_index(
    embeddings: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    config: AnnConfig,
    model_id: str,
) -> Chosen:
    """Build the indexes of the ladder, measure them, and keep the fastest that finds enough.

    At most two are in memory at a time.

    Args:
        embeddings: [items, dim], at least `config.k` of them.
        queries: [queries, dim] embeddings of users, at least `MINIMUM_QUERIES`.
        config: What is tried and what is enough.
        model_id: The training that they come from.

    Returns:
        The index; an exact one where none finds enough, or none is faster.
    """
    vectors = np.ascontiguousarray(embeddings, np.float32)
    order = np.random.default_rng(config.seed).permutation(len(queries))
    halves = [np.ascontiguousarray(queries[half]) for half in np.array_split(order, 2)]
    k = config.k
    to_choose, to_report = ((half, search_exactly(vectors, half, k).scores[:, -1]) for half in halves)
    exact_ms = time_queries(lambda query: search_exactly(vectors, query, k), to_choose[0], _TIMED_EXACT)

    best: _Built | None = None
    tried = []
    for branch in list_branches(config.kinds, len(vectors)):
        for build in branch:
            built = _try_build(build, vectors, *to_choose, config)
            tried.append(built.tried)
            if built.tried.reaches_target and built.tried.ms < (exact_ms if best is None else best.tried.ms):
                best = built
            _log_tried(built.tried, exact_ms)
            if built.tried.reaches_target:
                break
        if best is not None and _is_sufficient(exact_ms / best.tried.ms, config):
            break
    document = AnnDocument(
        model_id=model_id,
        kind=EXACT,
        items=len(vectors),
        k=k,
        target_recall=config.target_recall,
        floor=config.smallest_recall,
        exact_ms=exact_ms,
        tried=tuple(tried),
    )
    if best is None:
        reason = (
            f"no index reaches a recall of {config.target_recall:g}"
            if not any(one.reaches_target for one in tried)
            else "no index that finds enough is faster"
        )
        return Chosen(dataclasses.replace(document, reason=reason), None)
    recalls = measure_recall(best.index, best.build, best.effort, vectors, *to_report, k)
    error = _Z_95 * _standard_error(recalls)
    ann_ms = time_queries(
        lambda query: search_index(best.index, best.build, best.effort, vectors, query, k),
        to_report[0],
        _TIMED,
    )
    document = dataclasses.replace(
        document,
        kind=best.build.kind,
        parameters=dict(best.tried.parameters),
        recall=float(recalls.mean()),
        recall_low=float(recalls.mean() - error),
        recall_high=float(min(1.0, recalls.mean() + error)),
        queries=len(recalls),
        ann_ms=ann_ms,
        speedup=exact_ms / ann_ms,
    )
    return Chosen(document, best.index)


def measure_recall(
    index: Any,
    build: Build,
    effort: int,
    embeddings: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    last_scores: npt.NDArray[np.float32],
    k: int,
) -> npt.NDArray[np.float64]:
    """Measure what share of the first k items an index finds.

    An item counts as found whose score is that of the k-th best one or higher: of items that tie for the
    last places any will do.

    Args:
        index: The index.
        build: How it was built.
        effort: How much of it is looked at.
        embeddings: [items, dim].
        queries: [queries, dim].
        last_scores: [queries] the k-th best score of each.
        k: The number of items.

    Returns:
        [queries] the share that is found.
    """
    found = search_index(index, build, effort, embeddings, queries, k)
    return count_found(found, last_scores) / k


def count_found(found: TopItems, last_scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Count the items that belong to the best.

    Args:
        found: [queries, k] what was found.
        last_scores: [queries] the k-th best score of each.

    Returns:
        [queries] how many.
    """
    scale = _TOLERANCE * np.maximum(1, np.abs(last_scores))
    return np.count_nonzero(found.scores >= (last_scores - scale)[:, np.newaxis], axis=1)


def time_queries(
    answer: Callable[[npt.NDArray[np.float32]], object], queries: npt.NDArray[np.float32], count: int
) -> float:
    """Time queries as a server gets them, one at a time.

    Args:
        answer: Called with [1, dim].
        queries: [queries, dim].
        count: How many are timed at most.

    Returns:
        The median in milliseconds.
    """
    seconds = []
    for row in range(-1, min(count, len(queries))):
        # The last one first, untimed: it may load or allocate something.
        query = queries[row][np.newaxis]
        start = time.perf_counter()
        answer(query)
        if row >= 0:
            seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def _is_sufficient(speedup: float, config: AnnConfig) -> bool:
    return config.sufficient_speedup is not None and speedup >= config.sufficient_speedup


def _try_build(
    build: Build,
    embeddings: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    last_scores: npt.NDArray[np.float32],
    config: AnnConfig,
) -> _Built:
    start = time.perf_counter()
    index = build_index(build, embeddings, config.seed)
    build_seconds = time.perf_counter() - start
    name = EFFORT_OF[build.kind]
    efforts = [one for one in EFFORTS[name] if one <= build.parameters.get("nlist", one)]
    effort, recall, reaches = efforts[0], 0.0, False
    for effort in efforts:
        recalls = measure_recall(index, build, effort, embeddings, queries, last_scores, config.k)
        recall = float(recalls.mean())
        reaches = recall - _ERRORS_ABOVE * _standard_error(recalls) >= config.target_recall
        if reaches:
            break
    ms = time_queries(
        lambda query: search_index(index, build, effort, embeddings, query, config.k), queries, _TIMED
    )
    tried = Tried(
        kind=build.kind,
        parameters={**build.parameters, name: effort},
        recall=recall,
        reaches_target=reaches,
        ms=ms,
        build_seconds=build_seconds,
        bytes=_measure_size(index),
    )
    return _Built(build, index, effort, tried)


def _standard_error(recalls: npt.NDArray[np.float64]) -> float:
    return float(recalls.std(ddof=1) / np.sqrt(len(recalls)))


def _measure_size(index: Any) -> int:
    faiss = load_faiss()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        faiss.write_index(index, str(file))
        return file.stat().st_size


def _log_tried(tried: Tried, exact_ms: float) -> None:
    logging.getLogger(PROGRESS_LOGGER).info(
        "Tried %s (%s): recall %.4f, %s; %.2f ms a query, exact %.2f ms; built in %.0f s.",
        tried.kind,
        ", ".join(f"{name} {value:,}" for name, value in tried.parameters.items()),
        tried.recall,
        "enough" if tried.reaches_target else "not enough",
        tried.ms,
        exact_ms,
        tried.build_seconds,
    )
