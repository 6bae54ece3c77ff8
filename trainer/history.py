"""A user's recent items: a vector for each, and encoders that make one vector of the sequence.

A new encoder is a class below with an entry in `_ENCODERS` and its name in
`trainer.config.HistoryEncoderName`. Where a setting changes what its weights mean but no shape, it has a
`reading`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import tensorflow as tf
import tf_keras

from schemas.features import FeatureSpec
from trainer.config import HistoryEncoderName, ModelConfig, TransformerConfig
from trainer.encoders import (
    EmbeddingEncoder,
    FeatureEncoder,
    dropout,
    masked_mean,
    masked_softmax,
    normalise,
    present,
)
from trainer.transformer import CausalTransformer, see_all_before
from trainer.vocabularies import EncodedSize

# What holds for a release that says nothing of it. Other defaults in `trainer.config` are no reason to change
# these, since releases are read by them.
_UNSAID_OF_ATTENTION: Final = {"attention_heads": 2}
_UNSAID_OF_TRANSFORMER: Final = {"heads": 2, "activation": "swiglu", "positions": "rotary"}


class HistoryEncoder(tf_keras.layers.Layer):
    """Makes one vector of a history, oldest item first, padded on the left.

    An empty history gives zeros.

    Args:
        config: Settings of the encoders.
        seed: Seed of the initial weights.
        name: Name of the layer.
        dtype: What it computes in: a type, or None for the global policy. An encoder that only averages has
            nothing to gain from bfloat16.
    """

    def __init__(
        self, config: ModelConfig, seed: int, name: str | None = None, dtype: str | None = "float32"
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._config = config
        self._seed = seed

    @property
    def reading(self) -> str:
        """How the weights are read where their shapes do not tell, such as by how many heads.

        Weights of one reading mean nothing in another. '' is that of an encoder which has one alone, and of
        settings as releases have them that say nothing.
        """
        return ""

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories.

        Args:
            embedded: [batch, length, dim] float32, the items' vectors, the newest at length - 1.
            mask: [batch, length] float32, 1 where there is an item and 0 where there is padding.
            seed: [2] int64, what an encoder drops of its own follows from it; None: nothing is dropped.

        Returns:
            [batch, dim] float32, or bfloat16 where the layer computes in it.
        """
        raise NotImplementedError

    def encode_windows(
        self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Encode the history of every position of a batch of windows.

        An encoder that can is one of `trainer.config.WINDOW_ENCODERS`.

        Args:
            embedded: [windows, length, dim] float32, at each position the newest item of its history.
            visible: [windows, length, length] float32, 1 where the item at position p, the last index, is in
                the history of position q.
            seed: As in `call`.

        Returns:
            [windows, length, dim] float32; what `call` gives for each of these histories.
        """
        raise NotImplementedError


class MeanHistory(HistoryEncoder):
    """The mean of the items present, without regard to their order."""

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return masked_mean(embedded, mask)

    def encode_windows(
        self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Encode every position; see `HistoryEncoder.encode_windows`."""
        counts = tf.maximum(tf.reduce_sum(visible, axis=2, keepdims=True), 1.0)
        return tf.matmul(visible / counts, embedded)


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

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        weights = masked_softmax(self.position_logits[None, :], mask)
        return tf.einsum("bn,bnd->bd", weights, embedded)

    def encode_windows(
        self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Encode every position; see `HistoryEncoder.encode_windows`."""
        positions = np.arange(embedded.shape[1])
        behind = np.maximum(positions[:, None] - positions, 0)
        logits = tf.gather(self.position_logits, self.position_logits.shape[0] - 1 - behind)
        return tf.matmul(masked_softmax(logits, visible), embedded)


class LastHistory(HistoryEncoder):
    """The newest item alone."""

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return embedded[:, -1] * mask[:, -1:]

    def encode_windows(
        self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Encode every position; see `HistoryEncoder.encode_windows`."""
        return embedded * tf.linalg.diag_part(visible)[:, :, None]


class AttentionHistory(HistoryEncoder):
    """What the newest item attends to: one block of multi-head self-attention, read at the newest position.

    With x_p the vector at position p, e_p its learned position embedding, z_p = LayerNorm(x_p + e_p), N the
    newest position and k = dim / heads, the output is

        x_N + sum_h O_h sum_p a_hp V_h x_p,    a_hp = softmax_p((Q_h z_N)^T (K_h z_p) / sqrt(k)).

    It is the block of Vaswani et al. 2017 ("Attention is all you need") with the causal reading of SASRec
    (Kang and McAuley 2018, "Self-attentive sequential recommendation"), normalised before the scores alone,
    so that the vectors keep the scale of the embeddings that they are added to (the norm's own gain would be
    part of Q_h and K_h), and without its feed-forward layer, since the tower's MLP follows. Of one block only
    the newest position is read, so only its query is computed, and K_h and V_h are applied after the sums
    over positions: (Q_h z_N)^T K_h z_p = (K_h^T Q_h z_N)^T z_p. No product of a [dim, dim] matrix with every
    position is left.
    """

    def __init__(self, config: ModelConfig, seed: int, name: str | None = None) -> None:
        super().__init__(config, seed, name, dtype=None)

    @property
    def reading(self) -> str:
        """How the weights are read; see `HistoryEncoder.reading`."""
        return _tell(self._config, _UNSAID_OF_ATTENTION)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the weights.

        Args:
            input_shape: [batch, length, dim].
        """
        _, length, dim = input_shape
        width = dim // self._config.attention_heads
        initializers = iter(_spread(self._seed, 5))
        self.position_embeddings = self.add_weight(
            name="position_embeddings",
            shape=[length, dim],
            initializer=tf_keras.initializers.RandomUniform(-0.05, 0.05, seed=next(initializers)),
        )
        # [inputs, heads x width]: as one matrix, Glorot's bounds are those of the whole projection.
        self.query, self.key, self.value = (
            self._add_projection(name, dim, next(initializers)) for name in ("query", "key", "value")
        )
        self.output_projection = self._add_projection("output_projection", dim, next(initializers))
        self._heads = [self._config.attention_heads, width]
        super().build(input_shape)

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        dim = embedded.shape[-1]
        query, key, value = (
            tf.reshape(kernel, [dim, *self._heads]) for kernel in (self.query, self.key, self.value)
        )
        normed = normalise(embedded + self.position_embeddings)
        queries = tf.einsum("bd,dhk->bhk", normed[:, -1], query)
        scores = tf.einsum("bhd,bnd->bhn", tf.einsum("bhk,dhk->bhd", queries, key), normed)
        weights = masked_softmax(tf.cast(scores, tf.float32) / math.sqrt(self._heads[1]), mask[:, None, :])
        means = tf.einsum("bhn,bnd->bhd", tf.cast(weights, self.compute_dtype), embedded)
        heads = tf.einsum("bhd,dhk->bhk", means, value)
        attended = tf.reshape(heads, [-1, dim]) @ self.output_projection
        return (embedded[:, -1] + attended) * tf.cast(mask[:, -1:], self.compute_dtype)

    def _add_projection(self, name: str, dim: int, seed: int) -> tf.Variable:
        return self.add_weight(
            name=name, shape=[dim, dim], initializer=tf_keras.initializers.GlorotUniform(seed=seed)
        )


class GruHistory(HistoryEncoder):
    """The last state of a gated recurrent unit over the items, from the oldest to the newest.

    With h_0 = 0 and x_p the vector at position p,

        z_p = sigmoid(W_z x_p + U_z h_(p-1) + b_z)
        r_p = sigmoid(W_r x_p + U_r h_(p-1) + b_r)
        c_p = tanh(W_c x_p + b_c + r_p * (U_c h_(p-1) + d_c))
        h_p = z_p * h_(p-1) + (1 - z_p) * c_p,

    and h_p = h_(p-1) where there is padding (Cho et al. 2014, "Learning phrase representations using RNN
    encoder-decoder"; as a recommender GRU4Rec, Hidasi et al. 2016).
    """

    def __init__(self, config: ModelConfig, seed: int, name: str | None = None) -> None:
        super().__init__(config, seed, name, dtype=None)
        seeds = _spread(seed, 2)
        # Unrolled, since cuDNN takes no padding on the left, and a loop is slower on a CPU.
        self._gru = tf_keras.layers.GRU(
            config.dim,
            kernel_initializer=tf_keras.initializers.GlorotUniform(seed=seeds[0]),
            recurrent_initializer=tf_keras.initializers.Orthogonal(seed=seeds[1]),
            unroll=True,
        )

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the weights.

        Args:
            input_shape: [batch, length, dim].
        """
        self._gru.build(input_shape)
        super().build(input_shape)

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return self._gru(embedded, mask=mask > 0)


class TransformerHistory(HistoryEncoder):
    """The newest position of a causal transformer; see `trainer.transformer.CausalTransformer`."""

    @property
    def reading(self) -> str:
        """How the weights are read; see `HistoryEncoder.reading`."""
        return _tell(self._config.transformer, _UNSAID_OF_TRANSFORMER)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the weights.

        Args:
            input_shape: [batch, length, dim].
        """
        _, length, dim = input_shape
        self._transformer = CausalTransformer(dim, length, self._config.transformer, self._seed)
        super().build(input_shape)

    def call(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode a batch of histories; see `HistoryEncoder.call`."""
        return self._transformer.encode_newest(embedded, mask, seed)

    def encode_windows(
        self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Encode every position; see `HistoryEncoder.encode_windows`."""
        return self._transformer(embedded, visible, seed)


_ENCODERS: dict[HistoryEncoderName, type[HistoryEncoder]] = {
    "mean": MeanHistory,
    "position_weighted": PositionWeightedHistory,
    "last": LastHistory,
    "attention": AttentionHistory,
    "gru": GruHistory,
    "transformer": TransformerHistory,
}


class HistoryEmbedding(tf_keras.layers.Layer):
    """Makes a vector of each item of a history.

    With E the item tower's encoder of each feature, which are shared with it, and v_fp feature f of the item
    at position p, the vector is E_id(id_p) + sum_f E_f(v_fp) + G(gap_p) over `history.item_features` and the
    bucket of the time since the interaction, where these are configured.

    Args:
        spec: The features, with a history.
        item_encoders: The item tower's encoders by feature name.
        sizes: Rows of each table, by name.
        dim: Width of a vector.
        seed: Seed of the initial rows of the gap's table.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        item_encoders: Mapping[str, FeatureEncoder],
        sizes: Mapping[str, EncodedSize],
        dim: int,
        seed: int,
    ) -> None:
        super().__init__(name="history_embedding", dtype="float32")
        history = spec.history
        if history is None:
            raise ValueError("expected a specification with a history. Received one without")
        self._id_column = history.name
        self._encoders = {history.name: item_encoders[spec.item_id.name]} | {
            history.feature_column(feature): item_encoders[feature] for feature in history.item_features
        }
        if history.time_gap_buckets is not None:
            gap = history.gap_column
            self._encoders[gap] = EmbeddingEncoder(gap, sizes[gap], dim, seed)

    def call(self, features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Embed a batch of histories.

        Args:
            features: Transformed features by name. The history is [batch, length] int64 rows of the item id's
                table, the newest last, negative where there is none; the columns beside it are
                [batch, length], or [batch, length, values] for lists.

        Returns:
            [batch, length, dim] float32, meaningless where there is no item, and [batch, length] float32, 1
            where there is an item and 0 where there is none.
        """
        vectors = [_encode_each(encoder, features[name]) for name, encoder in self._encoders.items()]
        return tf.add_n(vectors), present(features[self._id_column])


class HistoryVectors(tf_keras.layers.Layer):
    """Makes the vectors of a history, one with each kind of encoder.

    Args:
        embedding: Makes a vector of each item.
        encoders: Of each member, those that make one vector of its part of them; the same kinds in one order.
        dropout_share: Share of the items' vectors that is dropped in training.
    """

    def __init__(
        self,
        embedding: HistoryEmbedding,
        encoders: Sequence[Sequence[HistoryEncoder]],
        dropout_share: float,
    ) -> None:
        super().__init__(name="history_vectors", dtype="float32")
        self._embedding = embedding
        self._encoders = [list(of_member) for of_member in encoders]
        self._dropout_share = dropout_share

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self._encoders[0])

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        seed: tf.Tensor | None,
        segments: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """Encode a batch of histories.

        Args:
            features: Transformed features by name, as `HistoryEmbedding` reads them.
            seed: [2] int64, what is dropped follows from it; None: nothing is.
            segments: [windows, length] int64, where the rows are windows, one after the other, and have the
                newest item of their histories alone: it is in the history of the row and of those after it in
                its window that are of the same segment. None where each row has its whole history.

        Returns:
            One [batch, dim] float32 per kind of encoder; zeros for an empty history.
        """
        embedded, mask = self._embedding(features)
        embedded = dropout(embedded, self._dropout_share, seed)
        visible = None
        if segments is not None:
            windows, (length, dim) = tf.shape(segments)[0], (segments.shape[1], embedded.shape[2])
            embedded = tf.reshape(embedded, [windows, length, dim])
            same = tf.cast(segments[:, :, None] == segments[:, None, :], tf.float32)
            visible = same * see_all_before(tf.reshape(mask, [windows, length]))
        parts = tf.split(embedded, len(self._encoders), axis=2)
        vectors = []
        for kind, of_kind in enumerate(zip(*self._encoders, strict=True)):
            of_members = []
            for member, (encoder, part) in enumerate(zip(of_kind, parts, strict=True)):
                own_seed = _fold_in(seed, member * self.count + kind)
                if visible is None:
                    vector = encoder(part, mask, own_seed)
                else:
                    vector = tf.reshape(encoder.encode_windows(part, visible, own_seed), [-1, part.shape[2]])
                of_members.append(tf.cast(vector, tf.float32))
            vectors.append(tf.concat(of_members, axis=1))
        return vectors


def build_history_encoder(
    name: HistoryEncoderName, length: int, config: ModelConfig, seed: int
) -> HistoryEncoder:
    """Build an encoder with all its weights.

    Args:
        name: As in `model.history_encoders`.
        length: Positions of a history.
        config: The `model` section.
        seed: Equal seeds give equal weights.

    Returns:
        The encoder, untrained.
    """
    encoder = _ENCODERS[name](config, seed, name=f"{name}_history")
    encoder.build(tf.TensorShape([None, length, config.dim]))
    return encoder


def _encode_each(encoder: FeatureEncoder, values: tf.Tensor) -> tf.Tensor:
    """Encode the values of each position as those of a row: [batch, length, ...] to [batch, length, dim]."""
    length = values.shape[1]
    vectors = encoder(tf.reshape(values, [-1, *values.shape[2:]]))
    return tf.reshape(vectors, [-1, length, vectors.shape[-1]])


def _tell(settings: ModelConfig | TransformerConfig, unsaid: Mapping[str, object]) -> str:
    """Write out those of the settings in `unsaid` that are others than there."""
    own = {name: getattr(settings, name) for name in unsaid}
    return ", ".join(f"{name} {value}" for name, value in own.items() if value != unsaid[name])


def _spread(seed: int, count: int) -> list[int]:
    """Make seeds of one, one for each weight."""
    return [seed * 31 + i for i in range(count)]


def _fold_in(seed: tf.Tensor | None, number: int) -> tf.Tensor | None:
    """Make a seed of one and a number, or none of none."""
    if seed is None:
        return None
    return tf.random.experimental.stateless_fold_in(seed, tf.constant(number, tf.int64))
