"""The user tower and the item tower, built from a FeatureSpec."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from trainer.config import ModelConfig
from trainer.encoders import EmbeddingEncoder, FeatureEncoder, build_dense, build_encoder, dropout
from trainer.history import HistoryEmbedding, HistoryVectors, build_history_encoder
from trainer.user_tower import OwnUserTower, UserTowerInputs, build_own_user_tower
from trainer.vocabularies import EncodedSize

# Squared norms below it count as it, so that a zero vector stays finite, and its gradient too.
_NORMALISE_EPSILON = 1e-12


class Mlp(tf_keras.layers.Layer):
    """Dense layers with ReLU, and a last one without.

    Args:
        inputs: Width of the input.
        hidden_layers: Widths of the layers with ReLU.
        dim: Width of the output.
        seeds: Seeds of the initial weights.
    """

    def __init__(self, inputs: int, hidden_layers: Sequence[int], dim: int, seeds: Iterator[int]) -> None:
        super().__init__(dtype="float32")
        widths = [inputs, *hidden_layers]
        self._hidden = [
            build_dense(units, width, next(seeds), activation="relu")
            for width, units in zip(widths, hidden_layers, strict=False)
        ]
        self._last = build_dense(dim, widths[-1], next(seeds))

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Map a batch.

        Args:
            vectors: [batch, inputs] float32.

        Returns:
            [batch, dim] float32.
        """
        hidden = vectors
        for layer in self._hidden:
            hidden = layer(hidden)
        return tf.cast(self._last(hidden), tf.float32)


