"""Exact evaluation of retrieval over the whole catalogue.

Every user with held-out items is one query. With `candidates: new` all catalogue items are ranked except
those that the user has in the train or the validation split, and a held-out item among these is not asked
for; with `all`, everything is ranked and asked for. The baseline ranks by popularity in the same splits, all
that was known before eval, whether or not the model was trained again on both. schemas.ranking says what the
metrics are and what becomes of ties; each is averaged over the users.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.candidate_indexer.logic import IndexData, read_index
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.data import EvaluationData, read_evaluation_data
from components.retrieval_evaluator.gate import decide
from components.retrieval_evaluator.queries import Queries, raw_inputs
from components.retrieval_evaluator.report import log_report
from components.towers import BATCH_ROWS, Tower, load_tower, refuse_non_finite
from schemas.contract import TRAIN_SPLIT, USER_TOWER, VALIDATION_SPLIT
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.ranking import (
    compute_metrics,
    rank_by_common_scores,
    rank_in_blocks,
    score_by_inner_product,
)


def evaluate_model(
    sequences: Path, user_tower: Path, index: Path, spec: FeatureSpec, config: EvaluationConfig
) -> dict[str, Any]:
    """Evaluate a user tower against an index and the popularity baseline, and decide on the blessing.

    Args:
        sequences: The folder of the sequences.
        user_tower: The user tower's SavedModel.
        index: The candidate index.
        spec: The features.
        config: The cut-offs, the users and the blessing's rule.

    Returns:
        The report: `metrics`, `popularity` (the same keys), `users`, `users_sampled_of` (how many they were
        drawn from; null where they are all), `held_out` (items to be found), `catalogue_items`, `seen_splits`
        (those that count as known), `protocol` (how it was measured), `model_id`, `blessed` and `blessing`.

    Raises:
        DataError: Nothing is held out.
        ReleaseError: The tower and the index come from different trainings.
        TrainingError: A user's embedding is not finite.
    """
    tower = load_tower(user_tower, USER_TOWER)
    item_id = spec.item_id.name
    candidates = read_index(index, [item_id, *(feature.name for feature in spec.history_features)])
    _refuse_mixed(tower, candidates)
    data = read_evaluation_data(
        sequences,
        candidates.catalogue[item_id].combine_chunks(),
        spec,
        list(tower.inputs),
        config.candidates,
        config.users,
        config.seed,
    )
    users = embed_queries(tower, data.queries, spec, candidates.catalogue)
    items = np.asarray(candidates.embeddings)
    ranks, _ = rank_in_blocks(
        score_by_inner_product(users, items), data.targets, data.masked, len(items), max(config.ks)
    )
    by_popularity = rank_by_common_scores(data.popularity, data.targets, data.masked)
    metrics, popularity = (
        {
            name: float(values.mean())
            for name, values in compute_metrics(found, data.targets, config.ks).items()
        }
        for found in (ranks, by_popularity)
    )
    is_blessed, figures = decide(metrics, popularity, config)
    report = {
        "metrics": metrics,
        "popularity": popularity,
        "users": data.targets.query_count,
        "users_sampled_of": data.sampled_of,
        "held_out": len(data.targets.items),
        "catalogue_items": len(items),
        "seen_splits": [TRAIN_SPLIT, VALIDATION_SPLIT] if data.has_validation else [TRAIN_SPLIT],
        "protocol": describe_protocol(data, config),
        "model_id": tower.model_id,
        "blessed": is_blessed,
        "blessing": figures,
    }
    log_report(report)
    return report


def describe_protocol(data: EvaluationData, config: EvaluationConfig) -> dict[str, Any]:
    """Say how the figures were measured.

    Args:
        data: The queries.
        config: The settings.

    Returns:
        `candidates`, `ks`, `seed`, and `repeats`: the held-out items before a rule was applied, how many of
        them their user had before, and the users left without a target.
    """
    return {
        "candidates": config.candidates,
        "ks": list(config.ks),
        "seed": config.seed,
        "repeats": {
            "held_out": data.held_out,
            "repeated": data.repeated,
            "users_without_target": data.users_without_target,
        },
    }


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


def _refuse_mixed(tower: Tower, index: IndexData) -> None:
    if tower.model_id != index.model_id:
        raise ReleaseError(
            f"The user tower comes from training {tower.model_id!r} and the index from {index.model_id!r}: "
            "their embeddings cannot be compared. Index the catalogue again with the towers of one training."
        )
