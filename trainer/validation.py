"""Recall@k over the validation split, which tells early stopping when training no longer gains."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import TrainingError
from schemas.ranking import Candidates, ItemSets, choose_targets, rank_in_blocks, score_by_inner_product
from schemas.ranking.cut_offs import default_cut_offs
from schemas.ranking.metrics import recall
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.stream import Gather
from trainer.towers import Towers

MOST_QUERIES: Final = 20_000
"""Of more validation rows so many are drawn, always the same ones: each is ranked anew in every epoch."""

_ROWS_PER_CALL = 4096


def build_recall(
    data: TrainingData, validation: Rows, maker: BatchMaker, k: int, candidates: Candidates
) -> Callable[[Towers], float]:
    """Prepare the measurement of Recall@k, so that repeating it costs the towers and one matrix product.

    Where each user has one validation row it is what the evaluation measures on the eval split; of several
    each is asked for by itself here. Every row of the validation split is one query, of
    more than `MOST_QUERIES` as many drawn at random. All catalogue items are ranked by cosine similarity;
    with `new` candidates without those that the user has in the train split, and a row whose item is one of
    these is no query. `schemas.ranking` says what a tie counts.

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
    rows = _draw_rows(len(validation))
    users, positions = validation.locate(rows)
    held_out = ItemSets.of_one(data.sequences.items[positions])
    chosen = choose_targets(held_out, _items_of_users(data.sequences, data.train, users), candidates)
    _tell_queries(k, len(validation), len(rows), len(chosen.queries))
    asked = rows[chosen.queries]
    gather = maker.of_rows(validation)

    def measure(towers: Towers) -> float:
        queries = _embed(towers.user, (batch[FEATURES] for batch in _batches(gather, asked)))
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


def choose_cut_off(k: int | None, catalogue_items: int) -> int:
    """Choose how long the list is.

    Args:
        k: What is configured; None: what suits the catalogue.
        catalogue_items: Number of items.

    Returns:
        The cut-off.

    Raises:
        TrainingError: It is no smaller than the catalogue.
    """
    if k is None:
        return max(default_cut_offs(catalogue_items))
    if k >= catalogue_items:
        raise TrainingError(
            f"training.early_stopping.k: expected less than the {catalogue_items:,} items of the catalogue. "
            f"Received: {k}: such a list holds every item, so that no epoch is better than another. Leave it "
            "out, or make it smaller."
        )
    return k


def _draw_rows(rows: int) -> npt.NDArray[np.int64]:
    """Give the numbers of the validation rows that are asked for, ascending."""
    if rows <= MOST_QUERIES:
        return np.arange(rows)
    return np.unique(np.random.default_rng(0).integers(0, rows, MOST_QUERIES))


def _tell_queries(k: int, all_rows: int, rows: int, queries: int) -> None:
    if not queries:
        raise TrainingError(
            "training.early_stopping: expected at least one validation row whose item the user does not have "
            f"in train. Received: none among {rows:,}. Set evaluation.candidates: all, which ranks what "
            "users have, too, or leave early_stopping out."
        )
    progress = logging.getLogger(PROGRESS_LOGGER)
    drawn = f", drawn at random of {all_rows:,}" if rows < all_rows else ""
    progress.info("Validation after each epoch: Recall@%d of %s rows%s", k, f"{queries:,}", drawn)
    if queries < rows:
        progress.info(
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
