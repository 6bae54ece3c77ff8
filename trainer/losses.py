"""Softmax losses of a two-tower retriever whose negatives are the other rows' items.

Row i of a batch is a positive pair of a user and an item. With L2-normalised embeddings u and v, the
temperature tau, and q_j the share of the train rows that hold item j, the logit of item j for row i is

    s_ij = <u_i, v_j> / tau - log q_j

(Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations"), and
the loss of row i is the cross entropy of its own item among its own item and its negatives.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from schemas.errors import ConfigError
from trainer.config import LossConfig


@dataclass(frozen=True)
class BatchKeys:
    """What tells the rows of a batch apart; equal keys are equal ids."""

    users: tf.Tensor
    """[batch] int64 user keys."""
    items: tf.Tensor
    """[batch] int64 item keys."""
    histories: tf.Tensor | None = None
    """[batch, length] int64 item keys, negative where there is none; None without a history."""


@dataclass(frozen=True)
class LossSum:
    """The loss of one batch, not yet averaged: only the caller knows the global batch."""

    loss_sum: tf.Tensor
    """Scalar float32: the sum of the rows' cross entropies, each times the row's weight."""
    masked_fraction: tf.Tensor
    """Scalar float32: the share of the candidate negatives that were masked."""


Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor | None, BatchKeys, tf.Tensor, tf.Tensor | None], LossSum]
"""A loss of one replica's batch.

Its arguments are the user and the item embeddings, each [batch, dim] float32, log q of the rows' items,
[batch] float32 or None, the keys of the rows, a [2] int64 seed that differs between steps and replicas, and
the weights of the rows, [batch] float32 or None.
"""


def build_loss(config: LossConfig, per_replica_batch: int) -> Loss:
    """Choose the loss that the configuration asks for.

    Args:
        config: The `loss` section.
        per_replica_batch: Rows per replica.

    Returns:
        The loss of one replica's batch.

    Raises:
        ConfigError: The batch is too small for the negatives of `rotation`.
    """

    def in_batch(
        users: tf.Tensor,
        items: tf.Tensor,
        log_q: tf.Tensor | None,
        keys: BatchKeys,
        seed: tf.Tensor,
        weights: tf.Tensor | None = None,
    ) -> LossSum:
        return in_batch_softmax(users, items, log_q, keys, config, weights)

    if config.negatives == "in_batch":
        return in_batch
    if config.rotation_negatives >= per_replica_batch:
        raise ConfigError(
            "loss.rotation_negatives: expected fewer negatives than a replica's batch has rows "
            f"(training.per_replica_batch = {per_replica_batch}). Received: {config.rotation_negatives}. "
            "Lower the one or raise the other."
        )

    def rotation(
        users: tf.Tensor,
        items: tf.Tensor,
        log_q: tf.Tensor | None,
        keys: BatchKeys,
        seed: tf.Tensor,
        weights: tf.Tensor | None = None,
    ) -> LossSum:
        offsets = draw_rotation_offsets(per_replica_batch, config.rotation_negatives, seed)
        return rotation_softmax(users, items, log_q, keys, offsets, config, weights)

    return rotation


def in_batch_softmax(
    users: tf.Tensor,
    items: tf.Tensor,
    log_q: tf.Tensor | None,
    keys: BatchKeys,
    config: LossConfig,
    weights: tf.Tensor | None = None,
) -> LossSum:
    """Compute the softmax cross entropy with every other row's item as a negative.

    Args:
        users: [batch, dim] float32, L2-normalised.
        items: [batch, dim] float32, L2-normalised.
        log_q: [batch] float32, log q of each row's item; None without the correction.
        keys: The keys of the rows.
        config: Temperature and masks.
        weights: [batch] float32, what each row's loss is multiplied by; None: 1. As another row's negative
            an item counts whole.

    Returns:
        The summed loss and the masked share of the batch * (batch - 1) negatives.
    """
    logits = tf.matmul(users, items, transpose_b=True) / config.temperature
    if log_q is not None:
        logits -= log_q
    return _masked_cross_entropy(logits, tf.linalg.diag_part(logits), in_batch_mask(keys, config), weights)


def rotation_softmax(
    users: tf.Tensor,
    items: tf.Tensor,
    log_q: tf.Tensor | None,
    keys: BatchKeys,
    offsets: tf.Tensor,
    config: LossConfig,
    weights: tf.Tensor | None = None,
) -> LossSum:
    """Compute the softmax cross entropy with a few other rows' items as negatives of each row.

    Args:
        users: [batch, dim] float32, L2-normalised.
        items: [batch, dim] float32, L2-normalised.
        log_q: [batch] float32, log q of each row's item; None without the correction.
        keys: The keys of the rows.
        offsets: [negatives] int32, each in 1..batch-1: the negatives of row i are the items of the rows
            i + offset, modulo the batch.
        config: Temperature and masks.
        weights: [batch] float32, what each row's loss is multiplied by; None: 1.

    Returns:
        The summed loss and the masked share of the batch * negatives candidates.
    """
    logits = rotation_logits(users, items, log_q, offsets, config.temperature)
    return _masked_cross_entropy(logits, logits[:, 0], rotation_mask(keys, offsets, config), weights)


def rotation_logits(
    users: tf.Tensor, items: tf.Tensor, log_q: tf.Tensor | None, offsets: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Compute the logits of each row's own item and of its rotated negatives.

    Args:
        users: [batch, dim] float32.
        items: [batch, dim] float32.
        log_q: [batch] float32 or None.
        offsets: [negatives] int32, each in 1..batch-1.
        temperature: What the similarities are divided by.

    Returns:
        [batch, 1 + negatives] float32, the row's own item in column 0.
    """
    columns = _rotated_rows(tf.shape(items)[0], offsets)
    logits = tf.einsum("bd,bnd->bn", users, tf.gather(items, columns)) / temperature
    return logits if log_q is None else logits - tf.gather(log_q, columns)


