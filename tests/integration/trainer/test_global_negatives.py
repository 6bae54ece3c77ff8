import json
import textwrap

import pytest

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 600

# Two replicas of 12 rows against one of 24, on two logical devices of one process: three steps of gradient
# descent with momentum, in one call of a traced loop, as training runs them.
PROGRAM = textwrap.dedent(
    """
    import json
    import sys
    import numpy as np
    import tensorflow as tf
    import tf_keras
    from trainer.strategy import configure_logical_devices
    configure_logical_devices(2)
    from trainer.config import LossConfig
    from trainer.data.sequences import Rows
    from trainer.false_negatives import KnownPositives
    from trainer.losses import BatchKeys
    from trainer.objective import Objective

    GLOBAL_BATCH, STEPS, USERS, ITEMS, DIM = 24, 3, 9, 14, 5
    generator = np.random.default_rng(0)
    users = generator.integers(0, USERS, (STEPS, GLOBAL_BATCH))
    items = generator.integers(0, ITEMS, (STEPS, GLOBAL_BATCH))
    histories = generator.integers(-1, ITEMS, (STEPS, GLOBAL_BATCH, 3))
    weights = (3 * generator.random((STEPS, GLOBAL_BATCH))).astype(np.float32)
    q = generator.random(ITEMS)
    item_log_q = np.log(q / q.sum()).astype(np.float32)
    tables = [generator.normal(size=(size, DIM)).astype(np.float32) for size in (USERS, ITEMS)]
    # Four items of each user, for mask_same_user: sequence.
    begins = np.arange(USERS) * 4
    positives = KnownPositives.of_rows(
        generator.integers(0, ITEMS, USERS * 4).astype(np.int32), Rows.between(begins, begins + 4)
    )

    # Made once: a second strategy would give its collectives the numbers of the first one's, which TensorFlow
    # refuses where their kind differs.
    one_replica = tf.distribute.OneDeviceStrategy("/cpu:0")
    two_replicas = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])

    def train(strategy, config):
        replicas = strategy.num_replicas_in_sync
        rows = GLOBAL_BATCH // replicas
        with strategy.scope():
            variables = [tf.Variable(table) for table in tables]
            optimizer = tf_keras.optimizers.SGD(0.7, momentum=0.5, jit_compile=False)
            optimizer.build(variables)
            objective = Objective(
                config, per_replica_batch=rows, dim=DIM, seed=3, item_log_q=item_log_q,
                catalogue={}, positives=positives,
            )

        def step_of_replica(step):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            def own(values):
                return tf.constant(values)[step - 1][replica * rows:(replica + 1) * rows]
            keys = BatchKeys(own(users), own(items), own(histories))
            with tf.GradientTape() as tape:
                embedded = [
                    tf.math.l2_normalize(tf.one_hot(ids, len(table)) @ variable, axis=1)
                    for variable, ids, table in zip(variables, (keys.users, keys.items), tables)
                ]
                result = objective(*embedded, keys, own(weights), step, None)
                loss = result.loss_sum / GLOBAL_BATCH
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables))
            return loss, result.masked_fraction, *gradients

        @tf.function
        def run():
            sums = tf.TensorArray(tf.float32, STEPS), tf.TensorArray(tf.float32, STEPS)
            gradients = [tf.zeros_like(table) for table in tables]
            losses, fractions = sums
            for step in tf.range(1, STEPS + 1, dtype=tf.int64):
                loss, fraction, *now = strategy.run(step_of_replica, args=(step,))
                losses = losses.write(tf.cast(step - 1, tf.int32), strategy.reduce("SUM", loss, axis=None))
                fractions = fractions.write(
                    tf.cast(step - 1, tf.int32), strategy.reduce("MEAN", fraction, axis=None)
                )
                gradients = [strategy.reduce("SUM", gradient, axis=None) for gradient in now]
            return losses.stack(), fractions.stack(), *gradients

        losses, fractions, *gradients = run()
        return {
            "losses": losses, "masked fractions": fractions, "user gradients": gradients[0],
            "item gradients": gradients[1], "users": variables[0], "items": variables[1],
            **{f"queue {index}": variable for index, variable in enumerate(objective.variables)},
        }

    def compare(config):
        one = train(one_replica, config)
        two = train(two_replicas, config)
        fractions = one["masked fractions"].numpy()
        if not (np.abs(one["users"].numpy() - tables[0]).max() > 0.1 and (fractions % 1 > 0).all()):
            return ["nothing learnt, or nothing masked"]
        return [
            name for name in one if not np.allclose(two[name].numpy(), one[name].numpy(), 1e-4, 1e-5)
        ]

    cases = json.loads(sys.argv[1])
    print(json.dumps({
        name: compare(LossConfig(temperature=0.3, **loss)) for name, loss in cases.items()
    }))
    """
)

# Room for the logits of 5 rows: a replica's 12 rows are no multiple of them, and neither are all 24.
STREAMED = {"maximum_logits_mib": 5 * 24 * 4 / 2**20}
CASES = {
    "in_batch": {"negatives_scope": "global"},
    "streamed": {"negatives_scope": "global", **STREAMED},
    "rotation": {"negatives_scope": "global", "negatives": "rotation", "rotation_negatives": 17},
    "cross_batch": {
        "negatives_scope": "global",
        "cross_batch_negatives": 30,
        "cross_batch_warmup_steps": 1,
        **STREAMED,
    },
    "sequence": {"negatives_scope": "global", "mask_same_user": "sequence", **STREAMED},
    "replica": {"negatives_scope": "replica"},
}


@pytest.fixture(scope="module")
def unequal(prepared, tmp_path_factory):
    """By case, what differs between two replicas and one."""
    program = tmp_path_factory.mktemp("global_negatives") / "program.py"
    program.write_text(PROGRAM)
    done = prepared.run(program, [json.dumps(CASES)], program.parent, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", ["in_batch", "streamed", "rotation", "cross_batch", "sequence"])
def test_two_replicas_with_global_negatives_are_one_replica_of_both_batches(unequal, case):
    assert unequal[case] == []


def test_two_replicas_with_negatives_of_their_own_are_not(unequal):
    assert {"losses", "user gradients", "item gradients", "users", "items"} <= set(unequal["replica"])
