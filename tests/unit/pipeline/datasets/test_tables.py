import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.datasets.tables import has_all_tables, present_tables, staged_tables
from schemas.errors import DataError

pytestmark = pytest.mark.unit

NAMES = ["users.parquet", "items.parquet", "interactions.parquet"]


def write_all(folder, value):
    for name in NAMES:
        pyarrow.parquet.write_table(pa.table({"a": [value]}), folder / name)


def test_staged_tables_appear_together_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "new" / "folder"
    with staged_tables(target) as staging:
        write_all(staging, 1)
        assert present_tables(target) == []
    assert has_all_tables(target)
    assert sorted(path.name for path in target.iterdir()) == sorted(NAMES)


def test_a_failure_leaves_what_was_there(tmp_path):
    write_all(tmp_path, 1)

    def write_and_fail():
        with staged_tables(tmp_path) as staging:
            write_all(staging, 2)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert pyarrow.parquet.read_table(tmp_path / "users.parquet")["a"].to_pylist() == [1]


def test_two_of_three_tables_are_not_all(tmp_path):
    write_all(tmp_path, 1)
    (tmp_path / "items.parquet").unlink()
    assert present_tables(tmp_path) == ["users.parquet", "interactions.parquet"]
    assert not has_all_tables(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = r"Cannot write the tables to .*file.*Name a folder"
    with pytest.raises(DataError, match=message), staged_tables(tmp_path / "file" / "sub"):
        pass
