import dataclasses
import gzip
import io
import json

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.user_lookup import read_user, read_user_numbers
from schemas.errors import DataError
from schemas.features import FeatureSpec, InteractionTable, Tables, UserTable
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

LOG = [("ann", 1, 30, 5), ("bob", 2, 10, 5), ("ann", 3, 20, 4), ("ann", 4, 40, 1), ("ann", None, 50, 5)]


@pytest.mark.parametrize("ending", ["jsonl.gz", "csv", "parquet"])
def test_a_users_rows_are_found_in_every_kind_of_source(tmp_path, ending):
    names = ("customer", "sku", "at", "stars")
    rows = [dict(zip(names, row, strict=True)) for row in LOG]
    for day, part in (("2026-11-21", rows[:2]), ("2026-11-22", rows[2:])):
        path = tmp_path / f"{day}.{ending}"
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(part), path)
        elif ending == "csv":
            lines = [",".join("" if value is None else str(value) for value in row.values()) for row in part]
            path.write_text("\n".join([",".join(names), *lines]))
        else:
            path.write_bytes(gzip.compress("\n".join(map(json.dumps, part)).encode()))
    (tmp_path / "users.csv").write_text("customer,age\nbob,20\nann,31\n")
    vocabulary = {"kind": "vocabulary"}
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": vocabulary},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": vocabulary},
    ]
    log = {
        "file": f"{{date}}.{ending}",
        "timestamp": "time",
        "columns": {"user": "customer", "item": "sku", "time": "at"},
    }
    tables = {"interactions": log, "users": {"file": "users.csv", "columns": {"user": "customer"}}}
    data = {"name": "shop", "features": features, "tables": tables, "history": {"time_gap_buckets": 4}}
    spec = parse(FeatureSpec, data, source="test")
    config = parse(IngestConfig, {"positives": {"column": "stars", "at_least": 4}}, source="test")
    catalogue = pa.array(["1", "2", "3", "4"])
    record = read_user(spec, config, str(tmp_path), "ann", catalogue)
    assert record.features == {"user": "ann", "age": 31}
    assert (record.positives, sorted(record.interacted)) == (["3", "1"], ["1", "3", "4"])
    nobody = read_user(spec, config, str(tmp_path), "nobody", catalogue)
    assert (nobody.features, nobody.positives, nobody.seconds, nobody.interacted) == (None, [], [], [])
    # The row at 50 has no item. Of the Parquet files, the second was not read for nobody's rows.
    assert (record.log_end, nobody.log_end) == (40, 40)
    without_gaps = dataclasses.replace(spec, history=None)
    assert read_user(without_gaps, config, str(tmp_path), "ann", catalogue).log_end is None
    assert sorted(read_user_numbers(spec, str(tmp_path), spec.features[1])) == [20, 31]


DAY = 86_400
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
            {
                "name": "item",
                "dtype": "string",
                "tower": "item",
                "role": "item_id",
                "encoding": {"kind": "vocabulary"},
            },
        ],
        "history": {"length": 2},
    },
    source="test",
)


