"""The training loop."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.framework import summary_pb2

from schemas import storage
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import StorageError, TrainingError
from schemas.features import FeatureSpec
from schemas.progress import StepProgress, report_progress
from trainer.checkpoints import Checkpoints, Progress, training_key
from trainer.config import TrainerConfig, TrainingConfig
from trainer.data.batches import FEATURES, HISTORIES, ITEMS, USERS, WEIGHTS, Batch, BatchMaker, TrainingData
from trainer.data.sequences import Rows, count_items, item_log_q
from trainer.data.stream import distribute_dataset
from trainer.data.windows import SEGMENTS, WindowGather
from trainer.false_negatives import BatchKeys, KnownPositives
from trainer.health import HealthMonitor
from trainer.objective import Objective
from trainer.optimizers import Optimizer, build_optimizer
from trainer.strategy import gather_from_workers, is_chief
from trainer.towers import Towers, build_towers
from trainer.validation import build_recall, choose_cut_off
from trainer.vocabularies import EncodedSize
from trainer.window_length import choose_window_length

if TYPE_CHECKING:
    from trainer.warm_start import WarmStart, WarmStartCounts

_PROGRESS = logging.getLogger(PROGRESS_LOGGER)
# Besides, how far it is goes to whoever draws it.
_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class TrainingResult:
    """Two trained towers and how they came about."""

    towers: Towers
    """The trained towers."""
    optimizer: Optimizer
    """The optimiser after its last step."""
    steps: int
    """Steps behind the towers: of early stopping without a second training, those of the best epoch."""
    epochs_run: int
    """Passes over the train rows that were begun, the second training of early stopping not counted."""
    train_rows: int
    """Rows given, those left out of each epoch included."""
    global_batch: int
    """Rows per step, over all replicas."""
    rows_left_out_per_epoch: int
    """Rows that fill no whole global batch; others in each epoch."""
    final_loss: float
    """Mean loss of the last epoch."""
    examples_per_second: float
    """Rows per second of the steps that this process took, tracing included; 0 if it took none."""
    resumed_from_step: int | None
    """Step of the checkpoint that this process went on from; None if it started anew."""
    recall_by_epoch: tuple[float, ...]
    """Recall on the validation split after each epoch; empty without early stopping."""
    best_epoch: int | None
    """The epoch with the best recall, from 1 on; None without early stopping."""
    refitted: bool
    """Whether the towers were trained again on train and validation."""
    warm_start: "WarmStartCounts | None"
    """What the base model gave; None for a cold start."""
    checkpoints: str | None
    """Folder of this training's checkpoints, a path or URI; None where it has none."""


