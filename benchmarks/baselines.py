"""Well-known recommenders that benchmarks/quality.py measures the pipeline's model against.

Those that have nothing to choose are the evaluator's own baselines. EASE and ALS are given a grid, of which
the validation task chooses; they see nothing that is held out.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.sparse
from held_out import HeldOutTask

from components.retrieval_evaluator.baselines.als import ITERATIONS, fit_als
from components.retrieval_evaluator.baselines.fallback import fall_back_to_popularity
from components.retrieval_evaluator.baselines.log import to_binary_matrix
from schemas.ranking import METRICS, Ranks, score_by_inner_product
from schemas.ranking.ranks import ScoreBlock

Settings = Mapping[str, float]
Grid = Mapping[str, Sequence[float]]

FIXED: Final = ("popularity", "recent_popularity", "item_knn", "markov")
"""Baselines of the evaluator, by their names there."""
MOST_EASE_ITEMS: Final = 25_000
"""Items up to which EASE is computed: three matrices of items x items float64, 15 GB."""
CHOICE_METRIC: Final = "ndcg"
"""What is compared on validation, at the largest cut-off."""


def fit_ease(matrix: scipy.sparse.csr_array, l2_weight: float) -> np.ndarray:
    """Fit the closed-form linear auto-encoder EASE (Steck 2019).

    With X the binary [users, items] matrix and P = (X'X + l2_weight I)^-1, the weights are
    B_ij = -P_ij / P_jj off the diagonal and 0 on it; the scores are X B.

    Args:
        matrix: [users, items] float32, 1 for each item that a user has.
        l2_weight: Weight of the squared norm of B.

    Returns:
        [items, items] float64, B.
    """
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2_weight
    weights = np.linalg.inv(gram)
    weights /= -weights.diagonal()
    np.fill_diagonal(weights, 0.0)
    return weights


def score_ease(task: HeldOutTask, settings: Settings) -> ScoreBlock:
    """Score with EASE.

    Args:
        task: The known interactions and the queries.
        settings: `l2_weight`.

    Returns:
        The scores of a block of queries.
    """
    weights = fit_ease(task.log.as_matrix(task.item_count), **settings)
    known = to_binary_matrix(task.queries.seen.offsets, task.queries.seen.items, task.item_count)
    return lambda queries: np.asarray(known[queries] @ weights, np.float32)


def score_als(task: HeldOutTask, settings: Settings) -> ScoreBlock:
    """Score with a matrix factorised by alternating least squares (Hu, Koren & Volinsky 2008).

    Args:
        task: The known interactions and the queries.
        settings: `factors`, `regularization`, `alpha` and, unless it is 0, `seed`.

    Returns:
        The scores of a block of queries.
    """
    model = fit_als(
        task.log.as_matrix(task.item_count),
        int(settings["factors"]),
        settings["regularization"],
        settings["alpha"],
        ITERATIONS,
        int(settings.get("seed", 0)),
    )
    return score_by_inner_product(model.user_factors[task.users], model.item_factors)


def rank_known_users(task: HeldOutTask, score_block: ScoreBlock) -> Ranks:
    """Rank by scores, and by popularity for users of whom nothing is known.

    Args:
        task: The queries.
        score_block: The scores of a block of queries.

    Returns:
        The places of the held-out items.
    """
    queries = task.queries
    ranks, _ = fall_back_to_popularity(
        task.rank(score_block), queries, queries.seen.sizes == 0, task.popularity
    )
    return ranks


def choose_settings(
    task: HeldOutTask, score: Callable[[HeldOutTask, Settings], ScoreBlock], grid: Grid
) -> Settings:
    """Choose the settings with the largest NDCG at the largest cut-off.

    Args:
        task: The validation task.
        score: What gives the scores with some settings.
        grid: The values of each setting; every combination is tried.

    Returns:
        The best ones; of equally good ones the first.
    """
    points: list[dict[str, Any]] = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    queries = task.queries
    quality = [
        METRICS[CHOICE_METRIC](rank_known_users(task, score(task, point)), queries.targets, queries.k).mean()
        for point in points
    ]
    return points[int(np.argmax(quality))]
