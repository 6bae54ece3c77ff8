"""Recall@k over the validation split, which tells early stopping when training no longer gains."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import TrainingError
from schemas.ranking import (
    Candidates,
    Chosen,
    ItemSets,
    choose_targets,
    rank_in_blocks,
    score_by_inner_product,
)
from schemas.ranking.cut_offs import default_cut_offs
from schemas.ranking.metrics import recall
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import Rows
from trainer.data.stream import Gather
from trainer.towers import Towers

MOST_QUERIES: Final = 20_000
"""Of more users with validation rows so many are drawn, always the same ones: each is asked for anew in every
epoch."""

_ROWS_PER_CALL = 4096


def build_recall(
    data: TrainingData, validation: Rows, maker: BatchMaker, k: int, candidates: Candidates
) -> Callable[[Towers], float]:
    """Prepare the measurement of Recall@k, so that repeating it costs the towers and one matrix product.

    It is measured as the evaluation measures the eval split: a user is asked for once, as of the first
    validation row, and all of the user's validation items are to be found; of more than `MOST_QUERIES` users
    as many are drawn. All catalogue items are ranked by cosine similarity; with `new` candidates without
    those that the user has in the train split, of which none is to be found either, and a user who has
    nothing else is no query. `schemas.ranking` says what a tie counts.

    Args:
        data: What the training reads.
        validation: The validation rows.
        maker: Makes batches of the data.
        k: Length of the list in which the items should be.
        candidates: What is ranked, and which items are to be found.

    Returns:
        A function from towers to the mean recall over the users, in [0, 1].

    Raises:
        TrainingError: No user is a query.
    """
    with_rows = np.flatnonzero(np.diff(validation.offsets))
    users = with_rows[_draw(len(with_rows))]
    held_out, seen = (
        ItemSets.from_ranges(data.sequences.items, split.begins[users], split.ends[users])
        for split in (validation, data.train)
    )
    chosen = choose_targets(held_out, seen, candidates)
    _tell_queries(k, len(with_rows), len(users), chosen)
    asked = validation.offsets[users[chosen.queries]]
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


def _draw(users: int) -> npt.NDArray[np.int64]:
    """Give the numbers of the users who are asked for, ascending."""
    if users <= MOST_QUERIES:
        return np.arange(users)
    return np.sort(np.random.default_rng(0).choice(users, MOST_QUERIES, replace=False))


def _tell_queries(k: int, all_users: int, users: int, chosen: Chosen) -> None:
    queries = len(chosen.queries)
    if not queries:
        raise TrainingError(
            "training.early_stopping: expected at least one validation row whose item the user does not have "
            f"in train. Received: none among {chosen.held_out:,}, of {users:,} users. Set "
            "evaluation.candidates: all, which ranks what users have, too, or leave early_stopping out."
        )
    progress = logging.getLogger(PROGRESS_LOGGER)
    drawn = f", drawn at random of {all_users:,}" if users < all_users else ""
    progress.info("Validation after each epoch: Recall@%d of %s users%s", k, f"{queries:,}", drawn)
    if queries < users:
        progress.info(
            "Validation: %d of %d users are not asked for, since they have all of their items in train "
            "(evaluation.candidates: new)",
            users - queries,
            users,
        )


def _batches(gather: Gather, rows: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), _ROWS_PER_CALL):
        yield gather(tf.constant(rows[start : start + _ROWS_PER_CALL], tf.int64))


def _embed(tower: Any, batches: Iterator[dict[str, tf.Tensor]]) -> npt.NDArray[np.float32]:
    """Embed every row: [rows, dim] float32."""
    return np.concatenate([tower(batch, training=False).numpy() for batch in batches])
