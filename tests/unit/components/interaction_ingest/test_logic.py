import dataclasses
import datetime
import random

import numpy as np
import pyarrow as pa
import pytest

from components.interaction_ingest import logic
from components.interaction_ingest.config import (
    Condition,
    CutOffSplit,
    IngestConfig,
    LastDaysSplit,
    LatestPerUserSplit,
    PositiveRule,
    WeightRule,
)
from components.interaction_ingest.window import Window
from schemas.errors import DataError
from schemas.features import Feature

pytestmark = pytest.mark.unit

T, E, S, V = 0, 1, 2, 3


def batch(rows, file=0):
    """Cleaned rows: (user, item, time, row) tuples."""
    users, items, times, numbers = zip(*rows, strict=True)
    return pa.record_batch(
        {
            "uid": pa.array(users, pa.string()),
            "iid": pa.array(items, pa.string()),
            "at": pa.array(times, pa.int64()),
            "device": pa.array(["web"] * len(rows), pa.string()),
            "#file": pa.array([file] * len(rows), pa.int32()),
            "#row": pa.array(numbers, pa.int64()),
        }
    )


def tables(spec, users, items, defaults=False):
    people = pa.table({"uid": pa.array(users, pa.string()), "age": pa.array(range(len(users)), pa.int64())})
    things = pa.table(
        {
            "iid": pa.array(items, pa.string()),
            "price": pa.array([i / 2 for i in range(len(items))], pa.float32()),
            "tags": pa.array([[f"tag{i}"] * i for i in range(len(items))], pa.list_(pa.string())),
        }
    )
    return (
        logic.join_table(people, "uid", spec.table_features("user"), defaults),
        logic.join_table(things, "iid", spec.table_features("item"), defaults),
    )


def histories(spec, bucket, users, items):
    examples = logic.example_batch(bucket, np.arange(len(bucket.rows)), users, items, spec)
    columns = (examples.column(name).to_pylist() for name in ("uid", "iid", "recent"))
    return [(u[0].decode(), i[0].decode(), [h.decode() for h in r]) for u, i, r in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7, None], pa.int32()), [7, None]),
        (pa.array([7], pa.uint64()), [7]),
        (pa.array([1_999, -1, None], pa.timestamp("ms")), [1, -1, None]),
        (pa.array([2_000_000_000], pa.timestamp("ns", tz="Europe/Berlin")), [2]),
        (pa.array([5, 5], pa.int64()).dictionary_encode(), [5, 5]),
        (pa.chunked_array([[1], [2]]), [1, 2]),
    ],
)
def test_cast_timestamp_gives_seconds_rounded_down(column, expected):
    seconds = logic.cast_timestamp(column)
    assert seconds.type == pa.int64()
    assert seconds.to_pylist() == expected


@pytest.mark.parametrize(
    ("dtype", "column", "expected"),
    [
        ("string", pa.array([1, None], pa.int16()), ["1", None]),
        ("string", pa.array(["a b", "é"], pa.large_string()), ["a b", "é"]),
        ("string", pa.array(["x", "x"]).dictionary_encode(), ["x", "x"]),
        ("string", pa.array([3, 3], pa.int32()).dictionary_encode(), ["3", "3"]),
        ("int", pa.array([True, False]), [1, 0]),
        ("int", pa.array([1, 2], pa.int8()), [1, 2]),
        ("float", pa.array([2**60 + 1, 1], pa.int64()), [2.0**60, 1.0]),
        ("float", pa.array([None, 1], pa.float64()), [None, 1.0]),
        ("float", pa.nulls(1), [None]),
    ],
)
def test_cast_column_takes_every_type_that_fits(dtype, column, expected):
    feature = Feature(name="x", dtype=dtype, tower="user")
    values = logic.cast_column(column, feature, "f")
    assert values.type == {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}[dtype]
    assert values.to_pylist() == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"], None, []], pa.large_list(pa.large_string())),
        pa.ListArray.from_arrays(
            [0, 1, 1, 1], pa.array(["a"]).dictionary_encode(), mask=pa.array([False, True, False])
        ),
    ],
)
def test_cast_column_takes_every_list_type_that_fits(column):
    feature = Feature(name="x", dtype="string", tower="item", multi_valued=True)
    values = logic.cast_column(column, feature, "f")
    assert values.type == pa.list_(pa.string())
    assert values.to_pylist() == [["a"], None, []]


