"""Recall@k over the validation split, which tells early stopping when training no longer gains."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import TrainingError
from schemas.ranking import Candidates, ItemSets, choose_targets, rank_in_blocks, score_by_inner_product
from schemas.ranking.metrics import recall
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.stream import Gather
from trainer.towers import Towers

_ROWS_PER_CALL = 4096


def build_recall(
    data: TrainingData, validation: Rows, maker: BatchMaker, k: int, candidates: Candidates
) -> Callable[[Towers], float]:
    """Prepare the measurement of Recall@k, so that repeating it costs the towers and one matrix product.

    It is what the evaluation measures on the eval split. Every row of the validation split is one query. All
    catalogue items are ranked by cosine similarity; with `new` candidates without those that the user has in
    the train split, and a row whose item is one of these is no query. `schemas.ranking` says what a tie
    counts.

    Args:
        data: What the training reads.
        validation: The validation rows.
        maker: Makes batches of the data.
        k: Length of the list in which the item should be.
        candidates: What is ranked, and which rows are queries.

    Returns:
        A function from towers to the mean recall, in [0, 1].

    Raises:
        TrainingError: No row is a query.
    """
    users, positions = validation.locate(np.arange(len(validation)))
    held_out = ItemSets.of_one(data.sequences.items[positions])
    chosen = choose_targets(held_out, _items_of_users(data.sequences, data.train, users), candidates)
    _tell_repeats(len(validation), len(chosen.queries))
    gather = maker.of_rows(validation)

    def measure(towers: Towers) -> float:
        queries = _embed(towers.user, (batch[FEATURES] for batch in _batches(gather, chosen.queries)))
        blocks = (
            {name: tf.constant(column[start : start + _ROWS_PER_CALL]) for name, column in data.items.items()}
            for start in range(0, data.item_count, _ROWS_PER_CALL)
        )
        items = _embed(towers.item, blocks)
        ranks, _ = rank_in_blocks(
            score_by_inner_product(queries, items), chosen.targets, chosen.masked, data.item_count
        )
        return float(recall(ranks, chosen.targets, k).mean())

    return measure


def _tell_repeats(rows: int, queries: int) -> None:
    if not queries:
        raise TrainingError(
            "training.early_stopping: expected at least one validation row whose item the user does not have "
            f"in train. Received: none among {rows:,}. Set evaluation.candidates: all, which ranks what "
            "users have, too, or leave early_stopping out."
        )
    if queries < rows:
        logging.getLogger(PROGRESS_LOGGER).info(
            "Validation: %d of %d rows are not asked for, since the user has their item in train "
            "(evaluation.candidates: new)",
            rows - queries,
            rows,
        )


def _items_of_users(sequences: FlatSequences, rows: Rows, users: npt.NDArray[np.int64]) -> ItemSets:
    """Give each query the items that its user has among some rows."""
    distinct, numbers = np.unique(users, return_inverse=True)
    own = Rows.between(rows.begins[distinct], rows.ends[distinct])
    owners = np.repeat(np.arange(len(distinct)), np.diff(own.offsets))
    return ItemSets.from_pairs(owners, sequences.items[own.positions()], len(distinct)).take(numbers)


def _batches(gather: Gather, rows: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _ROWS_PER_CALL):
        yield gather(tf.constant(rows[start : start + _ROWS_PER_CALL], tf.int64))


def _embed(tower: Any, batches: Iterator[dict[str, tf.Tensor]]) -> npt.NDArray[np.float32]:
    """Embed every row: [rows, dim] float32."""
    return np.concatenate([tower(batch, training=False).numpy() for batch in batches])
