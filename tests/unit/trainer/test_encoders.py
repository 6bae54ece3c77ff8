"""Layers of single features."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.encoders import EmbeddingEncoder, dropout, masked_mean
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit


def test_lists_are_the_mean_of_their_rows_and_train_those_rows_alone():
    encoder = EmbeddingEncoder("tags", EncodedSize(4, 1), 3, seed=1)
    table = encoder.table.numpy()
    values = tf.constant([[2, 0, -1], [-1, -1, -1], [-1, 2, 2]], tf.int64)
    with tf.GradientTape() as tape:
        encoded = encoder(values)
        loss = tf.reduce_sum(encoded * [[1.0], [10.0], [100.0]])
    expected = [(table[2] + table[0]) / 2, np.zeros(3), table[2]]
    np.testing.assert_allclose(encoded, expected, rtol=1e-6)
    gradient = tape.gradient(loss, encoder.table)
    assert isinstance(gradient, tf.IndexedSlices)
    # Row 0 has half of the first example; row 2 the other half, and the third twice by a half.
    np.testing.assert_allclose(tf.convert_to_tensor(gradient)[:, 0], [0.5, 0.0, 100.5, 0.0, 0.0], rtol=1e-6)


def test_single_values_are_their_rows():
    encoder = EmbeddingEncoder("year", EncodedSize(6, 2), 3, seed=1)
    np.testing.assert_array_equal(encoder(tf.constant([1, 7], tf.int64)), encoder.table.numpy()[[1, 7]])
    assert encoder.table_name == "year"


def test_mean_of_nothing_is_zero():
    embedded = tf.constant([[[1.0, 2.0], [3.0, 5.0]], [[9.0, 9.0], [9.0, 9.0]]])
    mask = tf.constant([[1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(masked_mean(embedded, mask), [[2.0, 3.5], [0.0, 0.0]], rtol=1e-6)


def test_dropout_drops_its_share_and_scales_the_rest():
    ones = tf.ones([100, 100])
    dropped = dropout(ones, 0.2, tf.constant([3, 4], tf.int64)).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1.25], rtol=1e-5)
    assert abs((dropped == 0.0).mean() - 0.2) < 0.02
    for untouched in (dropout(ones, 0.2, None), dropout(ones, 0.0, tf.constant([3, 4], tf.int64))):
        np.testing.assert_array_equal(untouched, ones)