def test_cast_column_refuses_what_does_not_fit():
    no_utf8 = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    with pytest.raises(DataError, match=r"log\.parquet: column 'x' holds a value that is no string"):
        logic.cast_column(no_utf8, Feature(name="x", dtype="string", tower="user"), "log.parquet")
    with pytest.raises(DataError, match="'x' holds a value that is no int"):
        logic.cast_column(pa.array([2**63], pa.uint64()), Feature(name="x", dtype="int", tower="user"), "f")


@pytest.mark.parametrize(
    ("feature", "values", "expected", "missing"),
    [
        (
            Feature("f", "float", "user", default=1),
            [None, float("nan"), float("-inf"), 2.5],
            [1.0, 1.0, 1.0, 2.5],
            3,
        ),
        (Feature("f", "int", "user", default=-1), [None, 4], [-1, 4], 1),
        (Feature("f", "string", "user", default="?"), [None, ""], ["?", ""], 1),
        (Feature("f", "string", "user"), [None, "a"], [None, "a"], 1),
        (
            Feature("f", "string", "item", multi_valued=True, default="?"),
            [["a", None], None, [], ["b"]],
            [["a", "?"], ["?"], [], ["b"]],
            2,
        ),
        (Feature("f", "string", "item", multi_valued=True), [["a", None], None], [["a", None], None], 2),
    ],
)
def test_fill_missing(feature, values, expected, missing):
    column = logic.cast_column(pa.array(values), feature, "f")
    filled, count = logic.fill_missing(column, feature)
    assert filled.to_pylist() == expected
    assert count == missing


def raw_batch(**columns):
    rows = {
        "uid": ["a", None, "b\nc", "", "d", "e", "f", "g", None],
        "iid": [1, 2, 3, 4, 5, 6, 7, 8, 9],
        "at": [10, 20, 30, 40, None, 60, 70, 80, None],
        "rating": [4.1, 5, 5, 5, 5, 4.0, None, float("nan"), 1],
        "device": ["tv", None, "x", "x", "x", "x", "x", "x", "x"],
    }
    return pa.record_batch({**rows, **columns})


def test_clean_batch_counts_each_row_under_the_first_reason(spec):
    config = IngestConfig(positives=PositiveRule(column="rating", at_least=4.1))
    kept, counts = logic.clean_batch(raw_batch(), 2, 100, spec, config)
    assert kept.to_pylist() == [{"uid": "a", "iid": "1", "at": 10, "device": "tv", "#file": 2, "#row": 100}]
    assert counts.rows == {"read": 9}
    assert counts.dropped == {
        "null_id": 2,
        "empty_id": 1,
        "line_break_in_id": 1,
        "null_timestamp": 1,
        "below_positive_rule": 1,
        "no_value_for_positive_rule": 2,
    }


def test_clean_batch_keeps_row_numbers_and_drops_carriage_returns(spec):
    raw = raw_batch(uid=list("abcdefghi"), iid=["1", "2\r", *"3456789"], at=pa.array(range(9), pa.int64()))
    kept, counts = logic.clean_batch(raw, 0, 5, spec, IngestConfig())
    assert kept.column("#row").to_pylist() == [5, 7, 8, 9, 10, 11, 12, 13]
    assert counts.dropped == {"line_break_in_id": 1}


def test_clean_batch_drops_the_days_outside_the_window(spec):
    # 2026-11-22T00:00:00Z is 1,795,305,600.
    times = [1_795_305_599, 1_795_305_600, 1_795_391_999, 1_795_392_000, None]
    raw = pa.record_batch(
        {"uid": [*list("abcd"), ""], "iid": ["1"] * 5, "at": pa.array(times), "device": ["w"] * 5}
    )
    day = datetime.date(2026, 11, 22)
    for window, users in ((Window(day, day), "bc"), (Window(first=day), "bcd"), (Window(last=day), "abc")):
        kept, counts = logic.clean_batch(raw, 0, 0, spec, IngestConfig(), window)
        assert kept.column("uid").to_pylist() == list(users)
        assert counts.dropped == {"empty_id": 1, "outside_window": 4 - len(users)}


@pytest.mark.parametrize("dtype", [pa.float32(), pa.float64(), pa.decimal128(4, 1)])
def test_positive_rule_includes_its_bound_in_the_columns_own_precision(spec, dtype):
    ratings = pa.array([4.0, 4.1, 4.2]).cast(dtype, safe=False)
    raw = pa.record_batch(
        {"uid": ["a"] * 3, "iid": ["1", "2", "3"], "at": [1, 2, 3], "device": ["w"] * 3, "rating": ratings}
    )
    config = IngestConfig(positives=PositiveRule(column="rating", at_least=4.1))
    kept, _ = logic.clean_batch(raw, 0, 0, spec, config)
    assert kept.column("iid").to_pylist() == ["2", "3"]


