"""Vectors of a history and the encoders that make one of them."""

import itertools
import typing

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.config import WINDOW_ENCODERS, HistoryEncoderName, ModelConfig, TransformerConfig
from trainer.encoders import build_encoder
from trainer.history import HistoryEmbedding, HistoryVectors, build_history_encoder
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit

# Three histories of length 3: full, one item, none. Padding holds numbers that must not count.
EMBEDDED = tf.constant(
    [
        [[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]],
        [[9.0, 9.0], [9.0, 9.0], [5.0, 7.0]],
        [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]],
    ]
)
MASK = tf.constant([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
NAMES = typing.get_args(HistoryEncoderName)


def build(name, dim=2, heads=1, seed=1, length=3):
    config = ModelConfig(dim=dim, attention_heads=heads, transformer=TransformerConfig(heads=heads))
    return build_history_encoder(name, length, config, seed)


def randomise(encoder, generator):
    for variable in encoder.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))


def test_mean_counts_only_what_is_present():
    np.testing.assert_allclose(build("mean")(EMBEDDED, MASK), [[4, 2], [5, 7], [0, 0]], rtol=1e-6)


def test_last_is_the_newest():
    np.testing.assert_allclose(build("last")(EMBEDDED, MASK), [[8, 0], [5, 7], [0, 0]], rtol=1e-6)


def test_position_weights_are_shared_among_what_is_present():
    encoder = build("position_weighted")
    encoder.position_logits.assign(np.log([1.0, 2.0, 5.0]))
    # Weights 1/8, 2/8 and 5/8; without the oldest item 2/7 and 5/7.
    np.testing.assert_allclose(encoder(EMBEDDED, MASK), [[47 / 8, 10 / 8], [5, 7], [0, 0]], rtol=1e-5)
    mask = tf.constant([[0.0, 1.0, 1.0]])
    np.testing.assert_allclose(encoder(EMBEDDED[:1], mask), [[46 / 7, 8 / 7]], rtol=1e-5)


def test_position_weights_are_learned():
    encoder = build("position_weighted")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(EMBEDDED, MASK)[0, 0])
    # At equal weights the mean is 4, and d mean / d w_p = (x_p - mean) / 3.
    np.testing.assert_allclose(
        tape.gradient(loss, encoder.trainable_variables)[0], [-1, -1 / 3, 4 / 3], rtol=1e-5
    )


