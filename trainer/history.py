"""Encoders of a user's recent items: each makes one vector of a sequence of item embeddings.

A new encoder is a class below with an entry in `HISTORY_ENCODERS` and its name in
`trainer.config.HistoryEncoderName`.
"""

import tensorflow as tf
import tf_keras

from trainer.config import HistoryEncoderName

# Far enough below every learned logit that exp of it is 0 in float32.
_FAR = 1e9


class HistoryEncoder(tf_keras.layers.Layer):
    """Makes one vector of a history, oldest item first, padded on the left.

    An empty history gives zeros.
    """

    def call(self, embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Encode a batch of histories.

        Args:
            embedded: [batch, length, dim] float32, the items' embeddings, the newest at length - 1.
            mask: [batch, length] float32, 1 where there is an item and 0 where there is padding.

        Returns:
            [batch, dim] float32.
        """
        raise NotImplementedError


class MeanHistory(HistoryEncoder):
    """The mean of the items present, without regard to their order."""

    def call(self, embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return masked_mean(embedded, mask)


class PositionWeightedHistory(HistoryEncoder):
    """A weighted mean with one learned weight per position.

    With w in R^length, the weight of position p is exp(w_p) over the sum of exp(w) at the positions
    that are present.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the weights.

        Args:
            input_shape: [batch, length, dim].
        """
        self.position_logits = self.add_weight(
            name="position_logits", shape=[input_shape[1]], initializer="zeros"
        )
        super().build(input_shape)

    def call(self, embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        # At an empty history the softmax is uniform over the padding, which the second mask takes away.
        weights = tf.nn.softmax(self.position_logits - _FAR * (1.0 - mask), axis=1) * mask
        return tf.einsum("bn,bnd->bd", weights, embedded)


class LastHistory(HistoryEncoder):
    """The newest item alone."""

    def call(self, embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return embedded[:, -1] * mask[:, -1:]


HISTORY_ENCODERS: dict[HistoryEncoderName, type[HistoryEncoder]] = {
    "mean": MeanHistory,
    "position_weighted": PositionWeightedHistory,
    "last": LastHistory,
}


def masked_mean(embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Average the vectors that are present.

    Args:
        embedded: [batch, length, dim] float32.
        mask: [batch, length] float32, 1 where there is a vector.

    Returns:
        [batch, dim] float32; zeros where there is none.
    """
    present = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    return tf.einsum("bn,bnd->bd", mask, embedded) / present
