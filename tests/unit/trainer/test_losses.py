import dataclasses
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import LossConfig
from trainer.losses import (
    BatchKeys,
    Candidates,
    candidate_softmax,
    draw_rotation_offsets,
    rotation_logits,
    rotation_softmax,
)

pytestmark = pytest.mark.unit

# A block of 5 rows x 24 columns of float32; random_batch has 24 rows, so that the last block is smaller.
FIVE_ROWS_MIB = 5 * 24 * 4 / 2**20


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


def candidates_of(batch, logq=True, rows=None):
    """The batch's own items; the rows that are given are all of them, or a slice of consecutive ones."""
    return Candidates(
        embeddings=tf.constant(batch["items"]),
        items=tf.constant(batch["item_keys"], tf.int64),
        users=tf.constant(batch["user_keys"], tf.int64),
        log_share=tf.constant(batch["log_q"]) if logq else None,
        first_own=0 if rows is None else rows.start,
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


@pytest.mark.parametrize("maximum_logits_mib", [16.0, FIVE_ROWS_MIB])
@pytest.mark.parametrize(
    ("same_item", "same_user", "with_history", "logq"), list(itertools.product([False, True], repeat=4))
)
def test_candidate_softmax_equals_plain_loops(same_item, same_user, with_history, logq, maximum_logits_mib):
    batch = random_batch(seed=3)
    rows = len(batch["users"])
    config = LossConfig(
        temperature=0.2,
        mask_same_item=same_item,
        mask_same_user=same_user,
        maximum_logits_mib=maximum_logits_mib,
    )
    result = candidate_softmax(
        tf.constant(batch["users"]), candidates_of(batch, logq), keys_of(batch, with_history), config
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
        candidates_of(batch, logq),
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
    result = loss_of(batch, negatives, offsets, weights)
    # A row of weight 0 is still a negative of the others.
    loss, masked = expected_loss(
        batch, negatives_of(negatives, rows, offsets), 0.2, True, True, True, True, weights
    )
    np.testing.assert_allclose(result.loss_sum, loss, rtol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, masked, rtol=1e-6)


@pytest.mark.parametrize("negatives", ["in_batch", "rotation"])
def test_rows_of_a_replica_choose_among_the_items_of_all(negatives):
    batch = random_batch(seed=10)
    rows, offsets = len(batch["users"]), [1, 5, 11, 17, 23]
    weights = np.random.default_rng(6).random(rows).astype(np.float32)
    parts = [
        loss_of(batch, negatives, offsets, weights, part)
        for part in (slice(0, 8), slice(8, 16), slice(16, 24))
    ]
    loss, masked = expected_loss(
        batch, negatives_of(negatives, rows, offsets), 0.2, True, True, True, True, weights
    )
    np.testing.assert_allclose(sum(part.loss_sum for part in parts), loss, rtol=1e-5)
    np.testing.assert_allclose(np.mean([part.masked_fraction for part in parts]), masked, rtol=1e-6)


@pytest.mark.parametrize(
    ("negatives", "maximum_logits_mib"),
    [("in_batch", 16.0), ("in_batch", 2 * FIVE_ROWS_MIB), ("rotation", 16.0)],
)
@pytest.mark.parametrize("logq", ["standard", "refined", "none"])
def test_members_learn_as_if_they_were_alone(negatives, maximum_logits_mib, logq):
    config = LossConfig(
        negatives=negatives, temperature=0.2, logq=logq, maximum_logits_mib=maximum_logits_mib
    )
    batch, offsets = random_batch(seed=7), tf.constant([1, 5, 11, 17, 23])
    weights = tf.constant(np.random.default_rng(6).random(24).astype(np.float32))
    generator = np.random.default_rng(8)
    users, items = (generator.normal(size=(24, 2, 3)).astype(np.float32) for _ in range(2))
    users, items = (both / np.linalg.norm(both, axis=2, keepdims=True) for both in (users, items))

    def measure(users, items, members):
        users, items = tf.constant(users), tf.constant(items)
        with tf.GradientTape() as tape:
            tape.watch([users, items])
            candidates = dataclasses.replace(candidates_of(batch, logq != "none"), embeddings=items)
            arguments = (users, candidates, keys_of(batch, True))
            result = (
                candidate_softmax(*arguments, config, weights, members=members)
                if negatives == "in_batch"
                else rotation_softmax(*arguments, offsets, config, weights, members=members)
            )
        return result, [tf.convert_to_tensor(one) for one in tape.gradient(result.loss_sum, [users, items])]

    alone = [measure(users[:, member], items[:, member], 1) for member in range(2)]
    both, gradients = measure(*(side.reshape(24, 6) / 2**0.5 for side in (users, items)), 2)
    np.testing.assert_allclose(both.loss_sum, np.mean([one.loss_sum for one, _ in alone]), rtol=1e-5)
    np.testing.assert_allclose(both.masked_fraction, alone[0][0].masked_fraction, rtol=1e-6)
    for side, gradient in enumerate(gradients):
        # d loss / d (u_m / sqrt 2) = sqrt 2 d (l_m / 2) / d u_m
        expected = np.concatenate([own[side] for _, own in alone], axis=1) / 2**0.5
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def loss_of(batch, negatives, offsets, weights, rows=slice(0, 24)):
    config = LossConfig(negatives=negatives, temperature=0.2)
    keys = BatchKeys(
        tf.constant(batch["user_keys"][rows], tf.int64),
        tf.constant(batch["item_keys"][rows], tf.int64),
        tf.constant(batch["histories"][rows], tf.int64),
    )
    users, candidates = tf.constant(batch["users"][rows]), candidates_of(batch, rows=rows)
    if negatives == "in_batch":
        return candidate_softmax(users, candidates, keys, config, tf.constant(weights[rows]))
    return rotation_softmax(users, candidates, keys, tf.constant(offsets), config, tf.constant(weights[rows]))


def negatives_of(negatives, rows, offsets):
    if negatives == "in_batch":
        return lambda i: [j for j in range(rows) if j != i]
    return lambda i: [(i + o) % rows for o in offsets]


def test_logq_hand_worked():
    # e^(s/tau) / q with tau 0.5, q = (1/2, 1/4):
    #   row 0: own 2 e^2 = 14.778112, other 4 e^1.2 = 13.280468; -ln(14.778112 / 28.058580) = 0.641148
    #   row 1: own 4 e^1.6 = 19.812130, other 2 e^0 = 2;         -ln(19.812130 / 21.812130) = 0.096172
    keys = BatchKeys(tf.constant([0, 1], tf.int64), tf.constant([0, 1], tf.int64))
    result = candidate_softmax(
        tf.constant([[1.0, 0.0], [0.0, 1.0]]),
        Candidates(
            embeddings=tf.constant([[1.0, 0.0], [0.6, 0.8]]),
            items=keys.items,
            users=keys.users,
            log_share=tf.constant([math.log(0.5), math.log(0.25)]),
        ),
        keys,
        LossConfig(temperature=0.5),
    )
    np.testing.assert_allclose(result.loss_sum, 0.641148 + 0.096172, atol=2e-6)


def test_columns_beyond_the_batch_and_empty_ones():
    # tau 1, all log shares 0. Row 0 (user 1, item 10), row 1 (user 2, item 11); then a past positive of
    # user 1, item 12; an empty column, whose embedding must not matter; and item 10 drawn uniformly.
    #   row 0: own 10 at e^1, 11 at e^0, 12 masked (user 1 has it), 10 again masked: -ln(e / (e + 1))
    #   row 1: 10 at e^0, own 11 at e^1, 12 at e^0.8, 10 again at e^0: -ln(e / (2 + e + e^0.8))
    keys = BatchKeys(tf.constant([1, 2], tf.int64), tf.constant([10, 11], tf.int64))
    users = tf.Variable([[1.0, 0.0], [0.0, 1.0]])
    items = tf.Variable([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [50.0, 50.0], [1.0, 0.0]])
    with tf.GradientTape() as tape:
        result = candidate_softmax(
            users,
            Candidates(
                embeddings=items,
                items=tf.constant([10, 11, 12, -1, 10], tf.int64),
                users=tf.constant([1, 2, 1, 2], tf.int64),
                log_share=None,
            ),
            keys,
            LossConfig(temperature=1.0),
        )
    e = math.e
    np.testing.assert_allclose(
        result.loss_sum, -math.log(e / (e + 1)) - math.log(e / (2 + e + e**0.8)), rtol=1e-6
    )
    # Of row 0's negatives 11, 12 and 10, and of row 1's 10, 12 and 10, two are masked.
    np.testing.assert_allclose(result.masked_fraction, 2 / 6, rtol=1e-6)
    gradient = tape.gradient(result.loss_sum, items).numpy()
    np.testing.assert_array_equal(gradient[3], [0.0, 0.0])
    # The copy of item 10 is a negative of row 1 alone, whose user is [0, 1].
    np.testing.assert_allclose(gradient[4], [0.0, 1 / (2 + e + e**0.8)], rtol=1e-5)


def test_rotation_golden_case():
    embeddings = tf.math.l2_normalize(tf.constant([[2.0, 3.0], [5.0, 6.0], [7.0, 1.0], [3.0, 4.0]]), axis=1)
    keys = tf.range(4, dtype=tf.int64)
    candidates = Candidates(embeddings, keys, keys, log_share=None)
    logits = rotation_logits(embeddings, candidates, tf.constant([1, 2]), temperature=1.0)
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


def test_rotation_over_the_whole_batch_is_in_batch():
    batch = random_batch(seed=6)
    arguments = tf.constant(batch["users"]), candidates_of(batch), keys_of(batch)
    rotation = rotation_softmax(*arguments, tf.range(1, 24), LossConfig())
    in_batch = candidate_softmax(*arguments, LossConfig())
    np.testing.assert_allclose(rotation.loss_sum, in_batch.loss_sum, rtol=1e-5)
    np.testing.assert_allclose(rotation.masked_fraction, in_batch.masked_fraction, rtol=1e-6)


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
        loss_sum = candidate_softmax(
            tf.constant(users),
            Candidates(tf.convert_to_tensor(variable), keys.items, keys.users, log_share=None),
            keys,
            LossConfig(temperature=1.0),
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
    users = tf.constant(unit_rows(generator, 6, 3))
    items = tf.Variable(unit_rows(generator, 6, 3))
    keys = BatchKeys(tf.range(6, dtype=tf.int64), tf.fill([6], tf.constant(9, tf.int64)))
    with tf.GradientTape() as tape:
        candidates = Candidates(tf.convert_to_tensor(items), keys.items, keys.users, tf.zeros([6]))
        if negatives == "in_batch":
            result = candidate_softmax(users, candidates, keys, LossConfig())
        else:
            result = rotation_softmax(users, candidates, keys, tf.constant([1, 3, 4]), LossConfig())
    np.testing.assert_allclose(result.loss_sum, 0.0, atol=1e-5)
    np.testing.assert_allclose(result.masked_fraction, 1.0)
    gradient = tf.convert_to_tensor(tape.gradient(result.loss_sum, items))
    np.testing.assert_allclose(gradient, np.zeros((6, 3)), atol=1e-5)


@pytest.mark.parametrize("maximum_logits_mib", [16.0, FIVE_ROWS_MIB])
def test_a_broken_embedding_shows_in_the_loss(maximum_logits_mib):
    batch = random_batch(seed=11)
    batch["items"][7] = np.nan
    config = LossConfig(maximum_logits_mib=maximum_logits_mib)
    result = candidate_softmax(tf.constant(batch["users"]), candidates_of(batch), keys_of(batch), config)
    assert np.isnan(result.loss_sum)