def attend_in_numpy(x, mask, weights, heads):
    """The textbook's order: queries, keys and values of every position, then the newest position's row."""
    positions, query, key, value, output = weights
    z = x + positions
    z = (z - z.mean(axis=-1, keepdims=True)) / np.sqrt(z.var(axis=-1, keepdims=True) + 1e-6)
    width = x.shape[-1] // heads
    parts = []
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        scores = (z @ query[:, columns]) @ np.swapaxes(z @ key[:, columns], 1, 2) / np.sqrt(width)
        scores = np.where(mask[:, None, :] > 0, scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        parts.append((scores / scores.sum(axis=-1, keepdims=True)) @ (x @ value[:, columns]))
    return (x + np.concatenate(parts, axis=-1) @ output)[:, -1]


def test_attention_equals_numpy_of_all_positions():
    generator = np.random.default_rng(0)
    encoder = build("attention", dim=6, heads=3, length=4)
    randomise(encoder, generator)
    x = generator.normal(size=(3, 4, 6)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], np.float32)
    expected = attend_in_numpy(x, mask, [v.numpy() for v in encoder.trainable_variables], heads=3)
    np.testing.assert_allclose(encoder(x, mask), expected, rtol=1e-4, atol=1e-5)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def test_gru_equals_numpy_step_by_step():
    generator = np.random.default_rng(0)
    encoder = build("gru", dim=2)
    randomise(encoder, generator)
    kernel, recurrent_kernel, bias = (v.numpy() for v in encoder.trainable_variables)
    expected = np.zeros([3, 2])
    for row, items in enumerate(([0, 1, 2], [2], [])):
        state = np.zeros(2)
        for position in items:
            x = EMBEDDED[row, position].numpy() @ kernel + bias[0]
            u = state @ recurrent_kernel + bias[1]
            kept, reset = sigmoid(x[:2] + u[:2]), sigmoid(x[2:4] + u[2:4])
            candidate = np.tanh(x[4:] + reset * u[4:])
            state = kept * state + (1 - kept) * candidate
        expected[row] = state
    np.testing.assert_allclose(encoder(EMBEDDED, MASK), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_tells_items_from_padding_and_is_finite_with_its_gradient(name):
    encoder = build(name)
    randomise(encoder, np.random.default_rng(1))
    embedded = tf.Variable(EMBEDDED)
    with tf.GradientTape() as tape:
        encoded = encoder(embedded, MASK)
        loss = tf.reduce_sum(encoded * [[1.0, 2.0]])
    np.testing.assert_array_equal(encoded[2], [0.0, 0.0])
    other_padding = tf.where(MASK[:, :, None] > 0, EMBEDDED, -3.0)
    np.testing.assert_allclose(encoder(other_padding, MASK), encoded, rtol=1e-6)
    *gradients, by_embedded = tape.gradient(loss, [*encoder.trainable_variables, embedded])
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0.0
    np.testing.assert_array_equal(by_embedded.numpy()[MASK.numpy() == 0.0], 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_there_before_the_first_call_and_follow_from_the_seed(name):
    first, again, other = (build(name, dim=4, heads=2, seed=seed).variables for seed in (1, 1, 2))
    encoder = build(name, dim=4, heads=2)
    count = len(encoder.variables)
    encoder(tf.zeros([2, 3, 4]), tf.ones([2, 3]))
    assert len(encoder.variables) == count == len(first)
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    if name in ("attention", "gru", "transformer"):
        assert any(np.abs(left - right).max() > 1e-3 for left, right in zip(first, other, strict=True))


@pytest.mark.parametrize("name", ["attention", "gru"])
def test_bfloat16_policy_keeps_the_weights_in_float32_and_stays_near(name):
    plain = build(name, dim=4, heads=2)
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = build(name, dim=4, heads=2)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert all(variable.dtype == tf.float32 for variable in mixed.variables)
    embedded = tf.random.stateless_normal([3, 3, 4], seed=[1, 2])
    result = mixed(embedded, MASK)
    assert result.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(result, tf.float32), plain(embedded, MASK), atol=0.05)


SPEC = parse(
    FeatureSpec,
    {
        "name": "t",
        "history": {"length": 2, "item_features": ["tags", "price", "look"], "time_gap_buckets": 3},
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
            {
                "name": "item",
                "dtype": "string",
                "tower": "item",
                "role": "item_id",
                "encoding": {"kind": "vocabulary", "oov_buckets": 2},
            },
            {
                "name": "tags",
                "dtype": "string",
                "tower": "item",
                "multi_valued": True,
                "encoding": {"kind": "vocabulary"},
            },
            {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
            {"name": "look", "dtype": "float", "length": 2, "tower": "item", "encoding": {"kind": "vector"}},
        ],
    },
    "test",
)
SIZES = {"item": EncodedSize(3, 2), "tags": EncodedSize(4, 1), "history_gap_seconds": EncodedSize(3, 0)}


def make_embedding(dim=3):
    encoders = {
        feature.name: build_encoder(feature, SIZES, dim, seed)
        for seed, feature in enumerate(SPEC.tower_features("item"))
    }
    return HistoryEmbedding(SPEC, encoders, SIZES, dim, seed=9), encoders


COLUMNS = {
    "history": tf.constant([[-1, 2], [3, 0]], tf.int64),
    "history_tags": tf.constant([[[-1, -1], [1, 4]], [[2, -1], [-1, -1]]], tf.int64),
    "history_price": tf.constant([[0.0, -1.5], [2.0, 0.5]]),
    "history_look": tf.constant([[[0.0, 0.0], [1.0, 2.0]], [[3.0, -1.0], [0.5, 0.5]]]),
    "history_gap_seconds": tf.constant([[-1, 0], [2, 1]], tf.int64),
}


def test_vector_of_an_item_is_the_sum_of_its_embedding_its_features_and_its_gap():
    embedding, encoders = make_embedding()
    gap_table = next(v for v in embedding.trainable_variables if "gap" in v.name).numpy()
    items, tags = encoders["item"].table.numpy(), encoders["tags"].table.numpy()
    kernel, bias = (v.numpy() for v in encoders["price"].trainable_variables)
    look_kernel, look_bias = (v.numpy() for v in encoders["look"].trainable_variables)

    def expected(item_row, tag_rows, price, look, gap):
        tag = tags[tag_rows].mean(axis=0) if tag_rows else np.zeros(3)
        return (
            items[item_row] + tag + price * kernel[0] + bias + look @ look_kernel + look_bias + gap_table[gap]
        )

    vectors, mask = embedding(COLUMNS)
    np.testing.assert_array_equal(mask, [[0, 1], [1, 1]])
    np.testing.assert_allclose(vectors[0, 1], expected(2, [1, 4], -1.5, np.array([1.0, 2.0]), 0), rtol=1e-5)
    # Key 8 is none of the 3 items: 3 + 8 mod 2.
    np.testing.assert_allclose(vectors[1, 0], expected(3, [2], 2.0, np.array([3.0, -1.0]), 2), rtol=1e-5)
    np.testing.assert_allclose(vectors[1, 1], expected(0, [], 0.5, np.array([0.5, 0.5]), 1), rtol=1e-5)


def test_one_vector_per_encoder_and_dropout_by_the_seed_alone():
    embedding, _ = make_embedding()
    config = ModelConfig(dim=3)
    encoders = [build_history_encoder(name, 2, config, 1) for name in ("mean", "last")]
    vectors = HistoryVectors(embedding, [encoders], dropout_share=0.5)
    assert vectors.count == 2
    plain = vectors(COLUMNS, seed=None)
    assert [tuple(vector.shape) for vector in plain] == [(2, 3), (2, 3)]
    one, again, other = (vectors(COLUMNS, seed=tf.constant([1, draw], tf.int64))[0] for draw in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - plain[0]).max() > 1e-3


def test_an_encoder_drops_its_own_by_the_seed_alone():
    embedding, _ = make_embedding()
    config = ModelConfig(dim=3, transformer=TransformerConfig(heads=1, positions="learned", dropout=0.5))
    encoders = [build_history_encoder("transformer", 2, config, 1) for _ in range(2)]
    vectors = HistoryVectors(embedding, [encoders], dropout_share=0.0)
    plain, same = vectors(COLUMNS, seed=None)
    np.testing.assert_array_equal(plain, same)
    one, second = vectors(COLUMNS, seed=tf.constant([1, 1], tf.int64))
    again, other = (vectors(COLUMNS, seed=tf.constant([1, draw], tf.int64))[0] for draw in (1, 2))
    np.testing.assert_array_equal(one, again)
    for left, right in ((one, plain), (one, other), (one, second)):
        assert np.abs(left - right).max() > 1e-6


def test_every_encoder_of_every_member_drops_something_else():
    embedding, _ = make_embedding(dim=12)
    for variable in embedding.trainable_variables:
        # The members' parts of a vector are alike.
        variable.assign(np.tile(variable.numpy()[..., :4], 3))
    config = ModelConfig(dim=4, transformer=TransformerConfig(positions="learned", dropout=0.5))
    members = [[build_history_encoder("transformer", 2, config, 1) for _ in range(2)] for _ in range(3)]
    vectors = HistoryVectors(embedding, members, dropout_share=0.0)

    def encode(seed):
        parts = [np.split(vector.numpy(), 3, axis=1) for vector in vectors(COLUMNS, seed=seed)]
        return [part for of_kind in parts for part in of_kind]

    # Equal weights and equal parts: without a seed all six give the same.
    first, *others = encode(None)
    for other in others:
        np.testing.assert_array_equal(other, first)
    for one, other in itertools.combinations(encode(tf.constant([1, 1], tf.int64)), 2):
        assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize("name", WINDOW_ENCODERS)
def test_a_window_gives_each_position_what_its_own_history_gives(name):
    generator = np.random.default_rng(3)
    encoder = build(name, dim=4, heads=2, length=5)
    randomise(encoder, generator)
    embedded = generator.normal(size=[2, 4, 4]).astype(np.float32)
    # The first window: a user's last row and another user's first three, the first of which has no history.
    # The second: four rows of one user.
    visible = np.zeros([2, 4, 4], np.float32)
    visible[0, 0, 0] = 1
    visible[0, 2:, 2:] = np.tri(2)
    visible[1] = np.tri(4)
    result = encoder.encode_windows(tf.constant(embedded), tf.constant(visible))
    for window in range(2):
        for row in range(4):
            (seen,) = np.nonzero(visible[window, row])
            history = np.full([1, 5, 4], 9.0, np.float32)
            mask = np.zeros([1, 5], np.float32)
            if len(seen):
                history[0, -len(seen) :] = embedded[window, seen]
                mask[0, -len(seen) :] = 1
            expected = encoder(tf.constant(history), tf.constant(mask))[0]
            np.testing.assert_allclose(result[window, row], expected, rtol=1e-4, atol=1e-5)


def test_rows_of_a_window_see_their_own_segment_up_to_themselves():
    embedding, _ = make_embedding()
    layer = HistoryVectors(embedding, [[build("mean", dim=3)]], dropout_share=0.0)
    # The newest item of each row: of two users with two rows each, of whom the second one's first has none.
    order = [[1, 0], [1, 1], [0, 0], [0, 1]]
    features = {name: tf.gather_nd(values, order)[:, None] for name, values in COLUMNS.items()}
    each = embedding(features)[0][:, 0].numpy()
    [means] = layer(features, None, segments=tf.constant([[4, 4, 6, 6]], tf.int64))
    np.testing.assert_allclose(
        means, [each[0], (each[0] + each[1]) / 2, [0, 0, 0], each[3]], rtol=1e-5, atol=1e-6
    )
