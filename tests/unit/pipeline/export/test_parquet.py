import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.export import content
from pipeline.export.parquet import write_parquet

pytestmark = pytest.mark.unit

COLUMNS = {"title": pa.chunked_array([["A", None], ["C"]]), "genres": pa.array([["x", "y"], [], None])}


def test_the_files(tmp_path, make_items, monkeypatch):
    monkeypatch.setattr(content, "BLOCK_ROWS", 1)
    items = make_items(["a", "b", "c"], [[1, 0], [0.6, 0.8], [0, 1]], COLUMNS, deleted=["x", "y", "z"])
    write_parquet(items, tmp_path, 2)
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*")) == [
        "deletes/00000.parquet", "deletes/00001.parquet", "items/00000.parquet", "items/00001.parquet",
    ]  # fmt: skip
    first = pq.ParquetFile(tmp_path / "items/00000.parquet")
    assert first.num_row_groups == 2
    table = pq.read_table(tmp_path / "items")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("item_id", "string"),
        ("embedding", "list<element: float>"),
        ("title", "string"),
        ("genres", "list<element: string>"),
    ]
    assert table["item_id"].to_pylist() == ["a", "b", "c"]
    assert table["embedding"].type.value_type == pa.float32()
    assert table["embedding"].to_pylist() == [[1, 0], pytest.approx([0.6, 0.8]), [0, 1]]
    assert table["title"].to_pylist() == ["A", None, "C"]
    assert table["genres"].to_pylist() == [["x", "y"], [], None]
    assert pq.read_table(tmp_path / "deletes").to_pydict() == {"item_id": ["x", "y", "z"]}


def test_unchanged_items_are_left_out(tmp_path, make_items):
    items = make_items(["a", "b", "c"], [[1, 0], [0.6, 0.8], [0, 1]], COLUMNS, changed=["c"], unchanged=["b"])
    write_parquet(items, tmp_path, 100)
    assert pq.read_table(tmp_path / "items")["item_id"].to_pylist() == ["a", "c"]
    assert not (tmp_path / "deletes").exists()


def test_nothing_to_write_makes_no_file(tmp_path, make_items):
    write_parquet(make_items(["a"], [[1, 0]], unchanged=["a"]), tmp_path, 100)
    assert list(tmp_path.iterdir()) == []
