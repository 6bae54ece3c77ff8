"""The refined logQ correction against plain loops in float64: value, gradient, and what it is there for."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import LossConfig
from trainer.false_negatives import BatchKeys
from trainer.losses import Candidates, LossSum, candidate_softmax, rotation_softmax
from trainer.objective import Objective

pytestmark = pytest.mark.unit

ROWS, COLUMNS, DIM, TAU = 12, 17, 5, 0.2
OFFSETS = (1, 4, 9, 16)
# A block of 5 rows; 12 rows make two blocks of 5 and one of 2.
FIVE_ROWS_MIB = 5 * COLUMNS * 4 / 2**20


def unit_rows(generator, rows, dim=DIM):
    x = generator.normal(size=(rows, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class Example:
    """A batch whose own items begin at column `first_own`, with false negatives of every kind."""

    def __init__(self, seed, first_own=0):
        generator = np.random.default_rng(seed)
        self.first_own = first_own
        self.users, self.items = unit_rows(generator, ROWS), unit_rows(generator, COLUMNS)
        self.item_keys = generator.integers(0, 9, COLUMNS)
        self.item_keys[-1] = -1
        self.column_users = generator.integers(0, 6, COLUMNS - 2)
        self.share = generator.random(COLUMNS) * 0.3 + 0.01
        self.weights = (3 * generator.random(ROWS)).astype(np.float32)
        self.histories = generator.integers(-1, 9, (ROWS, 3))

    @property
    def own(self):
        return slice(self.first_own, self.first_own + ROWS)

    def compute(self, config, negatives="in_batch"):
        users, items = tf.Variable(self.users), tf.Variable(self.items)
        keys = BatchKeys(
            tf.constant(self.column_users[self.own], tf.int64),
            tf.constant(self.item_keys[self.own], tf.int64),
            tf.constant(self.histories, tf.int64),
        )

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                candidates = Candidates(
                    tf.convert_to_tensor(items),
                    tf.constant(self.item_keys, tf.int64),
                    tf.constant(self.column_users, tf.int64),
                    tf.constant(np.log(self.share), tf.float32),
                    self.first_own,
                )
                arguments = (tf.convert_to_tensor(users), candidates, keys)
                result: LossSum = (
                    candidate_softmax(*arguments, config, tf.constant(self.weights))
                    if negatives == "in_batch"
                    else rotation_softmax(*arguments, tf.constant(OFFSETS), config, tf.constant(self.weights))
                )
                # What comes from above must reach both gradients.
                loss = 2.0 * result.loss_sum
            return result.loss_sum, result.masked_fraction, *tape.gradient(loss, [users, items])

        loss, masked, *gradients = step()
        dense = [tf.convert_to_tensor(gradient).numpy() / 2 for gradient in gradients]
        return float(loss), float(masked), *dense

    def expect(self, config, negatives="in_batch"):
        """The loss, the share of masked pairs, and both gradients."""
        loss, masked, pairs = 0.0, 0, 0
        users_gradient, items_gradient = np.zeros((ROWS, DIM)), np.zeros((COLUMNS, DIM))
        users, items = self.users.astype(float), self.items.astype(float)
        for i in range(ROWS):
            own = self.first_own + i
            score = users[i] @ items.T / TAU
            others = [j for j in range(COLUMNS) if j != own and self.item_keys[j] >= 0]
            if negatives == "rotation":
                others = [(own + offset) % COLUMNS for offset in OFFSETS]
            copies = [j for j in others if self.is_copy(i, j, config)]
            kept = [j for j in others if j not in copies and not self.is_liked(i, j, config)]
            masked, pairs = masked + len(others) - len(kept), pairs + len(others)
            if not kept:
                continue
            q = self.share / (1 - self.share[own])
            summands = np.array([math.exp(score[j]) / q[j] for j in kept])
            n = len(others) - len(copies)
            rest = 1 - math.exp(score[own]) / (math.exp(score[own]) + summands.sum() / n)
            factor = self.weights[i] * rest
            loss += factor * (math.log(summands.sum()) - score[own])
            for j, probability in zip(kept, summands / summands.sum(), strict=True):
                users_gradient[i] += factor * probability * items[j] / TAU
                items_gradient[j] += factor * probability * users[i] / TAU
            users_gradient[i] -= factor * items[own] / TAU
            items_gradient[own] -= factor * users[i] / TAU
        return loss, masked / pairs, users_gradient, items_gradient

    def is_copy(self, i, j, config):
        masks = config.mask_same_item or config.mask_same_user
        return bool(masks and self.item_keys[j] == self.item_keys[self.first_own + i])

    def is_liked(self, i, j, config):
        if not config.mask_same_user:
            return False
        user, item = self.column_users[self.first_own + i], self.item_keys[j]
        in_batch = any(
            self.column_users[k] == user and self.item_keys[k] == item for k in range(len(self.column_users))
        )
        return bool(in_batch or item in self.histories[i])


def check(found, expected):
    loss, masked, *gradients = found
    expected_loss, expected_masked, *expected_gradients = expected
    np.testing.assert_allclose(loss, expected_loss, rtol=2e-5)
    np.testing.assert_allclose(masked, expected_masked, rtol=1e-6)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert np.abs(gradient - wanted).max() < 2e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("maximum_logits_mib", [16.0, FIVE_ROWS_MIB])
@pytest.mark.parametrize(("same_item", "same_user"), list(itertools.product([False, True], repeat=2)))
def test_value_and_gradient_equal_plain_loops(same_item, same_user, maximum_logits_mib):
    config = LossConfig(
        logq="refined", temperature=TAU, mask_same_item=same_item, mask_same_user=same_user,
        maximum_logits_mib=maximum_logits_mib,
    )  # fmt: skip
    example = Example(seed=1, first_own=3)
    check(example.compute(config), example.expect(config))


@pytest.mark.parametrize(("same_item", "same_user"), list(itertools.product([False, True], repeat=2)))
def test_rotation_equals_plain_loops(same_item, same_user):
    config = LossConfig(
        logq="refined", negatives="rotation", temperature=TAU, mask_same_item=same_item,
        mask_same_user=same_user,
    )  # fmt: skip
    example = Example(seed=2)
    # Rotation draws from items of batches alone.
    example.item_keys[-1] = 3
    check(example.compute(config, "rotation"), example.expect(config, "rotation"))


def test_hand_worked():
    # tau 1, q = (1/2, 1/4, 1/4). Row 0: own at e^1, the others at e^0.6 / (1/4 / (1/2)) and e^0 / (1/2).
    #   S = 2 e^0.6 + 2 = 5.644238, n = 2; 1 - P = (S / 2) / (e + S / 2) = 0.509371
    #   loss = 0.509371 (ln 5.644238 - 1) = 0.372164
    keys = BatchKeys(tf.constant([1, 2, 3], tf.int64), tf.constant([0, 1, 2], tf.int64))
    result = candidate_softmax(
        tf.constant([[1.0, 0.0]] * 3),
        Candidates(
            tf.constant([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), keys.items, keys.users,
            tf.math.log([0.5, 0.25, 0.25]),
        ),
        keys,
        LossConfig(logq="refined", temperature=1.0),
        tf.constant([1.0, 0.0, 0.0]),
    )  # fmt: skip
    np.testing.assert_allclose(result.loss_sum, 0.372164, rtol=1e-5)


@pytest.mark.parametrize("negatives", ["in_batch", "rotation"])
def test_a_row_without_negatives_has_no_loss_and_no_gradient(negatives):
    example = Example(seed=3)
    example.item_keys[:] = 4
    config = LossConfig(logq="refined", negatives=negatives, temperature=TAU)
    loss, masked, *gradients = example.compute(config, negatives)
    assert (loss, masked) == (0.0, 1.0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


def test_an_item_that_is_nearly_all_there_is_stays_finite():
    example = Example(seed=4)
    example.share[:] = 1e-9
    example.share[0] = 1.0
    loss, _, *gradients = example.compute(LossConfig(logq="refined", temperature=0.01))
    assert math.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_uniform_and_past_items_have_the_share_of_the_mixture():
    # B 2, U 3, N 5, and in step 2 the two items of step 1: Q = (2 q_j + 3 / 5) / 5, then (4 q_j + 3 / 5) / 7.
    table = unit_rows(np.random.default_rng(5), 5)
    q = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    drawn = []

    def embed(features):
        drawn[:] = features["item_id"].numpy().tolist()
        return tf.gather(tf.constant(table), features["item_id"])

    mixed = Objective(
        LossConfig(
            logq="refined", temperature=TAU, uniform_negatives=3, cross_batch_negatives=2,
            cross_batch_warmup_steps=0, mask_same_user=False,
        ),
        per_replica_batch=2, dim=DIM, seed=1, item_log_q=np.log(q).astype(np.float32),
        catalogue={"item_id": np.arange(5)},
    )  # fmt: skip
    users = unit_rows(np.random.default_rng(6), 2)
    for step, items, past, from_batches in ((1, [0, 1], [], 2), (2, [2, 3], [0, 1], 4)):
        keys = BatchKeys(tf.constant([7, 8], tf.int64), tf.constant(items, tf.int64))
        result = mixed(
            tf.constant(users), tf.constant(table[items]), keys, None, tf.constant(step, tf.int64), embed
        )
        share = (from_batches * q + 3 / 5) / (from_batches + 3)
        expected = 0.0
        for i, own in enumerate(items):
            score = users[i].astype(float) @ table.astype(float).T / TAU
            kept = [j for j in (*items, *past, *drawn) if j != own]
            summed = sum(math.exp(score[j]) / (share[j] / (1 - share[own])) for j in kept)
            rest = 1 - math.exp(score[own]) / (math.exp(score[own]) + summed / len(kept))
            expected += rest * (math.log(summed) - score[own])
        np.testing.assert_allclose(result.loss_sum, expected, rtol=1e-5)


def test_the_expected_gradient_is_nearer_to_the_full_softmax_than_the_standard_one():
    # Users who are all alike, and items that are unit vectors of their own: the mean gradient by a user's
    # vector is softmax - q where all items are candidates.
    q = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    user = np.array([[0.7, 0.3, 0.5, 0.3, 0.2]], np.float32)
    user /= np.linalg.norm(user)
    softmax = np.exp(user[0].astype(float)) / np.exp(user[0].astype(float)).sum()
    drawn = np.random.default_rng(7).choice(5, size=(200, 32), p=q)

    def mean_gradient(logq):
        config = LossConfig(logq=logq, temperature=1.0, mask_same_user=False)

        @tf.function
        def gradient(items):
            users = tf.tile(user, [32, 1])
            keys = BatchKeys(tf.range(32, dtype=tf.int64), items)
            log_share = tf.math.log(tf.gather(tf.constant(q, tf.float32), items))
            with tf.GradientTape() as tape:
                tape.watch(users)
                candidates = Candidates(tf.one_hot(items, 5), items, keys.users, log_share)
                loss = candidate_softmax(users, candidates, keys, config).loss_sum
            return tf.reduce_mean(tape.gradient(loss, users), axis=0)

        return np.mean([gradient(tf.constant(items, tf.int64)) for items in drawn], axis=0)

    standard, refined = (np.abs(mean_gradient(logq) - (softmax - q)) for logq in ("standard", "refined"))
    # The standard one pulls each item up by nearly its whole share, however likely it is already.
    assert standard[0] > 0.05
    assert refined.sum() < 0.2 * standard.sum()
