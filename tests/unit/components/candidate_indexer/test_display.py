"""The columns that are shown, from the item table."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.candidate_indexer.display import read_display
from schemas.errors import DataError
from schemas.features import ItemTable

pytestmark = pytest.mark.unit

FEATURES = ("sku", "price")


@pytest.mark.parametrize("display", [(), ("price",), ("sku", "price")])
def test_nothing_is_read_where_the_catalogue_has_every_column(display):
    items = ItemTable(display=display)
    assert read_display("sku", items, "/there/is/no/such/folder", FEATURES) is None


def test_columns_are_read_as_the_table_calls_them(tmp_path):
    table = {"product": [7, 8], "price": [1.5, 2.5], "name": ["seven", None], "photos": [["a", "b"], []]}
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    items = ItemTable(display=("title", "price", "photos"), columns={"sku": "product", "title": "name"})
    shown = read_display("sku", items, str(tmp_path), FEATURES)
    assert shown.to_pydict() == {
        "sku": ["7", "8"],
        "title": ["seven", None],
        "photos": [["a", "b"], []],
    }


def test_types_that_change_from_file_to_file_become_text(tmp_path):
    (tmp_path / "items").mkdir()
    for number, size in ((0, 41), (1, "XL")):
        row = {"sku": f"s{number}", "size": size}
        (tmp_path / "items" / f"part-{number}.jsonl").write_text(json.dumps(row) + "\n")
    items = ItemTable(file="items", display=("size",))
    shown = read_display("sku", items, str(tmp_path), FEATURES)
    assert shown.to_pydict() == {"sku": ["s0", "s1"], "size": ["41", "XL"]}


def test_malformed_rows_are_left_out_however_many_there_are(tmp_path):
    pq.write_table(pa.table({"sku": ["a", None, None], "title": ["A", "B", "C"]}), tmp_path / "items.parquet")
    shown = read_display("sku", ItemTable(display=("title",)), str(tmp_path), FEATURES)
    assert shown.to_pydict() == {"sku": ["a"], "title": ["A"]}


def test_a_column_that_the_table_does_not_have_is_an_error(tmp_path):
    pq.write_table(pa.table({"sku": ["a"], "title": ["A"]}), tmp_path / "items.parquet")
    with pytest.raises(DataError, match="titel"):
        read_display("sku", ItemTable(display=("titel",)), str(tmp_path), FEATURES)
