"""The columns that are shown, from the item table."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.candidate_indexer.display import (
    check_display,
    look_for_display,
    look_for_display_here,
    read_display,
)
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec, ItemTable
from schemas.strict_config import parse

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


def make_spec(**items):
    identity = {"dtype": "string", "encoding": {"kind": "vocabulary"}}
    features = [
        {"name": "uid", "tower": "user", "role": "user_id", **identity},
        {"name": "sku", "tower": "item", "role": "item_id", **identity},
        {"name": "price", "dtype": "float", "tower": "item"},
    ]
    return parse(FeatureSpec, {"name": "s", "features": features, "tables": {"items": items}}, source="s")


WRONG = (
    r"tables\.items\.display: expected columns of items\.\w+: name, sku\. Received: 'nam'\. "
    r"Did you mean 'name'\?"
)


@pytest.mark.parametrize("look", [look_for_display, look_for_display_here])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_misspelt_column_is_refused_by_a_look_at_the_table(tmp_path, look, kind):
    file = tmp_path / f"items.{kind}"
    table = pa.table({"sku": ["a", "b"], "name": ["A", "B"]})
    if kind == "parquet":
        pq.write_table(table, file)
    elif kind == "csv":
        file.write_text("sku,name\na,A\n")
    else:
        file.write_text('{"sku": "a", "name": "A"}\n')
    look(make_spec(file=file.name, display=["name", "price", "sku"]), str(tmp_path))
    with pytest.raises(ConfigError, match=WRONG):
        look(make_spec(file=file.name, display=["name", "nam"]), str(tmp_path))


def test_a_column_is_looked_for_as_the_files_call_it():
    items = ItemTable(display=("title",), columns={"title": "name"})
    check_display(items, ("sku",), ("name", "sku"))
    with pytest.raises(ConfigError, match=r"'title', which tables\.items\.columns calls 'name'\."):
        check_display(items, ("sku",), ("sku", "title"))


def test_a_table_that_is_not_on_this_machine_is_looked_at_where_it_must_be_alone(tmp_path):
    spec = make_spec(display=["name"])
    look_for_display_here(spec, "s3://there-is-no-such-bucket-at-all/tables")
    look_for_display_here(spec, str(tmp_path))
    with pytest.raises(DataError, match=r"No file .*items\.parquet"):
        look_for_display(spec, str(tmp_path))
    look_for_display(make_spec(), str(tmp_path))
