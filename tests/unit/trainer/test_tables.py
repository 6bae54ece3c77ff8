import numpy as np
import pytest
import tensorflow as tf

from trainer.strategy import create_strategy
from trainer.tables import local_copy, lookup

pytestmark = pytest.mark.unit

VALUES = np.arange(10, dtype=np.float32).reshape(5, 2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_lookup_reads_rows_and_its_gradient_is_sparse(mirrored):
    strategy = create_strategy(1) if mirrored else tf.distribute.get_strategy()
    with strategy.scope():
        table = tf.Variable(VALUES)
    operations = set()

    @tf.function
    def look_up():
        with tf.GradientTape() as tape:
            found = lookup(table, tf.constant([[1, 4], [1, 0]]))
        gradient = tape.gradient(found, table)
        assert isinstance(gradient, tf.IndexedSlices)
        graph = tf.compat.v1.get_default_graph()
        operations.update(operation.type for operation in graph.get_operations())
        return found, gradient.indices

    found, indices = strategy.run(look_up)
    np.testing.assert_array_equal(found, VALUES[[[1, 4], [1, 0]]])
    np.testing.assert_array_equal(indices, [1, 4, 1, 0])
    assert "ResourceGather" in operations
    assert "ReadVariableOp" not in operations


def test_lookup_outside_any_replica():
    with create_strategy(1).scope():
        table = tf.Variable(VALUES)
        np.testing.assert_array_equal(lookup(table, tf.constant([2])), VALUES[[2]])
    np.testing.assert_array_equal(lookup(table, tf.constant([2])), VALUES[[2]])
    assert not isinstance(local_copy(table), tf.distribute.DistributedValues)
