"""A queue of past items, first in, first out: negatives that cost no forward pass.

Cross-batch negative sampling (Wang et al. 2021, "Cross-batch negative sampling for training two-tower
recommenders"): once the towers change slowly, an embedding of a few steps ago stands for the item of today.
"""

import tensorflow as tf


class PastItems:
    """The items of the last batches, the same on every replica.

    Which slots a step writes, and which hold something, follows from the step's number, so that `variables`
    are the whole state. Built under a `tf.distribute` scope, the variables are the strategy's.

    Args:
        capacity: Items kept.
        dim: Width of an embedding.
        global_batch: Items offered at every step; of more than `capacity` the last are taken.
        warmup_steps: Steps before items are given out.
    """

    def __init__(self, capacity: int, dim: int, global_batch: int, warmup_steps: int) -> None:
        self._capacity = capacity
        self._taken = min(capacity, global_batch)
        self._warmup_steps = warmup_steps
        self._embeddings = _replicated([capacity, dim], tf.float32, "past_items")
        self._keys = _replicated([capacity, 2], tf.int64, "past_keys")

    @property
    def variables(self) -> list[tf.Variable]:
        """The embeddings, [capacity, dim] float32, and numbers of item and user, [capacity, 2] int64."""
        return [self._embeddings, self._keys]

    def usable(self, step: tf.Tensor) -> tf.Tensor:
        """Count the items that a step may use.

        Args:
            step: Scalar int64, from 1 on.

        Returns:
            Scalar int64; 0 up to step `warmup_steps`.
        """
        filled = tf.minimum((step - 1) * self._taken, self._capacity)
        return tf.where(step > self._warmup_steps, filled, 0)

    def read(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Give out the items of the steps before.

        Args:
            step: Scalar int64, from 1 on.

        Returns:
            Their embeddings, [capacity, dim] float32, without a gradient; their catalogue rows and the users
            who had them as positives, [capacity] int64 each. The catalogue row is -1 in a slot that may not
            be used.
        """
        keys = self._keys.read_value()
        is_usable = tf.range(self._capacity, dtype=tf.int64) < self.usable(step)
        return (
            tf.stop_gradient(self._embeddings.read_value()),
            tf.where(is_usable, keys[:, 0], -1),
            keys[:, 1],
        )

    def add(self, step: tf.Tensor, embeddings: tf.Tensor, items: tf.Tensor, users: tf.Tensor) -> None:
        """Take in the items of a step's global batch; the oldest make room.

        Called in replica context on every replica, with the same values.

        Args:
            step: Scalar int64, from 1 on; each step once, in order.
            embeddings: [global batch, dim] float32.
            items: [global batch] int64 catalogue rows.
            users: [global batch] int64 numbers of users.
        """
        start = (step - 1) * self._taken % self._capacity
        # Each slot fetches what is new for it: a gather, which is as fast on every device.
        source = (tf.range(self._capacity, dtype=tf.int64) - start) % self._capacity
        is_new = (source < self._taken)[:, None]
        source = tf.minimum(source, self._taken - 1)
        for variable, new in (
            (self._embeddings, tf.stop_gradient(embeddings)),
            (self._keys, tf.stack([items, users], axis=1)),
        ):
            fetched = tf.gather(new[-self._taken :], source)
            variable.assign(tf.where(is_new, fetched, variable.read_value()))


def _replicated(shape: list[int], dtype: tf.DType, name: str) -> tf.Variable:
    return tf.Variable(
        tf.zeros(shape, dtype),
        trainable=False,
        name=name,
        # All replicas compute the same value.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
