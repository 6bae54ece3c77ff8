from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.sequences import (
    FILE_NAME,
    copy_without_items,
    count_positions,
    count_split_rows,
    read_sequences,
    sequences_schema,
    write_sequences,
)
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

IDS = pa.array(["c", "a", "b"])


def make_spec() -> FeatureSpec:
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "tags", "dtype": "string", "tower": "context", "multi_valued": True},
    ]
    return parse(FeatureSpec, {"name": "shop", "features": features}, source="test")


def write(folder, rows, number=0, files=1, **options):
    table = pa.Table.from_pylist(rows, sequences_schema(make_spec(), has_weights=True))
    path = folder / FILE_NAME.format(number=number, files=files)
    write_sequences(table, path)
    if options:
        pq.write_table(table, path, **options)


def make_row(user, items, ends, age=1):
    return {
        "user": user,
        "age": age,
        "item": items,
        "timestamp": [10 * (position + 1) for position in range(len(items))],
        "weight": [0.5 * position for position in range(len(items))],
        "tags": [[item, user] for item in items],
        **dict(zip(("train_end", "validation_end", "eval_end"), ends, strict=True)),
    }


ROWS = [
    make_row("u", ["a", "b", "a", "c"], (2, 3, 3)),
    make_row("v", ["c"], (0, 0, 1)),
    make_row("w", ["b", "b"], (2, 2, 2), age=7),
]


def read(folder, **options):
    return list(read_sequences(folder, make_spec(), IDS, **options))


def test_items_are_rows_of_the_catalogue_and_what_no_split_holds_is_left_out(tmp_path):
    write(tmp_path, ROWS)
    [part] = read(tmp_path)
    np.testing.assert_array_equal(part.offsets, [0, 3, 4, 6])
    np.testing.assert_array_equal(part.items, [1, 2, 1, 0, 2, 2])
    np.testing.assert_array_equal(part.ends["train_end"], [2, 3, 6])
    np.testing.assert_array_equal(part.ends["validation_end"], [3, 3, 6])
    np.testing.assert_array_equal(part.ends["eval_end"], [3, 4, 6])
    assert part.items.dtype == np.int32


def test_reading_until_the_end_of_train_leaves_out_what_follows(tmp_path):
    write(tmp_path, ROWS)
    [part] = read(tmp_path, until="train_end")
    np.testing.assert_array_equal(part.offsets, [0, 2, 2, 4])
    np.testing.assert_array_equal(part.items, [1, 2, 2, 2])
    for end in part.ends.values():
        np.testing.assert_array_equal(end, [2, 2, 4])


def test_columns_that_are_asked_for_come_beside_them(tmp_path):
    write(tmp_path, ROWS)
    names = ["timestamp", "weight", "tags"]
    [part] = read(tmp_path, user_columns=["user", "age"], position_columns=names, until="validation_end")
    assert part.users.to_pylist() == [
        {"user": "u", "age": 1},
        {"user": "v", "age": 1},
        {"user": "w", "age": 7},
    ]
    assert part.columns["timestamp"].to_pylist() == [10, 20, 30, 10, 20]
    assert part.columns["weight"].to_pylist() == [0.0, 0.5, 1.0, 0.0, 0.5]
    assert part.columns["tags"].to_pylist() == [["a", "u"], ["b", "u"], ["a", "u"], ["b", "w"], ["b", "w"]]


def test_parts_come_in_the_order_of_the_files_and_their_row_groups(tmp_path):
    write(tmp_path, ROWS[2:], number=1, files=2)
    # With a dictionary of their own each, which this page size ends in the middle.
    write(tmp_path, ROWS[:2], files=2, row_group_size=1, dictionary_pagesize_limit=1)
    parts = read(tmp_path, user_columns=["user"])
    assert [part.users["user"].to_pylist() for part in parts] == [["u"], ["v"], ["w"]]
    assert [part.items.tolist() for part in parts] == [[1, 2, 1], [0], [2, 2]]
    assert count_positions(tmp_path) == (3, 6)
    assert count_positions(tmp_path, "train_end") == (3, 4)
    assert count_split_rows(tmp_path) == {"train": 4, "validation": 1, "eval": 1}


