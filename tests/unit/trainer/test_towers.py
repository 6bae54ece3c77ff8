import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from schemas.errors import ConfigError
from schemas.features import (
    Feature,
    FeatureSpec,
    HashedEncoding,
    History,
    VectorEncoding,
    VocabularyEncoding,
    ZScoreEncoding,
)
from schemas.strict_config import parse
from trainer.config import ModelConfig
from trainer.towers import Mlp, build_towers
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit

VOCABULARY = VocabularyEncoding(kind="vocabulary", oov_buckets=2)
SIZES = {
    "user_id": EncodedSize(4, 2),
    "item_id": EncodedSize(6, 2),
    "city": EncodedSize(3, 2),
    "tags": EncodedSize(5, 2),
}


def make_spec(user_id_encoded=True, extra=True, history=True):
    features = [
        Feature(
            name="user_id",
            dtype="string",
            tower="user",
            role="user_id",
            encoding=VOCABULARY if user_id_encoded else None,
        ),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ]
    if extra:
        features += [
            Feature(name="city", dtype="string", tower="context", encoding=VOCABULARY),
            Feature(name="price", dtype="float", tower="item", encoding=ZScoreEncoding(kind="z_score")),
            Feature(name="tags", dtype="string", tower="item", multi_valued=True, encoding=VOCABULARY),
        ]
    return FeatureSpec(name="t", features=tuple(features), history=History(length=3) if history else None)


FEATURES = {
    "user_id": tf.constant([0, 3, 5], tf.int64),
    "city": tf.constant([0, 4, 2], tf.int64),
    "history": tf.constant([[-1, -1, -1], [-1, -1, 2], [5, 6, 1]], tf.int64),
    "item_id": tf.constant([1, 2, 7], tf.int64),
    "price": tf.constant([-1.5, 0.0, 2.0]),
    "tags": tf.constant([[0, 6, -1], [-1, -1, -1], [3, -1, -1]], tf.int64),
}
SMALL = ModelConfig(dim=4, user_layers=(5, 3), item_layers=(6,))
SEED = tf.constant([1, 1], tf.int64)


def test_towers_give_unit_vectors():
    towers = build_towers(make_spec(), SMALL, SIZES, seed=1)
    for tower in (towers.user, towers.item):
        for training in (False, True):
            embedding = tower(FEATURES, training=training, seed=SEED)
            assert embedding.dtype == tf.float32
            assert embedding.shape == (3, 4)
            np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-5)


def test_item_tower_equals_numpy():
    tower = build_towers(make_spec(), SMALL, SIZES, seed=2).item
    item_table, price_kernel, price_bias, tag_table, w1, b1, w2, b2 = (
        v.numpy() for v in tower.trainable_variables
    )
    tags = np.stack([(tag_table[0] + tag_table[6]) / 2, np.zeros(4), tag_table[3]])
    item = item_table[[1, 2, 7]]
    price = FEATURES["price"].numpy()[:, None] * price_kernel + price_bias
    total = item + price + tags
    hidden = np.maximum(np.concatenate([item, price, tags], axis=1) @ w1 + b1, 0)
    expected = total + hidden @ w2 + b2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tower(FEATURES), expected, rtol=1e-4, atol=1e-6)


