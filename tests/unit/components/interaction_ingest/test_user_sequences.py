import datetime
import random

import numpy as np
import pyarrow as pa
import pytest

from components.interaction_ingest.config import (
    CutOffSplit,
    IngestConfig,
    LastDaysSplit,
    LatestPerUserSplit,
)
from components.interaction_ingest.splits import EVAL, SKIPPED, TRAIN, VALIDATION
from components.interaction_ingest.user_sequences import build_sequences, sequences_table

pytestmark = pytest.mark.unit

T, E, S, V = TRAIN, EVAL, SKIPPED, VALIDATION
DAY = 86_400


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


def build(spec, batches, users, items, config=None, newest=None):
    known = (pa.array(list(ids), pa.string()) for ids in (users, items))
    return build_sequences(batches, *known, spec, config or IngestConfig(), newest)


def rows_of(sequences):
    """(user, item, second, split) of each position."""
    users = np.repeat(np.arange(len(sequences.user_ids)), np.diff(sequences.offsets))
    return list(
        zip(
            sequences.user_ids.take(pa.array(users)).to_pylist(),
            sequences.item_ids.take(pa.array(sequences.items)).to_pylist(),
            sequences.columns.column("at").to_pylist(),
            sequences.splits.tolist(),
            strict=True,
        )
    )


def items_of(sequences, user="u"):
    """The items of a user's splits, such as {T: "ab", E: "c"}."""
    found = {}
    for owner, item, _, split in rows_of(sequences):
        if owner == user:
            found[split] = found.get(split, "") + item
    return found


def test_a_later_row_takes_nothing_away_from_train(spec):
    # With the pair removed before the split, as it was once, train
    # held B alone.
    log = batch([("u", "A", 100, 0), ("u", "B", 200, 1), ("u", "A", 900, 2)])
    sequences, counts = build(spec, [log], "u", "AB", IngestConfig(repeated="keep_last"))
    assert rows_of(sequences) == [("u", "A", 100, T), ("u", "B", 200, T), ("u", "A", 900, E)]
    assert sequences.ends.tolist() == [[2, 2, 3]]
    assert counts.dropped["repeated_pair"] == 0


@pytest.mark.parametrize(
    ("repeated", "expected", "dropped"),
    [
        ("keep_all", {T: "abac", V: "b", E: "a"}, 0),
        ("keep_first", {T: "abc", V: "b", E: "a"}, 1),
        ("keep_last", {T: "bac", V: "b", E: "a"}, 1),
    ],
)
def test_repeated_pairs_of_a_split(spec, repeated, expected, dropped):
    log = [("u", item, time, time) for time, item in enumerate("abacba")] + [("v", "a", 2, 9)]
    config = IngestConfig(repeated=repeated, validation=True)
    sequences, counts = build(spec, [batch(log[::-1])], "uv", "abc", config)
    assert items_of(sequences) == expected
    assert items_of(sequences, "v") == {T: "a"}
    assert counts.dropped["repeated_pair"] == dropped
    assert counts.kept + sum(counts.dropped.values()) == 7


def test_skipped_rows_are_left_alone(spec):
    log = batch([("u", item, time, time) for time, item in enumerate("aabaaa")])
    split = LatestPerUserSplit(kind="latest_per_user", skip_latest=3)
    sequences, counts = build(spec, [log], "u", "ab", IngestConfig(split=split, repeated="keep_last"))
    assert items_of(sequences) == {T: "a", E: "b", S: "aaa"}
    assert (counts.rows["skipped"], counts.dropped["repeated_pair"]) == (3, 1)


def test_the_splits_are_assigned_again_where_the_limit_cuts(spec):
    # u has seven and v two; the newest three of u alone would all be skipped.
    log = [("u", item, time, time) for time, item in enumerate("abcdefg")] + [
        ("v", "a", 0, 8),
        ("v", "b", 1, 9),
    ]
    split = LatestPerUserSplit(kind="latest_per_user", skip_latest=3)
    config = IngestConfig(split=split, max_positives_per_user=3)
    sequences, counts = build(spec, [batch(log)], "uv", "abcdefg", config)
    assert items_of(sequences) == {T: "e", S: "fg"}
    assert items_of(sequences, "v") == {T: "a", S: "b"}
    assert counts.dropped["over_user_limit"] == 4
    # Those of v are of before: repeats are removed first, and do not count.
    config = IngestConfig(repeated="keep_last", max_positives_per_user=3)
    log = batch([("u", item, time, time) for time, item in enumerate("aaaab")])
    sequences, counts = build(spec, [log], "u", "ab", config)
    assert items_of(sequences) == {T: "a", E: "b"}
    assert (counts.dropped["repeated_pair"], counts.dropped["over_user_limit"]) == (3, 0)


