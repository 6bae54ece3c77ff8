"""Well-known recommenders that benchmarks/quality.py measures the pipeline's model against.

Those that have nothing to choose are the evaluator's own baselines. Those in `TUNED` have a grid, of which
the validation task chooses; they see nothing that is held out. A new one is an entry there.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

FIXED: Final = ("popularity", "recent_popularity", "personal_frequency", "item_knn", "markov")
"""Baselines of the evaluator, by their names there."""
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


@dataclass(frozen=True)
class Tuned:
    """A model whose settings are chosen from a grid."""

    score: Callable[[HeldOutTask, Settings], ScoreBlock]
    """Gives the scores with some settings."""
    grid: Grid
    """What is chosen from."""
    quick_grid: Grid
    """The same of --quick."""
    is_random: bool = False
    """Whether it is measured with each seed, which is a setting of it."""
    most_items: int | None = None
    """Items up to which it is computed, since it needs matrices of items x items; None: any number."""


TUNED: Final[Mapping[str, Tuned]] = {
    "ease": Tuned(
        score_ease,
        grid={"l2_weight": (50, 100, 160, 250, 400, 700, 1200)},
        quick_grid={"l2_weight": (50, 160)},
        # Three matrices in float64, 15 GB.
        most_items=25_000,
    ),
    "als": Tuned(
        score_als,
        grid={"factors": (64, 256), "regularization": (1.0, 5.0, 15.0, 40.0), "alpha": (1.0, 2.0, 8.0)},
        quick_grid={"factors": (8,), "regularization": (1.0, 15.0), "alpha": (2.0,)},
        is_random=True,
    ),
}
"""By name."""
