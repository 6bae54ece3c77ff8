"""Ranking the whole catalogue, the same for the evaluation and for the training's validation."""

from schemas.ranking.candidates import Candidates, Chosen, choose_targets
from schemas.ranking.item_sets import ItemSets
from schemas.ranking.metrics import METRICS, compute_metrics
from schemas.ranking.ranks import (
    Ranking,
    Ranks,
    rank_by_common_scores,
    rank_in_blocks,
    rank_targets,
    score_by_inner_product,
)
from schemas.ranking.top_items import TopItems

__all__ = [
    "METRICS",
    "Candidates",
    "Chosen",
    "ItemSets",
    "Ranking",
    "Ranks",
    "TopItems",
    "choose_targets",
    "compute_metrics",
    "rank_by_common_scores",
    "rank_in_blocks",
    "rank_targets",
    "score_by_inner_product",
]
