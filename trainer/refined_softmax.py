"""The refined logQ correction of a row's loss; trainer/losses.py has the formula."""

from dataclasses import dataclass

import tensorflow as tf

# Above the rounding of float32: an item that all train rows hold leaves nothing to draw negatives from.
_SMALLEST_REST = 1e-6


@dataclass(frozen=True)
class RefinedRows:
    """What the refined correction has to know of each row."""

    own_log_share: tf.Tensor
    """[rows] float32, log Q of the row's own item."""
    negatives: tf.Tensor
    """[rows] float32: n, the negatives that are no copies of the row's own item, masked ones included."""

    def between(self, start: tf.Tensor | int, stop: tf.Tensor | int) -> "RefinedRows":
        """Take some rows.

        Args:
            start: The first row.
            stop: The row after the last.

        Returns:
            What is known of them.
        """
        return RefinedRows(self.own_log_share[start:stop], self.negatives[start:stop])


def compute_refined_loss(
    own_logits: tf.Tensor, log_sums: tf.Tensor, rows: RefinedRows
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the rows' losses, (1 - P_i) (log S_i - s_io).

    Args:
        own_logits: [rows] float32: s_io, without a correction.
        log_sums: [rows] float32: the log of the sum over the negatives of exp(s_ij - log Q(j)); -inf where a
            row has none, whose loss is 0.
        rows: What is known of the rows.

    Returns:
        The losses and 1 - P, [rows] float32 each; 1 - P is without a gradient, and 0 where there is no
        negative.
    """
    has_negatives = tf.math.is_finite(log_sums)
    log_rest = tf.math.log(tf.maximum(1.0 - tf.exp(rows.own_log_share), _SMALLEST_REST))
    # Q'(j) is Q(j) divided by the same number for all negatives of a row.
    log_sums = tf.where(has_negatives, log_sums + log_rest, own_logits)
    odds = log_sums - tf.math.log(tf.maximum(rows.negatives, 1.0)) - own_logits
    rest = tf.stop_gradient(tf.where(has_negatives, tf.sigmoid(odds), 0.0))
    return rest * (log_sums - own_logits), rest