def train(
    data: TrainingData,
    spec: FeatureSpec,
    config: TrainerConfig,
    sizes: Mapping[str, EncodedSize],
    strategy: tf.distribute.Strategy,
    *,
    log_directory: str,
    checkpoint_directory: str | None = None,
    warm_start: "WarmStart | None" = None,
) -> TrainingResult:
    """Train both towers, from the newest checkpoint of this same training if there is one.

    The loss is the mean over the global batch: each replica divides the sum of its rows by the global
    batch, and the gradients are summed over the replicas. With row weights w the loss is
    sum_i w_i l_i / global batch, whatever the weights' sum.

    Every draw (the order of the rows, dropout, negatives) is a function of the seed, the step and the
    replica, so that where training is interrupted, or pauses to log or to write a checkpoint, changes no
    result.

    Args:
        data: The rows, and what they are made of.
        spec: The features.
        config: Settings of the towers, the loss and the training.
        sizes: Rows of each feature with a vocabulary or buckets, by name.
        strategy: The replicas.
        log_directory: Where TensorBoard finds the loss and the figures of `trainer.health`.
        checkpoint_directory: Folder of the checkpoints of all trainings, a path or URI; None for none.
        warm_start: What the variables begin from; None for a cold start.

    Returns:
        The trained towers and the figures of the training.

    Raises:
        ConfigError: A setting does not fit the features or the batch.
        StorageError: A checkpoint cannot be read or written.
        TrainingError: There are fewer rows than one global batch, early stopping lacks its data, or the loss
            is no longer finite.
    """
    settings, stopping = config.training, config.training.early_stopping
    replicas = strategy.num_replicas_in_sync
    global_batch = settings.per_replica_batch * replicas
    rows = len(data.train)
    _check(config, rows, global_batch, data.validation)
    window_length = choose_window_length(settings, spec)
    steps_per_epoch, rows_left_out = divmod(rows, global_batch)
    total_steps = settings.epochs * steps_per_epoch
    _PROGRESS.info(
        "Training on %d rows: %d epochs of %d steps, global batch %d; %d rows left out of each epoch",
        rows, settings.epochs, steps_per_epoch, global_batch, rows_left_out,
    )  # fmt: skip
    if data.validation is not None and stopping is not None and not stopping.refit:
        _PROGRESS.info(
            "%d validation rows are never trained on, since training.early_stopping.refit is false",
            len(data.validation),
        )
    # What is exported after a second training has seen both splits, as the vocabularies then have.
    counted = data.fitted if stopping is not None and stopping.refit else data.train
    log_q = item_log_q(count_items(data.sequences, counted, data.item_count))

    checkpoints = saved = None
    if checkpoint_directory is not None:
        base_id = warm_start.base_id if warm_start is not None else None
        arrays = {**data.arrays(), "item_log_q": log_q}
        key = training_key(arrays, spec, config, sizes, replicas=replicas, base_id=base_id)
        folder = storage.join(checkpoint_directory, key)
        checkpoints = Checkpoints(folder, settings.checkpoint)
        saved = checkpoints.find_newest()
        _check_same_start(strategy, saved.progress if saved is not None else Progress(), folder)
    progress = saved.progress if saved is not None else Progress()
    resumed_from_step = saved.progress.step if saved is not None else None
    speed = _Speed()
    maker = BatchMaker(data, spec)
    recall = None
    if stopping is not None and data.validation is not None:
        k = choose_cut_off(stopping.k, data.item_count)
        recall = build_recall(data, data.validation, maker, k, config.candidates)

    while True:
        refitting = progress.phase == "refit"
        trained, last_step = data.train, total_steps
        if refitting and progress.best_epoch is not None:
            trained = data.fitted
            last_step = progress.best_epoch * steps_per_epoch
        # A second training takes the first steps of the first one's schedule.
        model = _build_model(spec, config, sizes, log_q, strategy, total_steps, data, trained)
        totals = _Totals()
        best = _BestWeights(model.towers) if stopping is not None and not stopping.refit else None
        base_counts = warm_start.apply(model.towers, model.optimizer) if warm_start is not None else None
        state = [*model.variables, *totals.variables]
        state += best.copies if best is not None else []
        if saved is not None:
            saved.restore(state)
            _PROGRESS.info("Training resumed from step %d: %s", progress.step, saved.location)
            saved = None

        gather = maker.of_rows(trained)
        batches = distribute_dataset(
            strategy,
            WindowGather(gather, window_length) if window_length else gather,
            len(trained),
            global_batch,
            settings.seed,
            window_length=window_length or 1,
            first_step=progress.step,
        )
        phase = _Phase(
            towers=model.towers,
            state=state,
            totals=totals,
            best=best,
            batches=iter(batches),
            train_steps=_make_train_steps(model, totals, settings, window_length, strategy),
            monitor=HealthMonitor(model.towers, gather, len(trained), config.loss.temperature, settings.seed),
            learning_rate=model.optimizer.learning_rate,
            recall=_take_chiefs(recall, strategy) if recall and stopping and not refitting else None,
            steps_per_epoch=len(trained) // global_batch,
            last_step=last_step,
            writer=tf.summary.create_file_writer(f"{log_directory}/refit" if refitting else log_directory),
            writes_checkpoints=checkpoints is not None and is_chief(strategy),
        )
        with contextlib.closing(phase.writer):
            progress = _run(phase, progress, config, global_batch, checkpoints, speed)
        if stopping is None or not stopping.refit or refitting:
            break
        _PROGRESS.info(
            "Training again, on train and validation, for the steps of %s epochs", progress.best_epoch
        )
        progress = Progress(phase="refit", recall_by_epoch=progress.recall_by_epoch)

    final_loss = totals.mean_epoch_loss((progress.step - 1) % phase.steps_per_epoch + 1)
    steps = progress.step
    if best is not None and progress.best_epoch is not None:
        best.restore()
        steps = progress.best_epoch * steps_per_epoch
    return TrainingResult(
        towers=model.towers,
        optimizer=model.optimizer,
        steps=steps,
        epochs_run=len(progress.recall_by_epoch) or settings.epochs,
        train_rows=rows,
        global_batch=global_batch,
        rows_left_out_per_epoch=rows_left_out,
        final_loss=final_loss,
        examples_per_second=speed.rows_per_second,
        resumed_from_step=resumed_from_step,
        recall_by_epoch=progress.recall_by_epoch,
        best_epoch=progress.best_epoch,
        refitted=refitting,
        warm_start=base_counts,
        checkpoints=checkpoints.folder if checkpoints is not None and checkpoints.newest else None,
    )


