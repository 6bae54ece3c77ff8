import numpy as np
import pytest
import tensorflow as tf

from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.data.batches import FEATURES, HISTORIES, ITEMS, USERS, WEIGHTS, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}


def make_spec(history):
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
        {"name": "hour", "dtype": "int", "tower": "context", "encoding": VOCABULARY},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
        {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "encoding": VOCABULARY},
        {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
    ]
    return parse(FeatureSpec, {"name": "shop", "features": features, "history": history}, "test")


# Three catalogue items, whose ids have the embedding rows 5, 7 and 6.
ITEMS_TABLE = {
    "item": np.array([5, 7, 6]),
    "tags": np.array([[1, -1, -1], [2, 3, 4], [-1, -1, -1]]),
    "price": np.array([0.5, -1.0, 2.0], np.float32),
}
DATA = TrainingData(
    sequences=FlatSequences(
        offsets=np.array([0, 4, 4, 6]),
        items=np.array([0, 1, 2, 1, 2, 0], np.int32),
        seconds=np.array([0, 10, 30, 70, 100, 105]),
        weights=np.array([1, 2, 3, 4, 5, 6], np.float32),
        contexts={"hour": np.array([9, 8, 7, 6, 5, 4])},
    ),
    users={"age": np.array([0.1, 0.2, 0.3], np.float32)},
    items=ITEMS_TABLE,
    item_count=3,
    train=Rows.between(np.array([0, 4, 4]), np.array([3, 4, 6])),
    validation=Rows.between(np.array([3, 4, 6]), np.array([4, 4, 6])),
    history_items={
        "history": ITEMS_TABLE["item"],
        "history_tags": ITEMS_TABLE["tags"][:, :2],
        "history_price": ITEMS_TABLE["price"],
    },
    gap_boundaries=np.array([20, 40]),
)
HISTORY = {"length": 2, "item_features": ["tags", "price"], "values_per_item": 2, "time_gap_buckets": 3}


def make_batch(rows, split=DATA.train, history=HISTORY):
    maker = BatchMaker(DATA, make_spec(history))
    batch = maker.of_rows(split)(tf.constant(rows, tf.int64))
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)


def test_a_row_has_its_users_its_items_and_its_own_features():
    batch = make_batch([4, 1, 0])
    np.testing.assert_array_equal(batch[USERS], [2, 0, 0])
    np.testing.assert_array_equal(batch[ITEMS], [0, 1, 0])
    np.testing.assert_array_equal(batch[WEIGHTS], [6, 2, 1])
    features = batch[FEATURES]
    np.testing.assert_array_equal(features["age"], np.array([0.3, 0.1, 0.1], np.float32))
    np.testing.assert_array_equal(features["hour"], [4, 8, 9])
    np.testing.assert_array_equal(features["item"], [5, 7, 5])
    np.testing.assert_array_equal(features["tags"], [[1, -1, -1], [2, 3, 4], [1, -1, -1]])
    assert batch[ITEMS].dtype == batch[USERS].dtype == np.int64


def test_a_history_is_the_window_before_the_row_within_its_user():
    batch = make_batch([0, 1, 2, 3, 4])
    np.testing.assert_array_equal(batch[HISTORIES], [[-1, -1], [-1, 0], [0, 1], [-1, -1], [-1, 2]])
    features = batch[FEATURES]
    np.testing.assert_array_equal(features["history"], [[-1, -1], [-1, 5], [5, 7], [-1, -1], [-1, 6]])
    np.testing.assert_array_equal(features["history_tags"][2], [[1, -1], [2, 3]])
    np.testing.assert_array_equal(features["history_tags"][1], [[-1, -1], [1, -1]])
    np.testing.assert_array_equal(features["history_price"][1:3], [[0, 0.5], [0.5, -1]])
    # Row 2 is 30 and 20 seconds after its history: with the boundaries 20 and 40 both lie in the middle.
    np.testing.assert_array_equal(
        features["history_gap_seconds"], [[-1, -1], [-1, 0], [1, 1], [-1, -1], [-1, 0]]
    )


def test_a_validation_row_has_the_train_rows_in_its_history():
    batch = make_batch([0], split=DATA.validation)
    np.testing.assert_array_equal(batch[HISTORIES], [[1, 2]])
    np.testing.assert_array_equal(batch[ITEMS], [1])
    np.testing.assert_array_equal(batch[FEATURES]["history_gap_seconds"], [[2, 2]])


def test_both_splits_together_are_one_range():
    np.testing.assert_array_equal(DATA.fitted.positions(), [0, 1, 2, 3, 4, 5])


def test_without_a_history_there_is_none():
    batch = make_batch([2], history=None)
    assert HISTORIES not in batch
    assert set(batch[FEATURES]) == {"age", "hour", "item", "tags", "price"}


def test_gathers_stay_with_the_arrays_in_the_hosts_memory():
    maker = BatchMaker(DATA, make_spec(HISTORY))

    def gather(rows):
        # As eager calls of a machine with a GPU are.
        with tf.device("GPU:0"):
            return maker.of_rows(DATA.train)(rows), maker.gather(rows, rows)

    graph = tf.function(gather).get_concrete_function(tf.TensorSpec([None], tf.int64)).graph
    devices = {op.device for op in graph.get_operations() if op.type in ("GatherV2", "UpperBound")}
    assert devices == {"/device:CPU:0"}


def test_every_array_is_among_those_that_name_a_training():
    assert set(DATA.arrays()) >= {
        "sequences/items", "sequences/offsets", "sequences/seconds", "sequences/weights",
        "sequences/contexts/hour", "users/age", "items/tags", "train/begins", "validation/offsets",
        "gap_boundaries",
    }  # fmt: skip