def shuffled_log(seed, users=25, rows=400):
    """Rows of users u0, u1, ... with items that repeat, in no order."""
    source = random.Random(seed)
    log = [
        (f"u{source.randrange(users)}", f"i{source.randrange(40)}", source.randrange(9 * DAY), n)
        for n in range(rows)
    ]
    source.shuffle(log)
    return log


USERS, ITEMS = [f"u{n}" for n in range(25)], [f"i{n}" for n in range(40)]


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
    log = shuffled_log(11)
    newest = max(time for _, _, time, _ in log)
    for validation in (False, True):
        config = IngestConfig(split=split, repeated=repeated, validation=validation, validation_days=2)
        sequences, counts = build(spec, [batch(log)], USERS, ITEMS, config, newest)
        rows = rows_of(sequences)
        parts = {code: [row for row in rows if row[3] == code] for code in (T, V, E)}
        assert bool(parts[V]) == validation
        assert [len(parts[code]) for code in (T, V, E)] == [
            counts.rows[name] for name in ("train", "validation", "eval")
        ]
        for earlier, later in ((T, E), (T, V), (V, E)):
            if split.kind == "latest_per_user":
                for user, _, second, _ in parts[later]:
                    assert all(before <= second for other, _, before, _ in parts[earlier] if other == user)
            elif parts[earlier] and parts[later]:
                assert max(row[2] for row in parts[earlier]) < min(row[2] for row in parts[later])
        # The ends cut each user's positives into the splits.
        for user, (train, known, held_out) in enumerate(sequences.ends):
            start, end = sequences.offsets[user : user + 2]
            sizes = [train, known - train, held_out - known, end - start - held_out]
            assert sequences.splits[start:end].tolist() == np.repeat([T, V, E, S], sizes).tolist()
        if split.kind != "latest_per_user":
            # 1970-01-06 12:00, and the start of the third last day.
            cut_off = {"cut_off": 475_200, "last_days": 6 * DAY}[split.kind]
            assert min(row[2] for row in parts[E]) >= cut_off
            last_train = cut_off - 2 * DAY if validation else cut_off
            assert max(row[2] for row in parts[T]) < last_train
            # Without the rows of eval, train is the same.
            before = [row for row in log if row[2] < cut_off]
            alone, _ = build(spec, [batch(before)], USERS, ITEMS, config, newest)
            assert sorted(row for row in rows_of(alone) if row[3] == T) == sorted(parts[T])


@pytest.mark.parametrize("repeated", ["keep_all", "keep_last"])
def test_a_user_alone_has_the_sequence_that_it_has_among_others(spec, repeated):
    log = shuffled_log(7)
    config = IngestConfig(repeated=repeated, max_positives_per_user=9, missing_metadata="drop")
    together, _ = build(spec, [batch(log)], USERS[:20], ITEMS[:30], config)
    for user in USERS:
        own = [row for row in log if row[0] == user]
        alone, _ = build(spec, [batch(own)], USERS[:20], ITEMS[:30], config)
        assert rows_of(alone) == [row for row in rows_of(together) if row[0] == user]


def test_the_order_of_the_batches_means_nothing(spec):
    log = shuffled_log(5)
    parts = [batch(log[:150]), batch(log[150:160], file=1), batch(log[160:], file=2)]
    expected, counts = build(spec, parts, USERS, ITEMS)
    for order in ((2, 1, 0), (1, 2, 0)):
        found, others = build(spec, [parts[place] for place in order], USERS, ITEMS)
        assert rows_of(found) == rows_of(expected)
        assert others == counts


def test_ties_in_time_are_broken_by_file_then_row(spec):
    # Rows arrive out of order; u's items in order are a (time 1), then at time 5: b (file 0, row 3),
    # c (file 0, row 10), d (file 1, row 2).
    batches = [
        batch([("u", "d", 5, 2), ("v", "f", 2, 7)], file=1),
        batch([("u", "c", 5, 10), ("v", "e", 9, 4), ("u", "a", 1, 11), ("u", "b", 5, 3)]),
    ]
    sequences, counts = build(spec, batches, "uv", "abcdef")
    assert rows_of(sequences) == [
        ("u", "a", 1, T),
        ("u", "b", 5, T),
        ("u", "c", 5, T),
        ("u", "d", 5, E),
        ("v", "f", 2, T),
        ("v", "e", 9, E),
    ]
    assert (counts.rows["train"], counts.rows["eval"], counts.rows["users"]) == (4, 2, 2)
    assert (counts.first_timestamp, counts.last_timestamp) == (1, 9)


def test_the_fraction_of_a_second_decides_the_order(spec):
    rows = batch([("u", "i1", 10, 0), ("u", "i2", 10, 1), ("u", "i3", 10, 2), ("u", "i4", 9, 3)])
    rows = rows.append_column("#microsecond", pa.array([900_000, 100_000, 500_000, 950_000], pa.int32()))
    sequences, _ = build(spec, [rows], "u", ["i1", "i2", "i3", "i4"])
    assert [row[1:3] for row in rows_of(sequences)] == [("i4", 9), ("i2", 10), ("i3", 10), ("i1", 10)]


