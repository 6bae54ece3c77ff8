"""TensorFlow Recommenders' Retrieval task on the rows of benchmarks/quality.py, as its tutorials use it.

The same features as the configured pipeline, those of the context left out: each through an embedding or as
the numbers that it is, the history as the mean of its items' embeddings; concatenated, then the tutorial's
dense layers. `tfrs.tasks.Retrieval()` with its defaults (no temperature, no correction, no masks) and the
tutorials' Adagrad. In a process of its own, as the package needs legacy Keras under TensorFlow's own name.
"""

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
from held_out import HeldOutTask, SplitSequences, make_tasks, read_split_sequences

from pipeline.config import load_config
from schemas.features import FeatureSpec
from schemas.ranking import METRICS, score_by_inner_product
from trainer.config import TrainerConfig, TrainingConfig
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.load import InputFolders, load_training_data
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.transform_graphs import TransformGraphs
from trainer.vocabularies import EncodedSize, encoded_sizes

Columns = Mapping[str, np.ndarray]

# The tutorials' own, and smaller ones.
LEARNING_RATES = (0.1, 0.03, 0.01)
LAYERS = (128,)
# Early stopping looks so many epochs further before it says which was best.
PATIENCE_EPOCHS = 2
CHOICE_METRIC = "recall"
EMBED_ROWS = 8192


@dataclass(frozen=True)
class TransformedLog:
    """What the pipeline's Transform steps made of the interactions."""

    spec: FeatureSpec
    """The features."""
    sequences: SplitSequences
    """The positives of every user."""
    data: TrainingData
    """The transformed users and items, with all of these positives."""
    sizes: dict[str, EncodedSize]
    """The rows of an embedding by feature."""

    def rows_before(self, ends: np.ndarray) -> Columns:
        """Give what the towers read of each user's rows before a position.

        Args:
            ends: [users] the positions.

        Returns:
            [rows, ...] transformed features by name.
        """
        return self._columns(Rows.between(self.sequences.offsets[:-1], ends))

    def rows_at(self, users: np.ndarray, starts: np.ndarray) -> Columns:
        """Give what the towers read of some users as of a position.

        Args:
            users: [queries] their numbers.
            starts: [users] a position for each user of the log.

        Returns:
            [queries, ...] transformed features by name.
        """
        ends = starts.copy()
        ends[users] += 1
        return self._columns(Rows.between(starts, ends))

    def _columns(self, rows: Rows) -> Columns:
        batch = BatchMaker(self.data, self.spec).of_rows(rows)(np.arange(len(rows)))
        return {name: values.numpy() for name, values in batch[FEATURES].items()}


def read_log(spec: FeatureSpec, outputs: Mapping[str, str]) -> TransformedLog:
    """Read what the pipeline's ingest and Transform steps wrote.

    Args:
        spec: The features.
        outputs: Folders of `sequences`, `catalogue`, `user_graph`, `item_graph` and, with context features,
            `context_graph`.

    Returns:
        The interactions.
    """
    graphs = TransformGraphs(
        user=outputs["user_graph"], item=outputs["item_graph"], context=outputs.get("context_graph")
    )
    data = load_training_data(
        InputFolders(outputs["sequences"], outputs["catalogue"], graphs),
        spec,
        read_validation=False,
        fits_validation=False,
    )
    sequences = read_split_sequences(Path(outputs["sequences"]), Path(outputs["catalogue"]), spec)
    # A training reads no further than its own split; the position of a query lies behind it. There are no
    # context features here.
    flat = FlatSequences(
        offsets=sequences.offsets,
        items=sequences.items,
        seconds=None if data.gap_boundaries is None else sequences.times,
    )
    sizes = encoded_sizes(spec, graphs)
    if spec.history is not None:
        sizes[spec.history.name] = sizes[spec.item_id.name]
    return TransformedLog(spec, sequences, dataclasses.replace(data, sequences=flat), sizes)


class Tower(tf.keras.Model):
    """Concatenates embeddings and numbers and maps them through dense layers."""

    def __init__(self, names: Sequence[str], sizes: Mapping[str, EncodedSize], dim: int) -> None:
        super().__init__()
        self.names = names
        self._tables = {
            name: tf.keras.layers.Embedding(sizes[name].in_vocabulary + sizes[name].oov_buckets + 1, dim)
            for name in names
            if name in sizes
        }
        self._layers = [tf.keras.layers.Dense(width, activation="relu") for width in LAYERS]
        self._layers.append(tf.keras.layers.Dense(dim))

    def call(self, features: Columns) -> tf.Tensor:
        """Map features, [batch] or [batch, values], integers padded with -1; [batch, dim] float32."""
        hidden = tf.concat([self._embed(name, features[name]) for name in self.names], axis=1)
        for layer in self._layers:
            hidden = layer(hidden)
        return hidden

    def _embed(self, name: str, values: tf.Tensor) -> tf.Tensor:
        if name not in self._tables:
            if values.dtype.is_integer:
                raise ValueError(f"{name}: expected its vocabulary, since its values are numbers of tokens.")
            numbers = tf.cast(values, tf.float32)
            return numbers if numbers.shape.rank == 2 else numbers[:, tf.newaxis]
        # Row 0 is padding.
        rows = 1 + tf.cast(values, tf.int64)
        embedded = self._tables[name](rows)
        if rows.shape.rank == 1:
            return embedded
        present = tf.cast(rows > 0, tf.float32)
        total = tf.einsum("bn,bnd->bd", present, embedded)
        return total / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)