@dataclass(frozen=True)
class _Model:
    """Everything whose variables a step reads and changes."""

    towers: Towers
    optimizer: Optimizer
    objective: Objective

    @property
    def variables(self) -> list[tf.Variable]:
        return [*_weights(self.towers), *self.optimizer.variables, *self.objective.variables]


def _build_model(
    spec: FeatureSpec,
    config: TrainerConfig,
    sizes: Mapping[str, EncodedSize],
    log_q: np.ndarray,
    strategy: tf.distribute.Strategy,
    total_steps: int,
    data: TrainingData,
    trained: Rows,
) -> _Model:
    settings = config.training
    positives = None
    if config.loss.mask_same_user == "sequence":
        positives = KnownPositives.of_rows(data.sequences.items, trained)
    tf_keras.utils.set_random_seed(settings.seed)
    with strategy.scope(), _precision(settings.mixed_precision):
        towers = build_towers(spec, config.model, sizes, settings.seed)
        optimizer = build_optimizer(
            settings,
            replicas=strategy.num_replicas_in_sync,
            total_steps=total_steps,
            tables=list(towers.tables.values()),
            dense=towers.dense_variables,
        )
        objective = Objective(
            config.loss,
            per_replica_batch=settings.per_replica_batch,
            dim=config.model.dim,
            seed=settings.seed,
            item_log_q=log_q,
            catalogue=data.items,
            positives=positives,
            members=config.model.members,
        )
    return _Model(towers, optimizer, objective)


@dataclass(frozen=True)
class _Phase:
    """One training from its first step to its last: the only one, or the second one of early stopping."""

    towers: Towers
    state: Sequence[tf.Variable]
    totals: "_Totals"
    best: "_BestWeights | None"
    batches: Iterator[Batch]
    train_steps: "_TrainSteps"
    monitor: HealthMonitor
    learning_rate: Callable[[int], float]
    recall: Callable[[Towers], float] | None
    steps_per_epoch: int
    last_step: int
    writer: tf.summary.SummaryWriter
    writes_checkpoints: bool


