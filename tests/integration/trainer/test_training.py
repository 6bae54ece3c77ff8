"""The training loop, with real steps: every case trains a model, if a small one."""

import dataclasses
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import StorageError, TrainingError
from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding, ZScoreEncoding
from trainer.checkpoints import Checkpoints
from trainer.config import (
    CheckpointConfig,
    EarlyStoppingConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    TrainerConfig,
    TrainingConfig,
    TransformerConfig,
)
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.losses import LossSum
from trainer.objective import Objective
from trainer.strategy import create_strategy
from trainer.towers import build_towers
from trainer.training import train
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.integration

VOCABULARY = VocabularyEncoding(kind="vocabulary")
SPEC = FeatureSpec(
    name="t",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="age", dtype="float", tower="user", encoding=ZScoreEncoding(kind="z_score")),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
        Feature(name="tags", dtype="string", tower="item", encoding=VOCABULARY, multi_valued=True),
    ),
    history=History(length=3),
)
SIZES = {"user_id": EncodedSize(12, 1), "item_id": EncodedSize(9, 1), "tags": EncodedSize(4, 1)}
# Everything that has a state or draws at random.
EVERYTHING = LossConfig(
    mask_same_user=False, uniform_negatives=3, cross_batch_negatives=24, cross_batch_warmup_steps=2
)


def make_data(rows=70, validation=0, seed=0, weights=None):
    """Twelve users with ten items; the last item has no row in the vocabulary."""
    generator = np.random.default_rng(seed)
    train_rows, validation_rows = (
        np.bincount(generator.integers(0, 12, count), minlength=12) for count in (rows, validation)
    )
    offsets = np.concatenate([[0], np.cumsum(train_rows + validation_rows)])
    owners = np.repeat(np.arange(12), np.diff(offsets))
    # Each user has one favourite, so that there is something to learn.
    items = np.where(generator.random(len(owners)) < 0.9, owners % 10, generator.integers(0, 10, len(owners)))
    ids = np.arange(10)
    return TrainingData(
        sequences=FlatSequences(offsets, items.astype(np.int32), weights=weights),
        users={"user_id": np.arange(12), "age": generator.normal(size=12).astype(np.float32)},
        items={"item_id": ids, "tags": np.stack([ids % 5, ids % 3 - 1], axis=1)},
        item_count=10,
        train=Rows.between(offsets[:-1], offsets[:-1] + train_rows),
        validation=Rows.between(offsets[:-1] + train_rows, offsets[1:]) if validation else None,
        history_items={"history": ids},
    )


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


def run(tmp_path, config, data=None, *, spec=SPEC, checkpoints=None, **options):
    return train(
        data or make_data(), spec, config, SIZES, create_strategy(1),
        log_directory=str(tmp_path / "logs"),
        checkpoint_directory=str(tmp_path / "checkpoints") if checkpoints else None,
        **options,
    )  # fmt: skip


def assert_equal_weights(left, right):
    pairs = list(zip(left.towers.trainable_variables, right.towers.trainable_variables, strict=True))
    assert len(pairs) > 5
    for one, other in pairs:
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.name)


def read_scalars(directory):
    scalars = {}
    for file in directory.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                scalars.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return scalars


