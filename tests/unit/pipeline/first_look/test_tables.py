import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.first_look.tables import read_columns, sample_table

pytestmark = pytest.mark.unit


def test_a_small_table_is_read_whole(tmp_path):
    pq.write_table(pa.table({"a": range(10)}), tmp_path / "t.parquet", row_group_size=3)
    table = sample_table(str(tmp_path / "t.parquet"))
    assert (table.rows, table.is_whole, table.stem) == (10, True, "t")
    assert table.columns["a"].to_pylist() == list(range(10))


def test_a_sample_is_of_the_whole_length_of_a_table(tmp_path):
    pq.write_table(pa.table({"a": range(1_000)}), tmp_path / "t.parquet", row_group_size=10)
    table = sample_table(str(tmp_path / "t.parquet"), limit=100)
    values = table.columns["a"].to_numpy()
    assert (table.rows, table.is_whole, len(values)) == (1_000, False, 100)
    # A tenth of the row groups, from the start to the end.
    assert np.bincount(values // 100).tolist() == [10] * 10
    whole = pa.concat_tables(read_columns(table, ["a"]))
    assert whole["a"].to_pylist() == list(range(1_000))


def test_the_first_rows_of_a_text_are_read(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\n" + "".join(f"{n}\tx\n" for n in range(50)))
    table = sample_table(str(tmp_path / "t.tsv"), limit=10)
    assert (table.source.format, table.source.delimiter, table.is_whole) == ("csv", "\t", False)
    assert table.columns["a"].to_pylist() == [str(n) for n in range(10)]


def test_rows_that_are_none_are_counted(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n4,5\n")
    table = sample_table(str(tmp_path / "t.csv"))
    assert (table.columns["b"].to_pylist(), table.rejected) == (["2", "5"], 1)


def test_keys_of_json_stay_in_the_order_of_the_first_line(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"b": 1, "a": 2}\n{"a": 3, "c": 5, "b": 4}\n')
    table = sample_table(str(tmp_path / "t.jsonl"))
    # A key that the first line lacks stands behind its own.
    assert table.columns.to_pydict() == {"b": [1, 4], "a": [2, 3], "c": [None, 5]}
    assert table.columns.column_names == ["b", "a", "c"]


def test_a_folder_is_one_table(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.jsonl").write_text(f'{{"a": {number}, "b": ["x"]}}\n')
    table = sample_table(str(tmp_path))
    assert table.columns.to_pydict() == {"a": [0, 1], "b": [["x"], ["x"]]}
