import numpy as np
import pytest
import tensorflow as tf

from schemas.features import FeatureSpec
from schemas.strict_config import parse
from trainer.data.batches import FEATURES, HISTORIES, ITEMS, USERS, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.windows import SEGMENTS, WindowGather

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
FEATURES_OF = [
    {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
    {
        "name": "item",
        "dtype": "string",
        "tower": "item",
        "role": "item_id",
        "encoding": {"kind": "vocabulary"},
    },
]
SPEC = parse(FeatureSpec, {"name": "shop", "features": FEATURES_OF, "history": {"length": 4}}, "test")
ITEM_ROWS = np.array([5, 7, 6])
# Two users of three and four positives, the last of the first one's not in train.
DATA = TrainingData(
    sequences=FlatSequences(offsets=np.array([0, 3, 7]), items=np.array([0, 1, 2, 2, 1, 0, 1], np.int32)),
    users={},
    items={"item": ITEM_ROWS},
    item_count=3,
    train=Rows.between(np.array([0, 3]), np.array([2, 7])),
    history_items={"history": ITEM_ROWS},
)


def make_batch(rows, length):
    gather = WindowGather(BatchMaker(DATA, SPEC).of_rows(DATA.train), length)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), gather(tf.constant(rows, tf.int64)))


def test_each_row_has_the_item_before_it_and_the_segment_of_its_user():
    batch = make_batch([0, 1, 2, 3, 4, 5], 3)
    np.testing.assert_array_equal(batch[USERS], [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(batch[ITEMS], [0, 1, 2, 1, 0, 1])
    # No item is before the users' first rows.
    np.testing.assert_array_equal(batch[HISTORIES], [[-1], [0], [-1], [2], [1], [0]])
    np.testing.assert_array_equal(batch[FEATURES]["history"], [[-1], [5], [-1], [6], [7], [5]])
    first, second = batch[SEGMENTS][:3], batch[SEGMENTS][3:]
    assert first[0] == first[1] != first[2]
    assert len(set(second)) == 1


def test_the_end_of_the_split_is_no_history_of_its_beginning():
    alone = TrainingData(
        sequences=DATA.sequences,
        users={},
        items=DATA.items,
        item_count=3,
        train=Rows.between(np.array([0, 3]), np.array([0, 7])),
        history_items=DATA.history_items,
    )
    gather = WindowGather(BatchMaker(alone, SPEC).of_rows(alone.train), 4)
    segments = gather(tf.constant([2, 3, 0, 1], tf.int64))[SEGMENTS].numpy()
    # One user has the rows before the end and those after it.
    assert segments[0] == segments[1] != segments[2] == segments[3]
