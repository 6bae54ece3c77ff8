"""The causal transformer against the same formulas in numpy, position by position."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.config import TransformerConfig
from trainer.transformer import CausalTransformer, see_all_before

pytestmark = pytest.mark.unit

ROTARY = TransformerConfig(depth=1, heads=2, activation="swiglu", positions="rotary")
LEARNED = TransformerConfig(depth=1, heads=3, activation="gelu", positions="learned")
DEEP = TransformerConfig(depth=3, heads=2, width=8, activation="gelu", feed_forward_width=5, dropout=0.5)
DEEP_LEARNED = TransformerConfig(depth=2, heads=3, positions="learned")
DIM, LENGTH = 12, 4
MASK = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32)
SEED = tf.constant([1, 5], tf.int64)


def build(config, length=LENGTH, seed=0):
    """Build a layer with weights that are large enough to show."""
    layer = CausalTransformer(DIM, length, config, seed=1)
    generator = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(generator.normal(scale=0.25, size=variable.shape))
    return layer


def encode(layer, x, mask, seed=None):
    """Encode every position, each seeing those up to it."""
    return layer(x, see_all_before(tf.constant(mask)), seed)


def draw(rows=4, length=LENGTH):
    return np.random.default_rng(1).normal(size=(rows, length, DIM)).astype(np.float32)


def norm(h):
    return (h - h.mean()) / np.sqrt(h.var() + 1e-6)


def turn(vector, position):
    """As complex numbers, whose angles grow with the position; 10,000 is Su et al.'s."""
    half = len(vector) // 2
    rates = 10_000.0 ** (-2.0 * np.arange(half) / len(vector))
    return (vector[:half] + 1j * vector[half:]) * np.exp(1j * position * rates)


def swiglu(z, gate, up, down):
    gated = z @ gate
    return (gated / (1.0 + np.exp(-gated)) * (z @ up)) @ down


def gelu(z, up, down):
    inner = z @ up
    return (0.5 * inner * (1.0 + np.array([math.erf(x / math.sqrt(2.0)) for x in inner]))) @ down


def apply_block(h, config, weights):
    """One block over the vectors of a sequence without padding, the sums written out."""
    query, key, value, output, *feed_forward = weights
    z = [norm(each) for each in h]
    width = len(h[0]) // config.heads
    results = []
    for p in range(len(h)):
        heads = []
        for head in range(config.heads):
            columns = slice(head * width, (head + 1) * width)
            scores = []
            for q in range(p + 1):
                asking, asked = z[p] @ query[:, columns], z[q] @ key[:, columns]
                if config.positions == "rotary":
                    scores.append(np.sum(turn(asking, p) * np.conj(turn(asked, q))).real)
                else:
                    scores.append(asking @ asked)
            shares = np.exp(np.array(scores) / math.sqrt(width))
            shares /= shares.sum()
            heads.append(sum(share * (z[q] @ value[:, columns]) for q, share in enumerate(shares)))
        attended = h[p] + np.concatenate(heads) @ output
        feed = swiglu if config.activation == "swiglu" else gelu
        results.append(attended + feed(norm(attended), *feed_forward))
    return results


@pytest.mark.parametrize("config", [ROTARY, LEARNED], ids=["rotary, swiglu", "learned, gelu"])
def test_one_block_equals_numpy_position_by_position(config):
    layer = build(config)
    weights = [variable.numpy() for variable in layer.trainable_variables]
    positions = weights.pop(0) if config.positions == "learned" else np.zeros([LENGTH, DIM])
    x = draw()
    expected = np.zeros(x.shape)
    for row, mask in enumerate(MASK):
        first = LENGTH - int(mask.sum())
        h = [x[row, p] + positions[p] for p in range(first, LENGTH)]
        expected[row, first:] = apply_block(h, config, weights) if h else np.zeros([0, DIM])
    result = encode(layer, x, MASK)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_weights_have_the_shapes_that_the_configuration_asks_for():
    def shapes(config):
        return [tuple(v.shape) for v in CausalTransformer(DIM, LENGTH, config, seed=1).trainable_variables]

    square = [(12, 12)] * 4
    # 8 / 3 of 12 is a multiple of 8; 4 times 12.
    assert shapes(ROTARY) == [*square, (12, 32), (12, 32), (32, 12)]
    assert shapes(LEARNED) == [(4, 12), *square, (12, 48), (48, 12)]
    assert shapes(DEEP) == [(12, 8), (8, 12), *[*[(8, 8)] * 4, (8, 5), (5, 8)] * 3]


