"""Held-out interactions to be ranked among all items, as index arrays that any recommender can be given."""

from dataclasses import dataclass

import numpy as np

from schemas.ranking import ItemSets, Ranks, choose_targets, compute_metrics, rank_targets
from schemas.ranking.metrics import ndcg

KS = (10, 50, 100)
NDCG_K = 100


@dataclass(frozen=True)
class RankingTask:
    """Training interactions, and for some users one or more held-out items each."""

    users: np.ndarray
    """[interactions] user indices of the training interactions."""
    items: np.ndarray
    """[interactions] item indices, rows of the catalogue."""
    shape: tuple[int, int]
    """Number of users and of items."""
    ranked: np.ndarray
    """[ranked users] user indices of those with held-out items that they did not have, ascending."""
    targets: ItemSets
    """The held-out items of each ranked user."""
    seen: ItemSets
    """The training items of each ranked user, which are left out of the ranking, no target among them."""

    def rank(self, scores: np.ndarray) -> np.ndarray:
        """Rank the held-out items as the pipeline's evaluator does.

        Args:
            scores: [ranked users, items] float32; masked entries are overwritten.

        Returns:
            [2, targets] int64: how many items stand above each, and how many others tie with it.
        """
        ranks = rank_targets(scores, self.targets, self.seen)
        return np.stack([ranks.better, ranks.tied])

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
    users: np.ndarray,
    items: np.ndarray,
    held_out_users: np.ndarray,
    held_out_items: np.ndarray,
    shape: tuple[int, int],
) -> RankingTask:
    """Make a task of interactions.

    Args:
        users: [interactions] user indices of the training interactions.
        items: [interactions] their item indices.
        held_out_users: [held out] user indices of the held-out ones.
        held_out_items: [held out] their item indices.
        shape: Number of users and of items.

    Returns:
        The task.
    """
    ranked, owners = np.unique(held_out_users, return_inverse=True)
    places = np.full(shape[0], -1)
    places[ranked] = np.arange(len(ranked))
    is_ranked = places[users] >= 0
    chosen = choose_targets(
        ItemSets.from_pairs(owners, held_out_items, len(ranked)),
        ItemSets.from_pairs(places[users[is_ranked]], items[is_ranked], len(ranked)),
        "new",
    )
    return RankingTask(
        users=users,
        items=items,
        shape=shape,
        ranked=ranked[chosen.queries],
        targets=chosen.targets,
        seen=chosen.masked,
    )
