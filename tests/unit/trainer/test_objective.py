import math

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import ConfigError
from trainer.config import LossConfig
from trainer.cross_batch import PastItems
from trainer.data.sequences import Rows
from trainer.false_negatives import BatchKeys, KnownPositives
from trainer.objective import Objective, log_mixture_share

pytestmark = pytest.mark.unit

TAU = 0.5
# Five items, each a unit vector of its own; row k of the table is item k.
TABLE = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6], [-1.0, 0.0]], np.float32)
Q = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
NO_MASKS = {"mask_same_item": False, "mask_same_user": False}


def objective(batch=2, catalogue=None, seed=1, q=None, positives=None, **loss):
    return Objective(
        LossConfig(temperature=TAU, **loss),
        per_replica_batch=batch,
        dim=2,
        seed=seed,
        item_log_q=np.log(Q if q is None else q).astype(np.float32),
        catalogue={} if catalogue is None else catalogue,
        positives=positives,
    )


def embed(features):
    return tf.gather(tf.constant(TABLE), features["item_id"])


def loss_at(objective, step, items, users, user_vectors=None):
    vectors = TABLE[users] if user_vectors is None else user_vectors
    result = objective(
        tf.constant(vectors),
        tf.constant(TABLE[items]),
        BatchKeys(tf.constant(users, tf.int64), tf.constant(items, tf.int64)),
        None,
        tf.constant(step, tf.int64),
        embed,
    )
    return float(result.loss_sum), float(result.masked_fraction)


def cross_entropy(user, own, candidates, share=None):
    """Of a row whose user's vector is TABLE[user]; `candidates` holds its own item too."""
    weights = {
        j: math.exp(float(TABLE[user] @ TABLE[j]) / TAU) / (1.0 if share is None else share[j])
        for j in set(candidates)
    }
    return -math.log(weights[own] / sum(weights[j] for j in candidates))


def test_mixture_share_hand_worked():
    # B 6, U 2, N 5: (6 * 0.4 + 2/5) / 8 = 0.35 and (6 * 0.05 + 0.4) / 8 = 0.0875.
    share = tf.exp(log_mixture_share(tf.math.log([0.4, 0.05]), tf.constant(6.0), uniform=2, catalogue=5))
    np.testing.assert_allclose(share, [0.35, 0.0875], rtol=1e-6)


def note_draws(monkeypatch):
    drawn, embed_items = [], embed

    def record(features):
        drawn[:] = features["item_id"].numpy().tolist()
        return embed_items(features)

    monkeypatch.setitem(globals(), "embed", record)
    return drawn


CATALOGUE = {"item_id": np.arange(5)}


@pytest.mark.parametrize("logq", [True, False])
def test_uniform_items_join_the_candidates_with_the_share_of_the_mixture(logq, monkeypatch):
    # B 2, U 3, N 5: Q = (2 q_j + 3 / 5) / 5 for every candidate.
    mixed = objective(catalogue=CATALOGUE, uniform_negatives=3, logq=logq, **NO_MASKS)
    drawn = note_draws(monkeypatch)
    loss, masked = loss_at(mixed, 1, items=[0, 1], users=[0, 1])
    share = (2 * Q + 3 / 5) / 5 if logq else None
    candidates = [0, 1, *drawn]
    assert len(drawn) == 3
    expected = cross_entropy(0, 0, candidates, share) + cross_entropy(1, 1, candidates, share)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert masked == 0.0


def test_uniform_items_that_a_user_likes_are_masked(monkeypatch):
    # A row's own item among the ones drawn is no negative of the row, and one of the other row.
    mixed = objective(catalogue=CATALOGUE, uniform_negatives=30, logq=False)
    drawn = note_draws(monkeypatch)
    loss, masked = loss_at(mixed, 1, items=[0, 1], users=[0, 1])
    assert {0, 1} < set(drawn)
    own = [[item for item in drawn if item != other] for other in (0, 1)]
    expected = cross_entropy(0, 0, [0, 1, *own[0]]) + cross_entropy(1, 1, [0, 1, *own[1]])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(masked, (drawn.count(0) + drawn.count(1)) / (2 * 31))


