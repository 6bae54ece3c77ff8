"""The user tower and the item tower, built from a FeatureSpec."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras

from schemas.errors import ConfigError
from schemas.features import Feature, FeatureSpec, History
from trainer.config import ModelConfig
from trainer.history import HISTORY_ENCODERS, masked_mean
from trainer.vocabularies import EncodedSize

# Squared norms below it count as it, so that a zero vector stays finite, and its gradient too.
_NORMALISE_EPSILON = 1e-12


class EmbeddingEncoder(tf_keras.layers.Layer):
    """Embeds a feature with one row per value of its vocabulary or bucket, and per OOV bucket.

    Args:
        feature: A feature with a vocabulary or buckets: of a quantile, a hash or an n-gram.
        size: Its rows.
        dim: Width of an embedding.
        seed: Seed of the initial rows.
    """

    def __init__(self, feature: Feature, size: EncodedSize, dim: int, seed: int) -> None:
        super().__init__(name=f"{feature.name}_encoder")
        self._size = size
        self._holds_keys = feature.role is not None
        self.table = self.add_weight(
            name=f"{feature.name}_embeddings",
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
        return masked_mean(self.embed(values), present(values))

    def embed(self, values: tf.Tensor) -> tf.Tensor:
        """Look up each value on its own.

        Args:
            values: int64 of any shape: keys of an id, or indices of any other feature.

        Returns:
            float32 of the shape of `values` and a last dimension `dim`; at a negative value the row
            means nothing.
        """
        values = tf.maximum(values, 0)
        rows = oov_rows(values, self._size) if self._holds_keys else values
        return tf.nn.embedding_lookup(self.table, rows)


class NumberEncoder(tf_keras.layers.Layer):
    """Maps a scaled number to a vector, affinely.

    Args:
        feature: A feature with a z-score.
        dim: Width of the vector.
        seed: Seed of the initial weights.
    """

    def __init__(self, feature: Feature, dim: int, seed: int) -> None:
        super().__init__(name=f"{feature.name}_encoder")
        self._dense = _dense(dim, 1, seed)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Encode a batch of numbers.

        Args:
            values: [batch] float32.

        Returns:
            [batch, dim] float32.
        """
        return self._dense(values[:, None])


class VectorEncoder(tf_keras.layers.Layer):
    """Maps a list of numbers to a vector, affinely.

    Args:
        feature: A feature with `length` numbers in a row.
        dim: Width of the vector.
        seed: Seed of the initial weights.
    """

    def __init__(self, feature: Feature, dim: int, seed: int) -> None:
        super().__init__(name=f"{feature.name}_encoder")
        self._dense = _dense(dim, feature.length or 1, seed)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Encode a batch of lists.

        Args:
            values: [batch, length] float32.

        Returns:
            [batch, dim] float32.
        """
        return self._dense(values)


class HistoryVectors(tf_keras.layers.Layer):
    """Makes the vectors of a history, with the item id's embedding.

    Args:
        item_encoder: The item tower's encoder of the item id.
        history: Name and length of the feature.
        config: Encoders, width and dropout.
    """

    def __init__(self, item_encoder: EmbeddingEncoder, history: History, config: ModelConfig) -> None:
        super().__init__(name="history_vectors")
        self._feature = history.name
        self._item_encoder = item_encoder
        self._encoders = [HISTORY_ENCODERS[name](name=f"{name}_history") for name in config.history_encoders]
        for encoder in self._encoders:
            encoder.build(tf.TensorShape([None, history.length, config.dim]))
        self._dropout = tf_keras.layers.Dropout(config.dropout)

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self._encoders)

    def call(self, features: Mapping[str, tf.Tensor], training: bool) -> list[tf.Tensor]:
        """Encode a batch of histories.

        Args:
            features: Transformed features by name; the history is [batch, length] int64 item keys, the
                newest last, negative where there is none.
            training: Whether to drop parts of the embedded history.

        Returns:
            One [batch, dim] float32 per encoder; zeros for an empty history.
        """
        keys = features[self._feature]
        embedded = self._dropout(self._item_encoder.embed(keys), training=training)
        mask = present(keys)
        return [encoder(embedded, mask) for encoder in self._encoders]


class Tower(tf_keras.layers.Layer):
    """Maps the transformed features of one side to a unit vector.

    With x_f the vector of feature (or history encoder) f, the output is l2_normalise(sum_f x_f +
    MLP(concat_f x_f)): the sum carries the embeddings straight through, the MLP adds what lies
    between features.

    Args:
        name: Name of the layer.
        encoders: By feature name.
        history: Makes the history's vectors; None without a history.
        dim: Width of every vector.
        hidden_layers: Widths of the MLP's hidden layers.
        dropout: Share of the MLP's input that is dropped in training.
        seeds: Seeds of the initial weights.
    """

    def __init__(
        self,
        name: str,
        encoders: Mapping[str, tf_keras.layers.Layer],
        history: HistoryVectors | None,
        dim: int,
        hidden_layers: Sequence[int],
        dropout: float,
        seeds: Iterator[int],
    ) -> None:
        super().__init__(name=name)
        self._encoders = dict(encoders)
        self._history = history
        self._dropout = tf_keras.layers.Dropout(dropout)
        vectors = len(self._encoders) + (history.count if history is not None else 0)
        inputs = [vectors * dim, *hidden_layers]
        self._hidden = [
            _dense(units, width, next(seeds), activation="relu")
            for width, units in zip(inputs, hidden_layers, strict=False)
        ]
        self._last = _dense(dim, inputs[-1], next(seeds))

    def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embed a batch.

        Args:
            features: Transformed features by name; those of the other tower are ignored. Single values
                are [batch], vectors [batch, length], and multi-valued ones and texts [batch, values] and
                the history [batch, length], these with -1 where there is no value.
            training: Whether dropout applies.

        Returns:
            [batch, dim] float32, L2-normalised.
        """
        vectors = [encoder(features[name]) for name, encoder in self._encoders.items()]
        if self._history is not None:
            vectors += self._history(features, training=training)
        hidden = self._dropout(tf.concat(vectors, axis=1), training=training)
        for layer in self._hidden:
            hidden = layer(hidden)
        return tf.math.l2_normalize(
            tf.add_n(vectors) + self._last(hidden), axis=1, epsilon=_NORMALISE_EPSILON
        )


