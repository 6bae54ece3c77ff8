"""Layers that make a vector of one feature's transformed values."""

from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from schemas.features import Feature
from trainer.tables import lookup
from trainer.vocabularies import EncodedSize

# Far enough below every learned logit that exp of it is 0 in float32.
_FAR = 1e9
# Small against the variance of untrained embeddings, (0.1)^2 / 12.
_VARIANCE_EPSILON = 1e-6
# Values of the 16 bits that decide whether a number is dropped.
_DRAWS = 2**16


class EmbeddingEncoder(tf_keras.layers.Layer):
    """Embeds values with one row per entry of their vocabulary or bucket, and per OOV bucket.

    The embeddings are float32 whatever the global policy.

    Args:
        name: Name of the feature or column; it becomes the name of the table.
        size: Its rows.
        dim: Width of an embedding.
        seed: Seed of the initial rows.

    Attributes:
        table_name: Name of the table.
        table: The rows, [rows, dim] float32.
    """

    def __init__(self, name: str, size: EncodedSize, dim: int, seed: int) -> None:
        super().__init__(name=f"{name}_encoder", dtype="float32")
        self.table_name = name
        self.table = self.add_weight(
            name=f"{name}_embeddings",
            shape=[size.in_vocabulary + size.oov_buckets, dim],
            initializer=tf_keras.initializers.RandomUniform(-0.05, 0.05, seed=seed),
        )

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Encode a batch of values.

        Args:
            values: [batch] int64, or [batch, values] int64 with a negative number where there is none.

        Returns:
            [batch, dim] float32: the embedding, or the mean of the embeddings; zeros without any value.
        """
        if values.shape.rank == 1:
            return self.embed(values)
        # Only what is there is looked up, and every value once: several times cheaper, forwards and
        # backwards, than looking up the padding too and masking it.
        places = tf.where(values >= 0)
        distinct, positions = tf.unique(tf.gather_nd(values, places))
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            distinct = _lengthen(distinct, tf.size(values))
        return tf.sparse.segment_mean(
            self.embed(distinct), positions, places[:, 0], num_segments=tf.shape(values)[0]
        )

    def embed(self, values: tf.Tensor) -> tf.Tensor:
        """Look up each value on its own.

        Args:
            values: int64 of any shape, the numbers of rows.

        Returns:
            float32 of the shape of `values` and a last dimension `dim`; at a negative value the row
            means nothing.
        """
        return lookup(self.table, tf.maximum(values, 0))


def _lengthen(distinct: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Repeat the first value, or 0 without any, so that every step looks up as many.

    Replicas exchange as many rows of the gradient as were looked up, and cannot exchange fewer or more from
    one step to the next.
    """
    first = tf.reduce_max(tf.concat([tf.zeros([1], distinct.dtype), distinct[:1]], axis=0))
    return tf.concat([distinct, tf.fill([length - tf.size(distinct)], first)], axis=0)


class NumberEncoder(tf_keras.layers.Layer):
    """Maps a scaled number to a vector, affinely.

    Args:
        name: Name of the feature.
        dim: Width of the vector.
        seed: Seed of the initial weights.
    """

    def __init__(self, name: str, dim: int, seed: int) -> None:
        super().__init__(name=f"{name}_encoder", dtype="float32")
        self._dense = build_dense(dim, 1, seed)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Encode a batch of numbers.

        Args:
            values: [batch] float32.

        Returns:
            [batch, dim] float32.
        """
        return tf.cast(self._dense(values[:, None]), tf.float32)


class VectorEncoder(tf_keras.layers.Layer):
    """Maps a list of numbers to a vector, affinely.

    Args:
        name: Name of the feature.
        length: Numbers in a row.
        dim: Width of the vector.
        seed: Seed of the initial weights.
    """

    def __init__(self, name: str, length: int, dim: int, seed: int) -> None:
        super().__init__(name=f"{name}_encoder", dtype="float32")
        self._dense = build_dense(dim, length, seed)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Encode a batch of lists.

        Args:
            values: [batch, length] float32.

        Returns:
            [batch, dim] float32.
        """
        return tf.cast(self._dense(values), tf.float32)


