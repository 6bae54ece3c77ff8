"""The training loop."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.framework import summary_pb2

from schemas.contract import PROGRESS_LOGGER, WEIGHT
from schemas.errors import ConfigError, TrainingError
from schemas.features import FeatureSpec
from trainer.config import TrainerConfig, TrainingConfig
from trainer.input import make_dataset
from trainer.losses import BatchKeys, build_loss
from trainer.towers import Towers, build_towers, oov_rows
from trainer.vocabularies import EncodedSize

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class TrainingResult:
    """Two trained towers and how they came about."""

    towers: Towers
    """The trained towers."""
    steps: int
    """Steps taken."""
    epochs: int
    """Passes over the train rows."""
    train_rows: int
    """Rows given, those left out of each epoch included."""
    global_batch: int
    """Rows per step, over all replicas."""
    rows_left_out_per_epoch: int
    """Rows that fill no whole global batch; others in each epoch."""
    final_loss: float
    """Mean loss of the last epoch."""
    examples_per_second: float
    """Rows trained on per second of the loop, tracing included."""


def train(
    columns: Mapping[str, np.ndarray],
    spec: FeatureSpec,
    config: TrainerConfig,
    sizes: Mapping[str, EncodedSize],
    item_log_q: np.ndarray,
    strategy: tf.distribute.Strategy,
    log_directory: str,
) -> TrainingResult:
    """Train both towers.

    The loss is the mean over the global batch: each replica divides the sum of its rows by the global
    batch, and the gradients are summed over the replicas. Negatives come from the replica's own rows. With
    row weights w the loss is sum_i w_i l_i / global batch, whatever the weights' sum.

    Args:
        columns: Transformed features of the train rows by name, as `read_columns` returns them: those
            of both towers and the keys of both ids, and the row weights, [rows] float32, if there are any.
        spec: The features.
        config: Settings of the towers, the loss and the training.
        sizes: Rows of each feature with a vocabulary or buckets, by name.
        item_log_q: [in_vocabulary + oov_buckets] float32, log of each item's share of the train rows, by
            the row of its embedding.
        strategy: The replicas.
        log_directory: Where TensorBoard finds the loss, the masked fraction and the examples per second.

    Returns:
        The trained towers and the figures of the training.

    Raises:
        ConfigError: A setting does not fit the features or the batch.
        TrainingError: There are fewer rows than one global batch, or the loss is no longer finite.
    """
    settings = config.training
    columns = {name: columns[name] for name in (*_columns_read(spec), *({WEIGHT} & columns.keys()))}
    rows = len(columns[spec.item_id.name])
    global_batch = settings.per_replica_batch * strategy.num_replicas_in_sync
    steps_per_epoch, rows_left_out = divmod(rows, global_batch)
    if steps_per_epoch == 0:
        raise TrainingError(
            f"Expected at least one global batch of train rows: {global_batch} = training.per_replica_batch "
            f"{settings.per_replica_batch} x {strategy.num_replicas_in_sync} replicas. Received: {rows} "
            f"rows. Lower training.per_replica_batch."
        )
    if config.loss.logq and spec.item_id.encoding is None:
        raise ConfigError(
            f"loss.logq: the correction counts items by the vocabulary of the item id, and feature "
            f"{spec.item_id.name!r} has no encoding. Give it one, or set loss.logq to false."
        )
    _PROGRESS.info(
        "Training on %d rows: %d epochs of %d steps, global batch %d; %d rows left out of each epoch",
        rows, settings.epochs, steps_per_epoch, global_batch, rows_left_out,
    )  # fmt: skip

    tf_keras.utils.set_random_seed(settings.seed)
    learning_rate = scale_learning_rate(settings, strategy.num_replicas_in_sync)
    loss = build_loss(config.loss, settings.per_replica_batch)
    log_q_by_row = tf.constant(item_log_q, tf.float32)
    with strategy.scope():
        towers = build_towers(spec, config.model, sizes, settings.seed)
        optimizer = tf_keras.optimizers.Adam(learning_rate, jit_compile=False)
        optimizer.build(towers.trainable_variables)
    batches = iter(
        strategy.experimental_distribute_dataset(make_dataset(columns, global_batch, settings.seed))
    )

    def train_step(batch: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        item_keys = batch[spec.item_id.name]
        keys = BatchKeys(
            users=batch[spec.user_id.name],
            items=item_keys,
            histories=batch[spec.history.name] if spec.history is not None else None,
        )
        log_q = None
        if config.loss.logq:
            log_q = tf.gather(log_q_by_row, oov_rows(item_keys, sizes[spec.item_id.name]))
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        draw = step * strategy.num_replicas_in_sync + tf.cast(replica, tf.int64)
        with tf.GradientTape() as tape:
            users, items = towers.user(batch, training=True), towers.item(batch, training=True)
            seed = tf.stack([settings.seed, draw])
            result = loss(users, items, log_q, keys, seed, batch.get(WEIGHT))
            loss_share = result.loss_sum / global_batch
        variables = towers.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss_share, variables), variables, strict=True))
        return loss_share, result.masked_fraction

    @tf.function
    def train_steps(
        batches: Iterator[Mapping[str, tf.Tensor]], first: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        loss_sum, masked_sum, broken_step = tf.constant(0.0), tf.constant(0.0), tf.constant(0, tf.int64)
        for step in tf.range(first, first + count):
            loss_share, masked = strategy.run(train_step, args=(next(batches), step))
            loss_now = strategy.reduce("SUM", loss_share, axis=None)
            loss_sum += loss_now
            masked_sum += strategy.reduce("MEAN", masked, axis=None)
            if broken_step == 0 and not tf.math.is_finite(loss_now):
                broken_step = step
        return loss_sum, masked_sum, broken_step

    writer = tf.summary.create_file_writer(log_directory)
    step, last_line = 0, time.monotonic()
    started = last_line
    epoch_loss = 0.0
    for epoch in range(1, settings.epochs + 1):
        epoch_loss_sum, epoch_end = 0.0, epoch * steps_per_epoch
        while step < epoch_end:
            count = min(settings.log_interval_steps, epoch_end - step)
            chunk_started = time.monotonic()
            sums = train_steps(batches, tf.constant(step + 1, tf.int64), tf.constant(count, tf.int64))
            loss_sum, masked_sum, broken_step = (value.numpy().item() for value in sums)
            now = time.monotonic()
            if broken_step:
                raise TrainingError(
                    f"The loss is not finite at step {broken_step} (epoch {epoch}). Lower "
                    f"training.learning_rate ({learning_rate:g} with its scaling) or raise loss.temperature "
                    f"({config.loss.temperature}), and look for extreme values among the numeric features."
                )
            step += count
            epoch_loss_sum += loss_sum
            rate = count * global_batch / (now - chunk_started)
            with writer.as_default(step):
                _write_scalar("loss", loss_sum / count)
                _write_scalar("masked_fraction", masked_sum / count)
                _write_scalar("examples_per_second", rate)
            if step == epoch_end or now - last_line > _SECONDS_BETWEEN_LINES:
                last_line = now
                _PROGRESS.info(
                    "Training: epoch %d/%d, step %d, %.0f examples/s, loss %.4f",
                    epoch, settings.epochs, step, rate, epoch_loss_sum / (step - epoch_end + steps_per_epoch),
                )  # fmt: skip
        epoch_loss = epoch_loss_sum / steps_per_epoch
    writer.close()
    return TrainingResult(
        towers=towers,
        steps=step,
        epochs=settings.epochs,
        train_rows=rows,
        global_batch=global_batch,
        rows_left_out_per_epoch=rows_left_out,
        final_loss=epoch_loss,
        examples_per_second=step * global_batch / (time.monotonic() - started),
    )


def scale_learning_rate(settings: TrainingConfig, replicas: int) -> float:
    """Adapt the learning rate to a global batch that grows with the replicas.

    Args:
        settings: `learning_rate`, that of one replica, and the rule `scale_learning_rate`.
        replicas: Replicas in sync.

    Returns:
        `learning_rate` times 1 (`none`), `replicas` (`linear`; Goyal et al. 2017) or their square root
        (`sqrt`; Krizhevsky 2014).
    """
    factors = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}
    return settings.learning_rate * factors[settings.scale_learning_rate]


def _write_scalar(name: str, value: float) -> None:
    # tf.summary.scalar needs the tensorboard package, which only the one who looks at the logs has to have.
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=summary_pb2.DATA_CLASS_SCALAR,
    )
    tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)


def _columns_read(spec: FeatureSpec) -> list[str]:
    features = (spec.user_id, spec.item_id, *spec.tower_features("user"), *spec.tower_features("item"))
    histories = () if spec.history is None else (spec.history.name,)
    return list(dict.fromkeys([*(feature.name for feature in features), *histories]))
