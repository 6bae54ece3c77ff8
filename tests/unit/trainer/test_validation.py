from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer import validation as module
from trainer.validation import build_recall, rank_targets

pytestmark = pytest.mark.unit

IDS = (("user", "user_id", "user"), ("item", "item_id", "item"))
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "features": [
            {
                "name": name,
                "dtype": "string",
                "tower": tower,
                "role": role,
                "encoding": {"kind": "vocabulary"},
            }
            for name, role, tower in IDS
        ],
    },
    "test",
)

# Items by key, and two users who look along the first and the second axis:
#   key       7     3     9     5
#   user 0   1.0   0.8   0.6   0.0
#   user 1   0.0   0.6   0.8   1.0
ITEMS = {7: [1.0, 0.0], 3: [0.8, 0.6], 9: [0.6, 0.8], 5: [0.0, 1.0]}
USERS = {0: [1.0, 0.0], 1: [0.0, 1.0]}
CATALOGUE = {"item": np.array([7, 3, 9, 5])}


def look_up(name, vectors):
    def tower(columns, training):
        assert training is False
        return tf.constant([vectors[key] for key in columns[name].numpy()], tf.float32)

    return tower


TOWERS = SimpleNamespace(user=look_up("user", USERS), item=look_up("item", ITEMS))


def rows(*pairs):
    users, items = zip(*pairs, strict=True)
    return {"user": np.array(users), "item": np.array(items)}


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        # User 0 has 7 and 3 in train: its 9 is first of 9 and 5. User 1 has 5: of 7, 3 and 9 its 7 is last,
        # its 3 second.
        (1, 1 / 3),
        (2, 2 / 3),
        (3, 1.0),
    ],
)
def test_recall_by_hand(k, expected):
    train = rows((0, 7), (1, 5), (0, 3))
    validation = rows((0, 9), (1, 7), (1, 3))
    assert build_recall(SPEC, validation, train, CATALOGUE, k)(TOWERS) == pytest.approx(expected)


def test_a_target_that_the_user_has_in_train_too_stays_in():
    # User 0: of 7, 3, 9 and 5 with 7 in train, the 3 comes first; as target the 7 does, though it was seen.
    train = rows((0, 7))
    assert build_recall(SPEC, rows((0, 7)), train, CATALOGUE, 1)(TOWERS) == 1.0
    assert build_recall(SPEC, rows((0, 3)), train, CATALOGUE, 1)(TOWERS) == 1.0
    assert build_recall(SPEC, rows((0, 9)), train, CATALOGUE, 1)(TOWERS) == 0.0


def test_an_item_outside_the_catalogue_is_never_found():
    validation = rows((0, 7), (0, 1_000))
    recall = build_recall(SPEC, validation, rows((1, 1_000)), CATALOGUE, 100)
    assert recall(TOWERS) == 0.5


def test_users_without_train_rows_are_ranked_over_all_items():
    assert build_recall(SPEC, rows((1, 9)), rows((0, 5)), CATALOGUE, 1)(TOWERS) == 0.0
    assert build_recall(SPEC, rows((1, 9)), rows((0, 5)), CATALOGUE, 2)(TOWERS) == 1.0


def test_blocks_change_nothing(monkeypatch):
    train = rows((0, 7), (1, 5), (0, 3))
    validation = rows((0, 9), (1, 7), (1, 3), (0, 5), (1, 9))
    whole = build_recall(SPEC, validation, train, CATALOGUE, 1)(TOWERS)
    monkeypatch.setattr(module, "_SCORES_AT_ONCE", 8)
    monkeypatch.setattr(module, "_ROWS_PER_CALL", 3)
    assert build_recall(SPEC, validation, train, CATALOGUE, 1)(TOWERS) == whole == pytest.approx(2 / 5)


def test_a_tie_is_decided_against_the_target():
    scores = np.float32([[0.5, 0.5, 0.1]])
    none = np.array([], np.int64)
    assert rank_targets(scores, np.array([0]), none, none).tolist() == [2]


def test_ranks_leave_out_what_was_seen():
    scores = np.float32([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    ranks = rank_targets(scores, np.array([1, 1, -1]), np.array([0, 0, 1, 2]), np.array([3, 1, -1, 0]))
    # Row 0: item 3 is out, 2 is before 1. Row 1: what was seen is not among them, 0 is before 1. Row 2: no
    # target.
    assert ranks[:2].tolist() == [2, 2]
    assert ranks[2] > 1_000_000_000


def test_without_rows_there_is_nothing_to_measure():
    empty = {"user": np.array([], np.int64), "item": np.array([], np.int64)}
    with pytest.raises(ValueError, match=r"Expected validation rows and catalogue items\. Received: 0 and 4"):
        build_recall(SPEC, empty, rows((0, 7)), CATALOGUE, 1)


def test_a_score_that_is_not_a_number_is_no_hit():
    # By hand: a tie counts against the target, and so does whatever cannot be compared.
    scores = np.float32([[np.nan, 0.1, 0.2], [0.5, 0.5, 0.1], [0.5, np.nan, 0.1]])
    nothing = np.array([], np.int64)
    assert rank_targets(scores, np.array([0, 0, 0]), nothing, nothing).tolist() == [3, 2, 2]
