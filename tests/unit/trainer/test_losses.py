import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import ConfigError
from trainer.config import LossConfig
from trainer.losses import (
    BatchKeys,
    build_loss,
    draw_rotation_offsets,
    in_batch_mask,
    in_batch_softmax,
    rotation_logits,
    rotation_mask,
    rotation_softmax,
)

pytestmark = pytest.mark.unit

NO_MASK = {"mask_same_item": False, "mask_same_user": False}


def unit_rows(generator, rows, dim):
    x = generator.normal(size=(rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def random_batch(seed, rows=24, dim=5, length=4):
    generator = np.random.default_rng(seed)
    # Few distinct ids, among them keys beyond 32 bits, so that every kind of false negative occurs.
    users = generator.integers(0, 8, rows) + np.where(generator.random(rows) < 0.3, 2**40, 0)
    items = generator.integers(0, 15, rows) + np.where(generator.random(rows) < 0.3, 2**40, 0)
    histories = np.where(
        generator.random((rows, length)) < 0.3,
        -1,
        generator.choice(items, (rows, length)) + generator.integers(0, 2),
    )
    q = generator.random(rows) * 0.1 + 0.01
    return {
        "users": unit_rows(generator, rows, dim),
        "items": unit_rows(generator, rows, dim),
        "log_q": np.log(q).astype(np.float32),
        "user_keys": users,
        "item_keys": items,
        "histories": histories,
    }


def keys_of(batch, with_history=True):
    return BatchKeys(
        users=tf.constant(batch["user_keys"], tf.int64),
        items=tf.constant(batch["item_keys"], tf.int64),
        histories=tf.constant(batch["histories"], tf.int64) if with_history else None,
    )


def is_false_negative(batch, i, j, same_item, same_user, with_history):
    user, item = batch["user_keys"], batch["item_keys"]
    if same_item and item[j] == item[i]:
        return True
    if same_user:
        if any(user[k] == user[i] and item[k] == item[j] for k in range(len(user))):
            return True
        if with_history and item[j] in batch["histories"][i]:
            return True
    return False


def expected_loss(
    batch, negatives_of, temperature, same_item, same_user, with_history, logq, row_weights=None
):
    """Plain float64 loops: (sum of cross entropies, share of the candidates that were masked)."""
    rows, total, masked, candidates = len(batch["users"]), 0.0, 0, 0

    def weight(i, j):
        score = float(np.dot(batch["users"][i].astype(float), batch["items"][j].astype(float))) / temperature
        return math.exp(score) / (math.exp(batch["log_q"][j]) if logq else 1.0)

    for i in range(rows):
        denominator = weight(i, i)
        for j in negatives_of(i):
            candidates += 1
            if is_false_negative(batch, i, j, same_item, same_user, with_history):
                masked += 1
            else:
                denominator += weight(i, j)
        row_weight = 1.0 if row_weights is None else row_weights[i]
        total -= row_weight * math.log(weight(i, i) / denominator)
    return total, masked / candidates


@pytest.mark.parametrize(
    ("same_item", "same_user", "with_history", "logq"), list(itertools.product([False, True], repeat=4))
)
def test_in_batch_equals_plain_loops(same_item, same_user, with_history, logq):
    batch = random_batch(seed=3)
    rows = len(batch["users"])
    config = LossConfig(temperature=0.2, mask_same_item=same_item, mask_same_user=same_user)
    result = in_batch_softmax(
        tf.constant(batch["users"]),
        tf.constant(batch["items"]),
        tf.constant(batch["log_q"]) if logq else None,
        keys_of(batch, with_history),
        config,
    )
    loss, masked = expected_loss(
        batch, lambda i: [j for j in range(rows) if j != i], 0.2, same_item, same_user, with_history, logq
    )
    np.testing.assert_allclose(result.loss_sum, loss, rtol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, masked, rtol=1e-6)
    assert result.loss_sum.dtype == tf.float32


@pytest.mark.parametrize(
    ("same_item", "same_user", "with_history", "logq"), list(itertools.product([False, True], repeat=4))
)
def test_rotation_equals_plain_loops(same_item, same_user, with_history, logq):
    batch = random_batch(seed=4)
    rows, offsets = len(batch["users"]), [1, 5, 11, 17, 23]
    config = LossConfig(
        negatives="rotation", temperature=0.2, mask_same_item=same_item, mask_same_user=same_user
    )
    result = rotation_softmax(
        tf.constant(batch["users"]),
        tf.constant(batch["items"]),
        tf.constant(batch["log_q"]) if logq else None,
        keys_of(batch, with_history),
        tf.constant(offsets),
        config,
    )
    loss, masked = expected_loss(
        batch, lambda i: [(i + o) % rows for o in offsets], 0.2, same_item, same_user, with_history, logq
    )
    np.testing.assert_allclose(result.loss_sum, loss, rtol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, masked, rtol=1e-6)


@pytest.mark.parametrize("negatives", ["in_batch", "rotation"])
def test_row_weights_multiply_the_losses_of_their_rows_alone(negatives):
    batch = random_batch(seed=5)
    rows, offsets = len(batch["users"]), [1, 5, 11, 17, 23]
    weights = np.random.default_rng(6).random(rows).astype(np.float32) * 3
    weights[4] = 0.0
    config = LossConfig(negatives=negatives, temperature=0.2)
    tensors = [tf.constant(batch[name]) for name in ("users", "items", "log_q")]
    if negatives == "in_batch":
        result = in_batch_softmax(*tensors, keys_of(batch), config, tf.constant(weights))
        others = lambda i: [j for j in range(rows) if j != i]  # noqa: E731
    else:
        result = rotation_softmax(
            *tensors, keys_of(batch), tf.constant(offsets), config, tf.constant(weights)
        )
        others = lambda i: [(i + o) % rows for o in offsets]  # noqa: E731
    # A row of weight 0 is still a negative of the others.
    loss, masked = expected_loss(batch, others, 0.2, True, True, True, True, weights)
    np.testing.assert_allclose(result.loss_sum, loss, rtol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, masked, rtol=1e-6)


def test_logq_hand_worked():
    # e^(s/tau) / q with tau 0.5, q = (1/2, 1/4):
    #   row 0: own 2 e^2 = 14.778112, other 4 e^1.2 = 13.280468; -ln(14.778112 / 28.058580) = 0.641148
    #   row 1: own 4 e^1.6 = 19.812130, other 2 e^0 = 2;         -ln(19.812130 / 21.812130) = 0.096172
    result = in_batch_softmax(
        tf.constant([[1.0, 0.0], [0.0, 1.0]]),
        tf.constant([[1.0, 0.0], [0.6, 0.8]]),
        tf.constant([math.log(0.5), math.log(0.25)]),
        BatchKeys(tf.constant([0, 1], tf.int64), tf.constant([0, 1], tf.int64)),
        LossConfig(temperature=0.5),
    )
    np.testing.assert_allclose(result.loss_sum, 0.641148 + 0.096172, atol=2e-6)


def test_rotation_golden_case():
    embeddings = tf.math.l2_normalize(tf.constant([[2.0, 3.0], [5.0, 6.0], [7.0, 1.0], [3.0, 4.0]]), axis=1)
    logits = rotation_logits(embeddings, embeddings, None, tf.constant([1, 2]), temperature=1.0)
    np.testing.assert_allclose(
        logits,
        [
            [1, 0.99430907, 0.6667947],
            [1, 0.7423931, 0.99868774],
            [1, 0.70710677, 0.6667947],
            [1, 0.9984603, 0.99868774],
        ],
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("batch", "negatives"), [(4, 2), (4, 3), (10, 3), (512, 20), (7, 1), (100, 64), (3, 2)]
)
def test_rotation_offsets_lie_in_their_strata(batch, negatives):
    drawn = np.array(
        [draw_rotation_offsets(batch, negatives, tf.constant([1, s], tf.int64)).numpy() for s in range(60)]
    )
    strata = np.arange(negatives)
    assert (drawn >= 1).all()
    assert (drawn <= batch - 1).all()
    assert (drawn * negatives >= strata * batch).all()
    assert (drawn * negatives < (strata + 1) * batch).all()


def test_rotation_offsets_reach_every_value_of_a_stratum():
    drawn = {int(draw_rotation_offsets(12, 2, tf.constant([0, s], tf.int64))[1]) for s in range(200)}
    assert drawn == {6, 7, 8, 9, 10, 11}


def test_rotation_offsets_are_drawn_at_every_step_not_at_tracing():
    batch = random_batch(seed=5)
    loss = build_loss(LossConfig(negatives="rotation", rotation_negatives=3, **NO_MASK), per_replica_batch=24)

    @tf.function
    def step(number):
        seed = tf.stack([tf.constant(1, tf.int64), number])
        return loss(
            tf.constant(batch["users"]), tf.constant(batch["items"]), None, keys_of(batch), seed
        ).loss_sum

    losses = [float(step(tf.constant(n, tf.int64))) for n in (1, 2, 3, 1)]
    assert len(set(losses[:3])) == 3
    assert losses[3] == losses[0]


def test_rotation_over_the_whole_batch_is_in_batch():
    batch = random_batch(seed=6)
    arguments = (
        tf.constant(batch["users"]),
        tf.constant(batch["items"]),
        tf.constant(batch["log_q"]),
        keys_of(batch),
        tf.constant([1, 1], tf.int64),
    )
    rotation = build_loss(LossConfig(negatives="rotation", rotation_negatives=23), 24)(*arguments)
    in_batch = build_loss(LossConfig(), 24)(*arguments)
    np.testing.assert_allclose(rotation.loss_sum, in_batch.loss_sum, rtol=1e-5)
    np.testing.assert_allclose(rotation.masked_fraction, in_batch.masked_fraction)


def test_masked_item_is_removed_and_gets_no_gradient():
    # Row 1's item stands in row 0's history; rows 2 and 3 are strangers. Removing it by hand is the oracle.
    generator = np.random.default_rng(7)
    users, items = unit_rows(generator, 4, 3), unit_rows(generator, 4, 3)
    keys = BatchKeys(
        tf.constant([1, 2, 3, 4], tf.int64),
        tf.constant([10, 11, 12, 13], tf.int64),
        tf.constant([[-1, 11], [-1, -1], [-1, -1], [-1, -1]], tf.int64),
    )
    variable = tf.Variable(items)
    with tf.GradientTape() as tape:
        loss_sum = in_batch_softmax(
            tf.constant(users), variable, None, keys, LossConfig(temperature=1.0)
        ).loss_sum
    weights = np.exp(users.astype(float) @ items.T.astype(float))
    expected = -math.log(weights[0, 0] / (weights[0, 0] + weights[0, 2] + weights[0, 3])) - sum(
        math.log(weights[i, i] / weights[i].sum()) for i in (1, 2, 3)
    )
    np.testing.assert_allclose(loss_sum, expected, rtol=1e-6)
    shares = weights / weights.sum(axis=1, keepdims=True)
    expected_gradient = (shares[1, 1] - 1) * users[1] + shares[2, 1] * users[2] + shares[3, 1] * users[3]
    np.testing.assert_allclose(tape.gradient(loss_sum, variable)[1], expected_gradient, rtol=1e-5)


@pytest.mark.parametrize("negatives", ["in_batch", "rotation"])
def test_loss_is_zero_and_finite_when_every_negative_is_masked(negatives):
    generator = np.random.default_rng(8)
    items = tf.Variable(unit_rows(generator, 6, 3))
    keys = BatchKeys(tf.range(6, dtype=tf.int64), tf.fill([6], tf.constant(9, tf.int64)))
    loss = build_loss(LossConfig(negatives=negatives, rotation_negatives=3), 6)
    with tf.GradientTape() as tape:
        result = loss(
            tf.constant(unit_rows(generator, 6, 3)), items, tf.zeros([6]), keys, tf.constant([1, 1], tf.int64)
        )
    np.testing.assert_allclose(result.loss_sum, 0.0, atol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, 1.0)
    gradient = tf.convert_to_tensor(tape.gradient(result.loss_sum, items))
    np.testing.assert_allclose(gradient, np.zeros((6, 3)), atol=1e-5)


def test_own_item_is_never_masked():
    batch = random_batch(seed=9)
    batch["histories"][:, 0] = batch["item_keys"]
    config = LossConfig()
    assert not np.diag(in_batch_mask(keys_of(batch), config)).any()
    assert not rotation_mask(keys_of(batch), tf.constant([1, 2]), config)[:, 0].numpy().any()


@pytest.mark.parametrize("negatives", [8, 9])
def test_rotation_needs_fewer_negatives_than_rows(negatives):
    with pytest.raises(
        ConfigError, match=rf"rotation_negatives.*per_replica_batch = 8.*Received: {negatives}"
    ):
        build_loss(LossConfig(negatives="rotation", rotation_negatives=negatives), per_replica_batch=8)