def _run(
    phase: _Phase,
    progress: Progress,
    config: TrainerConfig,
    global_batch: int,
    checkpoints: Checkpoints | None,
    speed: "_Speed",
) -> Progress:
    settings, stopping = config.training, config.training.early_stopping
    epochs = math.ceil(phase.last_step / phase.steps_per_epoch)
    speed_logged, last_line = _Speed(), time.monotonic()
    while progress.step < phase.last_step:
        if phase.recall and stopping and progress.epochs_since_best >= stopping.patience_epochs:
            break
        epoch, step_in_epoch = divmod(progress.step, phase.steps_per_epoch)
        epoch_begin = epoch * phase.steps_per_epoch
        epoch_end = min(epoch_begin + phase.steps_per_epoch, phase.last_step)
        logged = progress.step - step_in_epoch % settings.log_interval_steps
        log_at = min(logged + settings.log_interval_steps, epoch_end)
        pause = log_at
        if checkpoints is not None:
            pause = min(log_at, checkpoints.next_due(progress.step) or log_at)
        if step_in_epoch == 0:
            phase.totals.begin_epoch()

        started = time.monotonic()
        first, last = (tf.constant(step, tf.int64) for step in (progress.step + 1, pause))
        broken_step = int(phase.train_steps(phase.batches, first, last))
        for counter in (speed, speed_logged):
            counter.add((pause - progress.step) * global_batch, time.monotonic() - started)
        progress = replace(progress, step=pause)
        how_far = StepProgress(
            done=progress.step * global_batch,
            unit="examples trained" if progress.phase != "refit" else "examples trained again",
            total=phase.last_step * global_batch,
            note=f"epoch {epoch + 1}/{epochs}",
        )
        report_progress(how_far)
        if broken_step:
            raise TrainingError(
                f"The loss is not finite at step {broken_step} (epoch {epoch + 1}). Lower "
                f"training.learning_rate ({phase.learning_rate(broken_step):g} at this step) or raise "
                f"loss.temperature ({config.loss.temperature}), and look for extreme values among the "
                f"numeric features. Last checkpoint: {_name_newest(checkpoints)}."
            )

        if progress.step == log_at:
            loss, masked_fraction = phase.totals.take_interval(log_at - logged)
            health = phase.monitor.measure()
            if not math.isfinite(health.cosine_mean):
                raise TrainingError(
                    f"The embeddings are not finite after step {progress.step} (epoch {epoch + 1}), although "
                    f"the loss was. {_advise(phase, progress.step, checkpoints)}"
                )
            scalars = {
                "loss": loss,
                "masked_fraction": masked_fraction,
                "examples_per_second": speed_logged.rows_per_second,
                "learning_rate": phase.learning_rate(progress.step),
                **health.scalars(),
            }
            _write_scalars(phase.writer, progress.step, scalars)
            if progress.step == epoch_end or time.monotonic() - last_line > _SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                _PROGRESS.info(
                    "Training: epoch %d/%d, step %d, %.0f examples/s, loss %.4f, %.2f %% of negatives "
                    "masked, cosines %.3f +- %.3f",
                    epoch + 1, epochs, progress.step, speed_logged.rows_per_second,
                    phase.totals.mean_epoch_loss(progress.step - epoch_begin), 100 * masked_fraction,
                    health.cosine_mean, health.cosine_deviation,
                )  # fmt: skip
            speed_logged = _Speed()
            has_ended = progress.step == epoch_end
            phase.monitor.warn(health, config.model.dim, epoch_ended=has_ended)
            phase.monitor.warn_of_masks(masked_fraction, loss, epoch_ended=has_ended)

        if progress.step == epoch_end and phase.recall is not None and stopping is not None:
            report_progress(replace(how_far, note=f"validation after epoch {epoch + 1}/{epochs}"))
            try:
                recall = phase.recall(phase.towers)
            # An embedding that is not finite: validation sees those that the figures of health have not.
            except ValueError as error:
                raise TrainingError(
                    f"Validation failed after step {progress.step} (epoch {epoch + 1}): {error} "
                    f"{_advise(phase, progress.step, checkpoints)}"
                ) from error
            progress = replace(progress, recall_by_epoch=(*progress.recall_by_epoch, recall))
            if progress.epochs_since_best == 0 and phase.best is not None:
                phase.best.keep()
            _write_scalars(phase.writer, progress.step, {"validation_recall": recall})
            _PROGRESS.info(
                "Validation: epoch %d, recall %.4f; best %.4f after epoch %d",
                epoch + 1, recall, max(progress.recall_by_epoch), progress.best_epoch,
            )  # fmt: skip
        if checkpoints is not None and phase.writes_checkpoints and checkpoints.is_due(progress.step):
            _write_checkpoint(checkpoints, progress, phase.state)
    return progress