def event_batch(**columns):
    rows = {
        "uid": list("abcdef"),
        "iid": ["1"] * 6,
        "at": [1, 2, 3, 4, 5, 6],
        "device": ["w"] * 6,
        "event": ["buy", "like", "view", None, "buy", "view"],
        "dwell": [30, 29, 60, 60, None, 1],
    }
    return pa.record_batch({**rows, **columns})


def test_every_condition_of_a_positive_holds(spec):
    rule = PositiveRule(
        all_of=(Condition(column="event", one_of=("buy", "like")), Condition(column="dwell", at_least=30))
    )
    kept, counts = logic.clean_batch(event_batch(), 0, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a"]
    # Row f fails both: it is counted once, under the first.
    assert counts.dropped == {
        "no_value_for_positive_rule": 2,
        "below_positive_rule": 2,
        "not_in_positive_rule": 1,
    }


def test_two_thresholds_both_hold(spec):
    rule = PositiveRule(
        all_of=(Condition(column="dwell", at_least=30), Condition(column="stars", at_least=4))
    )
    raw = event_batch(dwell=[30, 29, 60, 60, 1, 30], stars=[4, 5, 3, 5, 1, 4])
    kept, counts = logic.clean_batch(raw, 0, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "d", "f"]
    assert counts.dropped == {"below_positive_rule": 3}


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int8(), pa.string()), pa.large_string()])
def test_event_types_of_any_text_type(spec, kind):
    rule = PositiveRule(column="event", one_of=("buy",))
    events = pa.array(["buy", "like", "view", None, "buy", "view"]).cast(kind)
    kept, _ = logic.clean_batch(event_batch(event=events), 0, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "e"]


def test_event_types_may_be_numbers(spec):
    rule = PositiveRule(column="event", one_of=("7",))
    raw = event_batch(event=pa.array([7, 70, 8, None, 7, 0]))
    kept, _ = logic.clean_batch(raw, 0, 0, spec, IngestConfig(positives=rule))
    assert kept.column("uid").to_pylist() == ["a", "e"]


def test_weight_of_a_column_and_rows_without_one(spec):
    weights = [1.5, 0.0, None, -1.0, float("inf"), 2]
    config = IngestConfig(weight=WeightRule(column="boost"))
    kept, counts = logic.clean_batch(event_batch(boost=weights), 0, 0, spec, config)
    assert kept.column("uid").to_pylist() == ["a", "b", "f"]
    assert kept.column("#weight").to_pylist() == [1.5, 0.0, 2.0]
    assert kept.schema.field("#weight").type == pa.float32()
    assert counts.dropped == {"no_weight": 3}


def test_weight_per_event_type(spec):
    config = IngestConfig(weight=WeightRule(column="event", by_value={"view": 0.25, "buy": 4.0}))
    kept, counts = logic.clean_batch(event_batch(), 0, 0, spec, config)
    assert dict(zip(kept.column("uid").to_pylist(), kept.column("#weight").to_pylist(), strict=True)) == {
        "a": 4.0,
        "c": 0.25,
        "e": 4.0,
        "f": 0.25,
    }
    assert counts.dropped == {"no_weight": 2}


def test_rule_columns_are_read_once_each(spec):
    config = IngestConfig(
        positives=PositiveRule(column="event", one_of=("buy",)), weight=WeightRule(column="event")
    )
    assert logic.interaction_columns(spec, config) == ["uid", "iid", "at", "device", "event"]


def test_the_weight_is_a_column_of_the_examples(spec):
    users, items = tables(spec, ["u"], ["a", "b"])
    rows = batch([("u", "b", 2, 1), ("u", "a", 1, 0)])
    rows = rows.append_column("#weight", pa.array([0.5, 3.0], pa.float32()))
    bucket, _ = logic.build_bucket([rows], users, items, spec, IngestConfig())
    examples = logic.example_batch(bucket, np.array([0, 1]), users, items, spec)
    assert examples.column("weight").to_pylist() == [[3.0], [0.5]]
    assert examples.schema.field("weight").type == pa.list_(pa.float32())


