import logging

import numpy as np
import pytest
import tensorflow as tf

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError, TrainingError
from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding, ZScoreEncoding
from trainer import training
from trainer.config import LossConfig, ModelConfig, TrainerConfig, TrainingConfig
from trainer.losses import LossSum
from trainer.strategy import create_strategy
from trainer.towers import build_towers
from trainer.training import scale_learning_rate, train
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.unit

VOCABULARY = VocabularyEncoding(kind="vocabulary")
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="age", dtype="float", tower="user", encoding=ZScoreEncoding(kind="z_score")),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ),
    history=History(length=3),
)
USERS, ITEMS = 12, 10
SIZES = {"user_id": EncodedSize(USERS, 1), "item_id": EncodedSize(ITEMS, 1)}
LOG_Q = np.log(np.full(ITEMS + 1, 1 / ITEMS, np.float32))


def make_columns(rows=70, seed=0):
    generator = np.random.default_rng(seed)
    users = generator.integers(0, USERS, rows)
    return {
        "user_id": users,
        "age": generator.normal(size=rows).astype(np.float32),
        # Each user has one favourite, so that there is something to learn.
        "item_id": np.where(generator.random(rows) < 0.9, users % ITEMS, ITEMS + 2**39),
        "history": generator.integers(-1, ITEMS, (rows, 3)),
        "unused": np.array(["x"] * rows),
    }


def make_config(loss=None, **training):
    settings = {
        "per_replica_batch": 16,
        "epochs": 2,
        "learning_rate": 0.01,
        "log_interval_steps": 3,
    } | training
    return TrainerConfig(
        model=ModelConfig(dim=4, user_layers=(6,), item_layers=(), dropout=0.2),
        loss=loss or LossConfig(mask_same_user=False),
        training=TrainingConfig(**settings),
    )


def run(tmp_path, config, columns=None, spec=SPEC):
    return train(columns or make_columns(), spec, config, SIZES, LOG_Q, create_strategy(1), str(tmp_path))


def test_training_learns_reports_and_logs(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        result = run(tmp_path, make_config(epochs=25))
    assert (result.steps, result.global_batch, result.rows_left_out_per_epoch) == (100, 16, 6)
    assert (result.epochs, result.train_rows) == (25, 70)
    assert result.examples_per_second > 0
    messages = [record.getMessage() for record in caplog.records]
    assert "6 rows left out" in messages[0]
    assert any("epoch 25/25, step 100" in message and "examples/s" in message for message in messages)

    (events,) = tmp_path.glob("events*")
    losses, tags = {}, set()
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            tags.add(value.tag)
            if value.tag == "loss":
                losses[event.step] = float(tf.make_ndarray(value.tensor))
                assert value.metadata.plugin_data.plugin_name == "scalars"
    assert tags == {"loss", "masked_fraction", "examples_per_second"}
    # Four steps an epoch, three steps a call.
    assert sorted(losses)[:4] == [3, 4, 7, 8]
    np.testing.assert_allclose(result.final_loss, (3 * losses[99] + losses[100]) / 4, rtol=1e-5)
    assert result.final_loss < losses[3] - 0.5


def test_equal_seeds_give_equal_losses_and_others_do_not(tmp_path):
    loss = LossConfig(negatives="rotation", rotation_negatives=5)
    first, again, other = (run(tmp_path, make_config(loss, seed=seed)) for seed in (1, 1, 2))
    assert first.final_loss == again.final_loss
    for left, right in zip(first.towers.trainable_variables, again.towers.trainable_variables, strict=True):
        np.testing.assert_array_equal(left.numpy(), right.numpy())
    assert first.final_loss != other.final_loss


def test_row_weights_are_normalised_by_the_global_batch(tmp_path):
    columns = make_columns(rows=16) | {"weight": np.linspace(0, 3, 16).astype(np.float32)}
    config = TrainerConfig(
        model=ModelConfig(dim=4, user_layers=(6,), item_layers=(), dropout=0.0),
        loss=LossConfig(mask_same_user=False, mask_same_item=False, temperature=0.5),
        training=TrainingConfig(per_replica_batch=16, epochs=1),
    )
    # One step holds every row, so its loss is that of the untrained towers.
    towers = build_towers(SPEC, config.model, SIZES, config.training.seed)
    inputs = {name: tf.constant(column) for name, column in columns.items() if name != "unused"}
    users, items = towers.user(inputs).numpy(), towers.item(inputs).numpy()
    # The same q for every item changes no softmax.
    scores = np.exp(users @ items.T / 0.5)
    losses = -np.log(np.diag(scores) / scores.sum(axis=1))
    result = run(tmp_path, config, columns)
    np.testing.assert_allclose(result.final_loss, (columns["weight"] * losses).sum() / 16, rtol=1e-5)


def test_fewer_rows_than_a_global_batch(tmp_path):
    with pytest.raises(TrainingError, match=r"16 = training.per_replica_batch 16 x 1.*Received: 15 rows"):
        run(tmp_path, make_config(), make_columns(rows=15))


def test_loss_that_is_not_finite_names_its_step(tmp_path, monkeypatch):
    def loss(users, items, log_q, keys, seed, weights):
        # The second number of the seed is the step, on one replica.
        return LossSum(tf.where(seed[1] >= 6, np.nan, 1.0) * tf.reduce_sum(users), tf.constant(0.0))

    monkeypatch.setattr("trainer.training.build_loss", lambda config, batch: loss)
    with pytest.raises(TrainingError, match=r"not finite at step 6 \(epoch 2\)"):
        run(tmp_path, make_config())


def test_logq_needs_an_encoded_item_id(tmp_path):
    features = (
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="item_id", dtype="string", tower="item", role="item_id"),
        Feature(name="age", dtype="float", tower="item", encoding=ZScoreEncoding(kind="z_score")),
    )
    spec = FeatureSpec(name="t", features=features)
    with pytest.raises(ConfigError, match=r"loss.logq.*'item_id' has no encoding"):
        run(tmp_path, make_config(), spec=spec)
    assert np.isfinite(run(tmp_path, make_config(LossConfig(logq=False), epochs=1), spec=spec).final_loss)


@pytest.mark.parametrize(
    ("rule", "replicas", "expected"),
    [("none", 4, 0.01), ("linear", 4, 0.04), ("sqrt", 4, 0.02), ("linear", 1, 0.01), ("sqrt", 1, 0.01)],
)
def test_learning_rate_follows_the_global_batch(rule, replicas, expected):
    settings = TrainingConfig(learning_rate=0.01, scale_learning_rate=rule)
    assert scale_learning_rate(settings, replicas) == pytest.approx(expected)


def test_optimizer_gets_the_scaled_learning_rate(tmp_path, monkeypatch):
    rates = []
    adam = training.tf_keras.optimizers.Adam

    def record(rate, **options):
        rates.append(rate)
        return adam(rate, **options)

    monkeypatch.setattr(training.tf_keras.optimizers, "Adam", record)
    monkeypatch.setattr(training, "scale_learning_rate", lambda settings, replicas: 0.125 * replicas)
    run(tmp_path, make_config(epochs=1))
    assert rates == [0.125]
