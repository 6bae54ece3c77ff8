"""Ranking the whole catalogue, the same for the evaluation and for the training's validation."""

from schemas.ranking.item_sets import ItemSets
from schemas.ranking.metrics import METRICS, compute_metrics
from schemas.ranking.ranks import Ranks, rank_by_common_scores, rank_in_blocks, rank_targets

__all__ = [
    "METRICS",
    "ItemSets",
    "Ranks",
    "compute_metrics",
    "rank_by_common_scores",
    "rank_in_blocks",
    "rank_targets",
]
