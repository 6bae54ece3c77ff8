import itertools

import numpy as np
import pytest
import tensorflow as tf

from trainer.data import stream as module
from trainer.data.stream import distribute_dataset
from trainer.strategy import create_strategy

pytestmark = pytest.mark.unit


def gather_from(columns):
    return lambda rows: {name: tf.gather(values, rows) for name, values in columns.items()}


def make_dataset(columns, *arguments, **options):
    return module.make_dataset(gather_from(columns), len(columns["id"]), *arguments, **options)


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


def test_windows_go_on_after_any_step():
    columns = {"id": np.arange(47)}
    whole = ids(make_dataset(columns, 10, seed=3, window_length=5), 10)
    for first_step in (1, 4, 6):
        later = make_dataset(columns, 10, seed=3, window_length=5, first_step=first_step)
        assert ids(later, 10 - first_step) == whole[first_step:], first_step


# 4 steps an epoch: one gather for each batch, for three of them (and a last, smaller one), and for an epoch.
@pytest.mark.parametrize("rows_per_gather", [1, 15, 4096])
def test_stream_goes_on_after_any_step(rows_per_gather, monkeypatch):
    columns = {"id": np.arange(23)}
    whole = ids(make_dataset(columns, 5, seed=3), 14)
    monkeypatch.setattr(module, "_ROWS_PER_GATHER", rows_per_gather)
    for first_step in (1, 3, 4, 6, 11):
        later = make_dataset(columns, 5, seed=3, first_step=first_step)
        assert ids(later, 14 - first_step) == whole[first_step:], first_step


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 3)])
def test_stream_of_several_replicas_goes_on_too(workers, replicas, monkeypatch):
    columns = {"id": np.arange(103)}
    # An element has 12 / workers / replicas rows; no step begins where a gather does but every fifth.
    monkeypatch.setattr(module, "_ROWS_PER_GATHER", 5 * 12 // workers // replicas)
    options = {"seed": 3, "worker": workers - 1, "workers": workers, "replicas_per_worker": replicas}
    whole = ids(make_dataset(columns, 12, **options), 20 * replicas)
    for first_step in (1, 5, 10):
        later = make_dataset(columns, 12, first_step=first_step, **options)
        assert ids(later, (20 - first_step) * replicas) == whole[first_step * replicas :], first_step


def test_rows_of_a_window_follow_each_other():
    columns = {"id": np.arange(47)}
    stream = make_dataset(columns, 10, seed=1, window_length=5).take(40).as_numpy_iterator()
    epochs = np.reshape([batch["id"] for batch in stream], [10, 40])
    for epoch in epochs:
        assert len(set(epoch)) == 40
        windows = epoch.reshape([8, 5])
        assert ((windows[:, 1:] - windows[:, :-1]) % 47 == 1).all()
        assert not np.array_equal(windows, np.sort(windows, axis=0))
    # Windows begin at other rows in each epoch, so that none has the same rows left out or begun with.
    assert len({frozenset(epoch[::5]) for epoch in epochs}) > 5
    assert set(epochs.ravel()) == set(range(47))


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
    batches = iter(distribute_dataset(strategy, gather_from(columns), 50, 12, seed=3, first_step=2))
    assert [next(batches)["id"].numpy().tolist() for _ in range(6)] == ids(
        make_dataset(columns, 12, seed=3, first_step=2), 6
    )


def test_an_order_is_nearly_uniform():
    # Each row is nearly as often in each quarter of an epoch: 256 rows, of each 100 epochs' places.
    columns = {"id": np.arange(256)}
    counts = np.zeros((256, 4), int)
    for step, batch in enumerate(take(columns, 64, seed=11, batches=400)):
        counts[batch["id"], step % 4] += 1
    assert (counts.sum(axis=1) == 100).all()
    # A binomial count of 100 at 1/4 has a deviation of 4.3; of 1,024 of them few are 4 deviations off.
    assert np.abs(counts - 25).max() < 5 * 4.33
    assert counts.std() == pytest.approx(4.33, rel=0.1)


def test_neighbours_do_not_stay_neighbours():
    batches = take({"id": np.arange(4096)}, 64, seed=5, batches=64)
    steps = np.concatenate([batch["id"] for batch in batches])
    differences = np.abs(np.diff(steps))
    # Of two random rows of n the difference is n / 3 in the mean.
    assert np.mean(differences) == pytest.approx(4096 / 3, rel=0.05)
