"""Batches of windows: rows that follow each other, whose histories lie in each other."""

from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from trainer.data.batches import RowGather

SEGMENTS: Final = "segments"
"""Of a batch of windows: `[rows]` int64; the rows of a window with the same number are neighbours in the
sequence of one user."""


@dataclass(frozen=True)
class WindowGather:
    """Makes batches of windows, of the history of each row the newest item alone: the window has the rest."""

    rows: RowGather
    """Makes batches of the split's rows."""
    length: int
    """Rows of a window."""

    def __call__(self, rows: tf.Tensor) -> dict[str, Any]:
        """Make a batch.

        Args:
            rows: `[windows * length]` int64 numbers of rows of the split; those of a window follow each
                other, the first row of all behind the last one.

        Returns:
            The batch, with `SEGMENTS`. A window that the split's end runs through has two segments for a user
            who is both the last and the first one.
        """
        with tf.device("CPU"):
            users, positions = self.rows.locate(rows)
            batch = self.rows.maker.gather(users, positions, items_back=1)
            windows = tf.reshape(rows, [-1, self.length])
            starts_anew = tf.reshape(windows < windows[:, :1], [-1])
            batch[SEGMENTS] = 2 * users + tf.cast(starts_anew, tf.int64)
            return batch
