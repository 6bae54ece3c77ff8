import importlib
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.synthetic import START_SECONDS

pytestmark = pytest.mark.unit

_WEEK = 7 * 86_400


@pytest.fixture
def kinds(benchmarks):
    return importlib.import_module("planted_kinds")


def read(kinds, folder, **settings):
    kinds.write_kind(
        kinds.Kind(users=200, items=300, interactions=6_000, days=28, **settings), folder, seed=1
    )
    return pq.read_table(folder / "interactions.parquet")


def test_a_row_that_follows_has_a_companion_of_the_users_row_before(kinds):
    users = np.array([0, 1, 0, 0, 1])
    # Items 5, 6 and 7 have one companion each, twice, so that it does not matter which is drawn.
    companions = np.repeat(np.array([[0], [0], [0], [0], [0], [6], [7], [5]]), 2, axis=1)
    items = np.array([5, 7, 1, 1, 1])
    rng = np.random.default_rng(0)
    everything = kinds.follow_companions(users, items, companions, 1.0, rng)
    # User 0: 5, its companion 6, and that one's 7; user 1: 7 and its companion 5.
    np.testing.assert_array_equal(everything, [5, 7, 6, 7, 5])
    np.testing.assert_array_equal(kinds.follow_companions(users, items, companions, 0.0, rng), items)


def test_companions_are_of_the_same_cluster(kinds):
    cluster = np.array([0, 1, 0, 2, 1, 0, 1])
    companions = kinds.draw_companions(cluster, np.random.default_rng(0))
    assert companions.shape == (7, 4)
    np.testing.assert_array_equal(cluster[companions], np.repeat(cluster[:, np.newaxis], 4, axis=1))


def test_values_are_dealt_out_within_their_group_alone(kinds):
    groups = np.array([2, 0, 2, 0] * 50)
    values = np.arange(200)
    dealt = kinds.shuffle_within(groups, values, np.random.default_rng(0))
    for group in (0, 2):
        mine = dealt[groups == group]
        assert sorted(mine) == sorted(values[groups == group])
        # Nothing is left of the order: 100 values in a random one correlate by a tenth at most by chance.
        assert abs(np.corrcoef(mine, np.arange(100))[0, 1]) < 0.3


def test_equal_arguments_give_equal_tables_in_the_order_of_time(kinds, tmp_path):
    first, second = (read(kinds, tmp_path / name, follows=0.5) for name in ("a", "b"))
    assert first.equals(second)
    assert np.all(np.diff(first["timestamp"].to_numpy()) >= 0)


def test_items_come_evenly_or_are_there_from_the_start(kinds, tmp_path):
    new = {}
    for name, has_items_at_start in (("evenly", False), ("at start", True)):
        log = read(kinds, tmp_path / name, has_items_at_start=has_items_at_start).to_pandas()
        in_last_week = log["timestamp"] >= START_SECONDS + 3 * _WEEK
        before = set(log["item_id"][~in_last_week])
        items = set(log["item_id"][in_last_week])
        new[name] = len(items - before) / len(items)
    # A quarter of the days; of the items that are there from the start three tenths come, less some unseen.
    assert new["evenly"] == pytest.approx(0.25, abs=0.08)
    assert new["at start"] < 0.15


def test_equal_users_have_about_equally_many_interactions(kinds, tmp_path):
    log = read(kinds, tmp_path / "log", has_equal_users=True).to_pandas()
    rows = log.groupby("user_id").size()
    # 30 in the mean; weights of 5 to 10 give 20 to 40, and chance its share.
    assert rows.quantile(0.05) > 12
    assert rows.quantile(0.95) < 52


@pytest.mark.parametrize("name", ["many_short_sequences", "cold_items"])
def test_every_kind_can_be_drawn(kinds, tmp_path, name):
    small = replace(kinds.KINDS[name], users=50, items=40, interactions=500)
    kinds.write_kind(small, tmp_path / "log", seed=2)
    assert len(pq.read_table(tmp_path / "log" / "interactions.parquet")) == 500


def test_an_unordered_log_has_every_row_and_each_users_times(kinds, tmp_path):
    ordered = read(kinds, tmp_path / "ordered").to_pandas()
    kinds.write_unordered(tmp_path / "ordered", tmp_path / "unordered", seed=3)
    unordered = pq.read_table(tmp_path / "unordered" / "interactions.parquet").to_pandas()
    assert (unordered["timestamp"].diff().dropna() >= 0).all()
    # The rows are the same but for their times, the times of each user the same but for their rows.
    for columns in (["user_id", "item_id", "rating"], ["user_id", "timestamp"]):
        expected, received = (log[columns].sort_values(columns).to_numpy() for log in (ordered, unordered))
        np.testing.assert_array_equal(received, expected)
    pairs = ["user_id", "item_id", "timestamp"]
    assert len(ordered.merge(unordered, on=pairs)) < 0.2 * len(ordered)
    for name in ("users.parquet", "items.parquet"):
        assert (tmp_path / "unordered" / name).read_bytes() == (tmp_path / "ordered" / name).read_bytes()


@pytest.mark.parametrize("options", [["unordered"], ["cold_items", "--of", "data"]])
def test_other_tables_are_named_for_the_unordered_kind_alone(kinds, monkeypatch, capsys, tmp_path, options):
    monkeypatch.setattr(sys, "argv", ["planted_kinds.py", *options, "--output", str(tmp_path / "log")])
    with pytest.raises(SystemExit):
        kinds.main()
    assert "expected --of with unordered, and with it alone" in capsys.readouterr().err