def look_up(folder, rows, catalogue="abcde", **config):
    """The history of ann; rows are user, item and second."""
    names = ("user", "item", "timestamp")
    log = [dict(zip(names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(log), folder / "interactions.parquet", row_group_size=2)
    pq.write_table(pa.table({"user": ["ann", "bob"]}), folder / "users.parquet")
    config = parse(IngestConfig, config, source="test")
    record = read_user(SPEC, config, str(folder), "ann", pa.array(list(catalogue)))
    return list(zip(record.positives, record.seconds, strict=True))


@pytest.mark.parametrize(
    ("kind", "user", "others"),
    [
        (pa.int64(), 1_700_000_000_000_000_004, [1_700_000_000_000_000_005, 2**63 - 1]),
        (pa.int64(), -(2**63), [0, 2**63 - 1]),
        (pa.uint64(), 2**64 - 1, [0, 2**64 - 2]),
        (pa.uint64(), 2**63, [2**63 - 1, 2**63 + 1]),
        (pa.uint32(), 2**32 - 1, [0, 1]),
        (pa.int8(), -128, [0, 127]),
    ],
    ids=str,
)
def test_users_with_ids_of_every_integer_type_are_found(tmp_path, kind, user, others):
    ids = pa.array([*others, user], kind)
    pq.write_table(pa.table({"user": ids}), tmp_path / "users.parquet", row_group_size=1)
    log = {"user": ids, "item": ["a", "b", "c"], "timestamp": [1, 2, 3]}
    pq.write_table(pa.table(log), tmp_path / "interactions.parquet", row_group_size=1)
    spec = dataclasses.replace(SPEC, tables=Tables(users=UserTable()))
    record = read_user(spec, IngestConfig(), str(tmp_path), str(user), pa.array(["a", "b", "c"]))
    assert record.features == {"user": str(user)}
    assert (record.positives, record.interacted) == (["c"], ["c"])


@pytest.mark.parametrize(("window", "end"), [({}, 90), ({"last": "1970-01-02"}, 2 * DAY - 1)])
def test_the_log_ends_with_its_newest_row_or_the_window(tmp_path, window, end):
    times = {"ann": [10, 20], "bob": [90, 30], "eve": [40, 50]}
    if window:
        times["bob"][0] = 5 * DAY
    log = {
        "user": [user for user, of_user in times.items() for _ in of_user],
        "item": ["a"] * 6,
        "timestamp": [second for of_user in times.values() for second in of_user],
    }
    pq.write_table(pa.table(log), tmp_path / "interactions.parquet", row_group_size=2)
    pq.write_table(pa.table({"user": list(times)}), tmp_path / "users.parquet")
    spec = dataclasses.replace(SPEC, history=dataclasses.replace(SPEC.history, time_gap_buckets=4))
    config = parse(IngestConfig, {"window": window}, source="test")
    ends = [read_user(spec, config, str(tmp_path), user, pa.array(["a"])).log_end for user in times]
    assert ends == [end] * 3


def test_every_split_is_part_of_the_history(tmp_path):
    rows = [("ann", "a", 1), ("ann", "b", 2), ("bob", "b", 9), ("ann", "c", 3), ("ann", "d", 4)]
    every = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    split = {"kind": "latest_per_user", "skip_latest": 1}
    # a is train, b validation, c eval, and d skipped; none is cut to the length of the model's history.
    assert look_up(tmp_path, rows, split=split, validation=True) == every


def test_unknown_items_are_dropped_before_the_limit_and_the_splits(tmp_path):
    rows = [("ann", "a", 1), ("ann", "b", 2), ("ann", "x", 3), ("ann", "y", 4), ("ann", "a", 5)]
    # Of x and y the release knows nothing, so they take no place of the two.
    assert look_up(tmp_path, rows, max_positives_per_user=2) == [("b", 2), ("a", 5)]
    assert look_up(tmp_path, rows, max_positives_per_user=2, missing_metadata="default") == [
        ("b", 2),
        ("a", 5),
    ]
    assert look_up(tmp_path, rows, catalogue="abxy", max_positives_per_user=2) == [("y", 4), ("a", 5)]


def test_repeats_are_removed_within_a_split_and_not_across(tmp_path):
    rows = [("ann", "a", 100), ("ann", "b", 200), ("ann", "a", 300), ("ann", "a", 900)]
    # The last row is eval, the other three are train.
    assert look_up(tmp_path, rows, repeated="keep_last") == [("b", 200), ("a", 300), ("a", 900)]
    assert look_up(tmp_path, rows, repeated="keep_first") == [("a", 100), ("b", 200), ("a", 900)]


def test_the_last_days_count_back_from_the_newest_positive_of_all_users(tmp_path):
    rows = [("ann", "a", DAY), ("ann", "a", 2 * DAY), ("bob", "b", 2 * DAY + 5), ("bob", "c", 9 * DAY)]
    options = {"split": {"kind": "last_days", "days": 1}, "repeated": "keep_last"}
    # Bob's newest row is the only one of the last day, so both of ann's are train, and one is left.
    assert look_up(tmp_path, rows, **options) == [("a", 2 * DAY)]
    # Without it the last day is the third, and each of ann's rows is of a split of its own.
    assert look_up(tmp_path, rows[:3], **options) == [("a", DAY), ("a", 2 * DAY)]
    # What is no positive does not count, here because it is after the window.
    window = {"last": "1970-01-03"}
    assert look_up(tmp_path, rows, **options, window=window) == [("a", DAY), ("a", 2 * DAY)]


def test_a_log_of_blocks_without_a_row_is_empty(tmp_path):
    pq.write_table(pa.table({"user": ["ann"]}), tmp_path / "users.parquet")
    fields = [{"name": name, "type": "string"} for name in ("user", "item")]
    fields.append({"name": "timestamp", "type": "long"})
    sink = io.BytesIO()
    fastavro.writer(sink, {"type": "record", "name": "E", "fields": fields}, [], sync_marker=b"s" * 16)
    # A block: no rows, no bytes, the marker.
    (tmp_path / "log.avro").write_bytes(sink.getvalue() + b"\0\0" + b"s" * 16)
    tables = Tables(interactions=InteractionTable(file="log.avro"))
    spec = dataclasses.replace(SPEC, tables=tables)
    with pytest.raises(DataError, match=r"log\.avro is empty: expected at least one row, found 0"):
        read_user(spec, IngestConfig(), str(tmp_path), "ann", pa.array(["a"]))
