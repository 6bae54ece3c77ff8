"""Matrix factorisation by alternating least squares (Hu, Koren and Volinsky 2008), by `implicit`."""

from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from components.retrieval_evaluator.baselines.fallback import fall_back_to_popularity
from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog, to_binary_matrix
from components.retrieval_evaluator.baselines.notes import join_notes
from schemas.ranking import rank_in_blocks, score_by_inner_product

FACTORS: Final = 64
"""On MovieLens-100K 256 take four to nine times as long for an NDCG@100 that is 2 to 4 % larger."""
REGULARIZATION: Final = 15.0
"""As benchmarks/quality.py chooses on MovieLens-100K's validation."""
ALPHA: Final = 2.0
"""On MovieLens-100K's last and second-last interactions NDCG@100 is 2 to 3 % above that of 1."""
ITERATIONS: Final = 15
"""Half as many cost 2 to 3 % of the NDCG@100 there."""
THREADS: Final = 2
"""Each solves rows of its own, so the factors do not depend on their number."""


def rank_by_als(
    log: BaselineLog, queries: BaselineQueries, popularity: npt.NDArray[np.int64]
) -> BaselineResult:
    """Rank by the product of user and item factors.

    The item factors are those of the log. A query's user factors are solved for its known items, so that a
    user who is not in a sampled log is ranked as well.

    Args:
        log: The known interactions.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places; none where `implicit` is missing.
    """
    if find_spec("implicit") is None:
        return BaselineResult(None, "not computed: implicit is not installed (pip install implicit)")
    item_count = len(popularity)
    model = fit_als(log.as_matrix(item_count), FACTORS, REGULARIZATION, ALPHA, ITERATIONS)
    known = to_binary_matrix(queries.seen.offsets, queries.seen.items, item_count)
    users = model.recalculate_user(np.arange(known.shape[0]), scipy.sparse.csr_matrix(known))
    score_block = score_by_inner_product(users, model.item_factors)
    ranks, _ = rank_in_blocks(
        score_block, queries.targets, queries.masked, item_count, min(queries.k, item_count)
    )
    ranks, fallback = fall_back_to_popularity(ranks, queries, queries.seen.sizes == 0, popularity)
    return BaselineResult(ranks, join_notes(log.sample_note, fallback))


def fit_als(
    interactions: scipy.sparse.csr_array,
    factors: int,
    regularization: float,
    alpha: float,
    iterations: int,
    seed: int = 0,
) -> Any:
    """Fit user and item factors.

    Args:
        interactions: [users, items] float32, 1 for each item that a user has.
        factors: Dimension of the factors.
        regularization: Weight of the factors' squared norms.
        alpha: Confidence of an interaction; a missing one has 1.
        iterations: Number of times that both sides are solved.
        seed: Seed of the initial factors.

    Returns:
        The model of `implicit`, with `user_factors` and `item_factors`.
    """
    import threadpoolctl  # type: ignore[import-untyped]
    from implicit.cpu.als import AlternatingLeastSquares

    # implicit asks for this: a threaded BLAS under its own threads is slower by far.
    with threadpoolctl.threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            iterations=iterations,
            num_threads=THREADS,
            random_state=seed,
        )
        model.fit(scipy.sparse.csr_matrix(interactions), show_progress=False)
    return model