@dataclass(frozen=True)
class Towers:
    """The two towers; the embedding of the item id is in both where the user tower reads a history."""

    user: Tower
    """Reads the user features, the context features and the history."""
    item: Tower
    """Reads the item features."""

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Every variable of the two towers once."""
        variables = self.user.trainable_variables + self.item.trainable_variables
        return list({id(variable): variable for variable in variables}.values())


def build_towers(
    spec: FeatureSpec, config: ModelConfig, sizes: Mapping[str, EncodedSize], seed: int
) -> Towers:
    """Build both towers with all their variables.

    Args:
        spec: The features.
        config: The `model` section.
        sizes: Rows of each feature with a vocabulary or buckets, by name.
        seed: Equal seeds give equal initial weights.

    Returns:
        The towers, untrained; built under a `tf.distribute` scope, their variables are the strategy's.

    Raises:
        ConfigError: The user tower would have no input.
    """
    seeds = itertools.count(seed * 1_000_003)
    user_encoders, item_encoders = (
        {
            feature.name: _build_encoder(feature, config, sizes, seeds)
            for feature in spec.tower_features(tower)
        }
        for tower in ("user", "item")
    )
    history = None
    if spec.history is not None and config.history_encoders:
        history = HistoryVectors(item_encoders[spec.item_id.name], spec.history, config)
    if not user_encoders and history is None:
        raise ConfigError(
            "model.history_encoders: expected at least one encoder, since the user tower has no feature "
            "besides the history. Received: []."
        )
    dim, dropout = config.dim, config.dropout
    return Towers(
        user=Tower("user_tower", user_encoders, history, dim, config.user_layers, dropout, seeds),
        item=Tower("item_tower", item_encoders, None, dim, config.item_layers, 0.0, seeds),
    )


def oov_rows(keys: tf.Tensor, size: EncodedSize) -> tf.Tensor:
    """Map the keys of an id to the rows of its table.

    An id's key is its place in the vocabulary, or, for one that is not in it, in_vocabulary plus a
    fingerprint.

    Args:
        keys: int64 of any shape, none negative.
        size: Of the id's vocabulary.

    Returns:
        int64 of the same shape: the key if it is below in_vocabulary, else in_vocabulary + key mod
        oov_buckets.
    """
    return tf.where(keys < size.in_vocabulary, keys, size.in_vocabulary + keys % size.oov_buckets)


def present(values: tf.Tensor) -> tf.Tensor:
    """Tell values from padding.

    Args:
        values: int64 of any shape, negative where there is no value.

    Returns:
        float32 of the same shape: 1 at a value, 0 at padding.
    """
    return tf.cast(values >= 0, tf.float32)


def _build_encoder(
    feature: Feature, config: ModelConfig, sizes: Mapping[str, EncodedSize], seeds: Iterator[int]
) -> tf_keras.layers.Layer:
    if feature.encoding is not None and feature.encoding.kind == "z_score":
        return NumberEncoder(feature, config.dim, next(seeds))
    if feature.encoding is not None and feature.encoding.kind == "vector":
        return VectorEncoder(feature, config.dim, next(seeds))
    return EmbeddingEncoder(feature, sizes[feature.name], config.dim, next(seeds))


def _dense(units: int, inputs: int, seed: int, activation: str | None = None) -> tf_keras.layers.Dense:
    layer = tf_keras.layers.Dense(
        units, activation, kernel_initializer=tf_keras.initializers.GlorotUniform(seed=seed)
    )
    layer.build([None, inputs])
    return layer
