"""Recall@k over the validation split, which tells early stopping when training no longer gains."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from schemas.features import FeatureSpec
from trainer.towers import Tower, Towers
from trainer.user_tower import OwnUserTower

_ROWS_PER_CALL = 4096
_NEVER = np.iinfo(np.int64).max
# Of the scores that are held at once: 64 MiB in float32.
_SCORES_AT_ONCE = 2**24


def build_recall(
    spec: FeatureSpec,
    validation: Mapping[str, np.ndarray],
    train: Mapping[str, np.ndarray],
    catalogue: Mapping[str, np.ndarray],
    k: int,
) -> Callable[[Towers], float]:
    """Prepare the measurement of Recall@k, so that repeating it costs the towers and one matrix product.

    Every row of the validation split is one query. All catalogue items are ranked by cosine similarity,
    without those that the user has in the train split, the row's own item excepted. The row counts where
    its item's rank is at most k; a tie is decided against it. An item that is not in the catalogue is
    never found.

    Args:
        spec: The features.
        validation: Transformed columns of the validation rows, as `read_columns` gives them.
        train: Those of the train rows; only the keys of both ids are used.
        catalogue: The item tower's columns of every item, as `read_catalogue` gives them.
        k: Length of the list in which the item should be.

    Returns:
        A function from towers to the share of rows that count, in [0, 1].

    Raises:
        ValueError: There is no validation row or no item.
    """
    user_id, item_id = spec.user_id.name, spec.item_id.name
    if not len(validation[user_id]) or not len(catalogue[item_id]):
        raise ValueError(
            f"Expected validation rows and catalogue items. Received: {len(validation[user_id])} and "
            f"{len(catalogue[item_id])}."
        )
    positions = _Positions(catalogue[item_id])
    seen_starts, seen_items = _group_by_user(
        validation[user_id], train[user_id], positions.of_keys(train[item_id])
    )
    targets = positions.of_keys(validation[item_id])

    def recall(towers: Towers) -> float:
        users, items = _embed(towers.user, validation), _embed(towers.item, catalogue)
        block = max(1, _SCORES_AT_ONCE // len(items))
        hits = 0
        for start in range(0, len(users), block):
            rows = slice(start, start + block)
            starts = seen_starts[start : start + block + 1]
            ranks = rank_targets(
                users[rows] @ items.T,
                targets[rows],
                np.repeat(np.arange(len(starts) - 1), np.diff(starts)),
                seen_items[starts[0] : starts[-1]],
            )
            hits += int(np.count_nonzero(ranks <= k))
        return hits / len(users)

    return recall


def rank_targets(
    scores: np.ndarray, targets: np.ndarray, seen_rows: np.ndarray, seen_columns: np.ndarray
) -> np.ndarray:
    """Rank one target in each row.

    Args:
        scores: [rows, items] float32; changed in place.
        targets: [rows] column of the target, -1 where it is not among the items.
        seen_rows: [seen] rows of the entries that are left out of the ranking, unless they are targets.
        seen_columns: [seen] their columns; -1 where such an item is not among the items.

    Returns:
        [rows] int64, the number of ranked items with a score at least as large, the target's own included;
        without a target the largest number that there is.
    """
    rows = np.arange(len(scores))
    own = scores[rows, targets]
    known = seen_columns >= 0
    scores[seen_rows[known], seen_columns[known]] = -np.inf
    scores[rows, targets] = own
    # Not `>=`: a NaN counts against the target.
    ranks = np.count_nonzero(~(scores < own[:, np.newaxis]), axis=1)
    return np.where(targets >= 0, ranks, _NEVER)


class _Positions:
    """Where each key is in an array."""

    def __init__(self, keys: np.ndarray) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def of_keys(self, keys: np.ndarray) -> np.ndarray:
        """Find the first place of each key; -1 where it is not there."""
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._order[place], -1)


def _group_by_user(
    query_users: np.ndarray, row_users: np.ndarray, row_items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the items of each query's user: those of query i are items[starts[i]:starts[i + 1]]."""
    order = np.argsort(row_users, kind="stable")
    users, items = row_users[order], row_items[order]
    first = np.searchsorted(users, query_users, side="left")
    counts = np.searchsorted(users, query_users, side="right") - first
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = np.arange(starts[-1]) - np.repeat(starts[:-1] - first, counts)
    return starts, items[rows]


def _embed(tower: Tower | OwnUserTower, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Embed every row: [rows, dim] float32."""
    rows = len(next(iter(columns.values())))
    blocks = []
    for start in range(0, rows, _ROWS_PER_CALL):
        batch = {
            name: tf.constant(column[start : start + _ROWS_PER_CALL]) for name, column in columns.items()
        }
        blocks.append(tower(batch, training=False).numpy())
    return np.concatenate(blocks)
