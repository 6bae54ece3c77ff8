"""A user tower of the user's own, out of a real module."""

import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import ConfigError
from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.config import ModelConfig
from trainer.towers import build_towers
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit

SPEC = parse(
    FeatureSpec,
    {
        "name": "t",
        "history": {"length": 3, "item_features": ["tags", "look"], "time_gap_buckets": 4},
        "features": [
            {
                "name": "user_id",
                "dtype": "string",
                "tower": "user",
                "role": "user_id",
                "encoding": {"kind": "vocabulary"},
            },
            {"name": "income", "dtype": "float", "tower": "user", "encoding": {"kind": "z_score"}},
            {
                "name": "words",
                "dtype": "string",
                "tower": "context",
                "encoding": {"kind": "text", "buckets": 9},
            },
            {
                "name": "item_id",
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
            {"name": "look", "dtype": "float", "length": 2, "tower": "item", "encoding": {"kind": "vector"}},
        ],
    },
    "test",
)
SIZES = {
    "user_id": EncodedSize(4, 1),
    "words": EncodedSize(9, 0),
    "item_id": EncodedSize(6, 2),
    "tags": EncodedSize(5, 1),
    "history_gap_seconds": EncodedSize(4, 0),
}
ROWS = 5
FEATURES = {
    "user_id": tf.constant([0, 1, 2, 3, 4], tf.int64),
    "income": tf.constant([0.0, -1.0, 1.0, 2.0, 0.5]),
    "words": tf.constant([[0, 1], [-1, -1], [3, -1], [8, 8], [2, 4]], tf.int64),
    "history": tf.constant([[-1, -1, -1], [-1, -1, 2], [5, 6, 1], [0, 1, 2], [-1, 3, 3]], tf.int64),
    "history_tags": tf.zeros([ROWS, 3, 6], tf.int64),
    "history_look": tf.ones([ROWS, 3, 2]),
    "history_gap_seconds": tf.constant(
        [[-1, -1, -1], [-1, -1, 0], [3, 2, 1], [1, 1, 0], [-1, 2, 2]], tf.int64
    ),
    "item_id": tf.constant([1, 2, 3, 4, 5], tf.int64),
    "tags": tf.zeros([ROWS, 2], tf.int64),
    "look": tf.ones([ROWS, 2]),
}

MODULE = """
    import tensorflow as tf
    import tf_keras

    NOT_A_FUNCTION = 3

    class Tower(tf_keras.layers.Layer):
        def __init__(self, inputs, read=None, finish=None):
            super().__init__(name="mine")
            self._encoders = dict(inputs.encoders)
            self._history = inputs.history_embedding
            self._sequence = inputs.build_history_encoders()
            self._dense = tf_keras.layers.Dense(
                inputs.config.dim, kernel_initializer=tf_keras.initializers.GlorotUniform(seed=inputs.seed)
            )
            self._read = read
            self._finish = finish or (lambda vectors: tf.math.l2_normalize(vectors, axis=1, epsilon=1e-12))

        def call(self, features, training=False):
            vectors = [encoder(features[name]) for name, encoder in self._encoders.items()]
            embedded, mask = self._history(features)
            vectors += [encoder(embedded, mask) for encoder in self._sequence]
            if self._read is not None:
                vectors.append(tf.cast(features[self._read][:, None], tf.float32))
            return self._finish(self._dense(tf.concat(vectors, axis=1)))

    class Dropping(Tower):
        def call(self, features, training=False, seed=None):
            vectors = super().call(features)
            if training:
                vectors = tf.nn.experimental.stateless_dropout(vectors, 0.5, seed)
            return vectors

    class NoTraining(tf_keras.layers.Layer):
        def call(self, features, mood):
            return features["income"]

    def build(inputs):
        return Tower(inputs)

    def build_dropping(inputs):
        return Dropping(inputs)

    def build_functional(inputs):
        income = tf_keras.Input([], name="income")
        dense = tf_keras.layers.Dense(inputs.config.dim, bias_initializer="ones")(income[:, None])
        outputs = tf_keras.layers.Lambda(lambda values: tf.math.l2_normalize(values, axis=1))(dense)
        return tf_keras.Model({"income": income}, outputs)

    def build_reader_of_items(inputs):
        return Tower(inputs, read="item_id")

    def build_long_vectors(inputs):
        return Tower(inputs, finish=lambda vectors: 3.0 * tf.math.l2_normalize(vectors, axis=1))

    def build_nan(inputs):
        return Tower(inputs, finish=lambda vectors: vectors / 0.0 * 0.0)

    def build_wide(inputs):
        return Tower(inputs, finish=lambda vectors: tf.concat([vectors, vectors], axis=1))

    def build_half(inputs):
        return Tower(inputs, finish=lambda vectors: tf.cast(vectors, tf.float16))

    def build_list(inputs):
        return Tower(inputs, finish=lambda vectors: [vectors])

    def build_number(inputs):
        return 7

    def build_without_training(inputs):
        return NoTraining()

    def build_failing(inputs):
        raise RuntimeError("no weights today")
"""


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user_code")
    (folder / "my_towers.py").write_text(textwrap.dedent(MODULE))
    (folder / "my_broken_towers.py").write_text("import a_package_that_is_not_there\n")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in ("my_towers", "my_broken_towers"):
        sys.modules.pop(name, None)


def build(function, seed=1, **settings):
    config = ModelConfig(
        dim=4, user_tower=f"my_towers.{function}", history_encoders=("mean", "gru"), **settings
    )
    return build_towers(SPEC, config, SIZES, seed=seed)


def test_own_tower_gives_unit_vectors_and_has_all_its_variables_at_once():
    towers = build("build")
    count = len(towers.trainable_variables)
    for training in (False, True):
        embedding = towers.user(FEATURES, training=training, seed=tf.constant([1, 1], tf.int64))
        assert embedding.dtype == tf.float32
        assert embedding.shape == (ROWS, 4)
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-4)
    assert len(towers.trainable_variables) == count
    assert {"user_id", "words", "item_id", "tags", "history_gap_seconds"} == set(towers.tables)


