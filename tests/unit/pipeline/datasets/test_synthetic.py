import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.synthetic import draw_interactions, plant_model, write_synthetic
from schemas.errors import ConfigError
from schemas.features import load_feature_spec

pytestmark = pytest.mark.unit

FILES = ("interactions.parquet", "users.parquet", "items.parquet")
START = 1_704_067_200  # date -u -d 2024-01-01 +%s


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, users=300, items=120, interactions=5_000, days=30, seed=7)
    return {name: pq.read_table(folder / name) for name in FILES}


@pytest.fixture(scope="module")
def model():
    return plant_model(users=400, items=600, days=60, rng=np.random.default_rng(3))


@pytest.fixture(scope="module")
def drawn(model):
    """User index, item index and second of 40,000 interactions."""
    table = pa.Table.from_batches(
        draw_interactions(model, 40_000, np.random.default_rng(4), batch_rows=7_000)
    )
    return tuple(
        np.array(column)
        for column in (
            [int(value[1:]) - 1 for value in table["user_id"].to_pylist()],
            [int(value[1:]) - 1 for value in table["item_id"].to_pylist()],
            table["timestamp"].to_numpy() - START,
        )
    )


def test_tables_have_the_columns_and_types_of_movielens(written):
    text, number = pa.string(), pa.int64()
    assert written["interactions.parquet"].schema == pa.schema(
        [("user_id", text), ("item_id", text), ("rating", pa.float32()), ("timestamp", number)]
    )
    assert written["users.parquet"].schema == pa.schema(
        [("user_id", text), ("age", number), ("gender", text), ("occupation", text), ("zip_code", text)]
    )
    assert written["items.parquet"].schema == pa.schema(
        [("item_id", text), ("title", text), ("year", number), ("genres", pa.list_(text))]
    )


def test_the_schema_file_of_movielens_fits(written):
    spec = load_feature_spec("schemas/movielens_100k.yaml")
    assert {f.name for f in spec.table_features("user")} <= set(written["users.parquet"].column_names)
    assert {f.name for f in spec.table_features("item")} <= set(written["items.parquet"].column_names)
    assert set(written["users.parquet"]["gender"].to_pylist()) == {"F", "M"}
    ages = written["users.parquet"]["age"].to_numpy()
    assert ages.min() >= 0
    assert ages.max() <= 120