def test_bucket_count_is_at_least_one_and_bounds_a_bucket():
    assert logic.bucket_count(1) == 1
    assert 100_000 <= 10_000_000 / logic.bucket_count(10_000_000) <= 200_000


def test_partition_by_id_keeps_every_row_and_each_user_in_one_bucket():
    users = [f"user {i % 40} 🙂" for i in range(200)]
    whole = pa.record_batch({"uid": users, "row": list(range(200))})
    parts = logic.partition_by_id(whole, "uid", 7)
    assert sorted(row for part in parts.values() for row in part.column("row").to_pylist()) == list(
        range(200)
    )
    bucket_of = {user: b for b, part in parts.items() for user in part.column("uid").to_pylist()}
    assert sum(len(set(part.column("uid").to_pylist())) for part in parts.values()) == 40
    assert len(parts) == 7
    # Another batch, where the user stands at another place, agrees.
    for bucket, part in logic.partition_by_id(whole.slice(120, 33), "uid", 7).items():
        assert {bucket_of[user] for user in part.column("uid").to_pylist()} == {bucket}


def test_partition_by_id_of_nothing_is_nothing():
    assert logic.partition_by_id(pa.record_batch({"uid": pa.array([], pa.string())}), "uid", 1) == {}


def test_group_starts():
    np.testing.assert_array_equal(logic.group_starts(np.array([4, 4, 4, 0, 7, 7])), [0, 0, 0, 3, 4, 4])
    assert len(logic.group_starts(np.array([], np.int64))) == 0


# Users with 4, 1, 2 and 3 rows.
STARTS = np.array([0, 0, 0, 0, 4, 5, 5, 7, 7, 7])


@pytest.mark.parametrize(
    ("skip", "expected", "single"),
    [
        (0, [T, T, T, E, T, T, E, T, T, E], 1),
        # The user with 2 loses the newest to the held-out set of skip_latest 0, and keeps the other.
        (1, [T, T, E, S, T, T, S, T, E, S], 2),
        (2, [T, E, S, S, T, T, S, T, S, S], 3),
        (9, [T, S, S, S, T, T, S, T, S, S], 4),
    ],
)
def test_latest_per_user_split(skip, expected, single):
    config = IngestConfig(split=LatestPerUserSplit(kind="latest_per_user", skip_latest=skip))
    splits, singles = logic.assign_splits(STARTS, np.zeros(10, np.int64), config)
    np.testing.assert_array_equal(splits, expected)
    assert singles == single


@pytest.mark.parametrize(
    "moment",
    [
        datetime.datetime(1970, 1, 1, 0, 1, 40),
        datetime.datetime(1970, 1, 1, 1, 1, 40, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.datetime(1970, 1, 1, 0, 1, 39, 500_000, tzinfo=datetime.UTC),
    ],
)
def test_cut_off_split_holds_out_from_the_moment_on(moment):
    config = IngestConfig(split=CutOffSplit(kind="cut_off", time=moment))
    splits, singles = logic.assign_splits(np.array([0, 0, 0, 3]), np.array([99, 100, 101, 100]), config)
    np.testing.assert_array_equal(splits, [T, E, E, E])
    assert singles == 1


def test_last_days_split_holds_out_whole_days():
    # The newest positive is at 100 seconds of day 4, so the last 2 days are 3 and 4.
    day = 86_400
    config = IngestConfig(split=LastDaysSplit(kind="last_days", days=2))
    times = np.array([0, 3 * day - 1, 3 * day, 4 * day + 100])
    splits, _ = logic.assign_splits(np.array([0, 0, 2, 2]), times, config, 4 * day + 100)
    np.testing.assert_array_equal(splits, [T, T, E, E])
    # A bucket whose own newest row is older knows of the others'.
    splits, _ = logic.assign_splits(np.array([0, 0]), times[:2], config, 4 * day + 100)
    np.testing.assert_array_equal(splits, [T, T])


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        # The users with 1 and 2 rows keep theirs.
        (0, [T, T, V, E, T, T, E, T, V, E]),
        (1, [T, V, E, S, T, T, S, T, E, S]),
        (2, [T, E, S, S, T, T, S, T, S, S]),
    ],
)
def test_validation_is_the_positive_before_the_held_out_one(skip, expected):
    split = LatestPerUserSplit(kind="latest_per_user", skip_latest=skip)
    config = IngestConfig(split=split, validation=True)
    splits, _ = logic.assign_splits(STARTS, np.zeros(10, np.int64), config)
    np.testing.assert_array_equal(splits, expected)