def test_own_tower_shares_the_item_embeddings():
    towers = build("build")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(towers.user(FEATURES)[:, 0])
    gradient = tape.gradient(loss, towers.tables["item_id"])
    assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0


def test_equal_seeds_give_equal_own_towers():
    first, again, other = (build("build", seed=seed).user(FEATURES) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_own_tower_that_takes_the_seed_is_given_it():
    tower = build("build_dropping").user
    one, again, other = (
        tower(FEATURES, training=True, seed=tf.constant([1, step], tf.int64)) for step in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_functional_model_is_a_tower_too():
    embedding = build("build_functional").user(FEATURES, training=False)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-4)


def test_own_tower_never_sees_the_item_side():
    seen = {}
    tower = build("build").user
    original = tower._layer.call
    tower._layer.call = lambda features, training=False: seen.update(features) or original(features, training)
    tower(FEATURES)
    assert set(seen) == {
        "user_id", "income", "words", "history", "history_tags", "history_look", "history_gap_seconds"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "build_reader_of_items",
            r"reads the column 'item_id', which is not on the user side.*may read: user_id,",
        ),
        (
            "build_long_vectors",
            r"vectors of norm 1\. Received the norms \[3\.0.*End it with tf\.math\.l2_norm",
        ),
        ("build_nan", r"vectors of norm 1\. Received the norms \[nan"),
        ("build_wide", r"float32 of the shape \[batch, dim\], here \(3, 4\).*Received: float32 \(3, 8\)"),
        ("build_half", r"float32 of the shape.*Received: float16 \(3, 4\)"),
        ("build_list", r"float32 of the shape.*Received: "),
        (
            "build_number",
            r"to return a layer of Keras 2, a tf_keras\.layers\.Layer\. Received: a builtins\.int",
        ),
        ("build_without_training", r"to take \(features, training\).*it raised TypeError"),
        (
            "build_failing",
            r"to build a tower from a UserTowerInputs\. It raised RuntimeError: no weights today",
        ),
        ("NOT_A_FUNCTION", r"to be a function that takes a UserTowerInputs\. Received: a int"),
        ("biuld", r"a function 'biuld' in the module 'my_towers'\. There is none; did you mean 'build'\?"),
    ],
)
def test_what_breaks_the_contract_is_refused(function, message):
    with pytest.raises(ConfigError, match=r"model\.user_tower: (?s:.*)" + message):
        build(function)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("my_tower.build", r"expected an importable module 'my_tower'.*ModuleNotFoundError.*PYTHONPATH"),
        (
            "my_broken_towers.build",
            r"expected an importable module.*No module named 'a_package_that_is_not_there'",
        ),
        ("build", r"expected the dotted path of a function.*Received: 'build'"),
    ],
)
def test_module_that_cannot_be_imported_is_refused(path, message):
    with pytest.raises(ConfigError, match=message):
        build_towers(SPEC, ModelConfig(dim=4, user_tower=path), SIZES, seed=1)


def test_own_tower_is_built_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        towers = build("build")
    assert all(hasattr(variable, "values") for variable in towers.trainable_variables)
