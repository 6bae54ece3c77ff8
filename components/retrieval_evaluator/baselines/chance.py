"""Items in any order: what a model reaches that has learnt nothing."""

import numpy as np
import numpy.typing as npt

from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog
from schemas.ranking import rank_by_common_scores


def rank_by_chance(
    log: BaselineLog,
    queries: BaselineQueries,
    popularity: npt.NDArray[np.int64],
) -> BaselineResult:
    """Rank all items equally, so that every metric is its expectation over all orders.

    Args:
        log: Not read.
        queries: The queries.
        popularity: [items]; tells how many items there are.

    Returns:
        The targets' places.
    """
    equal = np.zeros(len(popularity), np.int64)
    return BaselineResult(rank_by_common_scores(equal, queries.targets, queries.masked), None)
