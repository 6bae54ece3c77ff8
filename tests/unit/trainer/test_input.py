import itertools

import numpy as np
import pytest
import tensorflow as tf

from schemas.errors import DataError
from trainer import input as module
from trainer.input import distribute_dataset, make_dataset, read_columns
from trainer.strategy import create_strategy

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
    monkeypatch.setattr("trainer.input._ROWS_PER_DECODED_BATCH", rows_per_batch)
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


def test_read_columns_of_histories(tmp_path):
    """Rank 3, row-major, as the lists lie in the examples; and the same rows in the same order again."""
    spec = {
        "genres": tf.io.FixedLenFeature([2, 3], tf.int64),
        "vectors": tf.io.FixedLenFeature([2, 2], tf.float32),
        "names": tf.io.VarLenFeature(tf.string),
    }
    for number in range(3):
        with tf.io.TFRecordWriter(str(tmp_path / f"{number}.gz"), "GZIP") as writer:
            genres, vectors = np.arange(6) + 6 * number, np.arange(4) / 2 + number
            feature = {
                "genres": tf.train.Feature(int64_list=tf.train.Int64List(value=genres)),
                "vectors": tf.train.Feature(float_list=tf.train.FloatList(value=vectors)),
                "names": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a"])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    columns = read_columns([str(tmp_path / "*.gz")], spec)
    np.testing.assert_array_equal(columns["genres"][1], [[6, 7, 8], [9, 10, 11]])
    np.testing.assert_array_equal(columns["genres"][:, 0, 0], [0, 6, 12])
    np.testing.assert_array_equal(columns["vectors"][2], [[2.0, 2.5], [3.0, 3.5]])
    assert columns["genres"].shape == (3, 2, 3)
    assert columns["names"].tolist() == [[b"a"]] * 3


def test_read_columns_with_a_row_of_another_length(tmp_path):
    write_examples(tmp_path / "a.gz", [(1, 0.5, [], [3, 4]), (2, 0.5, [], [3, 4, 5])])
    with pytest.raises(DataError, match=r"'history' of .*a\.gz: expected 2 values.*Received: a row with 3"):
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


def ids(dataset, batches):
    return [batch["id"].tolist() for batch in dataset.take(batches).as_numpy_iterator()]


# 4 steps an epoch: one gather for each batch, for three of them (and a last, smaller one), and for an epoch.
@pytest.mark.parametrize("rows_per_gather", [1, 15, 4096])
@pytest.mark.parametrize("first_step", [1, 3, 4, 6, 11])
def test_stream_goes_on_after_any_step(first_step, rows_per_gather, monkeypatch):
    columns = {"id": np.arange(23)}
    whole = ids(make_dataset(columns, 5, seed=3), 14)
    monkeypatch.setattr(module, "_ROWS_PER_GATHER", rows_per_gather)
    assert ids(make_dataset(columns, 5, seed=3, first_step=first_step), 14 - first_step) == whole[first_step:]


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 3)])
@pytest.mark.parametrize("first_step", [1, 5, 10])
def test_stream_of_several_replicas_goes_on_too(first_step, workers, replicas, monkeypatch):
    columns = {"id": np.arange(103)}
    # An element has 12 / workers / replicas rows; no step begins where a gather does but every fifth.
    monkeypatch.setattr(module, "_ROWS_PER_GATHER", 5 * 12 // workers // replicas)
    options = {"seed": 3, "worker": workers - 1, "workers": workers, "replicas_per_worker": replicas}
    whole = ids(make_dataset(columns, 12, **options), 20 * replicas)
    later = make_dataset(columns, 12, first_step=first_step, **options)
    assert ids(later, (20 - first_step) * replicas) == whole[first_step * replicas :]


def test_workers_share_every_global_batch():
    columns = {"id": np.arange(50)}
    whole = ids(make_dataset(columns, 12, seed=3, first_step=2), 6)
    parts = [
        ids(make_dataset(columns, 12, seed=3, first_step=2, worker=worker, workers=3), 6)
        for worker in range(3)
    ]
    assert [[*itertools.chain(*of_step)] for of_step in zip(*parts, strict=True)] == whole
    of_replicas = make_dataset(columns, 12, seed=3, first_step=2, worker=1, workers=3, replicas_per_worker=2)
    elements = ids(of_replicas, 12)
    assert [elements[i] + elements[i + 1] for i in range(0, 12, 2)] == parts[1]


@pytest.mark.parametrize("gpu", [False, True])
def test_distributed_dataset_gives_the_replica_its_rows(gpu, monkeypatch):
    columns = {"id": np.arange(50)}
    strategy = create_strategy(1)
    # As on one GPU, whose batches are fetched ahead; the replica is the CPU all the same.
    monkeypatch.setattr(module.tf.config, "list_logical_devices", lambda kind: ["GPU:0"] if gpu else [])
    batches = iter(distribute_dataset(strategy, columns, 12, seed=3, first_step=2))
    assert [next(batches)["id"].numpy().tolist() for _ in range(6)] == ids(
        make_dataset(columns, 12, seed=3, first_step=2), 6
    )
