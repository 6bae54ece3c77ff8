"""Recall@k over the validation split, which tells early stopping when training no longer gains."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.ranking import ItemSets, rank_in_blocks
from schemas.ranking.metrics import recall
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.stream import Gather
from trainer.towers import Towers

_ROWS_PER_CALL = 4096


def build_recall(
    data: TrainingData, validation: Rows, maker: BatchMaker, k: int
) -> Callable[[Towers], float]:
    """Prepare the measurement of Recall@k, so that repeating it costs the towers and one matrix product.

    Every row of the validation split is one query. All catalogue items are ranked by cosine similarity,
    without those that the user has in the train split, the row's own item excepted; `schemas.ranking` says
    what a tie counts.

    Args:
        data: What the training reads.
        validation: The validation rows.
        maker: Makes batches of the data.
        k: Length of the list in which the item should be.

    Returns:
        A function from towers to the mean recall, in [0, 1].
    """
    users, positions = validation.locate(np.arange(len(validation)))
    targets = ItemSets.of_one(data.sequences.items[positions])
    seen = _items_of_users(data.sequences, data.train, users)
    gather = maker.of_rows(validation)

    def measure(towers: Towers) -> float:
        queries = _embed(towers.user, (batch[FEATURES] for batch in _batches(gather, len(validation))))
        blocks = (
            {name: tf.constant(column[start : start + _ROWS_PER_CALL]) for name, column in data.items.items()}
            for start in range(0, data.item_count, _ROWS_PER_CALL)
        )
        items = _embed(towers.item, blocks)
        ranks = rank_in_blocks(lambda block: queries[block] @ items.T, targets, seen, data.item_count)
        return float(recall(ranks, targets, k).mean())

    return measure


def _items_of_users(sequences: FlatSequences, rows: Rows, users: npt.NDArray[np.int64]) -> ItemSets:
    """Give each query the items that its user has among some rows."""
    distinct, numbers = np.unique(users, return_inverse=True)
    own = Rows.between(rows.begins[distinct], rows.ends[distinct])
    owners = np.repeat(np.arange(len(distinct)), np.diff(own.offsets))
    return ItemSets.from_pairs(owners, sequences.items[own.positions()], len(distinct)).take(numbers)


def _batches(gather: Gather, rows: int) -> Iterator[dict[str, Any]]:
    for start in range(0, rows, _ROWS_PER_CALL):
        yield gather(tf.range(start, min(start + _ROWS_PER_CALL, rows), dtype=tf.int64))


def _embed(tower: Any, batches: Iterator[dict[str, tf.Tensor]]) -> npt.NDArray[np.float32]:
    """Embed every row: [rows, dim] float32."""
    return np.concatenate([tower(batch, training=False).numpy() for batch in batches])
