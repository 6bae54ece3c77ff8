"""Some users with the scores of their best items, so that a release can be held against its evaluation."""

from collections.abc import Collection
from typing import Final

import numpy as np

from components.candidate_indexer.logic import IndexData
from components.retrieval_evaluator.data import EvaluationData
from components.retrieval_evaluator.models import RankedModel
from components.retrieval_evaluator.queries import raw_inputs
from components.retrieval_evaluator.samples import draw_queries
from schemas.features import FeatureSpec
from schemas.skew import ScoresSample

MOST_USERS: Final = 64
_BEST_ITEMS: Final = 10


def sample_scores(
    data: EvaluationData,
    model: RankedModel,
    index: IndexData,
    tower_inputs: Collection[str],
    spec: FeatureSpec,
    seed: int,
) -> ScoresSample:
    """Take the best items of some evaluated users as they were ranked.

    Args:
        data: The queries.
        model: The model, with the best items of each query.
        index: The index that was ranked.
        tower_inputs: The raw inputs of the user tower.
        spec: The features.
        seed: Equal seeds draw the same users.

    Returns:
        The sample.

    Raises:
        ValueError: The model has no best items.
    """
    if model.top is None:
        raise ValueError(f"expected the best items of {model.label}. Received: none")
    ids = index.catalogue[spec.item_id.name].combine_chunks()
    drawn = draw_queries(len(data.queries), MOST_USERS, seed)
    queries = data.queries.take(drawn)
    masked = data.masked.take(drawn)
    items, scores = model.top.items[drawn, :_BEST_ITEMS], model.top.scores[drawn, :_BEST_ITEMS]
    rows = [row[row >= 0].tolist() for row in items]
    return ScoresSample(
        ids=queries.users[spec.user_id.name].to_pylist(),
        inputs=raw_inputs(queries, slice(None), spec, index.catalogue).select(sorted(tower_inputs)),
        rows=rows,
        items=[ids.take(np.array(each, np.int64)).to_pylist() for each in rows],
        scores=[row[: len(each)].tolist() for row, each in zip(scores, rows, strict=True)],
        left_out=[
            ids.take(masked.items[start:end]).to_pylist()
            for start, end in zip(masked.offsets, masked.offsets[1:], strict=False)
        ],
    )