def _advise(phase: _Phase, step: int, checkpoints: Checkpoints | None) -> str:
    """Say what to do about embeddings that are not finite."""
    return (
        f"Lower training.learning_rate ({phase.learning_rate(step):g} at this step), and look for extreme "
        f"values among the numeric features. Last checkpoint: {_name_newest(checkpoints)}."
    )


def _write_checkpoint(checkpoints: Checkpoints, progress: Progress, state: Sequence[tf.Variable]) -> None:
    # Hours of training are worth more than the checkpoint that a full disk or a store does not take.
    try:
        checkpoints.write(progress, state)
    except StorageError as error:
        _PROGRESS.warning(
            "%s Training goes on; the last checkpoint is: %s.", error, _name_newest(checkpoints)
        )


def _name_newest(checkpoints: Checkpoints | None) -> str:
    return (checkpoints.newest if checkpoints is not None else None) or "none"


class _Totals:
    """Sums over steps, added up step by step, so that a pause between two steps changes none of them."""

    def __init__(self) -> None:
        with tf.device("CPU"):
            self._epoch_loss, self._interval_loss, self._interval_masked = (
                tf.Variable(0.0, trainable=False, dtype=tf.float64) for _ in range(3)
            )

    @property
    def variables(self) -> list[tf.Variable]:
        return [self._epoch_loss, self._interval_loss, self._interval_masked]

    def add(self, loss: tf.Tensor, masked_fraction: tf.Tensor) -> None:
        loss = tf.cast(loss, tf.float64)
        self._epoch_loss.assign_add(loss)
        self._interval_loss.assign_add(loss)
        self._interval_masked.assign_add(tf.cast(masked_fraction, tf.float64))

    def begin_epoch(self) -> None:
        self._epoch_loss.assign(0.0)

    def take_interval(self, steps: int) -> tuple[float, float]:
        loss, masked = float(self._interval_loss), float(self._interval_masked)
        self._interval_loss.assign(0.0)
        self._interval_masked.assign(0.0)
        return loss / steps, masked / steps

    def mean_epoch_loss(self, steps: int) -> float:
        return float(self._epoch_loss) / steps


class _BestWeights:
    """The weights after the best epoch, in the host's memory."""

    def __init__(self, towers: Towers) -> None:
        self._weights = _weights(towers)
        with tf.device("CPU"):
            self.copies = [tf.Variable(weight.numpy(), trainable=False) for weight in self._weights]

    def keep(self) -> None:
        for copy, weight in zip(self.copies, self._weights, strict=True):
            copy.assign(weight.numpy())

    def restore(self) -> None:
        for copy, weight in zip(self.copies, self._weights, strict=True):
            weight.assign(copy.numpy())


@dataclass
class _Speed:
    rows: int = 0
    seconds: float = 0.0

    def add(self, rows: int, seconds: float) -> None:
        self.rows += rows
        self.seconds += seconds

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.rows else 0.0


_TrainSteps = Callable[[Iterator[Batch], tf.Tensor, tf.Tensor], tf.Tensor]


