import textwrap

import pytest

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 600


def test_two_replicas_share_the_mean_over_the_global_batch(prepared, tmp_path):
    """One step of plain gradient descent on two logical devices against the same step in one piece."""
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        import tensorflow as tf
        from trainer.strategy import configure_logical_devices, create_strategy
        configure_logical_devices(2)
        from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding
        from trainer.config import (
            CheckpointConfig, LossConfig, ModelConfig, OptimizerConfig, TrainerConfig, TrainingConfig,
        )
        from trainer.data.batches import BatchMaker, TrainingData
        from trainer.data.sequences import FlatSequences, Rows
        from trainer.data.stream import make_dataset
        from trainer.towers import build_towers
        from trainer.training import train
        from trainer.vocabularies import EncodedSize

        vocabulary = VocabularyEncoding(kind="vocabulary")
        spec = FeatureSpec(name="t", features=(
            Feature(name="user_id", dtype="string", tower="user", role="user_id", encoding=vocabulary),
            Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=vocabulary),
        ), history=History(length=3))
        sizes = {"user_id": EncodedSize(12, 1), "item_id": EncodedSize(10, 1)}
        generator = np.random.default_rng(0)
        offsets = np.array([0, 2, 2, 8, 13, 19])
        data = TrainingData(
            sequences=FlatSequences(
                offsets,
                generator.integers(0, 10, 19).astype(np.int32),
                weights=generator.random(19).astype(np.float32) * 4,
            ),
            users={"user_id": np.arange(5)},
            items={"item_id": np.arange(10)},
            item_count=10,
            train=Rows.between(offsets[:-1], offsets[1:]),
            history_items={"history": np.arange(10)},
        )
        model = ModelConfig(dim=4, dropout=0.0)
        masks = dict(mask_same_item=False, mask_same_user=False)
        config = TrainerConfig(
            model=model,
            loss=LossConfig(logq=False, temperature=0.5, **masks),
            training=TrainingConfig(
                per_replica_batch=8, epochs=1, seed=3, learning_rate=1.0, scale_learning_rate="none",
                optimizer=OptimizerConfig(tables="sgd", dense="sgd"),
                checkpoint=CheckpointConfig(interval_steps=1),
            ),
        )
        strategy = create_strategy(2)
        def run():
            return train(
                data, spec, config, sizes, strategy,
                log_directory=sys.argv[1], checkpoint_directory=sys.argv[1] + "/checkpoints",
            )
        result = run()
        assert strategy.num_replicas_in_sync == 2
        assert (result.steps, result.global_batch, result.rows_left_out_per_epoch) == (1, 16, 3)

        batch = next(iter(make_dataset(BatchMaker(data, spec).of_rows(data.train), 19, 16, 3)))
        towers = build_towers(spec, model, sizes, 3)
        with tf.GradientTape() as tape:
            users, items = towers.user(batch["features"]), towers.item(batch["features"])
            losses = []
            for half in (slice(0, 8), slice(8, 16)):
                scores = tf.exp(tf.matmul(users[half], items[half], transpose_b=True) / 0.5)
                losses.append(-tf.math.log(tf.linalg.diag_part(scores) / tf.reduce_sum(scores, axis=1)))
            mean = tf.reduce_sum(batch["weights"] * tf.concat(losses, axis=0)) / 16
        np.testing.assert_allclose(result.final_loss, mean, rtol=1e-5)
        variables = towers.trainable_variables
        for trained, start, gradient in zip(
            result.towers.trainable_variables, variables, tape.gradient(mean, variables), strict=True
        ):
            np.testing.assert_allclose(
                trained.numpy(), start - tf.convert_to_tensor(gradient), 1e-4, 1e-6, err_msg=start.name
            )
        resumed = run()
        assert resumed.resumed_from_step == 1
        assert resumed.final_loss == result.final_loss
        for trained, again in zip(
            result.towers.trainable_variables, resumed.towers.trainable_variables, strict=True
        ):
            for local, restored in zip(trained.values, again.values, strict=True):
                np.testing.assert_array_equal(local.numpy(), restored.numpy())
        print("equal")
        """
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    done = prepared.run(file, [tmp_path], tmp_path, timeout=TIMEOUT_SECONDS)
    assert done.stdout.strip().endswith("equal"), done.stderr