def test_uniform_draws_depend_on_seed_and_step_alone_and_are_made_in_the_graph():
    drawn = []

    def record(features):
        drawn.append(features["item_id"])
        return embed(features)

    catalogue = {"item_id": np.arange(5)}

    def draws(seed):
        sampled = objective(catalogue=catalogue, uniform_negatives=40, seed=seed)

        @tf.function
        def step(number):
            keys = BatchKeys(tf.constant([0, 1], tf.int64), tf.constant([0, 1], tf.int64))
            sampled(tf.constant(TABLE[:2]), tf.constant(TABLE[:2]), keys, None, number, record)
            return drawn[-1]

        return [tuple(step(tf.constant(n, tf.int64)).numpy()) for n in (1, 2, 1)]

    first, second, again = draws(seed=1)
    assert first == again
    assert first != second
    assert set(first) == {0, 1, 2, 3, 4}
    assert draws(seed=1)[1] == second
    assert draws(seed=2)[0] != first


def test_past_items_are_candidates_after_the_warm_up_and_until_they_leave():
    # Three slots, two items a step:
    #   step 1 writes slots 0, 1: [0, 1, -]; step 2 slots 2, 0: [4, 1, 3]; step 3 slots 1, 2: [4, 2, 0].
    queue = objective(cross_batch_negatives=3, cross_batch_warmup_steps=1, logq=False, **NO_MASKS)
    batches = [[0, 1], [3, 4], [2, 0], [1, 2]]
    past = [[], [0, 1], [4, 1, 3], [4, 2, 0]]
    for step, (items, kept) in enumerate(zip(batches, past, strict=True), start=1):
        loss, masked = loss_at(queue, step, items, users=[0, 1])
        candidates = items + kept
        expected = cross_entropy(0, items[0], candidates) + cross_entropy(1, items[1], candidates)
        np.testing.assert_allclose(loss, expected, rtol=1e-5, err_msg=f"step {step}")
        assert masked == 0.0


def test_past_items_fill_up_while_the_warm_up_lasts():
    queue = objective(cross_batch_negatives=4, cross_batch_warmup_steps=2, logq=False, **NO_MASKS)
    for step, items in enumerate([[0, 1], [3, 4]], start=1):
        loss, _ = loss_at(queue, step, items, users=[0, 1])
        np.testing.assert_allclose(
            loss, cross_entropy(0, items[0], items) + cross_entropy(1, items[1], items), rtol=1e-5
        )
    loss, _ = loss_at(queue, 3, [2, 0], users=[0, 1])
    candidates = [2, 0, 0, 1, 3, 4]
    np.testing.assert_allclose(
        loss, cross_entropy(0, 2, candidates) + cross_entropy(1, 0, candidates), rtol=1e-5
    )


def test_past_items_of_the_same_user_are_masked_and_their_other_copies_too():
    queue = objective(cross_batch_negatives=4, cross_batch_warmup_steps=0, logq=False)
    loss_at(queue, 1, items=[0, 1], users=[0, 1])
    # User 0 had item 0 in the past, so neither its past copy nor user 2's own counts for row 0. User 2 has
    # item 0 alone, so row 1 masks its past copy and keeps items 3 and 1.
    loss, masked = loss_at(queue, 2, items=[3, 0], users=[0, 2])
    expected = cross_entropy(0, 3, [3, 1]) + cross_entropy(2, 0, [3, 0, 1])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # Two of the four slots are filled: 3 negatives a row.
    np.testing.assert_allclose(masked, 3 / 6)


def test_the_mixture_counts_the_past_items_that_are_usable(monkeypatch):
    # B 2, U 1, N 5. At step 1 F is 0 and Q = (2 q + 1/5) / 3, at step 2 F is 2 and Q = (4 q + 1/5) / 5.
    mixed = objective(
        catalogue=CATALOGUE,
        uniform_negatives=1,
        cross_batch_negatives=3,
        cross_batch_warmup_steps=0,
        **NO_MASKS,
    )
    drawn = note_draws(monkeypatch)
    loss, _ = loss_at(mixed, 1, items=[0, 1], users=[0, 1])
    share, candidates = (2 * Q + 1 / 5) / 3, [0, 1, *drawn]
    np.testing.assert_allclose(
        loss, cross_entropy(0, 0, candidates, share) + cross_entropy(1, 1, candidates, share), rtol=1e-5
    )
    loss, _ = loss_at(mixed, 2, items=[3, 4], users=[0, 1])
    share, candidates = (4 * Q + 1 / 5) / 5, [3, 4, *drawn, 0, 1]
    np.testing.assert_allclose(
        loss, cross_entropy(0, 3, candidates, share) + cross_entropy(1, 4, candidates, share), rtol=1e-5
    )


