import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import DataError
from trainer.input import make_dataset, read_columns

pytestmark = pytest.mark.unit


def write_examples(path, rows):
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for item, price, tags, history in rows:
            feature = {
                "item_id": tf.train.Feature(int64_list=tf.train.Int64List(value=[item])),
                "price": tf.train.Feature(float_list=tf.train.FloatList(value=[price])),
                "tags": tf.train.Feature(int64_list=tf.train.Int64List(value=tags)),
                "history": tf.train.Feature(int64_list=tf.train.Int64List(value=history)),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


SPEC = {
    "item_id": tf.io.FixedLenFeature([], tf.int64),
    "price": tf.io.FixedLenFeature([], tf.float32),
    "tags": tf.io.VarLenFeature(tf.int64),
    "history": tf.io.FixedLenFeature([2], tf.int64),
}
RAGGED_SPEC = SPEC | {
    "tags": tf.io.RaggedFeature(tf.int64, value_key="tags", row_splits_dtype=tf.int64),
}


@pytest.mark.parametrize("spec", [SPEC, RAGGED_SPEC], ids=["sparse", "ragged"])
@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
def test_read_columns(tmp_path, monkeypatch, spec, rows_per_batch):
    monkeypatch.setattr("trainer.input._ROWS_PER_PARSED_BATCH", rows_per_batch)
    write_examples(tmp_path / "a-0.gz", [(2**41, 0.5, [3, 1], [-1, -1])])
    write_examples(tmp_path / "a-1.gz", [(7, -1.0, [], [-1, 4]), (8, 2.0, [1, 2, 3], [4, 7])])
    (tmp_path / "ignored.txt").write_text("no TFRecord")
    columns = read_columns([str(tmp_path / "*.gz")], spec)
    order = np.argsort(columns["price"])
    np.testing.assert_array_equal(columns["item_id"][order], [7, 2**41, 8])
    np.testing.assert_array_equal(columns["price"][order], np.array([-1.0, 0.5, 2.0], np.float32))
    np.testing.assert_array_equal(columns["tags"][order], [[-1, -1, -1], [3, 1, -1], [1, 2, 3]])
    np.testing.assert_array_equal(columns["history"][order], [[-1, 4], [-1, -1], [4, 7]])
    assert {name: column.dtype for name, column in columns.items()} == {
        "item_id": np.int64,
        "price": np.float32,
        "tags": np.int64,
        "history": np.int64,
    }


def test_read_columns_without_a_file(tmp_path):
    with pytest.raises(DataError, match="no file matches"):
        read_columns([str(tmp_path / "*.gz")], SPEC)


def test_read_columns_without_a_row(tmp_path):
    write_examples(tmp_path / "a.gz", [])
    with pytest.raises(DataError, match="no row"):
        read_columns([str(tmp_path / "*.gz")], SPEC)


def take(columns, batch, seed, batches):
    return list(make_dataset(columns, batch, seed).take(batches).as_numpy_iterator())


def test_epochs_hold_each_row_at_most_once_in_orders_of_their_own():
    columns = {"id": np.arange(23), "square": np.arange(23)[:, None] ** 2 * np.array([1, -1])}
    batches = take(columns, 5, seed=1, batches=12)
    epochs = [np.concatenate([batch["id"] for batch in batches[start : start + 4]]) for start in (0, 4, 8)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
        assert not np.array_equal(epoch, np.sort(epoch))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    # The rows left out are not always the same.
    assert len({frozenset(range(23)) - frozenset(epoch) for epoch in epochs}) > 1
    for batch in batches:
        assert batch["id"].shape == (5,)
        np.testing.assert_array_equal(batch["square"], batch["id"][:, None] ** 2 * np.array([1, -1]))


def test_stream_follows_from_the_seed():
    columns = {"id": np.arange(50)}
    first, again, other = (
        np.concatenate([batch["id"] for batch in take(columns, 10, seed, batches=10)]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
