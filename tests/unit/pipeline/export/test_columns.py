import datetime
import decimal

import pyarrow as pa
import pytest

from pipeline.export.columns import choose_columns, refuse_non_finite_values, to_plain_table
from schemas.errors import ConfigError, DataError

pytestmark = pytest.mark.unit

SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.large_string()),
        ("genres", pa.list_(pa.string())),
        ("maker", pa.struct([("name", pa.string())])),
    ]
)


def test_all_columns_but_the_id_are_chosen():
    schema = SCHEMA.remove(3)
    assert choose_columns(None, schema, "item_id", []) == ["title", "genres"]


def test_columns_are_chosen_once_in_the_order_asked_for():
    assert choose_columns(["genres", "item_id", "title", "genres"], SCHEMA, "item_id", []) == [
        "genres",
        "title",
    ]
    assert choose_columns([], SCHEMA, "item_id", []) == []


def test_an_unknown_column_is_refused_with_the_nearest_one():
    expected = r"columns of the catalogue: title, genres, maker\. Received: 'genre'\. Did you mean 'genres'\?"
    with pytest.raises(ConfigError, match=expected):
        choose_columns(["genre"], SCHEMA, "item_id", [])


def test_a_type_that_no_target_has_is_refused():
    expected = r"Received: 'maker' of type struct<name: string>\. Leave it out: --columns title,genres\."
    with pytest.raises(ConfigError, match=expected):
        choose_columns(None, SCHEMA, "item_id", [])


def test_a_name_that_the_export_needs_is_refused():
    with pytest.raises(ConfigError, match=r"no column named 'title'.*Leave it out: --columns genres\."):
        choose_columns(["title", "genres"], SCHEMA, "item_id", ["title"])


def test_values_become_plain():
    table = pa.table(
        {
            "item_id": ["a"],
            "text": pa.array(["ü"], pa.large_string()),
            "nothing": pa.array([None]),
            "small": pa.array([7], pa.int8()),
            "half": pa.array([0.5], pa.float32()),
            "price": pa.array([decimal.Decimal("9.75")]),
            "day": pa.array([datetime.date(2026, 11, 2)]),
            "taste": pa.array([[0.25, 0.5]], pa.list_(pa.float32(), 2)),
        }
    )
    plain = to_plain_table(table, "item_id", [*table.column_names[1:], "of another release"])
    assert plain.schema == pa.schema(
        [
            ("item_id", pa.string()),
            ("text", pa.string()),
            ("nothing", pa.string()),
            ("small", pa.int64()),
            ("half", pa.float32()),
            ("price", pa.float64()),
            ("day", pa.string()),
            ("taste", pa.list_(pa.float32())),
        ]
    )
    assert plain.to_pylist() == [
        {
            "item_id": "a", "text": "ü", "nothing": None, "small": 7, "half": 0.5, "price": 9.75,
            "day": "2026-11-02", "taste": [0.25, 0.5],
        }
    ]  # fmt: skip


def test_an_integer_that_needs_64_bits_without_a_sign_is_refused():
    table = pa.table({"item_id": ["a"], "hash": pa.array([2**64 - 1], pa.uint64())})
    with pytest.raises(DataError, match="Cannot export column 'hash' as int64"):
        to_plain_table(table, "item_id", ["hash"])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([None, 1.5, float("nan")]), "nan of item 'c'"),
        (pa.array([[1.0], [], [2.0, float("-inf")]], pa.list_(pa.float32())), "-inf of item 'c'"),
    ],
)
def test_numbers_that_json_lacks_are_refused(values, shown):
    table = pa.table({"item_id": ["a", "b", "c"], "price": values})
    with pytest.raises(DataError, match=f"price: expected finite numbers.*Received: {shown}"):
        refuse_non_finite_values(table, "item_id")


def test_finite_and_missing_numbers_pass():
    columns = {"price": pa.array([None, 1e38]), "tastes": pa.array([None, [1.0]]), "year": [1, 2]}
    refuse_non_finite_values(pa.table({"item_id": ["a", "b"], **columns}), "item_id")
