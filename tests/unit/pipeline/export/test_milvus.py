"""The layout is that of milvus.io/docs/prepare-source-data.md and milvus.io/docs/import-data.md."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.export.milvus import write_milvus
from schemas.errors import ConfigError, DataError

pytestmark = pytest.mark.unit


def test_the_files(tmp_path, make_items):
    columns = {"title": ["A", None, "C"], "genres": [["x"], [], ["y"]], "year": [1, 2, 3]}
    items = make_items(
        ["a", "b", 'c"\\'],
        [[1, 0], [0, 1], [0.6, 0.8]],
        {name: pa.array(values) for name, values in columns.items()},
        changed=['c"\\'],
        unchanged=["b"],
        deleted=["ü"],
    )
    write_milvus(items, tmp_path, 100)
    table = pq.read_table(tmp_path / "items/00000.parquet")
    # A vector is a list, as an importer does not take lists of a fixed size in every version.
    assert pa.types.is_list(table.schema.field("embedding").type)
    assert table.drop_columns("embedding").to_pylist() == [
        {"item_id": "a", "title": "A", "genres": ["x"], "year": 1},
        {"item_id": 'c"\\', "title": "C", "genres": ["y"], "year": 3},
    ]
    # An import does not replace: the changed item is deleted before it.
    [file] = (tmp_path / "deletes").iterdir()
    assert file.name == "00000.json"
    assert json.loads(file.read_text(encoding="utf-8")) == {"filter": 'item_id in ["c\\"\\\\","ü"]'}


def test_filters_of_a_thousand_ids(tmp_path, make_items):
    deleted = [f"i{number}" for number in range(2001)]
    write_milvus(make_items(["a"], [[1, 0]], deleted=deleted), tmp_path, 100)
    filters = [json.loads(file.read_text())["filter"] for file in sorted((tmp_path / "deletes").iterdir())]
    found = [json.loads(text.removeprefix("item_id in ")) for text in filters]
    assert [len(ids) for ids in found] == [1000, 1000, 1]
    assert [name for ids in found for name in ids] == deleted


def test_names_that_no_field_may_have_are_refused(tmp_path, make_items):
    with pytest.raises(ConfigError, match=r"no digit first\. Received: 'year of birth'"):
        write_milvus(make_items(["a"], [[1, 0]], {"year of birth": pa.array([1])}), tmp_path, 100)


def test_more_fields_than_a_collection_may_have_are_refused(tmp_path, make_items):
    # With the id and the embedding.
    columns = {f"c{number}": pa.array([number]) for number in range(63)}
    with pytest.raises(ConfigError, match=r"at most 64 fields of a collection\. Received: 65"):
        write_milvus(make_items(["a"], [[1, 0]], columns), tmp_path, 100)


def test_more_files_than_an_import_takes_are_refused(tmp_path, make_items):
    items = make_items([str(number) for number in range(1025)], [[1, 0]] * 1025)
    with pytest.raises(ConfigError, match=r"at most 1,024 files.*Received: 1,025\. Raise --rows-per-file"):
        write_milvus(items, tmp_path, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        # Two bytes a letter.
        (pa.array(["ü" * 32_768]), r"texts of at most 65,535 bytes.*Received: one of 65,536"),
        (pa.array([["ü" * 32_768]]), r"texts of at most 65,535 bytes.*Received: one of 65,536"),
        (pa.array([list(range(4097))]), r"lists of at most 4,096 values.*Received: one of 4,097"),
        (pa.array([["x", None]]), r"lists without missing values.*Received: 1 of them"),
        (pa.array([float("inf")]), "expected finite numbers"),
    ],
)
def test_values_that_a_field_cannot_hold_are_refused(tmp_path, make_items, column, message):
    with pytest.raises(DataError, match=f"shown: .*{message}"):
        write_milvus(make_items(["a"], [[1, 0]], {"shown": column}), tmp_path, 100)


def test_the_longest_values_pass(tmp_path, make_items):
    columns = {"text": pa.array(["x" * 65_535]), "list": pa.array([list(range(4096))])}
    write_milvus(make_items(["a"], [[1, 0]], columns), tmp_path, 100)
    assert pq.read_table(tmp_path / "items")["text"].to_pylist() == ["x" * 65_535]


def test_an_id_that_no_filter_can_name_is_refused(tmp_path, make_items):
    with pytest.raises(DataError, match=r"without control characters.*leave out --since"):
        write_milvus(make_items(["a"], [[1, 0]], deleted=["x\ny"]), tmp_path, 100)