def test_each_member_is_a_tower_of_its_part_of_the_embeddings():
    tower = build_towers(make_spec(), dataclasses.replace(SMALL, members=2), SIZES, seed=2).item
    item_table, price_kernel, price_bias, tag_table, *mlps = (v.numpy() for v in tower.trainable_variables)
    tags = np.stack([(tag_table[0] + tag_table[6]) / 2, np.zeros(4), tag_table[3]])
    price = FEATURES["price"].numpy()[:, None] * price_kernel + price_bias
    vectors = [item_table[[1, 2, 7]], price, tags]
    expected = []
    for part, (w1, b1, w2, b2) in ((slice(0, 2), mlps[:4]), (slice(2, 4), mlps[4:])):
        own = [vector[:, part] for vector in vectors]
        output = sum(own) + np.maximum(np.concatenate(own, axis=1) @ w1 + b1, 0) @ w2 + b2
        expected.append(output / np.linalg.norm(output, axis=1, keepdims=True))
    result = tower(FEATURES).numpy()
    np.testing.assert_allclose(result, np.concatenate(expected, axis=1) / 2**0.5, rtol=1e-4, atol=1e-6)
    cosines = [one @ one.T for one in expected]
    np.testing.assert_allclose(result @ result.T, np.mean(cosines, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_members_read_nothing_of_each_other(training):
    config = ModelConfig(dim=4, members=2, history_encoders=("mean", "last", "attention", "gru"))
    towers = build_towers(make_spec(), config, SIZES, seed=3)
    before = [tower(FEATURES, training=training, seed=SEED).numpy() for tower in (towers.user, towers.item)]
    for table in towers.tables.values():
        table.assign(table.numpy() + np.array([0.3, -0.2, 0.0, 0.0], np.float32))
    after = [tower(FEATURES, training=training, seed=SEED).numpy() for tower in (towers.user, towers.item)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one[:, 2:], other[:, 2:])
        assert (np.abs(one[:, :2] - other[:, :2]).max(axis=1) > 1e-3).all()


def test_members_begin_differently():
    config = ModelConfig(dim=4, members=2)
    user = build_towers(make_spec(), config, SIZES, seed=3).user
    # The same embeddings for both, so that what differs is the MLPs.
    for variable in user.trainable_variables:
        if variable.shape[-1] == 4 and len(variable.shape) == 2:
            variable.assign(np.tile(variable.numpy()[:, :2], 2))
    first, second = np.split(user(FEATURES).numpy(), 2, axis=1)
    assert np.abs(first - second).max() > 1e-3


def test_of_members_with_equal_weights_other_inputs_are_dropped():
    config = ModelConfig(dim=4, members=2, history_encoders=("mean", "last"), dropout=0.5)
    user = build_towers(make_spec(), config, SIZES, seed=3).user
    for table in [layer.table for layer in user.submodules if hasattr(layer, "table")]:
        table.assign(np.tile(table.numpy()[:, :2], 2))
    mlps = [layer for layer in user.submodules if isinstance(layer, Mlp)]
    mlps[1].set_weights(mlps[0].get_weights())
    first, second = np.split(user(FEATURES).numpy(), 2, axis=1)
    np.testing.assert_allclose(first, second, rtol=1e-6)
    first, second = np.split(user(FEATURES, training=True, seed=SEED).numpy(), 2, axis=1)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dim": 64, "members": 3}, r"members: expected a divisor of dim.* Received: 3, with dim 64"),
        ({"members": 2, "user_tower": "shop.build"}, r"members: expected 1 with user_tower.* Received: 2"),
        (
            {"dim": 12, "members": 4, "history_encoders": ["attention"]},
            r"attention_heads: expected a divisor of a member's width.* Received: 2, with a width of 3",
        ),
    ],
)
def test_members_that_cannot_be(settings, match):
    with pytest.raises(ConfigError, match=match):
        parse(ModelConfig, settings, "test")


def test_vector_and_hashed_id_equal_numpy():
    hashed = HashedEncoding(kind="hashed", buckets=5)
    spec = FeatureSpec(
        name="t",
        features=(
            Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=hashed),
            Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=hashed),
            Feature(
                name="look", dtype="float", tower="item", length=3, encoding=VectorEncoding(kind="vector")
            ),
        ),
    )
    sizes = {"user_id": EncodedSize(0, 5), "item_id": EncodedSize(0, 5)}
    tower = build_towers(spec, ModelConfig(dim=4, item_layers=()), sizes, seed=2).item
    table, kernel, bias, w, b = (v.numpy() for v in tower.trainable_variables)
    look = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]], np.float32)
    features = {"item_id": tf.constant([2, 3], tf.int64), "look": tf.constant(look)}
    item, vector = table[[2, 3]], look @ kernel + bias
    expected = item + vector + np.concatenate([item, vector], axis=1) @ w + b
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tower(features), expected, rtol=1e-4, atol=1e-6)


def test_multi_valued_feature_without_any_value_in_the_batch():
    tower = build_towers(make_spec(), SMALL, SIZES, seed=2).item
    none = FEATURES | {"tags": tf.zeros([3, 0], tf.int64)}
    padded = FEATURES | {"tags": tf.fill([3, 2], tf.constant(-1, tf.int64))}
    np.testing.assert_allclose(tower(none), tower(padded), rtol=1e-6)


