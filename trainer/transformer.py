"""A causal transformer: a vector of each position of a sequence, made of the positions up to it."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras

from trainer.config import TransformerConfig
from trainer.encoders import dropout, masked_softmax, normalise

# Of the initial weights, as in GPT-2 (Radford et al. 2019): what a block adds is then no larger than the
# embeddings that it is added to.
_DEVIATION = 0.02
# Of the slowest rotation, in positions per radian (Su et al. 2021).
_ROTARY_BASE = 10_000.0


class CausalTransformer(tf_keras.layers.Layer):
    """Pre-norm blocks of causal self-attention and a feed-forward layer (Vaswani et al. 2017).

    With x_p the vector at position p, h_p = x_p, plus a learned e_p where positions are learned. With
    z_p = norm(h_p), k = width / heads and R_p the rotation of position p where positions are rotary, and none
    otherwise, each of `depth` blocks adds to h_p

        sum_h O_h sum_(q <= p) a_hpq V_h z_q,    a_hpq = softmax_q((R_p Q_h z_p)^T (R_q K_h z_q) / sqrt(k)),

    over the positions q that are present, and then, with z_p of the new h_p, D (silu(G z_p) * U z_p) under
    `swiglu` (Shazeer 2020) or D gelu(U z_p) under `gelu`. The norm is a layer norm whose gain is part of the
    matrices behind it, and nothing has a bias. No norm follows the last block: the vectors keep the scale of
    the embeddings, to which a tower adds others and normalises the sum.

    Positions are counted from the end of the sequence, so that padding before it moves nothing. The h_p are
    float32 whatever the global policy; the matrices compute in what it says.

    Args:
        dim: Width of the vectors, in and out. Where `config.width` is another, a matrix leads to it and one
            back.
        length: Positions of the longest sequence; rotary positions need none.
        config: Settings of the blocks.
        seed: Seed of the initial weights.
        name: Name of the layer.
    """

    def __init__(
        self, dim: int, length: int, config: TransformerConfig, seed: int, name: str | None = None
    ) -> None:
        super().__init__(name=name, dtype="float32")
        seeds = itertools.count(seed * 1_009)
        width = config.width or dim
        self._into = self._out_of = None
        if width != dim:
            self._into = _build_projection(width, dim, dim**-0.5, next(seeds))
            self._out_of = _build_projection(dim, width, width**-0.5, next(seeds))
        self._position_embeddings = None
        if config.positions == "learned":
            self._position_embeddings = self.add_weight(
                name="position_embeddings",
                shape=[length, width],
                initializer=tf_keras.initializers.RandomNormal(stddev=_DEVIATION, seed=next(seeds)),
            )
        self._blocks = [_Block(width, config, seeds) for _ in range(config.depth)]

    def call(self, embedded: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode every position of a batch of sequences.

        Args:
            embedded: [batch, length, dim] float32, a vector at each position, the newest last.
            visible: [batch, length, length] float32, 1 where position p is seen from position q and 0 where
                it is not, p being the last index; none is seen from before it. A position that does not see
                itself is padding. So several sequences may stand in one row, each seeing nothing of the
                others.
            seed: [2] int64, what is dropped follows from it; None: nothing is.

        Returns:
            [batch, length, dim] float32; zeros at padding.

        Raises:
            ValueError: The sequences are longer than what the learned positions were built for.
        """
        return self._encode(embedded, visible, visible, tf.linalg.diag_part(visible), seed)

    def encode_newest(self, embedded: tf.Tensor, mask: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Encode the newest position of a batch of sequences.

        What `call` gives at the last position, without what the last block does at the others.

        Args:
            embedded: As in `call`.
            mask: [batch, length] float32, 1 where there is a vector and 0 where there is padding, wherever
                that is; every position sees all vectors up to it.
            seed: As in `call`; other numbers are dropped in the last block than there.

        Returns:
            [batch, dim] float32; zeros where the last position is padding.

        Raises:
            ValueError: As in `call`.
        """
        visible = see_all_before(mask)
        return self._encode(embedded, visible, visible[:, -1:], mask[:, -1:], seed)[:, 0]

    def _encode(
        self,
        embedded: tf.Tensor,
        visible: tf.Tensor,
        visible_last: tf.Tensor,
        mask: tf.Tensor,
        seed: tf.Tensor | None,
    ) -> tf.Tensor:
        """Encode the newest positions, as many as `visible_last` has of what the last block sees."""
        states = embedded if self._into is None else tf.cast(self._into(embedded), tf.float32)
        if self._position_embeddings is not None:
            length, longest = embedded.shape[1], self._position_embeddings.shape[0]
            if length > longest:
                raise ValueError(
                    f"Expected sequences of up to {longest} positions, for which positions are learned. "
                    f"Received: {length}. Build the layer for longer ones, or take rotary positions."
                )
            states += self._position_embeddings[longest - length :]
        seeds = _split(seed, len(self._blocks))
        *others, (last, last_seed) = zip(self._blocks, seeds, strict=True)
        for block, block_seed in others:
            states = block(states, visible, block_seed)
        states = last(states, visible_last, last_seed)
        if self._out_of is not None:
            states = tf.cast(self._out_of(states), tf.float32)
        return states * mask[:, :, None]


def see_all_before(mask: tf.Tensor) -> tf.Tensor:
    """Let every position of a sequence see those up to it.

    Args:
        mask: [batch, length] float32, 1 where there is a vector and 0 where there is padding.

    Returns:
        [batch, length, length] float32, as `CausalTransformer.call` reads it.
    """
    return np.tri(mask.shape[1], dtype=np.float32) * mask[:, None, :]


class _Block(tf_keras.layers.Layer):
    """Attention and a feed-forward layer, each added to the states.

    Args:
        width: Of the states.
        config: Settings of the blocks.
        seeds: Seeds of the initial weights.
    """

    def __init__(self, width: int, config: TransformerConfig, seeds: Iterator[int]) -> None:
        super().__init__(dtype="float32")
        self._heads = [config.heads, width // config.heads]
        self._rotary = config.positions == "rotary"
        self._dropout_share = config.dropout
        inner = config.feed_forward_width or _feed_forward_width(width, config)
        # The states are a sum of 2 depth such outputs.
        added = _DEVIATION / math.sqrt(2 * config.depth)
        self._query, self._key, self._value = (
            _build_projection(width, width, _DEVIATION, next(seeds)) for _ in range(3)
        )
        self._output = _build_projection(width, width, added, next(seeds))
        self._gate = None
        if config.activation == "swiglu":
            self._gate = _build_projection(inner, width, _DEVIATION, next(seeds))
        self._up = _build_projection(inner, width, _DEVIATION, next(seeds))
        self._down = _build_projection(width, inner, added, next(seeds))

    def call(self, states: tf.Tensor, visible: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        """Give the newest states, [batch, queries, width] float32, `visible` [batch, queries, length]."""
        attention_seed, feed_forward_seed = _split(seed, 2)
        first = states.shape[1] - visible.shape[1]
        normed = normalise(states)
        states = states[:, first:]
        attended = tf.cast(self._attend(normed[:, first:], normed, visible), tf.float32)
        states += dropout(attended, self._dropout_share, attention_seed)
        fed = tf.cast(self._feed_forward(normalise(states)), tf.float32)
        return states + dropout(fed, self._dropout_share, feed_forward_seed)

    def _attend(self, asking: tf.Tensor, asked: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
        """Attend from the newest positions, [batch, queries, width], to what each of them sees."""
        count, length, width = asking.shape[1], asked.shape[1], asked.shape[2]
        queries = tf.reshape(self._query(asking), [-1, count, *self._heads])
        keys = tf.reshape(self._key(asked), [-1, length, *self._heads])
        values = tf.reshape(self._value(asked), [-1, length, *self._heads])
        if self._rotary:
            queries, keys = _rotate(queries), _rotate(keys)
        scores = tf.einsum("bqhk,bphk->bhqp", queries, keys)
        scores = tf.cast(scores, tf.float32) / math.sqrt(self._heads[1])
        weights = masked_softmax(scores, visible[:, None])
        heads = tf.einsum("bhqp,bphk->bqhk", tf.cast(weights, values.dtype), values)
        return self._output(tf.reshape(heads, [-1, count, width]))

    def _feed_forward(self, normed: tf.Tensor) -> tf.Tensor:
        inner = self._up(normed)
        if self._gate is None:
            return self._down(tf.nn.gelu(inner))
        return self._down(tf.nn.silu(self._gate(normed)) * inner)


def _feed_forward_width(width: int, config: TransformerConfig) -> int:
    """Give as many weights to three matrices as to two, in multiples of 8 for the units of GPUs."""
    return 4 * width if config.activation == "gelu" else 8 * math.ceil(width / 3)


def _build_projection(units: int, inputs: int, deviation: float, seed: int) -> tf_keras.layers.Dense:
    layer = tf_keras.layers.Dense(
        units,
        use_bias=False,
        kernel_initializer=tf_keras.initializers.RandomNormal(stddev=deviation, seed=seed),
    )
    layer.build([None, inputs])
    return layer


def _rotate(vectors: tf.Tensor) -> tf.Tensor:
    """Turn each pair of numbers by an angle that grows with the position (Su et al. 2021).

    A product of two of the results depends on how far apart they are alone.

    Args:
        vectors: [batch, length, heads, width], the last one at position 0 and those before it below.

    Returns:
        The like; number i of `width` / 2 and number i of the other half are a pair.
    """
    length, width = vectors.shape[1], vectors.shape[3]
    rates = _ROTARY_BASE ** (-np.arange(0, width, 2) / width)
    angles = np.arange(1.0 - length, 1.0)[:, None, None] * rates
    cosines, sines = (tf.constant(part, vectors.dtype) for part in (np.cos(angles), np.sin(angles)))
    left, right = tf.split(vectors, 2, axis=-1)
    return tf.concat([left * cosines - right * sines, left * sines + right * cosines], axis=-1)


def _split(seed: tf.Tensor | None, count: int) -> list[tf.Tensor | None]:
    """Make independent seeds of one, or none of none."""
    if seed is None:
        return [None] * count
    return tf.unstack(tf.random.experimental.stateless_split(seed, count))