@pytest.mark.parametrize(
    ("split", "cut_off"),
    [
        (CutOffSplit(kind="cut_off", time=datetime.datetime(1970, 1, 6, 12)), 475_200),
        # The newest row is of day 6, so the last day starts at 6 * 86,400.
        (LastDaysSplit(kind="last_days", days=1), 518_400),
    ],
)
def test_validation_is_the_days_before_the_cut_off(split, cut_off):
    config = IngestConfig(split=split, validation=True, validation_days=2)
    start = cut_off - 172_800
    times = np.array([start - 1, start, cut_off - 1, cut_off])
    splits, _ = logic.assign_splits(np.zeros(4, np.int64), times, config, 518_500)
    np.testing.assert_array_equal(splits, [T, V, V, E])


def shuffled_log(spec, seed, users=25, rows=400):
    """Rows of users u0, u1, ... with items that repeat, in no order; and the tables."""
    source = random.Random(seed)
    log = [
        (f"u{source.randrange(users)}", f"i{source.randrange(40)}", source.randrange(9 * 86_400), n)
        for n in range(rows)
    ]
    source.shuffle(log)
    return log, *tables(spec, [f"u{n}" for n in range(users)], [f"i{n}" for n in range(40)])


@pytest.mark.parametrize("repeated", ["keep_all", "keep_last", "keep_first"])
@pytest.mark.parametrize(
    "split",
    [
        LatestPerUserSplit(kind="latest_per_user"),
        LatestPerUserSplit(kind="latest_per_user", skip_latest=2),
        CutOffSplit(kind="cut_off", time=datetime.datetime(1970, 1, 6, 12)),
        LastDaysSplit(kind="last_days", days=3),
    ],
)
def test_nothing_leaks_from_later_splits_into_earlier_ones(spec, split, repeated):
    log, users, items = shuffled_log(spec, 11)
    newest = max(time for _, _, time, _ in log)
    for validation in (False, True):
        config = IngestConfig(split=split, repeated=repeated, validation=validation, validation_days=2)
        bucket, counts = logic.build_bucket([batch(log)], users, items, spec, config, newest)
        rows = bucket.rows.select(["uid", "iid", "at"]).to_pylist()
        parts = {
            code: [row for row, of_row in zip(rows, bucket.splits, strict=True) if of_row == code]
            for code in (T, V, E)
        }
        assert bool(parts[V]) == validation
        assert [len(parts[code]) for code in (T, V, E)] == [
            counts.rows[name] for name in ("train", "validation", "eval")
        ]
        for earlier, later in ((T, E), (T, V), (V, E)):
            if split.kind == "latest_per_user":
                for row in parts[later]:
                    before = [other["at"] for other in parts[earlier] if other["uid"] == row["uid"]]
                    assert all(second <= row["at"] for second in before)
            elif parts[earlier] and parts[later]:
                assert max(row["at"] for row in parts[earlier]) < min(row["at"] for row in parts[later])
        if split.kind != "latest_per_user":
            # 1970-01-06 12:00, and the start of the third last day.
            cut_off = {"cut_off": 475_200, "last_days": 6 * 86_400}[split.kind]
            assert min(row["at"] for row in parts[E]) >= cut_off
            last_train = cut_off - 2 * 86_400 if validation else cut_off
            assert max(row["at"] for row in parts[T]) < last_train


def test_the_history_of_a_validation_row_holds_earlier_rows_only(spec):
    users, items = tables(spec, ["u"], list("abcd"))
    log = batch([("u", "d", 4, 3), ("u", "c", 3, 2), ("u", "b", 2, 1), ("u", "a", 1, 0)])
    bucket, _ = logic.build_bucket([log], users, items, spec, IngestConfig(validation=True))
    rows = histories(spec, bucket, users, items)
    found = {code: row for code, row in zip(bucket.splits, rows, strict=True) if code != T}
    assert found == {V: ("u", "c", ["", "a", "b"]), E: ("u", "d", ["a", "b", "c"])}


def test_a_planted_future_item_is_in_no_history_before_it(spec):
    log, users, items = shuffled_log(spec, 5)
    log = [row for row in log if row[1] != "i39"]
    # First in the file, and in the middle of the user's time.
    planted = ("u3", "i39", 4 * 86_400, -1)
    for repeated in ("keep_all", "keep_last", "keep_first"):
        bucket, _ = logic.build_bucket(
            [batch([planted, *log])], users, items, spec, IngestConfig(repeated=repeated)
        )
        rows = histories(spec, bucket, users, items)
        times = bucket.rows.column("at").to_pylist()
        holders = [time for (_, _, history), time in zip(rows, times, strict=True) if "i39" in history]
        assert len(holders) == 3
        assert min(holders) >= 4 * 86_400


