"""What followed the user's last items: a first-order Markov chain, over several of the last items.

    score(q, j) = sum over a = 0..4 of 0.8^a N(i_a, j) / P(j)^0.3

with i_0 the query's last known item, i_1 the one before it, N(i, j) how often j came directly after i in a
user's sequence, and P(j) the number of interactions with j (the chain of Rendle, Freudenthaler and
Schmidt-Thieme 2010 without its factorisation; the power takes some of the popular items' weight).

A user without a known item gets the popular items.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse

from components.retrieval_evaluator.baselines.fallback import fall_back_to_popularity
from components.retrieval_evaluator.baselines.interface import BaselineQueries, BaselineResult
from components.retrieval_evaluator.baselines.log import BaselineLog
from components.retrieval_evaluator.baselines.notes import join_notes
from components.retrieval_evaluator.baselines.products import rank_by_product

LAST_ITEMS: Final = 5
DECAY: Final = 0.8
POPULARITY_POWER: Final = 0.3


def rank_by_markov_chain(
    log: BaselineLog, queries: BaselineQueries, popularity: npt.NDArray[np.int64]
) -> BaselineResult:
    """Rank by what followed the user's last items.

    Args:
        log: The known interactions.
        queries: The queries.
        popularity: [items] the number of known interactions with each item.

    Returns:
        The targets' places.
    """
    last = weigh_last_items(queries.recent_items, len(popularity))
    followers = count_followers(log, len(popularity))
    followers.data /= (popularity[followers.indices] ** POPULARITY_POWER).astype(np.float32)
    ranks = rank_by_product(last, followers, queries.targets, queries.masked)
    ranks, fallback = fall_back_to_popularity(ranks, queries, np.diff(last.indptr) == 0, popularity)
    return BaselineResult(ranks, join_notes(log.sample_note, fallback))


def count_followers(log: BaselineLog, item_count: int) -> scipy.sparse.csr_array:
    """Count how often an item came directly after another.

    Args:
        log: The known interactions.
        item_count: Number of items.

    Returns:
        [items, items] float32: in the row of an item, the counts of those after it.
    """
    has_next = np.ones(len(log.items), bool)
    has_next[log.offsets[1:][np.diff(log.offsets) > 0] - 1] = False
    before = np.flatnonzero(has_next)
    ones = np.ones(len(before), np.float32)
    pairs = (log.items[before], log.items[before + 1])
    return scipy.sparse.coo_array((ones, pairs), shape=(item_count, item_count)).tocsr()


def weigh_last_items(recent_items: npt.NDArray[np.int32], item_count: int) -> scipy.sparse.csr_array:
    """Give the last items their weights, 1 for the newest.

    Args:
        recent_items: [queries, length] the newest last, -1 for none.
        item_count: Number of items.

    Returns:
        [queries, items] float32, the sum of the weights for an item that is there several times.
    """
    newest_first = recent_items[:, ::-1][:, :LAST_ITEMS]
    weights = np.broadcast_to(
        (DECAY ** np.arange(newest_first.shape[1])).astype(np.float32), newest_first.shape
    )
    queries, places = np.nonzero(newest_first >= 0)
    pairs = (queries, newest_first[queries, places])
    shape = (len(recent_items), item_count)
    return scipy.sparse.coo_array((weights[queries, places], pairs), shape=shape).tocsr()
