import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import TrainingError
from schemas.features import FeatureSpec, History
from schemas.strict_config import parse
from trainer import validation as module
from trainer.data.batches import BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.validation import build_recall, choose_cut_off

pytestmark = pytest.mark.unit

SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
            | {"encoding": {"kind": "vocabulary"}},
            {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
            | {"encoding": {"kind": "vocabulary"}},
        ],
    },
    "test",
)

# The catalogue's items by the row of their embedding, and two users who look along the first and second axis:
#   row       7     3     9     5
#   user 0   1.0   0.8   0.6   0.0
#   user 1   0.0   0.6   0.8   1.0
ITEMS = {7: [1.0, 0.0], 3: [0.8, 0.6], 9: [0.6, 0.8], 5: [0.0, 1.0]}
USERS = {0: [1.0, 0.0], 1: [0.0, 1.0]}
CATALOGUE = [7, 3, 9, 5]


def look_up(name, vectors):
    def tower(columns, training):
        assert training is False
        return tf.constant([vectors[key] for key in columns[name].numpy()], tf.float32)

    return tower


TOWERS = SimpleNamespace(user=look_up("user", USERS), item=look_up("item", ITEMS))
THREE = SimpleNamespace(user=look_up("user", USERS | {2: [0.0, 1.0]}), item=TOWERS.item)


def recall_at(k, *users, towers=TOWERS, candidates="new", spec=SPEC):
    """Measure users, each with train items and validation items by the row of their embedding."""
    train = np.array([len(known) for known, _ in users])
    validation = np.array([len(held_out) for _, held_out in users])
    items = [CATALOGUE.index(item) for known, held_out in users for item in [*known, *held_out]]
    offsets = np.concatenate([[0], np.cumsum(train + validation)])
    data = TrainingData(
        sequences=FlatSequences(offsets, np.array(items, np.int32)),
        users={"user": np.arange(len(users))},
        items={"item": np.array(CATALOGUE)},
        item_count=4,
        history_items={} if spec.history is None else {"history": np.arange(4)},
        train=Rows.between(offsets[:-1], offsets[:-1] + train),
    )
    rows = Rows.between(offsets[:-1] + train, offsets[1:])
    return build_recall(data, rows, BatchMaker(data, spec), k, candidates)(towers)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        # User 0 has 7 and 3 in train: its 9 is first of 9 and 5. User 1 has 5 and looks for 7 and 3: of 9, 3
        # and 7 none is first, 3 is second, 7 third. Each user counts the same.
        (1, (1 + 0) / 2),
        (2, (1 + 1 / 2) / 2),
        (3, 1.0),
    ],
)
def test_recall_by_hand(k, expected):
    assert recall_at(k, ([7, 3], [9]), ([5], [7, 3])) == pytest.approx(expected)


def test_an_item_that_the_user_has_in_train_is_looked_for_only_among_all_candidates():
    # User 0 has 7 and buys it again, then 9: its new items are 3, 9 and 5, of which 3 comes first and 9, the
    # one to be found, second. Of all items 7 comes first, and 9 third.
    bought_again = ([7], [7, 9])
    assert [recall_at(k, bought_again) for k in (1, 2)] == [0.0, 1.0]
    found = [recall_at(k, bought_again, candidates="all") for k in (1, 2, 3)]
    # A list of one can hold one of the two.
    assert found == [1.0, 0.5, 1.0]


def test_an_item_that_is_held_out_twice_is_one():
    # Of 3, 9 and 5 the first two are looked at, and 3 and 5 looked for.
    assert recall_at(2, ([7], [3, 5, 3])) == pytest.approx(1 / 2)


def test_a_user_is_asked_for_as_of_the_first_validation_row():
    spec = dataclasses.replace(SPEC, history=History(length=3))
    asked = []

    def user(columns, training):
        asked.append(columns["history"].numpy().tolist())
        return TOWERS.user(columns, training)

    recall_at(
        1, ([7, 3], [9, 5]), ([], [5, 7]), towers=SimpleNamespace(user=user, item=TOWERS.item), spec=spec
    )
    assert asked == [[[-1, CATALOGUE.index(7), CATALOGUE.index(3)], [-1, -1, -1]]]


def test_users_who_are_not_asked_for_are_told(caplog):
    caplog.set_level("INFO", logger="dssm.progress")
    recall_at(1, ([7], [7, 9]), ([5], [5]), candidates="all")
    assert caplog.messages == ["Validation after each epoch: Recall@1 of 2 users"]
    recall_at(1, ([7], [7, 9]), ([5], [5]))
    assert "Validation: 1 of 2 users are not asked for" in caplog.text


def test_a_validation_of_repeats_alone_is_refused():
    with pytest.raises(
        TrainingError, match=r"Received: none among 2, of 1 users\. Set evaluation\.candidates: all"
    ):
        recall_at(1, ([7, 3], [7, 3]))


def test_users_without_train_rows_are_ranked_over_all_items():
    assert recall_at(1, ([5], []), ([], [9])) == 0.0
    assert recall_at(2, ([5], []), ([], [9])) == 1.0


def test_a_target_that_ties_with_all_items_is_found_by_chance():
    towers = SimpleNamespace(user=TOWERS.user, item=lambda columns, training: tf.ones([4, 2]))
    # One of the three that the user has not seen.
    assert recall_at(1, ([7], [3]), towers=towers) == pytest.approx(1 / 3)


def test_batches_change_nothing(monkeypatch):
    # Of 9 and 5 the first is 9, of 9, 3 and 7 too, and of 5, 9 and 3 it is 5.
    users = ([7, 3], [5]), ([5], [7]), ([7], [5])
    whole = recall_at(1, *users, towers=THREE)
    monkeypatch.setattr(module, "_ROWS_PER_CALL", 2)
    assert recall_at(1, *users, towers=THREE) == whole == pytest.approx(1 / 3)


def test_of_many_users_some_are_drawn_always_the_same(monkeypatch, caplog):
    caplog.set_level("INFO", logger="dssm.progress")
    monkeypatch.setattr(module, "MOST_QUERIES", 12)
    # Every third user finds what it looks for.
    users = [([7], [3]), ([7], [9]), ([7], [5])] * 10
    towers = SimpleNamespace(user=look_up("user", {n: [1.0, 0.0] for n in range(30)}), item=TOWERS.item)
    drawn = {recall_at(1, *users, towers=towers) for _ in range(3)}
    assert len(drawn) == 1
    assert drawn.pop() * 12 in range(1, 12)
    assert "12 users, drawn at random of 30" in caplog.messages[-1]


@pytest.mark.parametrize(("k", "items", "expected"), [(None, 1_000, 100), (None, 60, 10), (7, 8, 7)])
def test_the_cut_off_fits_the_catalogue(k, items, expected):
    assert choose_cut_off(k, items) == expected


def test_a_cut_off_that_holds_every_item_is_refused():
    with pytest.raises(TrainingError, match=r"early_stopping\.k: expected less than the 40 items .* 100"):
        choose_cut_off(100, 40)
