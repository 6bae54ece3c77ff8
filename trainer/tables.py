"""Lookups that read the rows they want and no others, under a distribution strategy too."""

import tensorflow as tf


def lookup(table: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Look up rows of a table; the gradient is sparse.

    `tf.gather` and `tf.nn.embedding_lookup` read the whole of a `MirroredVariable` first, since it has no
    sparse read of its own. Where updates are sparse, that copies the table at every step.

    Args:
        table: [rows, dim], a variable of any strategy or of none.
        rows: int32 or int64 of any shape, each in 0..rows-1.

    Returns:
        Of the shape of `rows` and a last dimension `dim`.
    """
    return local_copy(table).sparse_read(rows)


def local_copy(variable: tf.Variable) -> tf.Variable:
    """Find a replica's own copy of a variable.

    Args:
        variable: A variable of any strategy or of none.

    Returns:
        In replica context, and within `strategy.extended.update`, that replica's copy; elsewhere, the first.
    """
    if not isinstance(variable, tf.distribute.DistributedValues):
        return variable
    copies = variable.distribute_strategy.experimental_local_results(variable)
    try:
        handle = variable.handle
    except ValueError:  # No replica is at work.
        return copies[0]
    return next(copy for copy in copies if copy.handle is handle)