def test_every_id_is_in_the_tables_once_and_every_row_is_whole(written):
    interactions, users, items = (written[name] for name in FILES)
    assert interactions.num_rows == 5_000
    assert len(set(users["user_id"].to_pylist())) == users.num_rows == 300
    assert len(set(items["item_id"].to_pylist())) == items.num_rows == 120
    assert set(interactions["user_id"].to_pylist()) <= set(users["user_id"].to_pylist())
    assert set(interactions["item_id"].to_pylist()) <= set(items["item_id"].to_pylist())
    nullable = [name for table in written.values() for name in table.column_names if table[name].null_count]
    assert set(nullable) <= {"year"}
    assert set(interactions["rating"].to_pylist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert all(len(code) == 5 and code.isdigit() for code in users["zip_code"].to_pylist())


def test_interactions_are_sorted_and_fill_the_days(written):
    seconds = written["interactions.parquet"]["timestamp"].to_numpy() - START
    assert (np.diff(seconds) >= 0).all()
    assert 0 <= seconds[0] < 86_400
    assert 29 * 86_400 <= seconds[-1] < 30 * 86_400


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_synthetic(tmp_path / folder, users=50, items=40, interactions=500, days=3, seed=seed)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()


def test_batches_have_the_asked_sizes_and_stay_sorted(model):
    batches = list(draw_interactions(model, 2_500, np.random.default_rng(1), batch_rows=1_000))
    assert [batch.num_rows for batch in batches] == [1_000, 1_000, 500]
    seconds = np.concatenate([batch["timestamp"].to_numpy() for batch in batches])
    assert (np.diff(seconds) >= 0).all()


def test_nobody_and_nothing_interacts_before_it_appears(model, drawn):
    user, item, seconds = drawn
    assert (seconds >= model.user_appears[user]).all()
    assert (seconds >= model.item_appears[item]).all()
    # And newcomers do take part: some of both are first seen in the last quarter.
    for index in (user, item):
        _, first = np.unique(index, return_index=True)
        assert (seconds[first] > 45 * 86_400).sum() > 10


def test_popularity_is_zipf_mandelbrot():
    # Many users with few interactions each, so that hardly any draw is repeated for a new item.
    model = plant_model(users=20_000, items=300, days=10, rng=np.random.default_rng(1))
    counts = np.zeros(300)
    for batch in draw_interactions(model, 60_000, np.random.default_rng(2)):
        np.add.at(counts, [int(value[1:]) - 1 for value in batch["item_id"].to_pylist()], 1)
    counts = np.sort(counts[model.item_appears == 0])[::-1]
    # The ranks run over all 300 items, of which 7 in 10 are there from the start.
    rank = np.arange(1, len(counts) + 1) * 300 / len(counts)
    slope = np.polyfit(np.log(rank + 10), np.log(counts), 1)[0]
    assert -1.2 < slope < -0.8


def same_cluster_rate(model, user, item, steps):
    order = np.lexsort((np.arange(len(user)), user))
    user, cluster = user[order], model.item_cluster[item[order]]
    same_user = user[steps:] == user[:-steps]
    return (cluster[steps:] == cluster[:-steps])[same_user].mean()


def test_the_recent_history_tells_the_next_cluster_better_than_the_older_one(model, drawn):
    user, item, _ = drawn
    share = np.bincount(model.item_cluster[item]) / len(item)
    chance = (share**2).sum()
    recent = same_cluster_rate(model, user, item, steps=1)
    older = same_cluster_rate(model, user, item, steps=60)
    assert recent > 4 * chance
    assert recent > 1.5 * older
    assert older > chance


def test_metadata_reveal_the_cluster_in_part(tmp_path):
    write_synthetic(tmp_path, users=500, items=500, interactions=10, days=1, seed=1)
    model = plant_model(500, 500, 1, np.random.default_rng(np.random.SeedSequence(1).spawn(3)[0]))
    genres = [set(value) for value in pq.read_table(tmp_path / "items.parquet")["genres"].to_pylist()]
    jobs = pq.read_table(tmp_path / "users.parquet")["occupation"].to_pylist()

    def rates(group, alike):
        pairs = list(itertools.combinations(range(300), 2))
        same = [alike(a, b) for a, b in pairs if group[a] == group[b]]
        other = [alike(a, b) for a, b in pairs if group[a] != group[b]]
        return np.mean(same), np.mean(other)

    same, other = rates(model.item_cluster, lambda a, b: bool(genres[a] & genres[b]))
    assert 1.5 * other < same < 0.95
    same, other = rates(model.user_home, lambda a, b: jobs[a] == jobs[b])
    assert 2 * other < same < 0.6


def test_a_sparse_log_has_few_repeats_and_a_dense_one_still_ends():
    def repeats(users, items, interactions):
        model = plant_model(users, items, days=1, rng=np.random.default_rng(0))
        table = pa.Table.from_batches(draw_interactions(model, interactions, np.random.default_rng(0)))
        assert table.num_rows == interactions
        return 1 - table.group_by(["user_id", "item_id"]).aggregate([]).num_rows / interactions

    assert repeats(users=2_000, items=1_000, interactions=10_000) < 0.01
    assert repeats(users=2, items=3, interactions=100) >= 0.94


def test_the_smallest_data_set(tmp_path):
    write_synthetic(tmp_path, users=1, items=1, interactions=1, days=1, seed=0)
    row = pq.read_table(tmp_path / "interactions.parquet").to_pylist()[0]
    assert (row["user_id"], row["item_id"]) == ("u1", "i1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 0}, "at least 1. Received: users = 0"),
        ({"items": -1, "days": 0}, "Received: items = -1, days = 0"),
        ({"interactions": 0}, "interactions = 0"),
        ({"seed": -1}, "seed of at least 0. Received: -1"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, change, message):
    arguments = {"users": 2, "items": 2, "interactions": 2, "days": 2, "seed": 0} | change
    with pytest.raises(ConfigError, match=message):
        write_synthetic(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_tables_that_are_there_are_not_overwritten(tmp_path):
    (tmp_path / "users.parquet").write_text("precious")
    with pytest.raises(ConfigError, match=r"has users\.parquet already"):
        write_synthetic(tmp_path, users=2, items=2, interactions=2, days=2, seed=0)
    assert (tmp_path / "users.parquet").read_text() == "precious"
