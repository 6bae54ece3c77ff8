"""What baselines that need a user's items answer for users without any."""

import numpy as np
import numpy.typing as npt

from components.retrieval_evaluator.baselines.interface import BaselineQueries
from schemas.ranking import Ranks, rank_by_common_scores


def fall_back_to_popularity(
    ranks: Ranks,
    queries: BaselineQueries,
    is_unknown: npt.NDArray[np.bool_],
    popularity: npt.NDArray[np.int64],
) -> tuple[Ranks, str | None]:
    """Rank by popularity for the users of whom nothing is known; all items would tie for them.

    Args:
        ranks: The targets' places of all queries.
        queries: The queries.
        is_unknown: [queries] whether nothing is known of the user.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places, and a note where there is such a user.
    """
    count = np.count_nonzero(is_unknown)
    if not count:
        return ranks, None
    of_unknown = is_unknown[queries.targets.owners]
    popular = rank_by_common_scores(popularity, queries.targets, queries.masked)
    note = f"popularity for {count:,} of {len(is_unknown):,} users, of whom no item is known"
    better = np.where(of_unknown, popular.better, ranks.better)
    return Ranks(better, np.where(of_unknown, popular.tied, ranks.tied), ranks.depth), note