def test_training_learns_reports_and_logs(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        optimizer = OptimizerConfig(decay="linear", final_share=0.2)
        result = run(tmp_path, make_config(epochs=25, learning_rate=0.02, optimizer=optimizer))
    assert (result.steps, result.global_batch, result.rows_left_out_per_epoch) == (100, 16, 6)
    assert (result.epochs_run, result.train_rows) == (25, 70)
    assert (result.resumed_from_step, result.best_epoch, result.recall_by_epoch) == (None, None, ())
    assert (result.refitted, result.warm_start, result.checkpoints) == (False, None, None)
    assert result.examples_per_second > 0
    assert result.optimizer.iterations.numpy() == 100
    messages = [record.getMessage() for record in caplog.records]
    assert "6 rows left out" in messages[0]
    assert any("epoch 25/25, step 100" in message and "examples/s" in message for message in messages)

    scalars = read_scalars(tmp_path / "logs")
    tables = {f"embedding_norm/{name}/{kind}" for name in SIZES for kind in ("mean", "max")}
    assert set(scalars) == tables | {
        "loss", "masked_fraction", "examples_per_second", "learning_rate",
        "cosine_mean", "cosine_deviation", "top_probability",
    }  # fmt: skip
    # Linear from 0.02 at step 0 to 0.004 at step 100.
    assert [scalars["learning_rate"][step] for step in (4, 100)] == pytest.approx([0.01936, 0.004])
    losses = scalars["loss"]
    # Four steps an epoch, three steps a call.
    assert sorted(losses)[:4] == [3, 4, 7, 8]
    np.testing.assert_allclose(result.final_loss, (3 * losses[99] + losses[100]) / 4, rtol=1e-5)
    assert result.final_loss < losses[3] - 0.5


class KilledError(Exception):
    pass


def run_killed(tmp_path, config, monkeypatch, *, after_checkpoints, **options):
    write, written = Checkpoints.write, []

    def write_and_die(self, progress, variables):
        write(self, progress, variables)
        written.append(progress.step)
        if len(written) == after_checkpoints:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "write", write_and_die)
        with pytest.raises(KilledError):
            run(tmp_path, config, checkpoints=True, **options)
    return written[-1]


def test_neither_pauses_nor_an_interruption_change_the_result(tmp_path, monkeypatch, caplog):
    optimizer = OptimizerConfig(tables="lazy_adam", dense="adam", warmup_steps=3, decay="cosine")
    whole = run(
        tmp_path / "whole", make_config(EVERYTHING, epochs=3, log_interval_steps=50, optimizer=optimizer)
    )
    checkpoint = CheckpointConfig(interval_steps=3, interval_seconds=None)
    config = make_config(
        EVERYTHING, epochs=3, log_interval_steps=2, optimizer=optimizer, checkpoint=checkpoint
    )
    assert run_killed(tmp_path, config, monkeypatch, after_checkpoints=3) == 9
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        resumed = run(tmp_path, config, checkpoints=True)
    assert any("resumed from step 9" in record.getMessage() for record in caplog.records)
    assert (whole.resumed_from_step, resumed.resumed_from_step, resumed.steps) == (None, 9, 12)
    assert resumed.final_loss == whole.final_loss
    assert_equal_weights(whole, resumed)
    # Points stay where they were, with the means of the same steps.
    losses = read_scalars(tmp_path / "logs")["loss"]
    assert sorted(losses) == [2, 4, 6, 8, 10, 12]
    np.testing.assert_allclose(np.mean([losses[10], losses[12]]), whole.final_loss, rtol=1e-6)
    [folder] = (tmp_path / "checkpoints").iterdir()
    assert resumed.checkpoints == str(folder)
    assert re.fullmatch("[0-9a-f]{32}", folder.name)
    assert sorted(path.name for path in folder.iterdir())[-1] == "fit-000000000012"


def make_window_config(encoders, **training):
    config = make_config(rows="windows", per_replica_batch=15, **training)
    transformer = TransformerConfig(depth=1, width=4)
    model = dataclasses.replace(config.model, history_encoders=encoders, transformer=transformer)
    return dataclasses.replace(config, model=model)


@pytest.mark.parametrize("members", [1, 2])
def test_a_step_on_windows_is_one_on_their_rows(members, tmp_path):
    # Of the history the newest item alone counts, and all rows are in the one step.
    step = {"epochs": 1, "optimizer": OptimizerConfig(tables="sgd", dense="sgd"), "per_replica_batch": 60}
    results = []
    for rows in ("windows", "interactions"):
        config = make_config(rows=rows, **step)
        model = dataclasses.replace(config.model, members=members, history_encoders=("last",), dropout=0.0)
        results.append(run(tmp_path / rows, dataclasses.replace(config, model=model), make_data(rows=60)))
    windows, interactions = results
    assert windows.steps == interactions.steps == 1
    assert windows.final_loss == pytest.approx(interactions.final_loss, rel=1e-5)
    untrained = build_towers(SPEC, model, SIZES, config.training.seed)
    moved = 0.0
    for one, other, before in zip(
        windows.towers.trainable_variables,
        interactions.towers.trainable_variables,
        untrained.trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6, err_msg=one.name)
        moved = max(moved, np.abs(one.numpy() - before.numpy()).max())
    assert moved > 1e-3


