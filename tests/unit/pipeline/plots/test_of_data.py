from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.plots.of_data import LogCounts, count_log, plot_data
from schemas.errors import DataError
from schemas.features import load_feature_spec

pytestmark = pytest.mark.unit

DAY = 86_400


def test_a_log_is_counted_over_all_files(tmp_path, repository):
    spec = load_feature_spec(repository / "schemas/movielens_100k.yaml")
    for number, (items, times) in enumerate(
        [([["a", "b", "a"], ["b"]], [[0, DAY - 1, DAY], [3 * DAY]]), ([["c"]], [[3 * DAY + 5]])]
    ):
        table = pa.table({"item_id": items, "timestamp": times})
        pq.write_table(table, tmp_path / f"sequences-0000{number}-of-00002.parquet")
    counts = count_log(tmp_path, spec)
    assert counts.days == {0: 2, 1: 1, 3: 2}
    assert counts.items == {"a": 2, "b": 2, "c": 1}
    assert sorted(counts.users.tolist()) == [1, 1, 3]


def test_no_sequences_are_an_error(tmp_path, repository):
    with pytest.raises(DataError):
        count_log(tmp_path, load_feature_spec(repository / "schemas/movielens_100k.yaml"))


def test_days_without_interactions_are_zeros():
    days, _, _ = plot_data(LogCounts(Counter({10: 4, 12: 2}), Counter("a"), np.array([1])), None)
    np.testing.assert_array_equal(days.lines[0].x, [10, 11, 12])
    np.testing.assert_array_equal(days.lines[0].y, [4, 0, 2])
    assert days.title == "Interactions by day: 2 in the mean of 3 days, none on 1"


def test_popularity_falls_with_the_rank_and_says_what_the_head_has():
    items = Counter({f"i{number}": 1 for number in range(99)})
    items["hit"] = 101
    _, popularity, _ = plot_data(LogCounts(Counter({0: 200}), items, np.array([200])), None)
    assert popularity.lines[0].x[[0, -1]].tolist() == [1, 100]
    assert popularity.lines[0].y[[0, 1, -1]].tolist() == [101, 1, 1]
    assert "1 % of them have 50% of the interactions, 99 have one" in popularity.title


def test_users_are_shown_by_the_share_that_has_at_least_so_many():
    lengths = np.array([1, 2, 2, 50])
    _, _, users = plot_data(LogCounts(Counter({0: 1}), Counter("a"), lengths), 20)
    np.testing.assert_array_equal(users.lines[0].x, [1, 2, 50])
    np.testing.assert_array_equal(users.lines[0].y, [1.0, 0.75, 0.25])
    assert users.title == "Interactions of 4 users: 2 in the median; 25% have more than a history of 20 holds"