def test_rows_without_metadata_are_dropped_before_anything_else(spec):
    # The user's newest row is of an item that is gone, and is not what is held out.
    rows = batch(
        [("u", "a", 1, 0), ("u", "gone", 9, 1), ("u", "b", 3, 2), ("who", "a", 4, 3), ("who", "lost", 5, 4)]
    )
    sequences, counts = build(spec, [rows], "u", "ab", IngestConfig(missing_metadata="drop"))
    assert rows_of(sequences) == [("u", "a", 1, T), ("u", "b", 3, E)]
    assert counts.dropped == {"missing_metadata": 3}
    assert counts.rows["unknown_users"] == 1
    assert counts.unknown_users == ("who",)
    assert counts.unknown_items == {"gone", "lost"}
    sequences, counts = build(spec, [rows], "u", "ab", IngestConfig(missing_metadata="default"))
    assert items_of(sequences) == {T: "ab", E: "gone"}
    assert (counts.rows["users"], counts.dropped["missing_metadata"]) == (2, 0)


def test_a_bucket_of_unknown_users_only_is_empty(spec):
    sequences, counts = build(spec, [batch([("x", "a", 1, 0)])], "u", "a")
    assert (len(sequences.user_ids), sequences.offsets.tolist()) == (0, [0])
    assert counts.rows["users"] == 0
    assert counts.dropped == {"missing_metadata": 1}


def test_context_features_are_filled_and_counted(spec):
    rows = batch([("u", "a", 2, 0), ("u", "a", 1, 1)])
    rows = rows.set_column(3, "device", pa.array([None, "tv"], pa.string()))
    sequences, counts = build(spec, [rows], "u", "a")
    assert sequences.columns.column("device").to_pylist() == ["tv", "web"]
    assert counts.filled == {"device": 1}


def test_users_with_a_single_positive_are_counted_without_those_skipped(spec):
    log = [("u", "a", 1, 0), ("v", "a", 1, 1), ("v", "b", 2, 2), ("w", "a", 1, 3), ("w", "b", 2, 4)]
    log.append(("w", "c", 3, 5))
    _, counts = build(spec, [batch(log)], "uvw", "abc")
    assert counts.rows["users_with_one_positive"] == 1
    split = LatestPerUserSplit(kind="latest_per_user", skip_latest=1)
    _, counts = build(spec, [batch(log)], "uvw", "abc", IngestConfig(split=split))
    assert counts.rows["users_with_one_positive"] == 2


def test_the_table_has_a_row_for_each_user(spec):
    rows = batch([("v", "c", 1, 0), ("u", "b", 2, 1), ("v", "a", 3, 2)])
    rows = rows.append_column("#weight", pa.array([0.5, 3.0, 1.5], pa.float32()))
    sequences, _ = build(spec, [rows], "uv", "abc")
    users = pa.table({"uid": sequences.user_ids, "age": pa.array([20, 30], pa.int64())})
    table = sequences_table(sequences, users, spec)
    assert table.to_pydict() == {
        "uid": ["v", "u"],
        "age": [20, 30],
        "iid": [["c", "a"], ["b"]],
        "at": [[1, 3], [2]],
        "device": [["web", "web"], ["web"]],
        "weight": [[0.5, 1.5], [3.0]],
        "train_end": [1, 1],
        "validation_end": [1, 1],
        "eval_end": [2, 1],
    }
    assert table.schema.field("weight").type == pa.list_(pa.float32())
    assert table.schema.field("train_end").type == pa.int32()


def test_a_user_with_a_million_interactions_keeps_the_newest_and_the_others_keep_theirs(spec):
    rows = 1_000_000
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
    log = [robot, batch([("u", "c", 5, 0), ("u", "a", 7, 1), ("u", "b", 6, 2)], file=1)]
    everything, counts = build(spec, log, ["robot", "u"], "abc")
    assert everything.ends.tolist() == [[rows - 1, rows - 1, rows], [2, 2, 3]]
    assert counts.dropped["over_user_limit"] == 0
    cut, counts = build(spec, log, ["robot", "u"], "abc", IngestConfig(max_positives_per_user=1_000))
    assert counts.dropped["over_user_limit"] == rows - 1_000
    assert (counts.rows["train"], counts.rows["eval"], counts.rows["users"]) == (1_001, 2, 2)
    assert items_of(cut) == {T: "cb", E: "a"}
    times = cut.columns.column("at").to_pylist()
    assert times == [*range(rows - 1_000, rows), 5, 6, 7]
    once, counts = build(spec, log, ["robot", "u"], "abc", IngestConfig(repeated="keep_last"))
    assert items_of(once, "robot") == {T: "ba", E: "b"}
    assert counts.dropped["repeated_pair"] == rows - 3
