"""Held-out interactions to be ranked among all items, as index arrays that any recommender can be given."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from schemas.ranking import ItemSets, Ranks, compute_metrics, rank_targets
from schemas.ranking.metrics import ndcg

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
            [2, targets] int64: how many items stand above each, and how many others tie with it.
        """
        scores = scores[: self.targets.query_count].copy()
        return np.stack(rank_targets(scores, self.targets, self.seen))

    def metrics(self, ranks: np.ndarray) -> dict[str, float]:
        """Average over users what the pipeline's report holds.

        Args:
            ranks: What `rank` gave.

        Returns:
            Recall, NDCG and MRR by name.
        """
        by_user = compute_metrics(Ranks(*ranks), self.targets, KS)
        return {name: float(values.mean()) for name, values in by_user.items()}

    def ndcg_by_user(self, ranks: np.ndarray) -> np.ndarray:
        """Give NDCG@100 for each user.

        Args:
            ranks: What `rank` gave.

        Returns:
            [ranked users] float64.
        """
        return ndcg(Ranks(*ranks), self.targets, NDCG_K)


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
