"""The softmax cross entropy over many candidates, in blocks of rows.

The logits of two blocks (on a GPU: of one), [block, columns] each, are all that is held at once. As a row has
all its candidates in one block, its softmax is complete there, and so is its gradient: the forward pass adds
that up in [rows, dim] and [columns, dim], and the backward pass scales it. Logits are neither kept between
the passes nor computed twice.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from trainer.false_negatives import FalseNegatives

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


def streamed_cross_entropy(
    users: tf.Tensor,
    items: tf.Tensor,
    bias: tf.Tensor,
    weights: tf.Tensor,
    masks: FalseNegatives,
    *,
    rows: int,
    block_rows: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute sum_i w_i (log sum_j exp(s_ij) - s_i,own) over the candidates j that row i does not mask.

    With s_ij = <u_i, v_j> + b_j and p_ij the softmax of row i, the gradient of u_i is w_i (sum_j p_ij v_j -
    v_own), that of v_j sum_i w_i (p_ij - [j is row i's own]) u_i. Bias and weights have none.

    Args:
        users: [rows, dim] float32, divided by the temperature.
        items: [columns, dim] float32.
        bias: [columns] float32; -inf where a column holds nothing.
        weights: [rows] float32.
        masks: The masked candidates, and the columns of the rows' own items.
        rows: Rows of the batch.
        block_rows: Rows of a block.

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
            loss, probabilities, masked = _softmax(
                tf.matmul(users_one[start:stop], items_bias), own, masks.in_rows(start, stop)
            )
            return (
                tf.reduce_sum(weights[start:stop] * loss),
                masked,
                tf.matmul(probabilities, sorted_items),
                # The product of this orientation is the faster one by half.
                tf.matmul(weighted_users[start:stop], probabilities, transpose_a=True),
            )

        if blocks == 1:
            loss_sum, masked, users_gradient, items_gradient = block_sums(0, rows)
        else:
            loss_sum, masked, users_gradient, items_gradient = _sum_over_blocks(
                block_sums, users, sorted_items, blocks, block_rows
            )
        items_gradient = tf.gather(tf.transpose(items_gradient), masks.rank)
        items_gradient -= masks.in_own_columns(weighted_users)
        users_gradient = weights[:, None] * (users_gradient - masks.of_own_columns(items))

        def gradient(upstream: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return upstream * users_gradient, upstream * items_gradient

        return (loss_sum, tf.cast(masked, tf.float32)), gradient

    return summed(users, items)


def _softmax(logits: tf.Tensor, own: tf.Tensor, masked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the cross entropies, [block], their softmax, [block, columns], and how many pairs are masked."""
    # exp(-inf) is an exact 0, in the sum and in its gradient; the row's own logit keeps the sum positive.
    # SparseToDense writes 10 times faster than tf.tensor_scatter_nd_update, the pass of the sum included.
    size = tf.size(logits, tf.int64)
    penalty = tf.raw_ops.SparseToDense(
        sparse_indices=masked,
        output_shape=size[None],
        sparse_values=-math.inf,
        default_value=0.0,
        validate_indices=False,
    )
    logits += tf.reshape(penalty, tf.shape(logits))
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
    return loss, probabilities, tf.size(masked, tf.int64)


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
            sums[3] + more[3],
        ]

    by_block = tf.TensorArray(tf.float32, blocks, infer_shape=False, element_shape=[None, dim])
    nothing = [tf.zeros([]), tf.zeros([], tf.int64), by_block, tf.zeros_like(tf.transpose(items))]
    _, (loss_sum, masked, users_gradient, items_gradient) = tf.while_loop(
        lambda block, _: block < blocks,
        add_block,
        (0, nothing),
        parallel_iterations=_blocks_at_once(),
    )
    return [loss_sum, masked, users_gradient.concat(), items_gradient]
