"""Held-out interactions to be ranked among all items, as index arrays that any recommender can be given."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.retrieval_evaluator.logic import ItemSets, compute_metrics, rank_targets

Columns = Mapping[str, np.ndarray]

KS = (10, 50, 100)
NDCG_K = 100


@dataclass(frozen=True)
class RankingTask:
    """Training interactions, and for some users one or more held-out items each."""

    users: np.ndarray
    """[interactions] int64 user indices of the training interactions; the ranked users come first."""
    items: np.ndarray
    """[interactions] int64 item indices, rows of the catalogue."""
    shape: tuple[int, int]
    """Number of users and of items."""
    queries: np.ndarray
    """[ranked users] int64: the row of the held-out columns with each user's features."""
    targets: ItemSets
    """The held-out items of each ranked user."""
    seen: ItemSets
    """The training items of each ranked user, which are left out of the ranking."""

    def rank(self, scores: np.ndarray) -> np.ndarray:
        """Rank the held-out items as the pipeline's evaluator does.

        Args:
            scores: [users, items] or [ranked users, items] float32, the ranked users first.

        Returns:
            [targets] int64 ranks from 1.
        """
        return rank_targets(scores[: self.targets.user_count].copy(), self.targets, self.seen)

    def metrics(self, ranks: np.ndarray) -> dict[str, float]:
        """Average over users what the pipeline's report holds.

        Args:
            ranks: What `rank` gave.

        Returns:
            Recall, NDCG and MRR by name.
        """
        return compute_metrics(ranks, self.targets.owners, self.targets.sizes, KS)

    def ndcg_by_user(self, ranks: np.ndarray) -> np.ndarray:
        """Give NDCG@100 for each user with one held-out item: 1 / log2(1 + rank), 0 beyond rank 100.

        Args:
            ranks: What `rank` gave.

        Returns:
            [ranked users] float64.

        Raises:
            ValueError: A user has more than one held-out item.
        """
        if (self.targets.sizes != 1).any():
            raise ValueError("expected one held-out item for each user")
        return np.where(ranks <= NDCG_K, 1.0 / np.log2(1.0 + ranks), 0.0)


def make_task(
    train: Columns, held_out: Columns, catalogue: Columns, user_name: str, item_name: str
) -> RankingTask:
    """Make a task of transformed columns.

    Args:
        train: Keys of the training interactions by feature name.
        held_out: Keys of the held-out ones.
        catalogue: Keys of the items; their order is that of the item indices.
        user_name: The user id.
        item_name: The item id.

    Returns:
        The task.

    Raises:
        ValueError: An item is not in the catalogue.
    """
    ranked, queries, owners = np.unique(held_out[user_name], return_index=True, return_inverse=True)
    others = np.setdiff1d(train[user_name], ranked)
    user_keys = np.concatenate([ranked, others])
    users = _positions(train[user_name], user_keys)
    items = _positions(train[item_name], catalogue[item_name])
    known = users < len(ranked)
    return RankingTask(
        users=users,
        items=items,
        shape=(len(user_keys), len(catalogue[item_name])),
        queries=queries,
        targets=ItemSets.from_pairs(
            owners, _positions(held_out[item_name], catalogue[item_name]), len(ranked)
        ),
        seen=ItemSets.from_pairs(users[known], items[known], len(ranked)),
    )


def _positions(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    order = np.argsort(among, kind="stable")
    places = np.minimum(np.searchsorted(among, keys, sorter=order), len(among) - 1)
    positions = order[places]
    if (among[positions] != keys).any():
        raise ValueError("expected every key among those of the catalogue or the users")
    return positions