def test_only_the_last_items_of_a_batch_larger_than_the_queue_are_taken():
    queue = PastItems(capacity=2, dim=2, global_batch=3, warmup_steps=0)
    for step in (1, 2):
        items = tf.constant([0, 1, 2], tf.int64) + 10 * step
        queue.add(tf.constant(step, tf.int64), tf.constant(TABLE[:3]) * step, items, items)
    embeddings, items, _ = queue.read(tf.constant(3, tf.int64))
    np.testing.assert_array_equal(items, [21, 22])
    np.testing.assert_allclose(embeddings, TABLE[1:3] * 2)


def test_the_queue_goes_on_from_its_variables_alone():
    settings = {"cross_batch_negatives": 3, "cross_batch_warmup_steps": 1}
    whole, resumed = objective(**settings), objective(**settings)
    for step, items in enumerate([[0, 1], [3, 4]], start=1):
        loss_at(whole, step, items, users=[0, 1])
    for variable, value in zip(resumed.variables, whole.variables, strict=True):
        variable.assign(value)
    assert loss_at(resumed, 3, [2, 0], [0, 1]) == loss_at(whole, 3, [2, 0], [0, 1])
    for variable, value in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_nothing_is_kept_without_a_queue():
    assert objective().variables == []


def test_rotation_offsets_are_drawn_at_every_step_not_at_tracing():
    generator = np.random.default_rng(5)
    vectors = [
        tf.math.l2_normalize(tf.constant(generator.normal(size=(24, 2)), tf.float32), 1) for _ in range(2)
    ]
    keys = BatchKeys(tf.range(24, dtype=tf.int64), tf.range(24, dtype=tf.int64) % 5)
    rotated = objective(batch=24, negatives="rotation", rotation_negatives=3, **NO_MASKS)

    @tf.function
    def step(number):
        return rotated(*vectors, keys, None, number, embed).loss_sum

    losses = [float(step(tf.constant(n, tf.int64))) for n in (1, 2, 3, 1)]
    assert len(set(losses[:3])) == 3
    assert losses[3] == losses[0]


@pytest.mark.parametrize("negatives", [8, 9])
def test_rotation_needs_fewer_negatives_than_rows(negatives):
    with pytest.raises(ConfigError, match=rf"rows to draw them from, 8 .*Received: {negatives}"):
        objective(batch=8, negatives="rotation", rotation_negatives=negatives)


@pytest.mark.parametrize("negatives", [{}, {"negatives": "rotation", "rotation_negatives": 1}])
def test_the_whole_sequence_of_a_user_can_be_masked(negatives):
    # User 0 has the items 0 and 1 in train, user 1 the items 1, 2 and 3, one of them a row's own.
    # The last item of user 0 is in another split.
    rows = Rows.between(np.array([0, 3]), np.array([2, 6]))
    positives = KnownPositives.of_rows(np.array([0, 1, 4, 1, 2, 3], np.int32), rows)
    masked = objective(mask_same_user="sequence", positives=positives, logq=False, **negatives)
    # Neither the batch nor a history says that user 0 has item 1; user 1 does not have item 0.
    loss, share = loss_at(masked, 1, items=[0, 1], users=[0, 1])
    np.testing.assert_allclose(loss, cross_entropy(1, 1, [1, 0]), rtol=1e-5)
    np.testing.assert_allclose(share, 1 / 2)
    loss, share = loss_at(masked, 1, items=[4, 2], users=[0, 1])
    np.testing.assert_allclose(loss, cross_entropy(0, 4, [4, 2]) + cross_entropy(1, 2, [2, 4]), rtol=1e-5)
    assert share == 0.0


