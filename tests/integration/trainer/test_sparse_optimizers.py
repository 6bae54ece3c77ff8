import textwrap

import pytest

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 600


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam", "lazy_adam"])
def test_two_replicas_update_a_table_as_one_does(prepared, tmp_path, name):
    """Two logical devices whose rows differ in number and overlap, against the same rows on one."""
    program = textwrap.dedent(
        f"""
        import numpy as np
        import tensorflow as tf
        from trainer.config import OptimizerConfig, TrainingConfig
        from trainer.optimizers import build_optimizer
        from trainer.strategy import configure_logical_devices, create_strategy
        from trainer.tables import lookup
        configure_logical_devices(2)

        start = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
        # Replica 0 has two rows of its own, replica 1 four; row 2 is with both, row 6 with none.
        rows = np.array([[[2, 2, 1, 1, 2], [0, 2, 3, 4, 3]], [[5, 5, 5, 5, 5], [1, 2, 5, 1, 0]]])
        scales = np.random.default_rng(2).normal(size=rows.shape).astype(np.float32)

        def train(strategy, rows, scales):
            config = TrainingConfig(
                learning_rate=0.1,
                scale_learning_rate="none",
                optimizer=OptimizerConfig(tables="{name}", dense="sgd"),
            )
            with strategy.scope():
                table, weight = tf.Variable(start), tf.Variable(1.0)
                optimizer = build_optimizer(config, replicas=1, total_steps=9, tables=[table], dense=[weight])
            types = set()

            @tf.function
            def step(number):
                def on_replica():
                    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                    with tf.GradientTape() as tape:
                        found = lookup(table, tf.gather(tf.constant(rows)[number], replica))
                        scale = tf.gather(tf.constant(scales)[number], replica)
                        loss = tf.reduce_sum(weight * scale[:, None] * tf.square(found))
                    optimizer.apply(tape.gradient(loss, [table, weight]))
                strategy.run(on_replica)

            for number in range(2):
                step(tf.constant(number))
            copies = strategy.experimental_local_results(table)
            for copy in copies[1:]:
                np.testing.assert_array_equal(copies[0].numpy(), copy.numpy())
            slots = [slot.numpy() for slot in optimizer.slots(table).values()]
            return [copies[0].numpy(), weight.numpy(), optimizer.iterations.numpy(), *slots]

        two = train(create_strategy(2), rows, scales)
        one = train(create_strategy(1), rows.reshape(2, 1, 10), scales.reshape(2, 1, 10))
        for left, right in zip(two, one, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
        # Updates of the table, and of each of its rows.
        counts = {{"adam": 2, "lazy_adam": [[2], [2], [2], [1], [1], [1], [0]]}}
        if "{name}" in counts:
            np.testing.assert_array_equal(two[-1], counts["{name}"])
        np.testing.assert_array_equal(two[0][6], start[6])
        assert not np.allclose(two[0][2], start[2])
        print("equal")
        """
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    done = prepared.run(file, (), tmp_path, timeout=TIMEOUT_SECONDS)
    assert done.stdout.strip().endswith("equal"), done.stderr
