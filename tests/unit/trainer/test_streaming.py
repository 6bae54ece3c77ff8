import numpy as np
import pytest
import tensorflow as tf

from trainer import streaming
from trainer.config import LossConfig
from trainer.false_negatives import BatchKeys, FalseNegatives
from trainer.streaming import choose_block_rows, streamed_softmax_loss

pytestmark = pytest.mark.unit

ROWS, COLUMNS, DIM, FIRST_OWN = 23, 41, 6, 9


def example(seed, scale):
    """Users, items, bias, weights, keys and columns' keys, with false negatives of every kind."""
    generator = np.random.default_rng(seed)
    item_keys = generator.integers(0, 30, COLUMNS)
    item_keys[[2, 38]] = -1
    column_users = generator.integers(0, 12, COLUMNS - 5)
    own = slice(FIRST_OWN, FIRST_OWN + ROWS)
    bias = generator.normal(size=COLUMNS)
    return {
        "users": (scale * generator.normal(size=(ROWS, DIM))).astype(np.float32),
        "items": generator.normal(size=(COLUMNS, DIM)).astype(np.float32),
        "bias": np.where(item_keys < 0, -np.inf, bias).astype(np.float32),
        "weights": (3 * generator.random(ROWS)).astype(np.float32),
        "keys": BatchKeys(
            tf.constant(column_users[own], tf.int64),
            tf.constant(item_keys[own], tf.int64),
            tf.constant(generator.integers(-1, 30, (ROWS, 4)), tf.int64),
        ),
        "item_keys": item_keys,
        "column_users": column_users,
    }


def masked_pairs(data):
    """[rows, columns] bool by plain loops."""
    keys, columns = data["keys"], data["item_keys"]
    masked = np.zeros((ROWS, COLUMNS), bool)
    for i in range(ROWS):
        user, positives = keys.users[i].numpy(), {int(keys.items[i])} | set(keys.histories[i].numpy())
        positives |= {columns[k] for k in range(len(data["column_users"])) if data["column_users"][k] == user}
        for j in range(COLUMNS):
            masked[i, j] = columns[j] in positives and columns[j] >= 0 and j != FIRST_OWN + i
    return masked


def plain(data):
    """The loss and both gradients in float64, by autodiff of the formula over all pairs at once."""
    users, items = (tf.Variable(data[name].astype(np.float64)) for name in ("users", "items"))
    removed = masked_pairs(data) | (data["item_keys"] < 0)
    with tf.GradientTape() as tape:
        logits = tf.matmul(users, items, transpose_b=True) + np.where(np.isinf(data["bias"]), 0, data["bias"])
        kept = tf.where(removed, tf.constant(-np.inf, tf.float64), logits)
        own = tf.gather(logits, FIRST_OWN + tf.range(ROWS), batch_dims=1)
        loss = tf.reduce_sum(data["weights"].astype(np.float64) * (tf.reduce_logsumexp(kept, axis=1) - own))
    return loss.numpy(), *(gradient.numpy() for gradient in tape.gradient(loss, [users, items]))


def streamed(data, block_rows):
    users, items = tf.Variable(data["users"]), tf.Variable(data["items"])

    @tf.function
    def step():
        masks = FalseNegatives(
            data["keys"],
            tf.constant(data["item_keys"], tf.int64),
            tf.constant(data["column_users"], tf.int64),
            tf.constant(FIRST_OWN),
            LossConfig(),
        )
        with tf.GradientTape() as tape:
            loss, masked = streamed_softmax_loss(
                users,
                items,
                tf.constant(data["bias"]),
                tf.constant(data["weights"]),
                masks,
                rows=ROWS,
                block_rows=block_rows,
            )
            # What comes from above must reach both gradients.
            loss *= 2.0
        return loss / 2, masked, *tape.gradient(loss, [users, items])

    loss, masked, *gradients = step()
    return loss.numpy(), masked.numpy(), *(gradient.numpy() / 2 for gradient in gradients)


# Blocks of one row, of which the last is smaller, and all in one; each way of computing at each scale.
@pytest.mark.parametrize(
    ("block_rows", "gpu", "scale"),
    [
        (1, False, 1.0),
        (5, False, 1.0),
        (5, False, 60.0),
        (12, True, 1.0),
        (12, True, 60.0),
        (ROWS, False, 1.0),
        (ROWS, True, 1.0),
    ],
)
def test_blocks_equal_the_plain_loss_and_its_gradients(block_rows, gpu, scale, monkeypatch):
    # What is computed in another way on a GPU can be computed so on a CPU.
    monkeypatch.setattr(streaming, "_has_gpu", lambda: gpu)
    # At scale 60 a row's logits differ by hundreds, so that most of their exponentials vanish in float32.
    data = example(seed=1, scale=scale)
    loss, masked, users_gradient, items_gradient = streamed(data, block_rows)
    expected_loss, expected_users_gradient, expected_items_gradient = plain(data)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert masked == masked_pairs(data).sum()
    for gradient, expected in (
        (users_gradient, expected_users_gradient),
        (items_gradient, expected_items_gradient),
    ):
        # Single components may cancel out; the error of each vector counts against the largest.
        assert np.abs(gradient - expected).max() < (1e-5 if scale == 1.0 else 1e-4) * np.abs(expected).max()


@pytest.mark.parametrize(
    ("rows", "columns", "mib", "expected"),
    [
        (512, 512, 1.0, 512),  # 1 MiB exactly
        (512, 513, 1.0, 171),  # 2 of 3 blocks at once
        (4096, 4096, 2.0, 64),
        (1000, 4096, 8.0, 250),  # 2 of 256 would fit: four equal blocks instead of 256, 256, 256 and 232
        (10, 2**24, 1.0, 1),  # not even one row fits
    ],
)
def test_block_rows(rows, columns, mib, expected, monkeypatch):
    monkeypatch.setattr(streaming, "_has_gpu", lambda: False)
    assert choose_block_rows(rows, columns, mib) == expected


def test_a_gpu_takes_one_block_at_once(monkeypatch):
    monkeypatch.setattr(streaming, "_has_gpu", lambda: True)
    assert choose_block_rows(4096, 4096, 2.0) == 128
