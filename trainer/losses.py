"""Softmax losses of a two-tower retriever, over candidates that the batch, the catalogue and the past give.

Row i of a batch is a positive pair of a user and an item. With L2-normalised embeddings u and v, the
temperature tau, and Q(j) the expected share of item j among the candidates, the logit of candidate j for row
i is

    s_ij = <u_i, v_j> / tau - log Q(j)

(Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations"), and the
loss of row i is the cross entropy of its own item among its own item and its negatives. Where all candidates
are items of train rows, Q(j) = q_j, the share of the train rows that hold item j.

The row's own item o is no sample, since it is always among its candidates, and correcting it biases the
gradient. The refined correction (Khrylchenko et al. 2025, "Correcting the logQ correction: revisiting sampled
softmax for large-scale retrieval") takes n negatives from Q'(j) = Q(j) / (1 - Q(o)). With

    log S_i = log sum_j exp(<u_i, v_j> / tau - log Q'(j))      over the negatives
    P_i     = exp(s_io) / (exp(s_io) + S_i / n)                with s_io = <u_i, v_o> / tau

the loss of row i is (1 - P_i) (log S_i - s_io), 1 - P_i without a gradient. An item that is masked since the
user likes it counts in n, since it is drawn from Q' and adds nothing to the sum; a copy of the row's own item
that is masked does not.

Embeddings of M members (trainer/towers.py) are u = concat_m u_m / sqrt(M) and v likewise, of unit vectors u_m
and v_m. The loss is the mean over the members of what <u_m, v_m> alone would give.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from trainer.config import LossConfig
from trainer.false_negatives import BatchKeys, FalseNegatives, KnownPositives
from trainer.refined_softmax import RefinedRows, compute_refined_loss
from trainer.streaming import choose_block_rows, streamed_softmax_loss


@dataclass(frozen=True)
class Candidates:
    """The items that the rows of a batch choose among."""

    embeddings: tf.Tensor
    """[columns, dim] float32, L2-normalised."""
    items: tf.Tensor
    """[columns] int64 catalogue rows; negative where a column holds nothing."""
    users: tf.Tensor
    """[known] int64: the users that the first `known` columns are positives of."""
    log_share: tf.Tensor | None
    """[columns] float32, log Q; None without the correction."""
    first_own: tf.Tensor | int = 0
    """Column of row 0's own item, that of row i being `first_own` + i: the rows of the replicas before this
    one where the candidates are those of all replicas."""


@dataclass(frozen=True)
class LossSum:
    """The loss of one batch, not yet averaged: only the caller knows the global batch."""

    loss_sum: tf.Tensor
    """Scalar float32: the sum of the rows' losses, each times the row's weight."""
    masked_fraction: tf.Tensor
    """Scalar float32: the share of the candidate negatives that were masked."""


def candidate_softmax(
    users: tf.Tensor,
    candidates: Candidates,
    keys: BatchKeys,
    config: LossConfig,
    weights: tf.Tensor | None = None,
    positives: KnownPositives | None = None,
    members: int = 1,
) -> LossSum:
    """Compute the softmax loss with every other candidate as a negative.

    Args:
        users: [rows, dim] float32, L2-normalised, of static shape.
        candidates: The rows' own items and their negatives, of static shape.
        keys: The keys of the rows.
        config: Temperature, masks, and the size of logits that is not exceeded.
        weights: [rows] float32, what each row's loss is multiplied by; None: 1. As another row's negative
            an item counts whole.
        positives: What each user has in train, for `mask_same_user: sequence`.
        members: Members that the embeddings are of.

    Returns:
        The summed loss and the masked share of the rows * (candidates - 1) negatives.
    """
    rows, columns = users.shape[0], candidates.embeddings.shape[0]
    present = candidates.items >= 0
    log_share = tf.zeros([columns]) if candidates.log_share is None else candidates.log_share
    masks = FalseNegatives(keys, candidates.items, candidates.users, candidates.first_own, config, positives)
    others = tf.math.count_nonzero(present, dtype=tf.float32) - 1
    refined = _describe_rows(candidates, masks, others) if config.correction == "refined" else None
    bias = tf.where(present, -log_share, -math.inf)
    sums = [
        streamed_softmax_loss(
            of_users,
            of_items,
            bias,
            tf.ones([rows]) if weights is None else weights,
            masks,
            rows=rows,
            # The members' blocks may be worked on at the same time.
            block_rows=choose_block_rows(rows, columns, config.maximum_logits_mib / members),
            refined=refined,
        )
        for of_users, of_items in _split_members(users, candidates.embeddings, config.temperature, members)
    ]
    return LossSum(
        loss_sum=tf.add_n([loss_sum for loss_sum, _ in sums]) / members,
        masked_fraction=tf.math.divide_no_nan(sums[0][1], rows * others),
    )


def rotation_softmax(
    users: tf.Tensor,
    candidates: Candidates,
    keys: BatchKeys,
    offsets: tf.Tensor,
    config: LossConfig,
    weights: tf.Tensor | None = None,
    positives: KnownPositives | None = None,
    members: int = 1,
) -> LossSum:
    """Compute the softmax loss with a few candidates as negatives of each row.

    Args:
        users: [rows, dim] float32, L2-normalised.
        candidates: The items of a batch.
        keys: The keys of the rows.
        offsets: [negatives] int32, each in 1..columns-1: the negatives of row i are the columns own + offset,
            modulo the columns.
        config: Temperature and masks.
        weights: [rows] float32, what each row's loss is multiplied by; None: 1.
        positives: What each user has in train, for `mask_same_user: sequence`.
        members: Members that the embeddings are of.

    Returns:
        The summed loss and the masked share of the rows * negatives candidates.
    """
    columns = _rotated_columns(users, candidates, offsets)
    false_negatives = FalseNegatives(
        keys, candidates.items, candidates.users, candidates.first_own, config, positives
    )
    masked = false_negatives.among(columns[:, 1:])
    of_members = []
    for of_users, of_items in _split_members(users, candidates.embeddings, config.temperature, members):
        logits = _rotation_logits(of_users, of_items, candidates.log_share, columns)
        if config.correction == "refined":
            losses = _refined_rotation_losses(logits, masked, candidates, columns, false_negatives)
        else:
            # exp(-inf) is an exact 0, in the sum and in its gradient; the own logit keeps the sum positive.
            kept = tf.where(masked, -math.inf, logits[:, 1:])
            losses = tf.reduce_logsumexp(tf.concat([logits[:, :1], kept], axis=1), axis=1) - logits[:, 0]
        of_members.append(losses)
    losses = tf.add_n(of_members) / members
    return LossSum(
        loss_sum=tf.reduce_sum(losses if weights is None else weights * losses),
        masked_fraction=tf.reduce_mean(tf.cast(masked, tf.float32)),
    )


def rotation_logits(
    users: tf.Tensor, candidates: Candidates, offsets: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Compute the logits of each row's own item and of its rotated negatives.

    Args:
        users: [rows, dim] float32.
        candidates: The items of a batch.
        offsets: [negatives] int32, each in 1..columns-1.
        temperature: What the similarities are divided by.

    Returns:
        [rows, 1 + negatives] float32, the row's own item in column 0.
    """
    columns = _rotated_columns(users, candidates, offsets)
    return _rotation_logits(users / temperature, candidates.embeddings, candidates.log_share, columns)