@pytest.mark.parametrize(
    ("repeated", "expected"),
    [
        ("keep_all", ["a", "b", "a", "c", "b"]),
        ("keep_first", ["a", "b", "c"]),
        ("keep_last", ["a", "c", "b"]),
    ],
)
def test_repeated_pairs(spec, repeated, expected):
    users, items = tables(spec, ["u", "v"], ["a", "b", "c"])
    log = [("u", item, time, time) for time, item in enumerate("abacb")] + [("v", "a", 2, 9)]
    bucket, counts = logic.build_bucket(
        [batch(log[::-1])], users, items, spec, IngestConfig(repeated=repeated)
    )
    found = histories(spec, bucket, users, items)
    assert [item for user, item, _ in found if user == "u"] == expected
    assert [item for user, item, _ in found if user == "v"] == ["a"]
    assert [history[-1] for user, _, history in found if user == "u"] == ["", *expected[:-1]]
    assert counts.dropped["repeated_pair"] == 5 - len(expected)
    assert counts.rows["train"] + counts.rows["eval"] + sum(counts.dropped.values()) == 6


def test_a_user_with_100_000_interactions_keeps_the_newest_and_the_others_keep_theirs(spec):
    rows = 100_000
    robot = pa.record_batch(
        {
            "uid": pa.array(["robot"] * rows),
            "iid": pa.array(["a", "b"] * (rows // 2)),
            "at": pa.array(np.arange(rows)),
            "device": pa.array(["web"] * rows),
            "#file": pa.array(np.zeros(rows, np.int32)),
            "#row": pa.array(np.arange(rows)),
        }
    )
    users, items = tables(spec, ["robot", "u"], ["a", "b", "c"])
    log = [robot, batch([("u", "c", 5, 0), ("u", "a", 7, 1), ("u", "b", 6, 2)], file=1)]
    everything, counts = logic.build_bucket(log, users, items, spec, IngestConfig())
    assert (len(everything.rows), counts.dropped["over_user_limit"]) == (100_003, 0)
    bucket, counts = logic.build_bucket(log, users, items, spec, IngestConfig(max_positives_per_user=1_000))
    assert counts.dropped["over_user_limit"] == 99_000
    assert (counts.rows["train"], counts.rows["eval"], counts.rows["users"]) == (1_001, 2, 2)
    found = histories(spec, bucket, users, items)
    assert [row[1:] for row in found if row[0] == "u"] == [
        ("c", ["", "", ""]),
        ("b", ["", "", "c"]),
        ("a", ["", "c", "b"]),
    ]
    times = bucket.rows.column("at").to_pylist()
    assert [time for time, row in zip(times, found, strict=True) if row[0] == "robot"] == [
        *range(99_000, rows)
    ]


def test_the_join_is_chosen_by_size():
    mebibyte = 2**20
    auto = IngestConfig(broadcast_limit_mib=2.0)
    assert [logic.choose_join(auto, size) for size in (0, 2 * mebibyte, 2 * mebibyte + 1)] == [
        "broadcast",
        "broadcast",
        "shuffle",
    ]
    assert logic.choose_join(IngestConfig(join="shuffle"), 0) == "shuffle"
    assert logic.choose_join(IngestConfig(join="broadcast"), 2**60) == "broadcast"


def test_each_bucket_is_answered_with_the_items_that_it_asked_for():
    def rows(items):
        return pa.record_batch({"iid": pa.array(items, pa.string())})

    requests = logic.request_items({4: rows(["b", "a", "b"]), 9: rows(["a", "lost"])}, "iid")
    pairs = zip(requests.column("iid").to_pylist(), requests.column("#bucket").to_pylist(), strict=True)
    assert sorted(pairs) == [("a", 4), ("a", 9), ("b", 4), ("lost", 9)]
    # Another file of the same bucket asks again.
    twice = pa.Table.from_batches([requests, requests.slice(0, 1)])
    items = pa.table({"iid": ["a", "b", "c"], "price": [1.0, 2.0, 3.0]})
    answers = logic.answer_requests(twice, items, "iid")
    assert {bucket: answer.to_pydict() for bucket, answer in answers.items()} == {
        4: {"iid": ["a", "b"], "price": [1.0, 2.0]},
        9: {"iid": ["a"], "price": [1.0]},
    }
    lost = pa.table({"iid": ["lost"], "#bucket": pa.array([9])})
    assert logic.answer_requests(lost, items, "iid") == {}


def test_history_positions_stop_at_the_users_first_row():
    positions = logic.history_positions(np.array([0, 0, 2, 2, 2, 2]), np.array([5, 2, 1, 3]), 3)
    np.testing.assert_array_equal(positions, [[2, 3, 4], [-1, -1, -1], [-1, -1, 0], [-1, -1, 2]])


def test_history_breaks_ties_in_time_by_file_then_row(spec):
    users, items = tables(spec, ["u", "v"], list("abcdef"))
    # Rows arrive out of order; u's items in order are a (time 1), then at time 5: b (file 0, row 3),
    # c (file 0, row 10), d (file 1, row 2).
    batches = [
        batch([("u", "d", 5, 2), ("v", "f", 2, 7)], file=1),
        batch([("u", "c", 5, 10), ("v", "e", 9, 4), ("u", "a", 1, 11), ("u", "b", 5, 3)]),
    ]
    expected = {
        ("u", "a"): ["", "", ""],
        ("u", "b"): ["", "", "a"],
        ("u", "c"): ["", "a", "b"],
        ("u", "d"): ["a", "b", "c"],
        ("v", "f"): ["", "", ""],
        ("v", "e"): ["", "", "f"],
    }
    for order in (batches, batches[::-1]):
        bucket, counts = logic.build_bucket(order, users, items, spec, IngestConfig())
        rows = histories(spec, bucket, users, items)
        assert {(user, item): history for user, item, history in rows} == expected
        held_out = {rows[i][:2] for i in np.flatnonzero(bucket.splits == E)}
        assert held_out == {("u", "d"), ("v", "e")}
        assert (counts.rows["train"], counts.rows["eval"], counts.rows["users"]) == (4, 2, 2)
        assert (counts.first_timestamp, counts.last_timestamp) == (1, 9)


def test_the_fraction_of_a_second_decides_the_order(spec):
    rows = batch([("u", "i1", 10, 0), ("u", "i2", 10, 1), ("u", "i3", 10, 2), ("u", "i4", 9, 3)])
    rows = rows.append_column("#microsecond", pa.array([900_000, 100_000, 500_000, 950_000], pa.int32()))
    users, items = tables(spec, ["u"], ["i1", "i2", "i3", "i4"])
    bucket, _ = logic.build_bucket([rows], users, items, spec, IngestConfig())
    assert bucket.rows.column("iid").to_pylist() == ["i4", "i2", "i3", "i1"]
    assert "#microsecond" not in bucket.rows.column_names


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3, -1, None, 2**62]), [3_000_000, -1_000_000, None, (2**63 // 10**6 - 1) * 10**6]),
        (pa.array([10_900, -1], pa.timestamp("ms")), [10_900_000, -1_000]),
        (pa.array([1_999, -1], pa.timestamp("ns")), [1, -1]),
        (pa.array([7], pa.timestamp("us", "Asia/Tokyo")), [7]),
    ],
)
def test_timestamps_in_microseconds(column, expected):
    assert logic.to_microseconds(column).to_pylist() == expected


