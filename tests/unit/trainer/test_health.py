import logging
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from trainer.data.batches import FEATURES, ITEMS
from trainer.health import Health, HealthMonitor, cosine_spread, sample_rows, top_probability

pytestmark = pytest.mark.unit

HEALTHY = Health(cosine_mean=0.1, cosine_deviation=0.5, top_probability=0.4, norms={})


def gather_from(items):
    return lambda rows: {ITEMS: tf.gather(items, rows), FEATURES: {"item_id": tf.gather(items, rows)}}


def unit(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_cosines_of_other_rows_items():
    # Users at 0 and 90 degrees, items at 60 and 180: cos 180 = -1 and cos 30; the diagonal does not count.
    mean, deviation = cosine_spread(unit(0, 90), unit(60, 180))
    high = math.sqrt(3) / 2
    assert mean == pytest.approx((high - 1) / 2, abs=1e-6)
    assert deviation == pytest.approx((high + 1) / 2, abs=1e-6)


def test_one_row_has_no_other_rows_items():
    assert cosine_spread(unit(0), unit(60)) == (0.0, math.inf)
    assert top_probability(unit(0), unit(60), 0.1) == 0.0


def test_top_probability_by_hand():
    # Row 0: cosines 1 and 0, so p = 1 / (1 + e^-2) at a temperature of 0.5; row 1: twice cos 45, so p = 1/2.
    users, items = unit(0, 45), unit(0, 90)
    expected = (1 / (1 + math.exp(-2)) + 0.5) / 2
    assert top_probability(users, items, 0.5) == pytest.approx(expected, abs=1e-6)
    # exp(1 / tau) is beyond float64 here.
    assert top_probability(unit(0, 90), items, 1e-3) == pytest.approx(1.0)


def test_sampled_rows_have_different_items():
    items = np.array([5, 5, 7, 5, 7, 9] * 50)
    rows = sample_rows(gather_from(items), 300, seed=3)
    assert sorted(items[rows]) == [5, 7, 9]
    np.testing.assert_array_equal(rows, sample_rows(gather_from(items), 300, seed=3))
    many = sample_rows(gather_from(np.arange(10_000)), 10_000, seed=3)
    assert len(set(many)) == 256
    assert set(many) != set(sample_rows(gather_from(np.arange(10_000)), 10_000, seed=4))


def make_monitor(temperature=0.1):
    table = tf.Variable(np.concatenate([np.full([4999, 2], [3, 4]), [[0, 0]]]), dtype=tf.float32)
    towers = SimpleNamespace(
        user=lambda sample: tf.constant(unit(0, 90)) if len(sample["item_id"]) == 2 else None,
        item=lambda sample: tf.constant(unit(60, 180)),
        tables={"item_id": table},
    )
    return HealthMonitor(towers, gather_from(np.array([1, 1, 2])), 3, temperature, seed=1)


def test_signs_of_a_sample_and_of_the_tables():
    health = make_monitor().measure()
    assert health.cosine_mean == pytest.approx((math.sqrt(3) / 2 - 1) / 2, abs=1e-6)
    # Of 5,000 rows every second: rows 0, 2, .. 4998, all (3, 4).
    assert health.norms == {"item_id": (5.0, 5.0)}
    assert set(health.scalars()) == {
        "cosine_mean", "cosine_deviation", "top_probability",
        "embedding_norm/item_id/mean", "embedding_norm/item_id/max",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # Random directions in 64 dimensions deviate by 1 / 8.
        ({"cosine_deviation": 0.0124, "cosine_mean": 0.98}, "collapsed.*0.9800 \\+- 0.0124.*0.1250"),
        ({"cosine_deviation": 0.0126}, None),
        ({"top_probability": 0.991}, r"saturates.*0.9910.*loss.temperature \(0.1\)"),
        ({"top_probability": 0.989}, None),
    ],
)
def test_bad_signs_warn_once(caplog, change, expected):
    monitor = make_monitor()
    health = Health(**{**vars(HEALTHY), **change})
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        for _ in range(2):
            monitor.warn(health, dim=64, epoch_ended=True)
    messages = [record.getMessage() for record in caplog.records]
    if expected is None:
        assert messages == []
    else:
        (message,) = messages
        assert re.search(expected, message)


def test_a_bad_sign_in_mid_epoch_must_last(caplog):
    monitor = make_monitor()
    bad = Health(**{**vars(HEALTHY), "top_probability": 0.999})
    told = []
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        for health in (bad, bad, HEALTHY, bad, bad, bad, bad):
            monitor.warn(health, dim=64, epoch_ended=False)
            told.append(len(caplog.records))
    assert told == [0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("masked_fraction", "loss", "warns"),
    # A batch of one row has no candidate negative, of which no share is masked.
    [(1.0, 0.0, True), (0.995, 0.01, True), (0.0, 0.0, True), (0.985, 0.01, False), (0.0, 0.5, False)],
)
def test_rows_without_negatives_warn_once(caplog, masked_fraction, loss, warns):
    monitor = make_monitor()
    for _ in range(2):
        monitor.warn_of_masks(masked_fraction, loss, epoch_ended=True)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == warns
    if warns:
        assert (
            f"Received: {100 * masked_fraction:.2f} % of them masked, at a loss of {loss:.4f}." in messages[0]
        )
        assert "raise training.per_replica_batch" in messages[0]


def test_masks_in_mid_epoch_must_last(caplog):
    monitor = make_monitor()
    told = []
    for masked_fraction in (1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0):
        monitor.warn_of_masks(masked_fraction, 0.1, epoch_ended=False)
        told.append(len(caplog.records))
    assert told == [0, 0, 0, 0, 0, 1, 1]
