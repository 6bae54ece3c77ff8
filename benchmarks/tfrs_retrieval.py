"""TensorFlow Recommenders' Retrieval task on the examples of benchmarks/quality.py, as its tutorials use it.

The same features as the configured pipeline: each through an embedding, the history as the mean of its items'
embeddings; concatenated, then the tutorial's dense layers. `tfrs.tasks.Retrieval()` with its defaults (no
temperature, no correction, no masks) and the tutorials' Adagrad with a learning rate of 0.1. In a process of
its own, as the package needs legacy Keras under TensorFlow's own name.
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
import tensorflow_transform as tft
from ranking_task import Columns, make_task
from ranking_variants import (
    PATIENCE_EPOCHS,
    STOP_AT_RECALL,
    Examples,
    concatenate,
    extend_history,
    read_examples,
    score,
)

from pipeline.config import load_config
from schemas.features import FeatureSpec
from trainer.vocabularies import EncodedSize, encoded_sizes

LEARNING_RATE = 0.1
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
        for name, size in self.sizes.items():
            # Row 0 is padding, and what no vocabulary holds shares the last one.
            rows = 1 + tf.minimum(
                tf.cast(features[name], tf.int64), size.in_vocabulary + size.oov_buckets - 1
            )
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


def build_model(spec: FeatureSpec, sizes: dict[str, EncodedSize], dim: int) -> TwoTowers:
    """Build the two towers for the features of a schema.

    Args:
        spec: The features; each has a vocabulary or buckets.
        sizes: Rows of each.
        dim: Width of embeddings and towers.

    Returns:
        The model, not yet compiled.
    """
    user = {feature.name: sizes[feature.name] for feature in spec.tower_features("user")}
    item = {feature.name: sizes[feature.name] for feature in spec.tower_features("item")}
    if spec.history is not None:
        user[spec.history.name] = sizes[spec.item_id.name]
    return TwoTowers(user, item, dim)


def fit(
    model: TwoTowers, columns: Columns, batch: int, epochs: int, seed: int, callbacks: Sequence[Any]
) -> None:
    """Train with `fit`, shuffled anew in every epoch.

    Args:
        model: The compiled model.
        columns: Transformed columns by name.
        batch: Rows per step.
        epochs: Passes over the rows.
        seed: Seed of the shuffling.
        callbacks: Keras callbacks.
    """
    read = {name: columns[name] for name in (*model.user.sizes, *model.item.sizes)}
    rows = len(next(iter(read.values())))
    batches = (
        tf.data.Dataset.from_tensor_slices(read)
        .shuffle(rows, seed=seed)
        .batch(batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
    model.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks))


def measure(
    examples: Examples, dim: int, batch: int, most_epochs: int, seed: int, epochs: int | None
) -> dict[str, Any]:
    """Find the best number of epochs, or train for as many and rank the held-out interaction.

    Args:
        examples: The examples.
        dim: Width of embeddings and towers.
        batch: Rows per step.
        most_epochs: Where the search ends.
        seed: Of weights and shuffling.
        epochs: Passes over train and validation together; None: search.

    Returns:
        What `ranking_variants.measure_variant` gives.
    """
    spec = examples.spec
    tf.keras.utils.set_random_seed(seed)
    model = build_model(spec, encoded_sizes(spec, tft.TFTransformOutput(examples.transform_graph)), dim)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(LEARNING_RATE))
    train = examples.train if epochs is None else concatenate(examples.train, examples.validation)
    held_out = examples.validation if epochs is None else examples.held_out
    task = make_task(train, held_out, examples.catalogue, spec.user_id.name, spec.item_id.name)
    recalls: list[float] = []

    def stop_when_worse(epoch: int, logs: Any) -> None:
        ranks = task.rank(score(model, task, held_out, examples.catalogue))
        recalls.append(task.metrics(ranks)[f"recall_at_{STOP_AT_RECALL}"])
        model.stop_training = len(recalls) - int(np.argmax(recalls)) > PATIENCE_EPOCHS

    callbacks = (
        [] if epochs is not None else [tf.keras.callbacks.LambdaCallback(on_epoch_end=stop_when_worse)]
    )
    started = time.monotonic()
    fit(model, train, batch, most_epochs if epochs is None else epochs, seed, callbacks)
    seconds_per_epoch = (time.monotonic() - started) / (len(recalls) or epochs or 1)
    if epochs is None:
        best_epoch = int(np.argmax(recalls)) + 1
        return {"seconds_per_epoch": seconds_per_epoch, "best_epoch": best_epoch, "recall_by_epoch": recalls}
    ranks = task.rank(score(model, task, held_out, examples.catalogue))
    return {"seconds_per_epoch": seconds_per_epoch, "ranks": ranks.tolist(), "metrics": task.metrics(ranks)}


def main() -> None:
    """Measure and write what came out as JSON."""
    parser = argparse.ArgumentParser(description="One training of benchmarks/quality.py by TFRS.")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--epochs", type=int, help="leave out to find the best number of them")
    parser.add_argument("--outputs", required=True, help="JSON: folders of the pipeline's outputs")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    config = load_config(arguments.config, tuple(arguments.overrides))
    examples = read_examples(extend_history(config.load_features()), json.loads(arguments.outputs))
    training = config.training
    result = measure(
        examples,
        config.model.dim,
        training.per_replica_batch,
        training.epochs,
        training.seed,
        arguments.epochs,
    )
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