class Tower(tf_keras.layers.Layer):
    """Maps the transformed features of one side to a unit vector.

    With x_f the vector of feature (or history encoder) f, the output is l2_normalise(sum_f x_f +
    MLP(concat_f x_f)): the sum carries the embeddings straight through, the MLP adds what lies
    between features. The sum and the norm are float32, whatever the MLP computes in.

    With M members the m-th has the m-th of M equal parts of every x_f and an MLP of its own. The output is
    concat_m y_m / sqrt(M), y_m being the vector that a tower of these parts alone has, so that the inner
    product of two outputs is the mean of the members' cosines.

    Args:
        name: Name of the layer.
        encoders: By feature name.
        history: Makes the history's vectors; None without a history.
        dim: Width of every vector.
        members: Number of members.
        hidden_layers: Widths of the hidden layers of each MLP.
        dropout_share: Share of the MLPs' input that is dropped in training.
        seeds: Seeds of the initial weights.
    """

    def __init__(
        self,
        name: str,
        encoders: Mapping[str, FeatureEncoder],
        history: HistoryVectors | None,
        dim: int,
        members: int,
        hidden_layers: Sequence[int],
        dropout_share: float,
        seeds: Iterator[int],
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self._encoders = dict(encoders)
        self._history = history
        self._dropout_share = dropout_share
        vectors = len(self._encoders) + (history.count if history is not None else 0)
        width = dim // members
        self._mlps = [Mlp(vectors * width, hidden_layers, width, seeds) for _ in range(members)]

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        training: bool = False,
        seed: tf.Tensor | None = None,
        segments: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Embed a batch.

        Args:
            features: Transformed features by name; those of the other tower are ignored. Single values
                are [batch], vectors [batch, length], and multi-valued ones and texts [batch, values] and
                the history [batch, length], these with -1 where there is no value. `HistoryEmbedding` says
                what stands beside the history.
            training: Whether dropout applies.
            seed: [2] int64; what is dropped follows from it alone, so it differs between steps and replicas.
            segments: [windows, length] int64, where the rows are windows; see `HistoryVectors.call`.

        Returns:
            [batch, dim] float32, L2-normalised.

        Raises:
            ValueError: `training` without a seed, and the tower has a dropout.
        """
        if training and self._dropout_share > 0.0 and seed is None:
            raise ValueError(f"{self.name}: expected a seed for the dropout in training. Received: None")
        history_seed, mlp_seed = _split(seed) if training and seed is not None else (None, None)
        vectors = [encoder(features[name]) for name, encoder in self._encoders.items()]
        if self._history is not None:
            vectors += self._history(features, seed=history_seed, segments=segments)
        members = len(self._mlps)
        inputs = dropout(tf.concat(vectors, axis=1), self._dropout_share, mlp_seed)
        parts = tf.split(tf.reshape(inputs, [-1, len(vectors), vectors[0].shape[1]]), members, axis=2)
        outputs = [
            tf.math.l2_normalize(
                carried + mlp(tf.reshape(part, [-1, len(vectors) * part.shape[2]])),
                axis=1,
                epsilon=_NORMALISE_EPSILON,
            )
            for mlp, part, carried in zip(
                self._mlps, parts, tf.split(tf.add_n(vectors), members, axis=1), strict=True
            )
        ]
        return tf.concat(outputs, axis=1) / math.sqrt(members)


@dataclass(frozen=True)
class Towers:
    """The two towers; the embedding of the item id is in both where the user tower reads a history."""

    user: Tower | OwnUserTower
    """Reads the user features, the context features and the history."""
    item: Tower
    """Reads the item features."""

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Every variable of the two towers once."""
        return _unique(self.user.trainable_variables + self.item.trainable_variables)

    @property
    def tables(self) -> dict[str, tf.Variable]:
        """The embedding tables by name, [rows, dim] float32 each: the features' and the time gap's."""
        layers = itertools.chain(self.user.submodules, self.item.submodules)
        encoders = {layer.table_name: layer for layer in layers if isinstance(layer, EmbeddingEncoder)}
        return {name: encoders[name].table for name in sorted(encoders)}

    @property
    def dense_variables(self) -> list[tf.Variable]:
        """Every trainable variable that is no embedding table, once."""
        tables = {id(table) for table in self.tables.values()}
        return [variable for variable in self.trainable_variables if id(variable) not in tables]


def build_towers(
    spec: FeatureSpec, config: ModelConfig, sizes: Mapping[str, EncodedSize], seed: int
) -> Towers:
    """Build both towers with all their variables.

    Args:
        spec: The features.
        config: The `model` section.
        sizes: Rows of each feature with a vocabulary or buckets, by name, and of the history's time gaps.
        seed: Equal seeds give equal initial weights.

    Returns:
        The towers, untrained; built under a `tf.distribute` scope, their variables are the strategy's.

    Raises:
        ConfigError: The user tower would have no input, or `model.user_tower` breaks its contract.
    """
    seeds = itertools.count(seed * 1_000_003)
    user_encoders, item_encoders = (
        {
            feature.name: build_encoder(feature, sizes, config.dim, next(seeds))
            for feature in spec.tower_features(tower)
        }
        for tower in ("user", "item")
    )
    return Towers(
        user=_build_user_tower(spec, config, sizes, user_encoders, item_encoders, seeds),
        item=Tower(
            "item_tower", item_encoders, None, config.dim, config.members, config.item_layers, 0.0, seeds
        ),
    )


def _build_user_tower(
    spec: FeatureSpec,
    config: ModelConfig,
    sizes: Mapping[str, EncodedSize],
    encoders: Mapping[str, FeatureEncoder],
    item_encoders: Mapping[str, FeatureEncoder],
    seeds: Iterator[int],
) -> Tower | OwnUserTower:
    embedding = None
    if spec.history is not None and (config.history_encoders or config.user_tower is not None):
        embedding = HistoryEmbedding(spec, item_encoders, sizes, config.dim, next(seeds))
    if config.user_tower is not None:
        inputs = UserTowerInputs(spec, config, sizes, encoders, embedding, next(seeds))
        return build_own_user_tower(config.user_tower, inputs)
    history = None
    if spec.history is not None and embedding is not None:
        encoders_of_members = [
            [
                build_history_encoder(name, spec.history.length, config.member, next(seeds))
                for name in config.history_encoders
            ]
            for _ in range(config.members)
        ]
        history = HistoryVectors(embedding, encoders_of_members, config.dropout)
    if not encoders and history is None:
        raise ConfigError(
            "model.history_encoders: expected at least one encoder, since the user tower has no feature "
            "besides the history. Received: []."
        )
    return Tower(
        "user_tower",
        encoders,
        history,
        config.dim,
        config.members,
        config.user_layers,
        config.dropout,
        seeds,
    )


def _split(seed: tf.Tensor) -> list[tf.Tensor]:
    """Make two independent seeds of one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, 2))


def _unique(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    return list({id(variable): variable for variable in variables}.values())
