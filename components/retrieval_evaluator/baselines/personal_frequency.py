"""What the user has most often, then what all users have most often.

    own items, by the number of the user's known interactions with each, equal ones by popularity;
    then all others, by popularity

(the GP-TopFreq of Li, Jullien, Ariannezhad and de Rijke 2023, "A next basket recommendation reality check").
Where people come back to the same items this list is hard to beat. Where what a user has is no candidate
nothing but popularity is left of it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog
from schemas.ranking import ItemSets, Ranks, rank_by_common_scores
from schemas.ranking.sparse import rank_by_sparse_scores

NOTHING_OWN: Final = "not computed: candidates are new, which leaves out all that users have"


def rank_by_personal_frequency(
    log: BaselineLog, queries: BaselineQueries, popularity: npt.NDArray[np.int64]
) -> BaselineResult:
    """Rank by how often the user has an item, then by popularity.

    Args:
        log: Not read: what the queries' users have is there already.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places; none where what users have is no candidate.
    """
    if queries.candidates == "new":
        return BaselineResult(None, NOTHING_OWN)
    is_own = queries.targets.are_in(queries.seen)
    own = rank_by_sparse_scores(
        _score_own_items(queries, popularity),
        queries.targets.select(is_own),
        ItemSets.empty(queries.targets.query_count),
    )
    others = queries.targets.select(~is_own)
    popular = rank_by_common_scores(popularity, others, queries.seen)
    better, tied = np.empty(len(is_own), np.int64), np.empty(len(is_own), np.int64)
    better[is_own], tied[is_own] = own.better, own.tied
    better[~is_own], tied[~is_own] = popular.better + queries.seen.sizes[others.owners], popular.tied
    return BaselineResult(Ranks(better, tied), None)


def _score_own_items(queries: BaselineQueries, popularity: npt.NDArray[np.int64]) -> scipy.sparse.csr_array:
    """Number the pairs of own count and popularity in their order, from 1: [queries, items] float32."""
    seen = queries.seen
    keys = queries.seen_counts * (popularity.max() + 1) + popularity[seen.items]
    places = np.unique(keys, return_inverse=True)[1] + 1
    shape = (seen.query_count, len(popularity))
    return scipy.sparse.csr_array((places.astype(np.float32), seen.items, seen.offsets), shape=shape)