def test_windows_learn_and_go_on_after_an_interruption(tmp_path, monkeypatch):
    config = make_window_config(
        ("transformer", "mean"),
        epochs=10,
        learning_rate=0.02,
        checkpoint=CheckpointConfig(interval_steps=7, interval_seconds=None),
    )
    whole = run(tmp_path / "whole", config)
    losses = read_scalars(tmp_path / "whole/logs")["loss"]
    assert losses[max(losses)] < 0.8 * losses[min(losses)]
    assert run_killed(tmp_path, config, monkeypatch, after_checkpoints=2) == 14
    resumed = run(tmp_path, config, checkpoints=True)
    assert resumed.resumed_from_step == 14
    assert_equal_weights(whole, resumed)


def test_another_seed_gives_another_result(tmp_path):
    loss = LossConfig(negatives="rotation", rotation_negatives=5)
    first, other = (run(tmp_path, make_config(loss, epochs=1, seed=seed)) for seed in (1, 2))
    assert first.final_loss != other.final_loss


def patch_recall(monkeypatch, measure):
    monkeypatch.setattr(
        "trainer.training.build_recall", lambda data, validation, maker, k, candidates: measure
    )


def test_early_stopping_gives_the_weights_of_the_best_epoch(tmp_path, caplog, monkeypatch):
    values, tables = [0.1, 0.3, 0.3, 0.2], []

    def recall(towers):
        tables.append(towers.tables["item_id"].numpy())
        return values[len(tables) - 1]

    config = make_config(epochs=9, early_stopping=EarlyStoppingConfig(k=5, patience_epochs=2))
    patch_recall(monkeypatch, recall)
    with caplog.at_level(logging.INFO, logger=PROGRESS_LOGGER):
        result = run(tmp_path, config, make_data(validation=16))
    assert any("16 validation rows are never trained on" in r.getMessage() for r in caplog.records)
    assert (result.best_epoch, result.epochs_run, result.steps) == (2, 4, 8)
    assert result.recall_by_epoch == (0.1, 0.3, 0.3, 0.2)
    np.testing.assert_array_equal(result.towers.tables["item_id"].numpy(), tables[1])
    assert not np.array_equal(tables[1], tables[3])
    assert any("recall 0.2000; best 0.3000 after epoch 2" in r.getMessage() for r in caplog.records)
    logged = read_scalars(tmp_path / "logs")["validation_recall"]
    assert logged == pytest.approx({4: 0.1, 8: 0.3, 12: 0.3, 16: 0.2})


def test_refit_trains_on_both_splits_for_the_steps_found(tmp_path, monkeypatch):
    data = make_data(rows=64, validation=16)
    stopping = EarlyStoppingConfig(patience_epochs=1, refit=True)
    remaining = [0.1, 0.2, 0.3, 0.4, 0.5, 0.4]
    patch_recall(monkeypatch, lambda towers: remaining.pop(0))
    result = run(tmp_path, make_config(epochs=9, early_stopping=stopping), data)
    # Five epochs of four steps; of all 80 rows, those are four epochs of five steps.
    assert (result.best_epoch, result.epochs_run, result.steps, result.refitted) == (5, 6, 20, True)
    both = dataclasses.replace(data, train=data.fitted, validation=None)
    assert_equal_weights(run(tmp_path / "both", make_config(epochs=4), both), result)
    assert sorted(read_scalars(tmp_path / "logs" / "refit")["loss"])[-1] == 20


