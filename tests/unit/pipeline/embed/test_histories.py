import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.embed.histories import HistoryJoin, read_known_histories
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

CATALOGUE = pa.table({"item": ["a", "b", "c", "d", "e"]})
LISTS = pa.list_(pa.string())
TIMES = pa.list_(pa.int64())


@pytest.fixture
def known(spec, tmp_path):
    """Three users in two row groups; of u1 there are more items than the tower reads."""
    users = {
        "user": ["u1", "u2", "u3"],
        "item": pa.array([["a", "b", "c", "d"], [], ["e"]], LISTS),
        "timestamp": pa.array([[10, 20, 30, 40], [], [35]], TIMES),
        **{name: pa.array([1, 0, 1], pa.int32()) for name in ("train_end", "validation_end", "eval_end")},
    }
    pq.write_table(pa.table(users), tmp_path / "sequences-00000-of-00001.parquet", row_group_size=2)
    return read_known_histories(tmp_path, spec, spec.history, CATALOGUE["item"].combine_chunks(), True)


def test_of_each_user_the_newest_positives_of_every_split_are_kept(known):
    assert known.ids.to_pylist() == ["u1", "u2", "u3"]
    assert known.offsets.tolist() == [0, 3, 3, 4]
    assert known.items.tolist() == [1, 2, 3, 4]
    assert known.seconds.tolist() == [20, 30, 40, 35]
    assert known.newest == 40


def test_users_are_found_in_any_order_and_number(known):
    assert known.find(pa.array(["u3", "x", "u1", "u3", "u2"])).tolist() == [2, -1, 0, 2, 1]
    assert known.find(pa.array([], pa.string())).tolist() == []


def test_a_given_history_comes_first_then_the_known_one_then_none(spec, known):
    join = HistoryJoin(spec, spec.history, CATALOGUE, known, True, now=None)
    given = pa.array([["c"], [], None, None, ["a", "x", "b", "c", "d"], ["x"]], LISTS)
    seconds = pa.array([[45], [], None, None, [1, 2, 3, 4, 5], None], TIMES)
    ids = pa.array(["u1", "u1", "u2", "u9", "u3", "u3"])
    histories, counts = join.join(ids, given, seconds)
    assert histories.places.tolist() == [
        [-1, -1, 2],
        [1, 2, 3],
        [-1, -1, -1],
        [-1, -1, -1],
        [1, 2, 3],
        [-1, -1, -1],
    ]
    assert counts == {"given": 3, "known": 1, "empty": 2, "unknown_items": 2, "given_without_times": 1}

    columns = join.columns(histories, np.array([0, 1, 4, 2, 2]))
    assert columns["seen"].to_pylist() == [
        ["", "", "c"],
        ["b", "c", "d"],
        ["b", "c", "d"],
        [""] * 3,
        [""] * 3,
    ]
    # Up to the newest interaction that the release knows, 40, or to the row's own, which is later.
    assert columns["seen_gap_seconds"].to_pylist() == [
        [-1, -1, 0], [20, 10, 0], [37, 36, 35], [-1] * 3, [-1] * 3,
    ]  # fmt: skip


def test_given_items_without_times_count_as_just_now(spec, known):
    join = HistoryJoin(spec, spec.history, CATALOGUE, known, True, now=1000)
    histories, counts = join.join(pa.array(["u1", "u1"]), pa.array([["a", "b"], None], LISTS), None)
    gaps = join.columns(histories, np.arange(2))["seen_gap_seconds"].to_pylist()
    assert gaps == [[-1, 0, 0], [980, 970, 960]]
    assert counts["given_without_times"] == 1


def test_a_slice_of_a_longer_column_is_joined_as_itself(spec):
    """What lies beneath a null is not read, either."""
    given = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 4, 5, 7], pa.int32()),
        pa.array(["a", "beneath", "b", "c", "d", "e", "e"]),
        mask=pa.array([False, True, False, False, False]),
    ).slice(1, 3)
    seconds = pa.array([[1], None, [2, 3], None, [5, 5]], TIMES).slice(1, 3)
    join = HistoryJoin(spec, spec.history, CATALOGUE, None, True, now=10)
    histories, _ = join.join(pa.array(["1", "2", "3"]), given, seconds)
    assert histories.places.tolist() == [[-1, -1, -1], [-1, 1, 2], [-1, -1, 3]]
    gaps = join.columns(histories, np.arange(3))["seen_gap_seconds"].to_pylist()
    assert gaps == [[-1, -1, -1], [-1, 8, 7], [-1, -1, 0]]


def test_times_need_something_to_count_up_to(spec):
    join = HistoryJoin(spec, spec.history, CATALOGUE, None, True, now=None)
    with pytest.raises(ConfigError, match="--now: expected the time up to which"):
        join.join(pa.array(["1"]), pa.array([["a"]], LISTS), pa.array([[1]], TIMES))