FeatureEncoder = EmbeddingEncoder | NumberEncoder | VectorEncoder


def build_encoder(feature: Feature, sizes: Mapping[str, EncodedSize], dim: int, seed: int) -> FeatureEncoder:
    """Build the layer that a feature's encoding asks for.

    Args:
        feature: A feature with an encoding.
        sizes: Rows of each feature with a vocabulary or buckets, by name.
        dim: Width of the vector.
        seed: Seed of the initial weights.

    Returns:
        The layer with all its weights, untrained.
    """
    kind = feature.encoding.kind if feature.encoding is not None else None
    if kind == "z_score":
        return NumberEncoder(feature.name, dim, seed)
    if kind == "vector":
        return VectorEncoder(feature.name, feature.length or 1, dim, seed)
    return EmbeddingEncoder(feature.name, sizes[feature.name], dim, seed)


def build_dense(units: int, inputs: int, seed: int, activation: str | None = None) -> tf_keras.layers.Dense:
    """Build a dense layer with all its weights.

    Args:
        units: Width of its output.
        inputs: Width of its input.
        seed: Seed of the initial kernel.
        activation: Name of the activation; None: none.

    Returns:
        The layer; it computes in what the global policy says.
    """
    layer = tf_keras.layers.Dense(
        units, activation, kernel_initializer=tf_keras.initializers.GlorotUniform(seed=seed)
    )
    layer.build([None, inputs])
    return layer


def present(values: tf.Tensor) -> tf.Tensor:
    """Tell values from padding.

    Args:
        values: int64 of any shape, negative where there is no value.

    Returns:
        float32 of the same shape: 1 at a value, 0 at padding.
    """
    return tf.cast(values >= 0, tf.float32)


def masked_mean(embedded: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Average the vectors that are present.

    Args:
        embedded: [batch, length, dim] float32.
        mask: [batch, length] float32, 1 where there is a vector.

    Returns:
        [batch, dim] float32; zeros where there is none.
    """
    count = tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    return tf.einsum("bn,bnd->bd", mask, embedded) / count


def masked_softmax(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Share a weight of 1 among the positions that are present.

    Args:
        logits: [..., length] float32.
        mask: [..., length] float32, 1 where there is an item; broadcast with `logits`.

    Returns:
        [..., length] float32: exp(logit) over its sum at the positions that are present; zeros where there
        is none.
    """
    # Where nothing is present the softmax is one over the padding, which the second mask takes away.
    return tf.nn.softmax(logits - _FAR * (1.0 - mask), axis=-1) * mask


def normalise(vectors: tf.Tensor) -> tf.Tensor:
    """Give the numbers of each vector mean 0 and deviation 1 (layer norm, Ba et al. 2016), in float32.

    Args:
        vectors: [..., dim] of any float type.

    Returns:
        The like.
    """
    values = tf.cast(vectors, tf.float32)
    centred = values - tf.reduce_mean(values, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return tf.cast(centred * tf.math.rsqrt(variance + _VARIANCE_EPSILON), vectors.dtype)


def dropout(values: tf.Tensor, share: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Drop parts of a tensor; which, follows from the seed alone, so a resumed training drops the same.

    Args:
        values: float32.
        share: Share of the numbers that become 0, to 1/65536; the others are divided by 1 - share.
        seed: [2] int64, another one at every step; None: nothing is dropped.

    Returns:
        float32 of the same shape.
    """
    dropped = round(share * _DRAWS)
    if seed is None or not dropped:
        return values
    # 16 bits a number and a product: half the draws of TensorFlow's own and none of its slow selects.
    count = tf.size(values)
    words = tf.random.stateless_uniform([(count + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32)
    draws = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count], tf.shape(values))
    return values * tf.cast(draws >= dropped, values.dtype) * (_DRAWS / (_DRAWS - dropped))