def test_early_stopping_without_validation(tmp_path):
    config = make_config(early_stopping=EarlyStoppingConfig(refit=True))
    with pytest.raises(
        TrainingError, match=r"early_stopping: expected a validation split.*ingest.validation"
    ):
        run(tmp_path, config)


def test_a_warm_start_comes_before_the_first_step_and_a_collapse_is_told_once(tmp_path, caplog):
    def apply(towers, optimizer):
        assert optimizer.iterations.numpy() == 0
        for variable in towers.trainable_variables:
            variable.assign(tf.ones_like(variable))
        return "counts"

    base = SimpleNamespace(base_id="a", apply=apply)
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        result = run(tmp_path, make_config(learning_rate=1e-9), warm_start=base)
    assert result.warm_start == "counts"
    for variable in result.towers.trainable_variables:
        np.testing.assert_allclose(variable.numpy(), 1.0, atol=1e-6)
    (message,) = [record.getMessage() for record in caplog.records if "collapsed" in record.getMessage()]
    assert "loss.temperature" in message


def test_the_log_of_one_user_has_no_negatives_and_says_so_once(tmp_path, caplog):
    offsets = np.array([0, *[40] * 12])
    of_one_user = dataclasses.replace(
        make_data(),
        sequences=FlatSequences(offsets, np.tile(np.arange(10, dtype=np.int32), 4)),
        train=Rows.between(offsets[:-1], offsets[1:]),
    )
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        result = run(tmp_path, make_config(loss=LossConfig()), of_one_user)
    # The logarithm of one summand may be a rounding away from it.
    assert result.final_loss == pytest.approx(0.0, abs=1e-6)
    (message,) = [record.getMessage() for record in caplog.records if "learnt" in record.getMessage()]
    assert "Received: 100.00 % of them masked, at a loss of 0.0000." in message


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32(tmp_path, monkeypatch):
    seen = set()

    def record(self, users, items, *arguments):
        result = objective(self, users, items, *arguments)
        seen.update({users.dtype, items.dtype, result.loss_sum.dtype})
        return result

    objective = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", record)
    result = run(tmp_path, make_config(epochs=25, log_interval_steps=50, mixed_precision=True))
    assert seen == {tf.float32}
    assert {variable.dtype for variable in result.towers.trainable_variables} == {tf.float32}
    dense = [layer for layer in result.towers.user.submodules if isinstance(layer, tf_keras.layers.Dense)]
    assert "bfloat16" in {layer.compute_dtype for layer in dense}
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    losses = read_scalars(tmp_path / "logs")["loss"]
    assert losses[100] < losses[4] - 0.5


def test_row_weights_are_normalised_by_the_global_batch(tmp_path):
    data = make_data(rows=16, weights=np.linspace(0, 3, 16).astype(np.float32))
    config = TrainerConfig(
        model=ModelConfig(dim=4, user_layers=(6,), item_layers=(), dropout=0.0),
        loss=LossConfig(mask_same_user=False, mask_same_item=False, temperature=0.5),
        training=TrainingConfig(per_replica_batch=16, epochs=1),
    )
    # One step holds every row, so its loss is that of the untrained towers.
    towers = build_towers(SPEC, config.model, SIZES, config.training.seed)
    batch = BatchMaker(data, SPEC).of_rows(data.train)(tf.range(16, dtype=tf.int64))
    users, items = towers.user(batch[FEATURES]).numpy(), towers.item(batch[FEATURES]).numpy()
    q = np.bincount(data.sequences.items)[data.sequences.items] / 16
    scores = np.exp(users @ items.T / 0.5) / q
    losses = -np.log(np.diag(scores) / scores.sum(axis=1))
    result = run(tmp_path, config, data)
    np.testing.assert_allclose(result.final_loss, (data.sequences.weights * losses).sum() / 16, rtol=1e-5)


def test_fewer_rows_than_a_global_batch(tmp_path):
    with pytest.raises(TrainingError, match=r"16 = training.per_replica_batch 16 x 1.*Received: 15 rows"):
        run(tmp_path, make_config(), make_data(rows=15))