class TwoTowers(tfrs.Model):
    """A query and a candidate tower under the Retrieval task."""

    def __init__(self, user: Tower, item: Tower) -> None:
        super().__init__()
        self.user, self.item = user, item
        self._task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: Columns, training: bool = False) -> tf.Tensor:
        """Give the task's loss of a batch."""
        return self._task(self.user(features), self.item(features), compute_metrics=False)


def build_model(log: TransformedLog, settings: TrainerConfig, learning_rate: float) -> TwoTowers:
    """Build and compile the two towers for the features of a schema.

    Args:
        log: Their features.
        settings: Width of embeddings and towers, and the seed.
        learning_rate: Adagrad's.

    Returns:
        The model.
    """
    tf.keras.utils.set_random_seed(settings.training.seed)
    user, item = (
        [feature.name for feature in log.spec.tower_features(side) if feature.tower == side]
        for side in ("user", "item")
    )
    if log.spec.history is not None:
        user.append(log.spec.history.name)
    dim = settings.model.dim
    model = TwoTowers(Tower(user, log.sizes, dim), Tower(item, log.sizes, dim))
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate))
    return model


def fit(
    model: TwoTowers, columns: Columns, settings: TrainingConfig, epochs: int, callbacks: Sequence[Any] = ()
) -> None:
    """Train with `fit`, shuffled anew in every epoch.

    Args:
        model: The compiled model.
        columns: Transformed columns by name.
        settings: Batch and seed.
        epochs: Passes over the rows.
        callbacks: Keras callbacks.
    """
    read = {name: columns[name] for name in (*model.user.names, *model.item.names)}
    rows = len(next(iter(read.values())))
    batches = (
        tf.data.Dataset.from_tensor_slices(read)
        .shuffle(rows, seed=settings.seed)
        .batch(settings.per_replica_batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    model.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks))


def embed(tower: Tower, columns: Columns) -> np.ndarray:
    """Embed every row.

    Args:
        tower: A tower.
        columns: Transformed columns.

    Returns:
        [rows, dim] float32.
    """
    read = {name: columns[name] for name in tower.names}
    rows = len(next(iter(read.values())))
    return np.concatenate(
        [
            tower({name: column[start : start + EMBED_ROWS] for name, column in read.items()}).numpy()
            for start in range(0, rows, EMBED_ROWS)
        ]
    )


class StopWithoutGain(tf.keras.callbacks.Callback):
    """Measures the recall on validation after each epoch, and ends training when it no longer rises."""

    def __init__(self, task: HeldOutTask, queries: Columns, items: Columns, recalls: list[float]) -> None:
        super().__init__()
        self._task, self._queries, self._items, self._recalls = task, queries, items, recalls

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure, and decide."""
        users, items = embed(self.model.user, self._queries), embed(self.model.item, self._items)
        queries = self._task.queries
        ranks = self._task.rank(score_by_inner_product(users, items))
        self._recalls.append(float(METRICS[CHOICE_METRIC](ranks, queries.targets, queries.k).mean()))
        since_best = len(self._recalls) - 1 - int(np.argmax(self._recalls))
        self.model.stop_training = since_best >= PATIENCE_EPOCHS


def choose(log: TransformedLog, validation: HeldOutTask, settings: TrainerConfig) -> dict[str, float]:
    """Find the learning rate and the number of epochs with the best recall on validation.

    Args:
        log: The interactions.
        validation: The validation task.
        settings: Width, batch, seed, and the most epochs.

    Returns:
        `epochs` and `learning_rate`.
    """
    starts = log.sequences.validation_starts
    columns, queries = log.rows_before(starts), log.rows_at(validation.users, starts)
    recalls: dict[float, list[float]] = {}
    for learning_rate in LEARNING_RATES:
        found = recalls[learning_rate] = []
        stopping = StopWithoutGain(validation, queries, log.data.items, found)
        model = build_model(log, settings, learning_rate)
        fit(model, columns, settings.training, settings.training.epochs, [stopping])
    best = max(recalls, key=lambda learning_rate: max(recalls[learning_rate]))
    return {"epochs": int(np.argmax(recalls[best])) + 1, "learning_rate": best}


def main() -> None:
    """Choose, or train with what was chosen and embed; write what came out."""
    parser = argparse.ArgumentParser(description="One training of benchmarks/quality.py by TFRS.")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--outputs", required=True, help="JSON: folders of the pipeline's outputs")
    parser.add_argument("--k", required=True, type=int, help="the largest cut-off")
    parser.add_argument("--epochs", type=int, help="leave out to find the best number of them")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--embeddings", type=Path, help="where the queries' and the items' go")
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    config = load_config(arguments.config, tuple(arguments.overrides))
    log = read_log(config.load_features(), json.loads(arguments.outputs))
    validation, final = make_tasks(log.sequences, config.evaluation.candidates, arguments.k)
    started = time.monotonic()
    if arguments.epochs is None:
        result = choose(log, validation, config.trainer)
    else:
        known_ends = log.sequences.known_ends
        model = build_model(log, config.trainer, arguments.learning_rate)
        fit(model, log.rows_before(known_ends), config.trainer.training, arguments.epochs)
        users = embed(model.user, log.rows_at(final.users, known_ends))
        np.savez(arguments.embeddings, users=users, items=embed(model.item, log.data.items))
        result = {"seconds": time.monotonic() - started}
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
