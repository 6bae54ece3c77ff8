import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.config import IngestConfig
from pipeline.retraining.catalogue import compare_catalogues, read_catalogue
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def make_spec(display=(), **price) -> FeatureSpec:
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}} | price,
        {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "default": "none"}
        | {"encoding": {"kind": "vocabulary"}},
    ]
    tables = {"items": {"display": list(display)}}
    return parse(FeatureSpec, {"name": "shop", "features": features, "tables": tables}, source="test")


def make_table(rows, **further):
    columns = {
        "item": pa.array([row[0] for row in rows], pa.string()),
        "price": pa.array([row[1] for row in rows], pa.float32()),
        "tags": pa.array([row[2] for row in rows], pa.list_(pa.string())),
    }
    return pa.table(columns | further)


RELEASED = [("a", 1.0, ["x"]), ("b", 2.0, ["x", "y"]), ("c", 3.0, []), ("d", 0.0, ["none"])]


def test_what_is_new_gone_and_changed_is_told_whatever_the_order():
    now = [("e", 9.0, ["z"]), ("c", 3.0, []), ("b", 2.0, ["y", "x"]), ("a", 1.5, ["x"])]
    change = compare_catalogues(make_table(RELEASED), make_table(now), make_spec())
    assert change.released_rows.tolist() == [-1, 2, 1, 0]
    assert change.is_new.tolist() == [True, False, False, False]
    assert change.gone.to_pylist() == ["d"]
    assert change.differs["price"].tolist() == [False, False, False, True]
    assert change.differs["tags"].tolist() == [False, False, True, False]
    assert change.find_changed(["item", "price", "tags"]).tolist() == [False, False, True, True]
    assert not change.is_empty


def test_another_order_is_no_change():
    assert compare_catalogues(make_table(RELEASED), make_table(RELEASED[::-1]), make_spec()).is_empty


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        (["A", None, None, "D"], ["A", None, "C", None], [False, False, True, True]),
        ([1.0, float("nan"), None, 4.0], [1.0, float("nan"), None, 5.0], [False, False, False, True]),
        ([[1, 2], [1], None, []], [[1, 3], [1, 1], None, None], [True, True, False, True]),
        ([{"s": 1}, {"s": 2}, None, None], [{"s": 1}, {"s": 3}, None, None], [False, True, False, False]),
        ([1, 2, None, 4], ["1", "2", None, "4"], [True, True, False, True]),
    ],
)
def test_what_is_shown_may_be_missing_and_of_any_type(before, now, differs):
    change = compare_catalogues(
        make_table(RELEASED, title=pa.array(before)), make_table(RELEASED, title=pa.array(now)), make_spec()
    )
    assert change.differs["title"].tolist() == differs
    assert not change.find_changed(["item", "price", "tags"]).any()


def test_a_column_that_only_one_has_is_a_change_of_every_item():
    titled = make_table(RELEASED, title=pa.array(["A", "B", "C", "D"]))
    for pair in ((titled, make_table(RELEASED)), (make_table(RELEASED), titled)):
        change = compare_catalogues(*pair, make_spec())
        assert change.differs["title"].all()
        assert not change.is_empty


def test_a_feature_of_another_type_is_refused():
    released = make_table(RELEASED).drop_columns(["price"]).append_column("price", pa.array([1, 2, 3, 4]))
    with pytest.raises(ReleaseError, match=r"price: expected values of type int64.*Received: float\."):
        compare_catalogues(released, make_table(RELEASED), make_spec())


def write_items(folder, rows, **further):
    table = pa.table(
        {
            "item": [row[0] for row in rows],
            "price": [row[1] for row in rows],
            "tags": pa.array([row[2] for row in rows], pa.list_(pa.string())),
        }
        | further
    )
    pq.write_table(table, folder / "items.parquet")


def read(spec, folder, released=RELEASED, **config):
    return read_catalogue(
        spec, IngestConfig(**config), str(folder), make_table(released), folder / "catalogue"
    )


def test_the_item_table_is_read_as_a_run_reads_it(tmp_path):
    rows = [("b", 2, ["x"]), ("a", float("nan"), None), ("z", 7, [])]
    write_items(tmp_path, rows, title=["B", "A", None])
    found = read(make_spec(display=["title"], default=0.5), tmp_path)
    assert found.table.to_pylist() == [
        {"item": "b", "price": 2.0, "tags": ["x"], "title": "B"},
        {"item": "a", "price": 0.5, "tags": ["none"], "title": "A"},
        {"item": "z", "price": 7.0, "tags": [], "title": None},
    ]
    assert dict(found.filled) == {"price": 1, "tags": 1}
    assert pq.read_table(tmp_path / "catalogue" / "catalogue.parquet") == found.table


def test_a_value_without_a_default_must_be_there(tmp_path):
    write_items(tmp_path, [("a", None, ["x"])])
    with pytest.raises(DataError, match=r"values are missing .* in 'price' \(1\)"):
        read(make_spec(), tmp_path)


def test_items_that_only_the_log_has_stay_where_a_run_would_give_them_defaults(tmp_path):
    # Of the released items a is in the table, b and c had features of their own, d has the defaults.
    write_items(tmp_path, [("a", 1.0, ["x"]), ("new", 4.0, ["x"])])
    spec = make_spec(default=0.0)
    kept = read(spec, tmp_path, missing_metadata="default").table
    assert kept.to_pylist()[2:] == [{"item": "d", "price": 0.0, "tags": ["none"]}]
    assert read(spec, tmp_path, missing_metadata="refuse").table["item"].to_pylist() == ["a", "new"]


def test_values_with_which_a_run_would_stop_are_refused(tmp_path):
    write_items(tmp_path, [("a", 1.0, ["x"]), ("b", 5.0, ["y"])])
    with pytest.raises(DataError, match=r"price: expected at least 2\. Received: 1\.0; price: .* 4\. Receiv"):
        read(make_spec(minimum=2, maximum=4), tmp_path)
    allowed = make_spec()
    features = tuple(
        parse(type(f), {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True}
              | {"values": ["x", "none"], "default": "none"}, source="test") if f.name == "tags" else f
        for f in allowed.features
    )  # fmt: skip
    with pytest.raises(DataError, match=r"tags: expected one of \['x', 'none'\]\. Received: 'y'"):
        read(type(allowed)(name="shop", features=features), tmp_path)


def test_lists_of_numbers_are_compared_number_by_number():
    vectors = [np.array([1, 2], np.float32)] * 4
    other = [*vectors[:3], np.array([1, 3], np.float32)]
    kind = pa.list_(pa.float32())
    one = make_table(RELEASED, vector=pa.array(vectors, kind))
    change = compare_catalogues(one, make_table(RELEASED, vector=pa.array(other, kind)), make_spec())
    assert change.differs["vector"].tolist() == [False, False, False, True]
