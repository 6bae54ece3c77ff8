"""Endless streams of shuffled batches, for one process or for many replicas."""

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from schemas.cores import usable_cores
from trainer.data.batches import Batch

_ROWS_PER_GATHER = 4096
# A gather for the elements after these runs while they are trained on; two steps' elements at least.
_ELEMENTS_AHEAD = 8

Gather = Callable[[tf.Tensor], dict[str, Any]]
"""From `[n]` int64 numbers of rows to their batch."""


def make_dataset(
    gather: Gather,
    rows: int,
    global_batch: int,
    seed: int,
    *,
    window_length: int = 1,
    first_step: int = 0,
    worker: int = 0,
    workers: int = 1,
    replicas_per_worker: int | None = None,
) -> tf.data.Dataset:
    """Make an endless stream of shuffled batches.

    Every rows // global_batch batches are an epoch: each row at most once, in an order that follows from the
    seed and the number of the epoch alone; the rows left over are others in each epoch. The order is a
    permutation that is computed number by number, so it takes no memory. With windows it is one of the
    windows, which begin elsewhere in each epoch.

    Args:
        gather: Makes a batch of rows.
        rows: Number of rows, at least `global_batch`.
        global_batch: Rows per step, over all workers.
        seed: Equal seeds give equal streams.
        window_length: Rows that stay together, one after the other, the first row of all after the last; a
            divisor of the batch of a replica.
        first_step: Steps that were taken before; the stream goes on with the batch after theirs.
        worker: Which of the workers this one is; from 0 on.
        workers: Workers that share each global batch; worker w has the w-th of as many equal parts, so that
            no row is lost and all take as many steps.
        replicas_per_worker: Where given, every element is the batch of one replica, and a step takes as many
            elements as the worker has replicas; otherwise an element is the worker's whole part.

    Returns:
        Batches.
    """
    steps = rows // global_batch
    elements = replicas_per_worker or 1
    element_rows = global_batch // (workers * elements)
    elements_per_epoch = steps * elements
    per_gather = max(1, _ROWS_PER_GATHER // element_rows)
    gathers_per_epoch = -(-elements_per_epoch // per_gather)
    first_epoch, steps_into_epoch = divmod(first_step, steps)
    # The gathers are those of the uninterrupted stream, so that not even where a batch lies in memory depends
    # on the interruption: vectorised sums differ in their last bit at another alignment.
    gathers_into_epoch, elements_into_gather = divmod(steps_into_epoch * elements, per_gather)

    def gather_elements(number: tf.Tensor) -> dict[str, Any]:
        epoch, place = number // gathers_per_epoch, number % gathers_per_epoch
        element = tf.range(place * per_gather, tf.minimum((place + 1) * per_gather, elements_per_epoch))
        # The part of this worker in each step's global batch.
        step, part = element // elements, worker * elements + element % elements
        first_row = step * global_batch + part * element_rows
        places = tf.reshape(first_row[:, tf.newaxis] + tf.range(element_rows, dtype=tf.int64), [-1])
        batch = gather(_shuffle(places, rows, window_length, seed, epoch))

        def split(values: tf.Tensor) -> tf.Tensor:
            return tf.reshape(values, tf.concat([[-1, element_rows], tf.shape(values)[1:]], axis=0))

        shaped = tf.nest.map_structure(split, batch)
        # The rows of an element are known; the towers' layers want the widths of its columns, too.
        return tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new, [None, element_rows, *old.shape[1:]]), shaped, batch
        )

    gathers_at_once = min(elements, usable_cores())
    # Rows are gathered by the thousand: a shuffle buffer handles each row alone.
    dataset = tf.data.Dataset.counter(first_epoch * gathers_per_epoch + gathers_into_epoch)
    if gathers_at_once > 1:
        dataset = dataset.map(gather_elements, num_parallel_calls=gathers_at_once, deterministic=True)
    else:
        dataset = dataset.map(gather_elements)
    dataset = dataset.unbatch().skip(elements_into_gather).prefetch(max(_ELEMENTS_AHEAD, 2 * elements))
    options = tf.data.Options()
    # There is nothing to tune, and an iterator's end waits for the tuner, which sleeps up to a minute.
    options.autotune.enabled = False
    return dataset.with_options(options)


def distribute_dataset(
    strategy: tf.distribute.Strategy,
    gather: Gather,
    rows: int,
    global_batch: int,
    seed: int,
    *,
    window_length: int = 1,
    first_step: int = 0,
) -> Iterable[Batch]:
    """Give every replica of every worker its own rows of each global batch of `make_dataset`.

    Args:
        strategy: The replicas.
        gather: Makes a batch of rows; the same on every worker.
        rows: Number of rows.
        global_batch: Rows per step, over all replicas.
        seed: Equal seeds give equal streams.
        window_length: As in `make_dataset`.
        first_step: Steps that were taken before.

    Returns:
        For replica r the r-th of as many equal parts of the global batch as there are replicas.
    """
    if strategy.num_replicas_in_sync == 1 and not tf.config.list_logical_devices("GPU"):
        # To one CPU there is nothing to distribute, and handing it over takes as long as the gathers.
        return make_dataset(
            gather, rows, global_batch, seed, window_length=window_length, first_step=first_step
        )

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        return make_dataset(
            gather,
            rows,
            global_batch,
            seed,
            window_length=window_length,
            first_step=first_step,
            worker=context.input_pipeline_id,
            workers=workers,
            replicas_per_worker=context.num_replicas_in_sync // workers,
        )

    return strategy.distribute_datasets_from_function(make)


def _shuffle(places: tf.Tensor, rows: int, window_length: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Give the rows at some places of an epoch's order: `[n]` int64 to `[n]` int64."""
    epoch_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
    windows = tf.random.experimental.index_shuffle(
        places // window_length,
        seed=epoch_seed,
        max_index=tf.constant(rows // window_length - 1, tf.int64),
    )
    if window_length == 1:
        return windows
    first = tf.random.stateless_uniform([], epoch_seed, 0, rows, tf.int64)
    return (first + windows * window_length + places % window_length) % rows