def test_history_never_holds_the_future_nor_another_users_items(spec):
    source = random.Random(3)
    names = [f"item {i}" for i in range(400)]
    # Every item occurs once, so an item in a history says which row it came from.
    rows = [(f"u{source.randrange(25)}", name, source.randrange(60), i) for i, name in enumerate(names)]
    source.shuffle(rows)
    users, items = tables(spec, [f"u{i}" for i in range(25)], names)
    bucket, _ = logic.build_bucket([batch(rows[:150]), batch(rows[150:])], users, items, spec, IngestConfig())
    found = {item: (user, history) for user, item, history in histories(spec, bucket, users, items)}
    assert len(found) == 400
    for user, item, time, row in rows:
        before = [r for r in rows if r[0] == user and (r[2], r[3]) < (time, row)]
        last = [r[1] for r in sorted(before, key=lambda r: (r[2], r[3]))[-3:]]
        assert found[item] == (user, [""] * (3 - len(last)) + last)


def test_rows_without_metadata_are_dropped_before_the_history(spec):
    users, items = tables(spec, ["u"], ["a", "b"])
    rows = batch(
        [("u", "a", 1, 0), ("u", "gone", 2, 1), ("u", "b", 3, 2), ("who", "a", 4, 3), ("who", "lost", 5, 4)]
    )
    bucket, counts = logic.build_bucket([rows], users, items, spec, IngestConfig(missing_metadata="drop"))
    assert histories(spec, bucket, users, items) == [("u", "a", ["", "", ""]), ("u", "b", ["", "", "a"])]
    assert counts.dropped == {"missing_metadata": 3}
    assert counts.rows["unknown_users"] == 1
    assert counts.unknown_users == ("who",)
    assert counts.unknown_items == {"gone", "lost"}