def test_each_tower_reads_its_own_features_only():
    towers = build_towers(make_spec(), SMALL, SIZES, seed=3)
    user_features = {name: FEATURES[name] for name in ("user_id", "city", "history")}
    item_features = {name: FEATURES[name] for name in ("item_id", "price", "tags")}
    np.testing.assert_array_equal(towers.user(user_features), towers.user(FEATURES))
    np.testing.assert_array_equal(towers.item(item_features), towers.item(FEATURES))


def test_every_user_input_matters():
    tower = build_towers(make_spec(), SMALL, SIZES, seed=3).user
    for name in ("user_id", "city", "history"):
        changed = FEATURES | {name: tf.roll(FEATURES[name], 1, axis=0)}
        assert np.abs(tower(changed) - tower(FEATURES)).max() > 1e-3, name


def test_user_tower_of_a_history_alone_is_finite_when_it_is_empty():
    towers = build_towers(make_spec(user_id_encoded=False, extra=False), SMALL, SIZES, seed=4)
    variables = towers.user.trainable_variables
    with tf.GradientTape() as tape:
        embedding = towers.user(FEATURES, training=True, seed=SEED)
        loss = tf.reduce_sum(embedding[:, 0])
    assert np.isfinite(embedding).all()
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_user_tower_without_any_input_is_refused():
    spec = make_spec(user_id_encoded=False, extra=False)
    with pytest.raises(ConfigError, match="history_encoders"):
        build_towers(spec, ModelConfig(history_encoders=()), SIZES, seed=1)


def test_gradient_reaches_the_shared_item_embedding_from_both_towers():
    towers = build_towers(make_spec(), SMALL, SIZES, seed=5)
    variables = towers.trainable_variables
    assert len({variable.ref() for variable in variables}) == len(variables)
    tables = [v for v in variables if v.name.startswith("item_id")]
    assert len(tables) == 1
    # History keys 2, 5, 1 and an OOV one; item keys 1, 2 and an OOV one: OOV keys have row 6 or 7.
    for tower, rows in ((towers.user, {1, 2, 5}), (towers.item, {1, 2})):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tower(FEATURES) * tf.constant([1.0, 2.0, 3.0, 4.0]))
        gradient = tf.convert_to_tensor(tape.gradient(loss, tables[0])).numpy()
        touched = set(np.flatnonzero(np.abs(gradient).sum(axis=1)))
        assert rows <= touched <= rows | {6, 7}
        assert touched & {6, 7}


def test_padding_gets_no_gradient():
    towers = build_towers(make_spec(), SMALL, SIZES, seed=5)
    (table,) = [v for v in towers.trainable_variables if v.name.startswith("item_id")]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(towers.user(FEATURES)[:, 0])
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    # Padding is looked up at row 0, which no history holds.
    np.testing.assert_array_equal(gradient[0], np.zeros(4))


def test_dropout_is_for_training_only_and_follows_from_the_seed():
    tower = build_towers(make_spec(), ModelConfig(dim=4, dropout=0.5), SIZES, seed=6).user
    plain = tower(FEATURES)
    np.testing.assert_array_equal(tower(FEATURES, seed=SEED), plain)
    dropped = tower(FEATURES, training=True, seed=SEED)
    assert np.abs(dropped - plain).max() > 1e-3
    np.testing.assert_array_equal(tower(FEATURES, training=True, seed=SEED), dropped)
    assert np.abs(tower(FEATURES, training=True, seed=SEED + 1) - dropped).max() > 1e-3


def test_training_with_dropout_but_without_a_seed_is_refused():
    towers = build_towers(make_spec(), SMALL, SIZES, seed=6)
    with pytest.raises(ValueError, match="user_tower: expected a seed for the dropout"):
        towers.user(FEATURES, training=True)
    towers.item(FEATURES, training=True)


def test_equal_seeds_give_equal_towers_and_others_do_not():
    first, again, other = (build_towers(make_spec(), SMALL, SIZES, seed=s).user(FEATURES) for s in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def make_history_spec():
    """The specification with tags and price in the history, and the time gaps."""
    spec = make_spec()
    history = History(length=3, item_features=("tags", "price"), time_gap_buckets=5)
    return dataclasses.replace(spec, history=history)


HISTORY_SIZES = SIZES | {"history_gap_seconds": EncodedSize(5, 0)}
HISTORY_FEATURES = FEATURES | {
    "history_tags": tf.constant(np.random.default_rng(1).integers(-1, 7, (3, 3, 2))),
    "history_price": tf.constant([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.5, 2.0]]),
    "history_gap_seconds": tf.constant([[-1, -1, -1], [-1, -1, 0], [4, 2, 0]], tf.int64),
}