@pytest.mark.parametrize("config", [ROTARY, DEEP, DEEP_LEARNED])
def test_the_newest_position_alone_is_the_same(config):
    layer, x = build(config), draw()
    newest = layer.encode_newest(x, MASK)
    np.testing.assert_allclose(newest, encode(layer, x, MASK)[:, -1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(newest[3], np.zeros(DIM))


@pytest.mark.parametrize("config", [DEEP, DEEP_LEARNED])
def test_a_later_item_moves_no_earlier_position(config):
    layer, x = build(config), draw()
    changed = x.copy()
    changed[:, 2] += np.random.default_rng(2).normal(size=DIM)
    before, after = encode(layer, x, MASK).numpy(), encode(layer, changed, MASK).numpy()
    np.testing.assert_allclose(after[:, :2], before[:, :2], rtol=0, atol=1e-6)
    # It is there in the first two rows alone, and moves itself and what comes later.
    assert (np.abs(after - before)[:2, 2:].max(axis=2) > 1e-3).all()
    np.testing.assert_allclose(after[2:], before[2:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [DEEP, DEEP_LEARNED])
def test_more_padding_before_the_same_history_moves_nothing(config):
    short, long = build(config), build(config, length=7)
    for left, right in zip(short.trainable_variables, long.trainable_variables, strict=True):
        # Of learned positions the newest ones.
        right.assign(left if left.shape == right.shape else np.concatenate([np.ones([3, DIM]), left]))
    x = draw()
    more = np.concatenate([np.full([4, 3, DIM], 9.0, np.float32), x], axis=1)
    more_mask = np.concatenate([np.zeros([4, 3], np.float32), MASK], axis=1)
    expected = encode(short, x, MASK)
    np.testing.assert_allclose(encode(long, more, more_mask)[:, 3:], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(encode(long, more, more_mask)[:, :3], np.zeros([4, 3, DIM]))
    np.testing.assert_allclose(long.encode_newest(more, more_mask), expected[:, -1], rtol=1e-6, atol=1e-6)
    # A layer that was built for longer sequences takes short ones.
    np.testing.assert_allclose(encode(long, x, MASK), expected, rtol=1e-6, atol=1e-6)


def test_padding_behind_a_sequence_moves_nothing_under_rotary_positions():
    layer, x = build(DEEP), draw()
    padded = np.concatenate([x, np.full([4, 2, DIM], 9.0, np.float32)], axis=1)
    mask = np.concatenate([np.ones_like(MASK), np.zeros([4, 2], np.float32)], axis=1)
    np.testing.assert_allclose(
        encode(layer, padded, mask)[:, :LENGTH], encode(layer, x, np.ones_like(MASK)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("config", [ROTARY, DEEP])
def test_two_sequences_in_one_row_see_nothing_of_each_other(config):
    layer, x = build(config), draw()
    # A sequence of one and of three, beside each other, and the same ones in rows of their own.
    apart = np.zeros([1, LENGTH, LENGTH], np.float32)
    apart[0, 0, 0] = 1
    apart[0, 1:, 1:] = np.tri(3)
    together = layer(x[:1], tf.constant(apart))
    np.testing.assert_allclose(
        together[:, :1], encode(layer, x[:1, :1], np.ones([1, 1], np.float32)), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        together[:, 1:], encode(layer, x[:1, 1:], np.ones([1, 3], np.float32)), rtol=1e-5, atol=1e-5
    )


def test_the_order_matters():
    for config in (ROTARY, LEARNED):
        layer, x = build(config), draw()
        swapped = x[:, [1, 0, 2, 3]]
        assert np.abs(layer.encode_newest(swapped, MASK) - layer.encode_newest(x, MASK))[0].max() > 1e-3


def test_sequences_longer_than_the_learned_positions_are_refused():
    x, mask = draw(length=5), np.ones([4, 5], np.float32)
    with pytest.raises(ValueError, match=r"sequences of up to 4 positions.* Received: 5\. Build the layer"):
        encode(build(LEARNED), x, mask)
    encode(build(ROTARY), x, mask)


def test_dropout_follows_from_the_seed():
    layer, x = build(DEEP), draw()
    plain = layer.encode_newest(x, MASK)
    one, again, other = (layer.encode_newest(x, MASK, SEED + draw) for draw in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - plain).max() > 1e-3
    without = build(TransformerConfig(dropout=0.0))
    np.testing.assert_array_equal(encode(without, x, MASK, SEED), encode(without, x, MASK))


def test_an_untrained_layer_keeps_the_scale_of_the_embeddings():
    layer = CausalTransformer(64, 20, TransformerConfig(), seed=1)
    x = np.random.default_rng(0).uniform(-0.05, 0.05, size=(50, 20, 64)).astype(np.float32)
    mask = np.ones([50, 20], np.float32)
    added = encode(layer, x, mask) - x
    assert 0.01 < np.std(added) / np.std(x) < 1.0


def test_bfloat16_policy_keeps_weights_states_and_output_in_float32():
    plain = build(DEEP)
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = build(DEEP)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {variable.dtype for variable in mixed.variables} == {tf.float32}
    x = draw()
    for method in (encode, CausalTransformer.encode_newest):
        result, expected = method(mixed, x, MASK), method(plain, x, MASK)
        assert result.dtype == tf.float32
        np.testing.assert_allclose(result, expected, rtol=0.05, atol=0.1)
        # The matrices did compute in bfloat16.
        assert np.abs(result - expected).max() > 1e-4