def test_a_bucket_of_unknown_users_only_is_empty(spec):
    users, items = tables(spec, ["u"], ["a"])
    bucket, counts = logic.build_bucket([batch([("x", "a", 1, 0)])], users, items, spec, IngestConfig())
    assert len(bucket.rows) == 0
    assert counts.rows["users"] == 0
    assert counts.dropped == {"missing_metadata": 1}


def test_example_batch_joins_the_features_of_both_tables(spec):
    users, items = tables(spec, ["u", "v"], ["a", "b", "c"])
    rows = batch([("v", "c", 1, 0), ("u", "b", 2, 1)])
    bucket, _ = logic.build_bucket([rows], users, items, spec, IngestConfig())
    examples = logic.example_batch(bucket, np.array([1, 0]), users, items, spec)
    assert examples.to_pydict() == {
        "uid": [[b"u"], [b"v"]],
        "age": [[0], [1]],
        "iid": [[b"b"], [b"c"]],
        "price": [[0.5], [1.0]],
        "tags": [[b"tag1"], [b"tag2", b"tag2"]],
        "device": [[b"web"], [b"web"]],
        "at": [[2], [1]],
        "recent": [[b"", b"", b""], [b"", b"", b""]],
    }
    assert examples.schema.field("price").type == pa.list_(pa.float32())


def test_unknown_ids_get_the_defaults_and_keep_their_ids(spec):
    price = dataclasses.replace(spec.features[3], default=9.5)
    spec = dataclasses.replace(spec, features=(*spec.features[:3], price, *spec.features[4:]))
    users, items = tables(spec, ["u"], ["a"], defaults=True)
    rows = batch([("new", "fresh", 1, 0), ("new", "a", 2, 1)])
    bucket, counts = logic.build_bucket([rows], users, items, spec, IngestConfig(missing_metadata="default"))
    examples = logic.example_batch(bucket, np.array([0, 1]), users, items, spec).to_pydict()
    assert examples["uid"] == [[b"new"], [b"new"]]
    assert examples["iid"] == [[b"fresh"], [b"a"]]
    assert examples["age"] == [[30], [30]]
    assert examples["price"] == [[9.5], [0.0]]
    assert examples["tags"] == [[b"none"], []]
    assert examples["recent"][1] == [b"", b"", b"fresh"]
    assert counts.dropped["missing_metadata"] == 0
    assert counts.unknown_items == {"fresh"}


def test_context_features_are_filled_and_counted(spec):
    users, items = tables(spec, ["u"], ["a"])
    rows = batch([("u", "a", 1, 0), ("u", "a", 2, 1)])
    rows = rows.set_column(3, "device", pa.array([None, "tv"], pa.string()))
    bucket, counts = logic.build_bucket([rows], users, items, spec, IngestConfig())
    assert bucket.rows.column("device").to_pylist() == ["web", "tv"]
    assert counts.filled == {"device": 1}


def test_catalogue_keeps_the_tables_order_and_appends_unknown_items_with_defaults(spec):
    price = dataclasses.replace(spec.features[3], default=1.0)
    spec = dataclasses.replace(spec, features=(*spec.features[:3], price, *spec.features[4:]))
    items = pa.table(
        {
            "iid": ["z", "b"],
            "price": pa.array([1, 2], pa.float32()),
            "tags": [["t"], []],
            "title": ["Z", "B"],
        }
    )
    assert logic.build_catalogue(items, spec, ["q"], "drop") is items
    assert logic.build_catalogue(items, spec, ["y", "c"], "default").to_pydict() == {
        "iid": ["z", "b", "c", "y"],
        "price": [1.0, 2.0, 1.0, 1.0],
        "tags": [["t"], [], ["none"], ["none"]],
        "title": ["Z", "B", None, None],
    }