def draw_rotation_offsets(batch: int, negatives: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw one offset in each of the strata [k * batch / negatives, (k + 1) * batch / negatives).

    Args:
        batch: Rows per replica.
        negatives: Strata; fewer than `batch`, so that each holds a whole number.
        seed: [2] int64; equal seeds give equal offsets.

    Returns:
        [negatives] int32, ascending, distinct, each in 1..batch-1: 0 and `batch` are the row itself.
    """
    bounds = [math.ceil(stratum * batch / negatives) for stratum in range(negatives + 1)]
    first = tf.constant([max(1, bound) for bound in bounds[:-1]], tf.int32)
    width = tf.constant(bounds[1:], tf.int32) - first
    share = tf.random.stateless_uniform([negatives], seed, dtype=tf.float64)
    return first + tf.cast(share * tf.cast(width, tf.float64), tf.int32)


def in_batch_mask(keys: BatchKeys, config: LossConfig) -> tf.Tensor:
    """Find the false negatives among all pairs of rows.

    Item j is masked in row i when it is row i's item (`mask_same_item`), or when it is the item of any
    row of the same user or stands in row i's history (`mask_same_user`).

    Args:
        keys: The keys of the rows.
        config: Which masks apply.

    Returns:
        [batch, batch] bool, row i and item j; False on the diagonal, the row's own item.
    """
    batch = tf.shape(keys.items)[0]
    masked = tf.zeros([batch, batch], tf.bool)
    if config.mask_same_item:
        masked |= keys.items[:, None] == keys.items[None, :]
    if config.mask_same_user:
        masked |= _same_user_mask(keys)
    return masked & ~tf.eye(batch, dtype=tf.bool)


def rotation_mask(keys: BatchKeys, offsets: tf.Tensor, config: LossConfig) -> tf.Tensor:
    """Find the false negatives that `in_batch_mask` defines, among the rotated negatives alone.

    Args:
        keys: The keys of the rows.
        offsets: [negatives] int32, each in 1..batch-1.
        config: Which masks apply.

    Returns:
        [batch, 1 + negatives] bool; False in column 0, the row's own item.
    """
    batch = tf.shape(keys.items)[0]
    columns = _rotated_rows(batch, offsets)[:, 1:]
    masked = tf.zeros_like(columns, tf.bool)
    if config.mask_same_item:
        masked |= tf.gather(keys.items, columns) == keys.items[:, None]
    if config.mask_same_user:
        masked |= _rotated_same_user_mask(keys, columns)
    return tf.concat([tf.zeros([batch, 1], tf.bool), masked], axis=1)


def _same_user_mask(keys: BatchKeys) -> tf.Tensor:
    batch = tf.shape(keys.items)[0]
    # The table of who has what, over positions in the sorted keys: memory is batch x batch, not batch x
    # batch x history, and no product of batch x batch matrices is needed.
    user_positions, _ = _find(tf.sort(keys.users), keys.users)
    sorted_items = tf.sort(keys.items)
    item_positions, _ = _find(sorted_items, keys.items)
    has = tf.scatter_nd(tf.stack([user_positions, item_positions], axis=1), tf.ones([batch]), [batch, batch])
    has = tf.gather(has, user_positions)
    if keys.histories is not None:
        positions, found = _find(sorted_items, keys.histories)
        rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(positions))
        has = tf.tensor_scatter_nd_add(has, tf.stack([rows, positions], axis=-1), tf.cast(found, tf.float32))
    return tf.gather(has, item_positions, axis=1) > 0


def _rotated_same_user_mask(keys: BatchKeys, columns: tf.Tensor) -> tf.Tensor:
    # Pairs of user and item as single numbers, instead of the batch x batch table.
    batch = tf.size(keys.items, tf.int64)
    user_positions, _ = _find(tf.sort(keys.users), keys.users)
    item_positions, _ = _find(tf.sort(keys.items), keys.items)
    first = tf.cast(user_positions, tf.int64) * batch
    second = tf.cast(item_positions, tf.int64)
    _, masked = _find(tf.sort(first + second), first[:, None] + tf.gather(second, columns))
    if keys.histories is not None:
        items = tf.gather(keys.items, columns)
        masked |= tf.reduce_any(items[:, :, None] == keys.histories[:, None, :], axis=2)
    return masked


def _find(sorted_keys: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first position of each key in the sorted keys, and whether it is there at all."""
    flat = tf.reshape(keys, [-1])
    positions = tf.minimum(tf.searchsorted(sorted_keys, flat), tf.size(sorted_keys) - 1)
    found = tf.gather(sorted_keys, positions) == flat
    return tf.reshape(positions, tf.shape(keys)), tf.reshape(found, tf.shape(keys))


def _rotated_rows(batch: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Return [batch, 1 + negatives] int32: row i itself, and the rows i + offset modulo the batch."""
    return (tf.range(batch)[:, None] + tf.concat([[0], offsets], axis=0)) % batch


def _masked_cross_entropy(
    logits: tf.Tensor, own: tf.Tensor, masked: tf.Tensor, weights: tf.Tensor | None
) -> LossSum:
    # exp(-inf) is an exact 0, in the sum and in its gradient; the row's own logit keeps the sum positive.
    kept = tf.where(masked, tf.constant(-math.inf, logits.dtype), logits)
    candidates = tf.cast(tf.size(logits) - tf.shape(logits)[0], tf.float32)
    losses = tf.reduce_logsumexp(kept, axis=1) - own
    return LossSum(
        loss_sum=tf.reduce_sum(losses if weights is None else weights * losses),
        masked_fraction=tf.math.count_nonzero(masked, dtype=tf.float32) / candidates,
    )