class BrokenObjective(Objective):
    def __call__(self, users, items, keys, weights, step, embed_items):
        return LossSum(tf.where(step >= 6, np.nan, 1.0) * tf.reduce_sum(users), tf.constant(0.0))


def test_loss_that_is_not_finite_names_its_step_and_the_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.training.Objective", BrokenObjective)
    config = make_config(learning_rate=0.25, checkpoint=CheckpointConfig(interval_steps=5))
    with pytest.raises(
        TrainingError, match=r"step 6 \(epoch 2\).*0.25 at this step.*: .*/fit-000000000005\."
    ):
        run(tmp_path, config, checkpoints=True)
    with pytest.raises(TrainingError, match="Last checkpoint: none"):
        run(tmp_path, config)


class BrokenGradient(Objective):
    def __call__(self, users, items, keys, weights, step, embed_items):
        # The gradient of the root at 0 is infinite, and 0 times it is not a number.
        return LossSum(tf.reduce_sum(users) + tf.sqrt(0.0 * tf.reduce_sum(users)), tf.constant(0.0))


def test_weights_that_are_not_finite_after_the_last_step_stop_too(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.training.Objective", BrokenGradient)
    with pytest.raises(TrainingError, match=r"embeddings are not finite after step 1 .*checkpoint: none"):
        run(tmp_path, make_config(epochs=1), make_data(rows=16))


def test_an_embedding_that_only_validation_finds_not_finite_stops_too(tmp_path):
    data = make_data(rows=64)
    # A user whom no row of train has, and so no step and no figure of health, with a feature that overflowed.
    positions = len(data.sequences.items)
    begins, ends = np.append(data.train.begins, positions), np.append(data.train.ends, positions)
    data = dataclasses.replace(
        data,
        sequences=FlatSequences(
            np.append(data.sequences.offsets, positions + 1), np.append(data.sequences.items, np.int32(0))
        ),
        users={
            "user_id": np.append(data.users["user_id"], 12),
            "age": np.append(data.users["age"], np.float32(np.inf)),
        },
        train=Rows.between(begins, ends),
        validation=Rows.between(ends, np.append(data.train.ends, positions + 1)),
    )
    config = make_config(learning_rate=0.25, early_stopping=EarlyStoppingConfig())
    with pytest.raises(
        TrainingError,
        match=r"Validation failed after step 4 \(epoch 1\): Expected finite.*0.25 at this step.*: none",
    ):
        run(tmp_path, config, data)


def test_a_checkpoint_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, caplog):
    config = make_config(checkpoint=CheckpointConfig(interval_steps=3))
    whole = run(tmp_path / "whole", config)

    def refuse(self, progress, variables):
        raise StorageError("No space left on device.")

    monkeypatch.setattr(Checkpoints, "write", refuse)
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        result = run(tmp_path, config, checkpoints=True)
    # TensorFlow warns of its own affairs, and other tests may have made the progress visible.
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.name == PROGRESS_LOGGER and record.levelno == logging.WARNING
    ]
    assert warnings[0] == "No space left on device. Training goes on; the last checkpoint is: none."
    assert result.checkpoints is None
    assert_equal_weights(whole, result)


def test_an_item_id_without_an_encoding_is_counted_and_told_apart_all_the_same(tmp_path):
    features = (
        Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=VOCABULARY),
        Feature(name="item_id", dtype="string", tower="item", role="item_id"),
        Feature(name="price", dtype="float", tower="item", encoding=ZScoreEncoding(kind="z_score")),
    )
    spec = FeatureSpec(name="t", features=features)
    prices = {"price": np.linspace(-1, 1, 10).astype(np.float32)}
    data = dataclasses.replace(make_data(), items=prices, history_items={})
    result = run(tmp_path, make_config(LossConfig(), epochs=1), data, spec=spec)
    assert np.isfinite(result.final_loss)
    assert read_scalars(tmp_path / "logs")["masked_fraction"][4] > 0
