"""The models that are ranked on the same queries: this one, the released one, and the baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.retrieval_evaluator.data import EvaluationData
from components.retrieval_evaluator.queries import Queries, raw_inputs
from components.towers import BATCH_ROWS, Tower, refuse_non_finite
from schemas.features import FeatureSpec
from schemas.ranking import ItemSets, Ranks, TopItems, compute_metrics, rank_in_blocks
from schemas.ranking.metrics import recall
from schemas.ranking.ranks import ScoreBlock

CURVE_POINTS: Final = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
"""Where Recall@K is drawn, as far as the largest cut-off."""


@dataclass(frozen=True)
class RankedModel:
    """What became of the held-out items under one model."""

    name: str
    """`model`, `released` or the name of a baseline."""
    label: str
    """What a person reads."""
    metrics: dict[str, npt.NDArray[np.float64]]
    """[queries] by name, such as `recall_at_10`."""
    curve: dict[int, float] = field(default_factory=dict)
    """Mean Recall@K by K."""
    top: TopItems | None = None
    """The best items of each query; None of a baseline."""
    note: str | None = None
    """How it was computed, where that is not obvious."""


def measure_ranks(
    name: str,
    label: str,
    ranks: Ranks,
    targets: ItemSets,
    ks: Sequence[int],
    *,
    top: TopItems | None = None,
    note: str | None = None,
) -> RankedModel:
    """Compute the metrics of a model.

    Args:
        name: Its name.
        label: What a person reads.
        ranks: The places of the targets, at least as deep as the largest cut-off.
        targets: The held-out items.
        ks: The cut-offs.
        top: The best items.
        note: How it was computed.

    Returns:
        The model.
    """
    points = [k for k in CURVE_POINTS if k < max(ks)] + [max(ks)]
    return RankedModel(
        name=name,
        label=label,
        metrics=compute_metrics(ranks, targets, ks),
        curve={k: float(recall(ranks, targets, k).mean()) for k in points},
        top=top,
        note=note,
    )


def rank_by_scores(
    name: str,
    label: str,
    score_block: ScoreBlock,
    data: EvaluationData,
    ks: Sequence[int],
    note: str | None = None,
) -> RankedModel:
    """Rank the catalogue by scores.

    Args:
        name: The model's name.
        label: What a person reads.
        score_block: Gives the scores of some queries.
        data: The queries' targets and masks.
        ks: The cut-offs; the largest is the length of the lists, too.
        note: What the scores leave out.

    Returns:
        The model.

    Raises:
        ValueError: A score is not finite.
    """
    ranking = rank_in_blocks(score_block, data.targets, data.masked, len(data.popularity), k=max(ks))
    return measure_ranks(name, label, ranking.ranks, data.targets, ks, top=ranking.top, note=note)


def embed_queries(
    tower: Tower, queries: Queries, spec: FeatureSpec, catalogue: pa.Table
) -> npt.NDArray[np.float32]:
    """Embed queries, a batch of raw inputs at a time.

    Args:
        tower: The user tower.
        queries: The queries.
        spec: The features.
        catalogue: [items] the item id and the item features of the history.

    Returns:
        [queries, dim].

    Raises:
        DataError: An input lacks a value.
        TrainingError: An embedding is not finite.
    """
    embeddings = np.empty((len(queries), tower.dim), np.float32)
    for start in range(0, len(queries), BATCH_ROWS):
        rows = slice(start, min(start + BATCH_ROWS, len(queries)))
        embeddings[rows] = tower.embed(raw_inputs(queries, rows, spec, catalogue))
    refuse_non_finite(embeddings, queries.users[spec.user_id.name].to_pylist(), "users")
    return embeddings