def _make_train_steps(
    model: _Model,
    totals: _Totals,
    settings: TrainingConfig,
    window_length: int | None,
    strategy: tf.distribute.Strategy,
) -> _TrainSteps:
    """Make a function that takes the steps from first to last, and returns the first broken one or 0."""
    replicas = strategy.num_replicas_in_sync
    global_batch = settings.per_replica_batch * replicas
    towers = model.towers
    variables = [*towers.tables.values(), *towers.dense_variables]

    def train_step(batch: Batch, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        keys = BatchKeys(users=batch[USERS], items=batch[ITEMS], histories=batch.get(HISTORIES))
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        dropout_seed = tf.stack([settings.seed, step * replicas + tf.cast(replica, tf.int64)])

        def embed_items(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
            return towers.item(features, training=True, seed=dropout_seed)

        windows = {}
        if window_length is not None:
            windows["segments"] = tf.reshape(batch[SEGMENTS], [-1, window_length])
        with tf.GradientTape() as tape:
            users = towers.user(batch[FEATURES], training=True, seed=dropout_seed, **windows)
            items = embed_items(batch[FEATURES])
            result = model.objective(users, items, keys, batch.get(WEIGHTS), step, embed_items)
            loss_share = result.loss_sum / global_batch
        model.optimizer.apply(tape.gradient(loss_share, variables))
        return loss_share, result.masked_fraction

    @tf.function
    def train_steps(batches: Iterator[Batch], first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        broken_step = tf.constant(0, tf.int64)
        for step in tf.range(first, last + 1):
            loss_share, masked_fraction = strategy.run(train_step, args=(next(batches), step))
            loss = strategy.reduce("SUM", loss_share, axis=None)
            totals.add(loss, strategy.reduce("MEAN", masked_fraction, axis=None))
            if broken_step == 0 and not tf.math.is_finite(loss):
                broken_step = step
        return broken_step

    return train_steps


def _check(
    config: TrainerConfig,
    rows: int,
    global_batch: int,
    validation: Rows | None,
) -> None:
    batch, stopping = config.training.per_replica_batch, config.training.early_stopping
    if rows < global_batch:
        raise TrainingError(
            f"Expected at least one global batch of train rows: {global_batch} = training.per_replica_batch "
            f"{batch} x {global_batch // batch} replicas. Received: {rows} rows. Lower "
            f"training.per_replica_batch."
        )
    if stopping is not None and validation is None:
        raise TrainingError(
            "training.early_stopping: expected a validation split. Received: none. Set ingest.validation to "
            "true, or training.early_stopping to null."
        )


def _take_chiefs(
    recall: Callable[[Towers], float], strategy: tf.distribute.Strategy
) -> Callable[[Towers], float]:
    """Let what the chief measures decide: a machine that rounds otherwise must not stop alone."""
    return lambda towers: gather_from_workers(strategy, recall(towers))[0]


def _check_same_start(strategy: tf.distribute.Strategy, progress: Progress, folder: str) -> None:
    """Refuse workers that would go on from different steps, before any of them writes."""
    step = -progress.step if progress.phase == "refit" else progress.step
    steps = gather_from_workers(strategy, step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"Expected a folder of checkpoints that all workers share. Received: in {folder} they find those "
            f"of the steps {[abs(int(found)) for found in steps]}. Give all workers the same object store, "
            "or a volume that is mounted on each."
        )


def _weights(towers: Towers) -> list[tf.Variable]:
    """List every variable of the two towers once, those that no gradient changes included."""
    variables = [*towers.user.variables, *towers.item.variables]
    return list({id(variable): variable for variable in variables}.values())


@contextlib.contextmanager
def _precision(mixed: bool) -> Iterator[None]:
    """Let layers that are built meanwhile compute in bfloat16, with float32 weights."""
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


def _write_scalars(writer: tf.summary.SummaryWriter, step: int, scalars: Mapping[str, float]) -> None:
    # tf.summary.scalar needs the tensorboard package, which only the one who looks at the logs has to have.
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
        data_class=summary_pb2.DATA_CLASS_SCALAR,
    )
    values = [
        tf.compat.v1.Summary.Value(
            tag=name, tensor=tf.make_tensor_proto(value, tf.float32, shape=[]), metadata=metadata
        )
        for name, value in scalars.items()
    ]
    # One event: one for each scalar takes as long as a step of training.
    with writer.as_default(step):
        tf.summary.experimental.write_raw_pb(tf.compat.v1.Summary(value=values).SerializeToString())
