"""TensorFlow Recommenders' Retrieval task on the rows of benchmarks/quality.py, as its tutorials use it.

The same features as the configured pipeline: each through an embedding, the history as the mean of its items'
embeddings; concatenated, then the tutorial's dense layers. `tfrs.tasks.Retrieval()` with its defaults (no
temperature, no correction, no masks) and the tutorials' Adagrad. In a process of its own, as the package
needs legacy Keras under TensorFlow's own name.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
from ranking_task import RankingTask
from ranking_variants import PATIENCE_EPOCHS, STOP_AT_RECALL, Columns, Log, read_log, score

from pipeline.config import load_config
from trainer.config import TrainerConfig, TrainingConfig
from trainer.vocabularies import EncodedSize, encoded_sizes

# The tutorials' own, and smaller ones.
LEARNING_RATES = (0.1, 0.03, 0.01)
LAYERS = (128,)


class Tower(tf.keras.Model):
    """Concatenates embeddings and maps them through dense layers."""

    def __init__(self, sizes: dict[str, EncodedSize], dim: int) -> None:
        super().__init__()
        self.sizes = sizes
        self._tables = {
            name: tf.keras.layers.Embedding(size.in_vocabulary + size.oov_buckets + 1, dim)
            for name, size in sizes.items()
        }
        self._layers = [tf.keras.layers.Dense(width, activation="relu") for width in LAYERS]
        self._layers.append(tf.keras.layers.Dense(dim))

    def call(self, features: Columns) -> tf.Tensor:
        """Embed [batch] or, padded with -1, [batch, values] int64 features; [batch, dim] float32."""
        vectors = []
        for name in self.sizes:
            # Row 0 is padding.
            rows = 1 + tf.cast(features[name], tf.int64)
            embedded = self._tables[name](rows)
            if rows.shape.rank == 2:
                present = tf.cast(rows > 0, tf.float32)
                total = tf.einsum("bn,bnd->bd", present, embedded)
                embedded = total / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
            vectors.append(embedded)
        hidden = tf.concat(vectors, axis=1)
        for layer in self._layers:
            hidden = layer(hidden)
        return hidden


class TwoTowers(tfrs.Model):
    """A query and a candidate tower under the Retrieval task."""

    def __init__(
        self, user_sizes: dict[str, EncodedSize], item_sizes: dict[str, EncodedSize], dim: int
    ) -> None:
        super().__init__()
        self.user = Tower(user_sizes, dim)
        self.item = Tower(item_sizes, dim)
        self._task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: Columns, training: bool = False) -> tf.Tensor:
        """Give the task's loss of a batch."""
        return self._task(self.user(features), self.item(features), compute_metrics=False)


def build_model(log: Log, settings: TrainerConfig, learning_rate: float) -> TwoTowers:
    """Build and compile the two towers for the features of a schema.

    Args:
        log: Their features, each with a vocabulary or buckets.
        settings: Width of embeddings and towers, and the seed.
        learning_rate: Adagrad's.

    Returns:
        The model.
    """
    tf.keras.utils.set_random_seed(settings.training.seed)
    spec = log.spec
    sizes = encoded_sizes(spec, log.folders.graphs)
    user = {feature.name: sizes[feature.name] for feature in spec.tower_features("user")}
    item = {feature.name: sizes[feature.name] for feature in spec.tower_features("item")}
    if spec.history is not None:
        user[spec.history.name] = sizes[spec.item_id.name]
    model = TwoTowers(user, item, settings.model.dim)
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
    read = {name: columns[name] for name in (*model.user.sizes, *model.item.sizes)}
    rows = len(next(iter(read.values())))
    batches = (
        tf.data.Dataset.from_tensor_slices(read)
        .shuffle(rows, seed=settings.seed)
        .batch(settings.per_replica_batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    model.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks))


class StopWithoutGain(tf.keras.callbacks.Callback):
    """Measures the recall on validation after each epoch, and ends training when it no longer rises."""

    def __init__(self, task: RankingTask, queries: Columns, items: Columns, recalls: list[float]) -> None:
        super().__init__()
        self._task, self._queries, self._items, self._recalls = task, queries, items, recalls

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure, and decide."""
        ranks = self._task.rank(score(self.model, self._queries, self._items))
        self._recalls.append(self._task.metrics(ranks)[f"recall_at_{STOP_AT_RECALL}"])
        since_best = len(self._recalls) - 1 - int(np.argmax(self._recalls))
        self.model.stop_training = since_best >= PATIENCE_EPOCHS


def choose(log: Log, settings: TrainerConfig) -> dict[str, Any]:
    """Find the learning rate and the number of epochs with the best recall on validation.

    Args:
        log: The interactions.
        settings: Width, batch, seed, and the most epochs.

    Returns:
        What `ranking_variants.measure_variant` gives.
    """
    train, validation = log.data.train, log.data.validation
    assert validation is not None
    task = log.make_task(train, validation)
    columns, queries = log.columns(train), log.queries(validation, task.ranked)
    recalls: dict[float, list[float]] = {}
    started = time.monotonic()
    for learning_rate in LEARNING_RATES:
        model = build_model(log, settings, learning_rate)
        found = recalls[learning_rate] = []
        stopping = StopWithoutGain(task, queries, log.data.items, found)
        fit(model, columns, settings.training, settings.training.epochs, [stopping])
    best = max(recalls, key=lambda learning_rate: max(recalls[learning_rate]))
    return {
        "seconds_per_epoch": (time.monotonic() - started) / sum(map(len, recalls.values())),
        "chosen": {"epochs": int(np.argmax(recalls[best])) + 1, "learning_rate": best},
        "recall_by_epoch": recalls[best],
    }


def rank_held_out(log: Log, settings: TrainerConfig, epochs: int, learning_rate: float) -> dict[str, Any]:
    """Train on train and validation, and rank the held-out interactions.

    Args:
        log: The interactions.
        settings: Width, batch and seed.
        epochs: Passes over the rows.
        learning_rate: Adagrad's.

    Returns:
        What `ranking_variants.measure_variant` gives.
    """
    train = log.final.train
    columns = log.columns(train)
    task = log.make_task(train, log.held_out)
    model = build_model(log, settings, learning_rate)
    started = time.monotonic()
    fit(model, columns, settings.training, epochs)
    seconds_per_epoch = (time.monotonic() - started) / epochs
    ranks = task.rank(score(model, log.queries(log.held_out, task.ranked), log.data.items))
    return {"seconds_per_epoch": seconds_per_epoch, "ranks": ranks.tolist(), "metrics": task.metrics(ranks)}


def main() -> None:
    """Measure and write what came out as JSON."""
    parser = argparse.ArgumentParser(description="One training of benchmarks/quality.py by TFRS.")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int, help="leave out to find the best number of them")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--outputs", required=True, help="JSON: folders of the pipeline's outputs")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    config = load_config(arguments.config, tuple(arguments.overrides))
    log = read_log(config.load_features(), json.loads(arguments.outputs))
    if arguments.epochs is None:
        result = choose(log, config.trainer)
    else:
        result = rank_held_out(log, config.trainer, arguments.epochs, arguments.learning_rate)
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
