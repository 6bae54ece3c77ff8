"""What counts for what Transform learns, without Beam."""

import pytest
import tensorflow as tf

from schemas.errors import ConfigError
from trainer.preprocessing import _count, _sum_rows, preprocessing_fn

pytestmark = pytest.mark.unit


def test_rows_of_the_counted_splits_are_added_up():
    inputs = {
        "train_rows": tf.constant([3, 0, 2], tf.int64),
        "validation_rows": tf.constant([1, 5, 0], tf.int64),
    }
    assert _sum_rows(inputs, ["train"]).numpy().tolist() == [3, 0, 2]
    assert _sum_rows(inputs, ["train", "validation"]).numpy().tolist() == [4, 5, 2]


def test_what_no_row_holds_does_not_count():
    counted = _count(tf.constant(["a", "b", "c"]), tf.constant([3, 0, 2], tf.int64))
    assert counted.values.numpy().tolist() == [b"a", b"c"]
    assert counted.weights.numpy().tolist() == [3, 2]


def test_each_value_of_a_list_has_the_weight_of_its_row():
    lists = tf.sparse.from_dense([["x", "y"], ["z", ""], ["", ""], ["x", ""]])
    counted = _count(lists, tf.constant([3, 0, 9, 2], tf.int64))
    assert counted.values.numpy().tolist() == [b"x", b"y", b"x"]
    assert counted.weights.numpy().tolist() == [3, 3, 2]


def test_without_weights_every_row_counts_once():
    counted = _count(tf.sparse.from_dense([["x", "y"], ["z", ""]]), None)
    assert counted.values.numpy().tolist() == [b"x", b"y", b"z"]
    assert counted.weights is None


def test_refuses_a_specification_that_is_none():
    with pytest.raises(ConfigError, match="unknown key 'surprise'"):
        preprocessing_fn({}, {"feature_spec": '{"name": "shop", "features": [], "surprise": 1}'})
