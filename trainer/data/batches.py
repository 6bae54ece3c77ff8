"""Batches by gathers: from numbers of rows to what the towers and the loss read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from schemas.contract import HISTORY_PADDING_KEY
from schemas.features import FeatureSpec, History
from trainer.data.sequences import FlatSequences, Rows

FEATURES: Final = "features"
"""Of a batch: transformed features by name, `[rows, ...]`, as the towers read them."""
USERS: Final = "users"
"""Of a batch: `[rows]` int64, the number of each row's user."""
ITEMS: Final = "items"
"""Of a batch: `[rows]` int64, the catalogue row of each row's item."""
HISTORIES: Final = "histories"
"""Of a batch, where there is a history: `[rows, length]` int64 catalogue rows, -1 where there is none."""
WEIGHTS: Final = "weights"
"""Of a batch, where there are weights: `[rows]` float32."""

Batch = Mapping[str, Any]
"""What stands under the names above."""


@dataclass(frozen=True)
class TrainingData:
    """What a training reads: interactions once, features once per entity."""

    sequences: FlatSequences
    """The positives of every user, those of the validation split among them where it is read."""
    users: Mapping[str, np.ndarray]
    """[users, ...] transformed user features by name, in the order of the sequences."""
    items: Mapping[str, np.ndarray]
    """[items, ...] transformed item features by name, in the order of the catalogue."""
    item_count: int
    """Items of the catalogue."""
    train: Rows
    """The rows to train on."""
    validation: Rows | None = None
    """The rows that decide when training stops; None where there is no such split, or nothing reads it."""
    history_items: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[items, ...] what stands in a history for each item, by the history's column, as `history_table` gives
    it; empty without a history."""
    gap_boundaries: npt.NDArray[np.int64] | None = None
    """[buckets - 1] quantiles of the history's time gaps; None without them."""

    @property
    def fitted(self) -> Rows:
        """The rows of train and validation together."""
        if self.validation is None:
            return self.train
        return Rows.between(self.train.begins, self.validation.ends)

    def arrays(self) -> dict[str, np.ndarray]:
        """Name every array that a training's result depends on.

        Returns:
            The arrays by name.
        """
        arrays = {f"sequences/{name}": values for name, values in self.sequences.arrays().items()}
        arrays |= {f"users/{name}": values for name, values in self.users.items()}
        arrays |= {f"items/{name}": values for name, values in self.items.items()}
        for name, rows in (("train", self.train), ("validation", self.validation)):
            if rows is not None:
                arrays |= {f"{name}/begins": rows.begins, f"{name}/offsets": rows.offsets}
        if self.gap_boundaries is not None:
            arrays["gap_boundaries"] = self.gap_boundaries
        return arrays


