"""Every baseline by its name in the configuration and the report."""

from typing import Final

from components.retrieval_evaluator.baselines.als import rank_by_als
from components.retrieval_evaluator.baselines.chance import rank_by_chance
from components.retrieval_evaluator.baselines.interface import Baseline
from components.retrieval_evaluator.baselines.item_knn import rank_by_item_knn
from components.retrieval_evaluator.baselines.markov import rank_by_markov_chain
from components.retrieval_evaluator.baselines.personal_frequency import rank_by_personal_frequency
from components.retrieval_evaluator.baselines.popularity import rank_by_popularity
from components.retrieval_evaluator.baselines.recent_popularity import rank_by_recent_popularity

BASELINES: Final[dict[str, Baseline]] = {
    "chance": rank_by_chance,
    "popularity": rank_by_popularity,
    "recent_popularity": rank_by_recent_popularity,
    "personal_frequency": rank_by_personal_frequency,
    "item_knn": rank_by_item_knn,
    "markov": rank_by_markov_chain,
    "als": rank_by_als,
}
"""In the order of the report."""
