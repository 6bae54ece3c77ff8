import typing

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import HistoryEncoderName
from trainer.history import HISTORY_ENCODERS, LastHistory, MeanHistory, PositionWeightedHistory

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


def test_mean_counts_only_what_is_present():
    np.testing.assert_allclose(MeanHistory()(EMBEDDED, MASK), [[4, 2], [5, 7], [0, 0]], rtol=1e-6)


def test_last_is_the_newest():
    np.testing.assert_allclose(LastHistory()(EMBEDDED, MASK), [[8, 0], [5, 7], [0, 0]], rtol=1e-6)


def test_position_weights_are_shared_among_what_is_present():
    encoder = PositionWeightedHistory()
    encoder.build([None, 3, 2])
    encoder.position_logits.assign(np.log([1.0, 2.0, 5.0]))
    # Weights 1/8, 2/8 and 5/8; without the oldest item 2/7 and 5/7.
    np.testing.assert_allclose(encoder(EMBEDDED, MASK), [[47 / 8, 10 / 8], [5, 7], [0, 0]], rtol=1e-5)
    mask = tf.constant([[0.0, 1.0, 1.0]])
    np.testing.assert_allclose(encoder(EMBEDDED[:1], mask), [[46 / 7, 8 / 7]], rtol=1e-5)


def test_position_weights_are_learned():
    encoder = PositionWeightedHistory()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(EMBEDDED, MASK)[0, 0])
    # At equal weights the mean is 4, and d mean / d w_p = (x_p - mean) / 3.
    np.testing.assert_allclose(
        tape.gradient(loss, encoder.trainable_variables)[0], [-1, -1 / 3, 4 / 3], rtol=1e-5
    )


@pytest.mark.parametrize("name", typing.get_args(HistoryEncoderName))
def test_every_name_of_the_configuration_has_an_encoder(name):
    encoded = HISTORY_ENCODERS[name]()(EMBEDDED, MASK)
    assert encoded.shape == (3, 2)
    assert np.isfinite(encoded).all()