class BatchMaker:
    """Gathers batches from the arrays of a training, which it holds as tensors in the host's memory.

    Args:
        data: The arrays.
        spec: The features.
    """

    def __init__(self, data: TrainingData, spec: FeatureSpec) -> None:
        self._history = spec.history
        sequences = data.sequences
        with tf.device("CPU"):
            self._users = {name: tf.constant(values) for name, values in data.users.items()}
            self._item_table = {name: tf.constant(values) for name, values in data.items.items()}
            self._contexts = {name: tf.constant(values) for name, values in sequences.contexts.items()}
            self._history_items = {name: tf.constant(values) for name, values in data.history_items.items()}
            self._offsets = tf.constant(sequences.offsets)
            self._items = tf.constant(sequences.items)
            self._seconds = self._weights = self._boundaries = None
            if sequences.weights is not None:
                self._weights = tf.constant(sequences.weights)
            if data.gap_boundaries is not None and sequences.seconds is not None:
                self._seconds = tf.constant(sequences.seconds)
                self._boundaries = tf.constant(data.gap_boundaries)

    def of_rows(self, rows: Rows) -> "RowGather":
        """Prepare the batches of a split.

        Args:
            rows: The split's rows.

        Returns:
            A function from `[n]` int64 numbers of rows to their batch.
        """
        with tf.device("CPU"):
            return RowGather(self, tf.constant(rows.begins), tf.constant(rows.offsets))

    def gather(self, users: tf.Tensor, positions: tf.Tensor, items_back: int | None = None) -> dict[str, Any]:
        """Make a batch of positions.

        Args:
            users: `[n]` int64, whose they are.
            positions: `[n]` int64.
            items_back: How far their histories go back, in items; None: the history's length.

        Returns:
            The batch.
        """
        # Called eagerly, TensorFlow would copy whole tables to the GPU.
        with tf.device("CPU"):
            items = tf.gather(self._items, positions)
            features = {name: tf.gather(values, users) for name, values in self._users.items()}
            features |= {name: tf.gather(values, items) for name, values in self._item_table.items()}
            features |= {name: tf.gather(values, positions) for name, values in self._contexts.items()}
            batch = {FEATURES: features, USERS: users, ITEMS: tf.cast(items, tf.int64)}
            if self._history is not None:
                batch[HISTORIES], columns = self._gather_histories(
                    self._history, users, positions, items_back or self._history.length
                )
                features |= columns
            if self._weights is not None:
                batch[WEIGHTS] = tf.gather(self._weights, positions)
            return batch

    def _gather_histories(
        self, history: History, users: tf.Tensor, positions: tf.Tensor, length: int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Look back from positions: `[n, length]` int64 catalogue rows, and the history's columns by name."""
        before = positions[:, tf.newaxis] + tf.range(-length, 0, dtype=tf.int64)
        is_item = before >= tf.gather(self._offsets, users)[:, tf.newaxis]
        before = tf.maximum(before, 0)
        items = tf.where(is_item, tf.gather(self._items, before), HISTORY_PADDING_KEY)
        rows = tf.maximum(items, 0)
        columns = {
            name: _pad(tf.gather(values, rows), is_item) for name, values in self._history_items.items()
        }
        if self._seconds is not None:
            gaps = tf.gather(self._seconds, positions)[:, tf.newaxis] - tf.gather(self._seconds, before)
            buckets = tf.searchsorted(
                self._boundaries, tf.reshape(gaps, [-1]), side="right", out_type=tf.int64
            )
            columns[history.gap_column] = _pad(tf.reshape(buckets, tf.shape(gaps)), is_item)
        return tf.cast(items, tf.int64), columns


@dataclass(frozen=True)
class RowGather:
    """Makes batches of the rows of one split."""

    maker: BatchMaker
    """What gathers."""
    begins: tf.Tensor
    """As in `Rows`."""
    offsets: tf.Tensor
    """As in `Rows`."""

    def __call__(self, rows: tf.Tensor) -> dict[str, Any]:
        """Make a batch.

        Args:
            rows: `[n]` int64 numbers of rows of the split.

        Returns:
            The batch.
        """
        with tf.device("CPU"):
            return self.maker.gather(*self.locate(rows))

    def locate(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the users and the positions of rows.

        Args:
            rows: `[n]` int64 numbers of rows of the split.

        Returns:
            `[n]` int64 users and `[n]` int64 positions.
        """
        users = tf.searchsorted(self.offsets, rows, side="right", out_type=tf.int64) - 1
        return users, tf.gather(self.begins, users) + rows - tf.gather(self.offsets, users)


def _pad(values: tf.Tensor, is_item: tf.Tensor) -> tf.Tensor:
    """Put -1, among floats 0, where no item is: `[rows, length, ...]` and `[rows, length]` bool."""
    padding = 0.0 if values.dtype.is_floating else HISTORY_PADDING_KEY
    mask = tf.reshape(is_item, tf.concat([tf.shape(is_item), tf.ones([values.shape.rank - 2], tf.int32)], 0))
    return tf.where(mask, values, tf.constant(padding, values.dtype))
