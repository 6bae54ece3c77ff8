"""The softmax loss over many candidates, in blocks of rows.

The logits of two blocks (on a GPU: of one), [block, columns] each, are all that is held at once. As a row has
all its candidates in one block, its softmax is complete there, and so is its gradient: the forward pass adds
that up in [rows, dim] and [columns, dim], and the backward pass scales it. Logits are neither kept between
the passes nor computed twice.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from trainer.false_negatives import FalseNegatives
from trainer.refined_softmax import RefinedRows, compute_refined_loss

# Far above the smallest normal float32, 1e-38, below which a probability has lost its digits or is 0.
_SMALLEST_PROBABILITY = 1e-30

# On CPUs: the softmax of one block beside the matrix products of another.
_BLOCKS_AT_ONCE = 2


def choose_block_rows(rows: int, columns: int, maximum_mib: float) -> int:
    """Choose how many rows make a block.

    Args:
        rows: Rows of the batch.
        columns: Candidates of each row.
        maximum_mib: MiB that the float32 logits of the blocks that are worked on at once do not exceed, but
            where single rows do.

    Returns:
        `rows` if they all fit, otherwise what divides them into equal blocks, the last one perhaps smaller.
    """
    fitting = int(maximum_mib * 2**20 / 4 / columns)
    if fitting >= rows:
        return rows
    return math.ceil(rows / math.ceil(rows / max(1, fitting // _blocks_at_once())))


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def _blocks_at_once() -> int:
    # A GPU takes one operation after the other.
    return 1 if _has_gpu() else _BLOCKS_AT_ONCE


def streamed_softmax_loss(
    users: tf.Tensor,
    items: tf.Tensor,
    bias: tf.Tensor,
    weights: tf.Tensor,
    masks: FalseNegatives,
    *,
    rows: int,
    block_rows: int,
    refined: RefinedRows | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum the weighted losses of the rows, each over the candidates that the row does not mask.

    The loss of row i is the cross entropy log sum_j exp(s_ij) - s_i,own, or with the refined correction the
    one that trainer/losses.py gives. With s_ij = <u_i, v_j> + b_j and p_ij the softmax of row i, the gradient
    of u_i is w_i (sum_j p_ij v_j - v_own), that of v_j sum_i w_i (p_ij - [j is row i's own]) u_i. Bias and
    weights have none. With the refined correction p_ij is the softmax over the negatives alone, and 1 - P_i
    is a factor of every gradient of row i.

    Args:
        users: [rows, dim] float32, divided by the temperature.
        items: [columns, dim] float32.
        bias: [columns] float32; -inf where a column holds nothing.
        weights: [rows] float32.
        masks: The masked candidates, and the columns of the rows' own items.
        rows: Rows of the batch.
        block_rows: Rows of a block.
        refined: For the refined correction, where `bias` is -log Q; None: the cross entropy.

    Returns:
        The sum, a scalar float32, and the number of masked pairs, a scalar float32.
    """
    blocks = math.ceil(rows / block_rows)

    @tf.custom_gradient
    def summed(users: tf.Tensor, items: tf.Tensor) -> tuple:
        sorted_items = tf.gather(items, masks.order)
        # The bias is one more dimension, so that it takes no pass over the logits.
        users_one = tf.concat([users, tf.ones([rows, 1])], axis=1)
        items_bias = tf.transpose(tf.concat([sorted_items, tf.gather(bias, masks.order)[:, None]], axis=1))
        weighted_users = weights[:, None] * users

        def block_sums(start: tf.Tensor | int, stop: tf.Tensor | int) -> tuple[tf.Tensor, ...]:
            own = tf.cast(masks.own[start:stop], tf.int32)
            logits = tf.matmul(users_one[start:stop], items_bias)
            masked = masks.in_rows(start, stop)
            if refined is None:
                loss, probabilities = _softmax(logits, own, masked)
                factor = tf.ones_like(loss)
            else:
                loss, probabilities, factor = _refined_softmax(
                    logits, own, masked, refined.between(start, stop)
                )
            return (
                tf.reduce_sum(weights[start:stop] * loss),
                tf.size(masked, tf.int64),
                factor[:, None],
                tf.matmul(probabilities, sorted_items),
                # The product of this orientation is the faster one by half.
                tf.matmul(factor[:, None] * weighted_users[start:stop], probabilities, transpose_a=True),
            )

        if blocks == 1:
            loss_sum, masked, factors, users_gradient, items_gradient = block_sums(0, rows)
        else:
            loss_sum, masked, factors, users_gradient, items_gradient = _sum_over_blocks(
                block_sums, users, sorted_items, blocks, block_rows
            )
        items_gradient = tf.gather(tf.transpose(items_gradient), masks.rank)
        items_gradient -= masks.in_own_columns(factors * weighted_users)
        users_gradient = factors * weights[:, None] * (users_gradient - masks.of_own_columns(items))

        def gradient(upstream: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return upstream * users_gradient, upstream * items_gradient

        return (loss_sum, tf.cast(masked, tf.float32)), gradient

    return summed(users, items)


def _remove(logits: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    # exp(-inf) is an exact 0, in a sum and in its gradient.
    # SparseToDense writes 10 times faster than tf.tensor_scatter_nd_update, the pass of the sum included.
    size = tf.size(logits, tf.int64)
    penalty = tf.raw_ops.SparseToDense(
        sparse_indices=cells,
        output_shape=size[None],
        sparse_values=-math.inf,
        default_value=0.0,
        validate_indices=False,
    )
    return logits + tf.reshape(penalty, tf.shape(logits))


def _refined_softmax(
    logits: tf.Tensor, own: tf.Tensor, masked: tf.Tensor, rows: RefinedRows
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the losses, [block], the negatives' softmax, [block, columns], and 1 - P, [block]."""
    own_logits = tf.gather(logits, own, batch_dims=1) + rows.own_log_share
    block, columns = tf.unstack(tf.shape(logits, tf.int64))
    own_cells = tf.range(block) * columns + tf.cast(own, tf.int64)
    logits = _remove(logits, tf.concat([masked, own_cells], axis=0))
    log_sums = tf.reduce_logsumexp(logits, axis=1)
    losses, rest = compute_refined_loss(own_logits, log_sums, rows)
    # tf.nn.softmax of a row without negatives would be none.
    probabilities = tf.exp(logits - tf.where(tf.math.is_finite(log_sums), log_sums, 0.0)[:, None])
    return losses, probabilities, rest


def _softmax(logits: tf.Tensor, own: tf.Tensor, masked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cross entropies, [block], and their softmax, [block, columns]."""
    # The row's own logit keeps the sum positive.
    logits = _remove(logits, masked)
    probabilities = tf.nn.softmax(logits)
    own_probability = tf.gather(probabilities, own, batch_dims=1)

    def from_largest() -> tf.Tensor:
        # log sum_j exp(s_ij) = s_ij - log p_ij for every j; at the largest, p_ij is no less than 1 / columns.
        log_sum = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(probabilities, axis=1))
        return log_sum - tf.gather(logits, own, batch_dims=1)

    if _has_gpu():
        # The host would wait for the condition.
        loss = from_largest()
    else:
        # The two maxima cost as much as the softmax: they are for a row whose own item has next to no share.
        loss = tf.cond(
            tf.reduce_min(own_probability) > _SMALLEST_PROBABILITY,
            lambda: -tf.math.log(own_probability),
            from_largest,
        )
    return loss, probabilities


def _sum_over_blocks(
    block_sums: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
    users: tf.Tensor,
    items: tf.Tensor,
    blocks: int,
    block_rows: int,
) -> list[tf.Tensor]:
    rows, dim = users.shape

    def add_block(block: tf.Tensor, sums: list) -> tuple[tf.Tensor, list]:
        start = block * block_rows
        more = block_sums(start, tf.minimum(start + block_rows, rows))
        return block + 1, [
            sums[0] + more[0],
            sums[1] + more[1],
            sums[2].write(block, more[2]),
            sums[3].write(block, more[3]),
            sums[4] + more[4],
        ]

    factors, by_block = (
        tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, width])
        for width in (1, dim)
    )
    nothing = [tf.zeros([]), tf.zeros([], tf.int64), factors, by_block, tf.zeros_like(tf.transpose(items))]
    _, (loss_sum, masked, factors, users_gradient, items_gradient) = tf.while_loop(
        lambda block, _: block < blocks,
        add_block,
        (0, nothing),
        parallel_iterations=_blocks_at_once(),
    )
    return [loss_sum, masked, factors.concat(), users_gradient.concat(), items_gradient]
