"""One training by tensorflow-recommenders, for benchmarks/training.py, as its own tutorials do it.

A `tfrs.Model` with the Retrieval task, compiled with Adagrad and fitted to shuffled and cached batches.
The towers have the layers of `trainer/towers.py`. No metrics: over the whole catalogue they would cost most
of the time.
"""

import os
import time

from training_data import ITEM_FEATURES, USER_FEATURES, Program, answer, count_values, make_log, use_two_cores

use_two_cores()
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf  # noqa: E402
import tensorflow_recommenders as tfrs  # noqa: E402

SHUFFLE_BUFFER_ROWS = 100_000


class Tower(tf.keras.Model):
    """Sums the features' embeddings and an MLP of them, and normalises."""

    def __init__(self, features: dict[str, int], program: Program, dropout: float) -> None:
        super().__init__()
        self._tables = {
            name: tf.keras.layers.Embedding(values + 1, program.dim) for name, values in features.items()
        }
        self._dropout = tf.keras.layers.Dropout(dropout)
        self._mlp = tf.keras.Sequential(
            [tf.keras.layers.Dense(program.hidden, activation="relu"), tf.keras.layers.Dense(program.dim)]
        )

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embed [batch] int64 features, and genres, [batch, values] padded with -1; [batch, dim] float32."""
        vectors = []
        for name, table in self._tables.items():
            values = features[name]
            embedded = table(tf.maximum(values, 0))
            if values.shape.rank == 2:
                present = tf.cast(values >= 0, tf.float32)
                total = tf.einsum("bn,bnd->bd", present, embedded)
                embedded = total / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
            vectors.append(embedded)
        hidden = self._dropout(tf.concat(vectors, axis=1), training=training)
        return tf.math.l2_normalize(tf.add_n(vectors) + self._mlp(hidden), axis=1)


class TwoTowers(tfrs.Model):
    """Two towers with the Retrieval task."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        sizes = count_values(program)
        self.query_model = Tower({name: sizes[name] for name in USER_FEATURES}, program, program.dropout)
        self.candidate_model = Tower({name: sizes[name] for name in ITEM_FEATURES}, program, 0.0)
        self.task = tfrs.tasks.Retrieval(temperature=program.temperature)

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Compute the task's loss."""
        queries = self.query_model(features, training=training)
        return self.task(queries, self.candidate_model(features, training=training), compute_metrics=False)


class Stopwatch(tf.keras.callbacks.Callback):
    """Adds up the seconds of the epochs, without what `fit` does before and after them.

    After them it waits for the thread that tunes the dataset, which sleeps for up to a minute.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start."""
        self.seconds -= time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop."""
        self.seconds += time.perf_counter()


def run(program: Program) -> dict[str, float]:
    """Train with `fit`.

    Args:
        program: The settings.

    Returns:
        `examples_per_second` after the first steps.
    """
    tf.keras.utils.set_random_seed(1)
    batches = (
        tf.data.Dataset.from_tensor_slices(make_log(program).columns())
        .shuffle(min(SHUFFLE_BUFFER_ROWS, program.rows), seed=1, reshuffle_each_iteration=False)
        .batch(program.batch, drop_remainder=True)
        .cache()
    )
    for _ in batches:  # Fills the cache.
        pass
    model = TwoTowers(program)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(program.learning_rate))
    model.fit(batches.take(program.warmup_steps), epochs=1, verbose=0)
    stopwatch = Stopwatch()
    model.fit(batches, epochs=program.epochs, verbose=0, callbacks=[stopwatch])
    steps = program.rows // program.batch * program.epochs
    return {"examples_per_second": steps * program.batch / stopwatch.seconds}


if __name__ == "__main__":
    answer(run)