def test_past_items_of_the_sequence_are_masked_whoever_they_came_from():
    positives = positives_of(2, user_0=[0, 1], user_1=[2])
    queue = objective(
        mask_same_user="sequence", positives=positives, logq=False,
        cross_batch_negatives=2, cross_batch_warmup_steps=0,
    )  # fmt: skip
    loss_at(queue, 1, items=[1, 3], users=[1, 1])
    # Item 1, a past item of user 1, is one of user 0's; item 3 is nobody's.
    loss, share = loss_at(queue, 2, items=[0, 2], users=[0, 1])
    expected = cross_entropy(0, 0, [0, 2, 3]) + cross_entropy(1, 2, [2, 0, 1, 3])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(share, 1 / 6)


def positives_of(users, **of_user):
    """What each of so many users has in train, by `user_<number>`; the others have nothing."""
    given = [of_user.get(f"user_{number}", []) for number in range(users)]
    ends = np.cumsum([len(items) for items in given])
    rows = Rows.between(np.concatenate([[0], ends[:-1]]), ends)
    return KnownPositives.of_rows(np.concatenate(given).astype(np.int32), rows)


def test_the_sequence_is_that_of_the_rows_user_whatever_the_order_of_the_users():
    positives = positives_of(2, user_0=[0, 2], user_1=[2, 3, 4])
    masked = objective(batch=3, mask_same_user="sequence", positives=positives, logq=False)
    loss, share = loss_at(masked, 1, items=[2, 0, 3], users=[1, 0, 1])
    # Row 0 masks item 3, row 1 item 2, row 2 item 2.
    expected = cross_entropy(1, 2, [2, 0]) + cross_entropy(0, 0, [0, 3]) + cross_entropy(1, 3, [3, 0])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(share, 3 / 6)


def test_the_numbers_of_users_may_be_larger_than_the_batch():
    positives = positives_of(901, user_5=[1], user_899=[0, 1, 2, 3, 4], user_900=[0, 1])
    masked = objective(mask_same_user="sequence", positives=positives, logq=False)
    loss, share = loss_at(masked, 1, items=[0, 1], users=[900, 5], user_vectors=TABLE[:2])
    np.testing.assert_allclose(loss, cross_entropy(1, 1, [1, 0]), rtol=1e-5)
    np.testing.assert_allclose(share, 1 / 2)


def test_uniform_items_of_the_sequence_are_masked(monkeypatch):
    masked = objective(
        catalogue=CATALOGUE, uniform_negatives=30, mask_same_user="sequence", logq=False,
        positives=positives_of(2, user_0=[0, 3], user_1=[1]),
    )  # fmt: skip
    drawn = note_draws(monkeypatch)
    loss, share = loss_at(masked, 1, items=[0, 1], users=[0, 1])
    assert {0, 1, 3} < set(drawn)
    of_first = [item for item in drawn if item not in (0, 3)]
    of_second = [item for item in drawn if item != 1]
    expected = cross_entropy(0, 0, [0, 1, *of_first]) + cross_entropy(1, 1, [1, 0, *of_second])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(share, sum(map(drawn.count, (0, 1, 3))) / (2 * 31))


def test_members_have_the_same_uniform_and_past_items():
    settings = {"uniform_negatives": 3, "cross_batch_negatives": 4, "cross_batch_warmup_steps": 0}
    catalogue = {"item_id": np.arange(5)}
    alone = objective(catalogue=catalogue, **settings)
    pair = Objective(
        LossConfig(temperature=TAU, **settings),
        per_replica_batch=2,
        dim=4,
        seed=1,
        item_log_q=np.log(Q).astype(np.float32),
        catalogue=catalogue,
        members=2,
    )
    twice = np.concatenate([TABLE, TABLE], axis=1) / 2**0.5
    for step, items, users in ((1, [0, 1], [2, 3]), (2, [4, 2], [1, 0])):
        loss, share = loss_at(alone, step, items, users)
        result = pair(
            tf.constant(twice[users]),
            tf.constant(twice[items]),
            BatchKeys(tf.constant(users, tf.int64), tf.constant(items, tf.int64)),
            None,
            tf.constant(step, tf.int64),
            lambda features: tf.gather(tf.constant(twice), features["item_id"]),
        )
        np.testing.assert_allclose(result.loss_sum, loss, rtol=1e-5)
        np.testing.assert_allclose(result.masked_fraction, share, rtol=1e-6)