def test_tables_and_dense_variables_part_the_trainable_ones():
    towers = build_towers(make_history_spec(), SMALL, HISTORY_SIZES, seed=1)
    assert {name: table.shape.as_list() for name, table in towers.tables.items()} == {
        "city": [5, 4],
        "history_gap_seconds": [5, 4],
        "item_id": [8, 4],
        "tags": [7, 4],
        "user_id": [6, 4],
    }
    parts = [*towers.tables.values(), *towers.dense_variables]
    assert len({id(variable) for variable in parts}) == len(parts)
    assert {id(variable) for variable in parts} == {id(variable) for variable in towers.trainable_variables}


def test_every_column_of_the_history_matters_and_trains_the_shared_encoders():
    towers = build_towers(make_history_spec(), SMALL, HISTORY_SIZES, seed=2)
    for name in ("history", "history_tags", "history_price", "history_gap_seconds"):
        changed = HISTORY_FEATURES | {name: tf.reverse(HISTORY_FEATURES[name], axis=[1])}
        difference = towers.user(changed) - towers.user(HISTORY_FEATURES)
        assert np.abs(difference[2]).max() > 1e-4, name
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(towers.user(HISTORY_FEATURES) * tf.constant([1.0, 2.0, 3.0, 4.0]))
    gradients = tape.gradient(loss, towers.tables)
    for name, gradient in gradients.items():
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, name
        assert isinstance(gradient, tf.IndexedSlices), name


def test_without_encoders_there_is_no_table_for_gaps():
    config = dataclasses.replace(SMALL, history_encoders=())
    towers = build_towers(make_history_spec(), config, HISTORY_SIZES, seed=2)
    assert "history_gap_seconds" not in towers.tables


def test_mixed_precision_keeps_embeddings_weights_and_output_in_float32():
    config = dataclasses.replace(SMALL, history_encoders=("mean", "last", "attention", "gru", "transformer"))
    plain = build_towers(make_history_spec(), config, HISTORY_SIZES, seed=2)
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = build_towers(make_history_spec(), config, HISTORY_SIZES, seed=2)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert {variable.dtype for variable in mixed.trainable_variables} == {tf.float32}
    for tower, reference in ((mixed.user, plain.user), (mixed.item, plain.item)):
        embedding = tower(HISTORY_FEATURES)
        assert embedding.dtype == tf.float32
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(embedding, reference(HISTORY_FEATURES), atol=0.02)
        # The dense layers did compute in bfloat16.
        assert np.abs(embedding - reference(HISTORY_FEATURES)).max() > 1e-6
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(mixed.user(HISTORY_FEATURES)[:, 0])
    for name, gradient in tape.gradient(loss, mixed.tables).items():
        assert gradient.dtype == tf.float32, name
        assert isinstance(gradient, tf.IndexedSlices), name


def test_attention_needs_heads_that_divide_the_width():
    with pytest.raises(
        ConfigError,
        match=r"attention_heads: expected a divisor of a member's .* Received: 3, with a width of 64",
    ):
        parse(ModelConfig, {"history_encoders": ["attention"], "attention_heads": 3}, "test")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"heads": 3}, r"transformer\.heads: expected a divisor of the width.* Received: 3, with width 64"),
        ({"heads": 5, "width": 64}, r"transformer\.heads: .* Received: 5, with width 64"),
        (
            {"heads": 4, "width": 12},
            r"transformer\.positions: expected an even width of each head.* Received: 3, the width 12 over 4",
        ),
    ],
)
def test_the_transformer_needs_heads_that_divide_its_width_into_pairs(settings, match):
    with pytest.raises(ConfigError, match=match):
        parse(ModelConfig, {"history_encoders": ["transformer"], "transformer": settings}, "test")
    parse(ModelConfig, {"history_encoders": ["mean"], "transformer": settings}, "test")


def test_learned_positions_need_no_pairs():
    settings = {"heads": 4, "width": 12, "positions": "learned"}
    parse(ModelConfig, {"history_encoders": ["transformer"], "transformer": settings}, "test")