def draw_rotation_offsets(columns: int, negatives: int, seed: tf.Tensor) -> tf.Tensor:
    """Draw one offset in each of the strata [k * columns / negatives, (k + 1) * columns / negatives).

    Args:
        columns: Rows whose items are the candidates.
        negatives: Strata; fewer than `columns`, so that each holds a whole number.
        seed: [2] int64; equal seeds give equal offsets.

    Returns:
        [negatives] int32, ascending, distinct, each in 1..columns-1: 0 and `columns` are the row itself.
    """
    bounds = [math.ceil(stratum * columns / negatives) for stratum in range(negatives + 1)]
    first = tf.constant([max(1, bound) for bound in bounds[:-1]], tf.int32)
    width = tf.constant(bounds[1:], tf.int32) - first
    share = tf.random.stateless_uniform([negatives], seed, dtype=tf.float64)
    return first + tf.cast(share * tf.cast(width, tf.float64), tf.int32)


def _describe_rows(candidates: Candidates, masks: FalseNegatives, others: tf.Tensor) -> RefinedRows:
    return RefinedRows(
        own_log_share=masks.of_own_columns(candidates.log_share),
        negatives=others - tf.cast(masks.own_copies, tf.float32),
    )


def _refined_rotation_losses(
    logits: tf.Tensor,
    masked: tf.Tensor,
    candidates: Candidates,
    columns: tf.Tensor,
    false_negatives: FalseNegatives,
) -> tf.Tensor:
    copies = false_negatives.own_copies_among(columns[:, 1:])
    rows = RefinedRows(
        own_log_share=tf.gather(candidates.log_share, columns[:, 0]),
        negatives=tf.reduce_sum(tf.cast(~copies, tf.float32), axis=1),
    )
    has_negatives = tf.reduce_any(~masked, axis=1)
    # The gradient of a sum of nothing would be none.
    kept = tf.where(masked & has_negatives[:, None], -math.inf, logits[:, 1:])
    log_sums = tf.where(has_negatives, tf.reduce_logsumexp(kept, axis=1), -math.inf)
    losses, _ = compute_refined_loss(logits[:, 0] + rows.own_log_share, log_sums, rows)
    return losses


def _rotated_columns(users: tf.Tensor, candidates: Candidates, offsets: tf.Tensor) -> tf.Tensor:
    """Return [rows, 1 + negatives] int32: the row's own column, and own + offset modulo the columns."""
    own = candidates.first_own + tf.range(tf.shape(users)[0])
    return (own[:, None] + tf.concat([[0], offsets], axis=0)) % tf.size(candidates.items)


def _rotation_logits(
    users: tf.Tensor, items: tf.Tensor, log_share: tf.Tensor | None, columns: tf.Tensor
) -> tf.Tensor:
    logits = tf.einsum("bd,bnd->bn", users, tf.gather(items, columns))
    return logits if log_share is None else logits - tf.gather(log_share, columns)


def _split_members(
    users: tf.Tensor, items: tf.Tensor, temperature: float, members: int
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Give the vectors of each member, so scaled that their inner products are its logits before logQ."""
    parts = (tf.split(users * members / temperature, members, axis=1), tf.split(items, members, axis=1))
    return list(zip(*parts, strict=True))
