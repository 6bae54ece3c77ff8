"""The items that most interactions were with, the same for every query."""

import numpy as np
import numpy.typing as npt

from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog
from schemas.ranking import rank_by_common_scores


def rank_by_popularity(
    log: BaselineLog,
    queries: BaselineQueries,
    popularity: npt.NDArray[np.int64],
) -> BaselineResult:
    """Rank by the number of known interactions of all users.

    Args:
        log: Not read: the counts are there already, and of all users.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places.
    """
    return BaselineResult(rank_by_common_scores(popularity, queries.targets, queries.masked), None)