def test_users_without_a_positive_count_as_none(tmp_path):
    write(tmp_path, [make_row("u", [], (0, 0, 0)), ROWS[1]])
    [part] = read(tmp_path)
    np.testing.assert_array_equal(part.offsets, [0, 0, 1])
    assert count_positions(tmp_path) == (2, 1)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ((0, 2, 3), r"00000-of-00001.parquet: expected eval_end up to .* positives, 2\. Received: 3\."),
        ((2, 1, 2), r"expected 0 <= train_end <= validation_end <= eval_end\. Received: 2, 1, 2\."),
        ((0, 2, 1), r"validation_end <= eval_end\. Received: 0, 2, 1\. Run the ingest again"),
        ((-1, 0, 2), r"expected 0 <= train_end .* Received: -1, 0, 2\."),
    ],
)
def test_ends_that_do_not_fit_the_lists_are_refused(ends, message, tmp_path):
    write(tmp_path, [ROWS[0], make_row("v", ["b", "c"], ends), ROWS[2]])
    with pytest.raises(DataError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("count", [count_positions, count_split_rows])
def test_counts_of_ends_in_no_order_or_missing_are_refused(count, tmp_path):
    write(tmp_path, [make_row("u", ["a"], (1, 0, 1))])
    with pytest.raises(DataError, match=r"Received: 1, 0, 1"):
        count(tmp_path)
    [path] = tmp_path.iterdir()
    pq.write_table(pq.read_table(path).drop_columns(["eval_end"]), path)
    with pytest.raises(DataError, match=r"00001.parquet: expected the columns train_end, .*no eval_end\."):
        count(tmp_path)


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"Expected sequences .* Received: none"):
        read(tmp_path)
    write(tmp_path, [make_row("u", ["a", "z"], (1, 1, 2))])
    with pytest.raises(DataError, match=r"expected items of the catalogue\. Received: 'z'"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"Received: no price, size"):
        read(tmp_path, position_columns=["size"], user_columns=["price"])
    [path] = tmp_path.iterdir()
    pq.write_table(pq.read_table(path).drop_columns(["item"]), path)
    with pytest.raises(DataError, match=r"expected the columns item, .*Received: no item\."):
        read(tmp_path)


def test_texts_have_a_dictionary_and_times_their_gaps(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": ["u", "v"],
            "item": [["a", "b"], ["a"]],
            "tags": pa.array([[["x"], []], [["y", "x"]]]),
            "timestamp": pa.array([[5, 9], [7]]),
            "weight": pa.array([[0.5, 1.0], [2.0]], pa.list_(pa.float32())),
            "train_end": pa.array([1, 1], pa.int32()),
        }
    )
    path = tmp_path / "one.parquet"
    write_sequences(table, path)
    group = pq.read_metadata(path).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    encodings = {chunk.path_in_schema.split(".")[0]: set(chunk.encodings) for chunk in chunks}
    for name in ("user", "item", "tags"):
        assert "RLE_DICTIONARY" in encodings[name]
    for name in ("timestamp", "train_end"):
        assert encodings[name] == {"RLE", "DELTA_BINARY_PACKED"}
    assert encodings["weight"] == {"RLE", "PLAIN"}
    assert pq.read_table(path).equals(table)


def test_positives_of_items_that_are_gone_are_left_out_as_if_they_had_never_been(tmp_path):
    folder, target = tmp_path / "all", tmp_path / "left"
    folder.mkdir()
    write(folder, [*ROWS, make_row("x", [], (0, 0, 0))], number=0, files=2, row_group_size=2)
    write(folder, [make_row("y", ["a", "a", "c"], (1, 2, 3))], number=1, files=2)
    assert copy_without_items(folder, target, make_spec(), pa.array(["c", "a"])) == 3
    names = ["sequences-00000-of-00002.parquet", "sequences-00001-of-00002.parquet"]
    assert sorted(path.name for path in target.iterdir()) == names
    left = [row for name in names for row in pq.read_table(target / name).to_pylist()]
    u = make_row("u", ["a", "b", "a", "c"], (1, 2, 2))
    for column in ("item", "timestamp", "weight", "tags"):
        del u[column][1]
    w = make_row("w", [], (0, 0, 0), age=7)
    expected = [u, ROWS[1], w, make_row("x", [], (0, 0, 0)), make_row("y", ["a", "a", "c"], (1, 2, 3))]
    assert left == expected
    assert pq.read_schema(target / names[0]).equals(pq.read_schema(folder / names[0]))
    # Readers find every item in the catalogue again.
    parts = list(read_sequences(target, make_spec(), pa.array(["c", "a"]), until=None))
    assert np.concatenate([part.items for part in parts]).tolist() == [1, 1, 0, 0, 1, 1, 0]


def test_nothing_is_left_out_where_every_item_is_kept(tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    write(folder, ROWS)
    assert copy_without_items(folder, tmp_path / "left", make_spec(), IDS) == 0
    [file] = (tmp_path / "left").iterdir()
    assert pq.read_table(file).to_pylist() == ROWS
