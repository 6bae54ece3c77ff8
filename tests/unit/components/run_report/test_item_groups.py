import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.run_report.item_groups import choose_feature, group_items, title_items
from schemas.errors import DataError

pytestmark = pytest.mark.unit


def test_frequent_values_have_a_group_each_and_the_rest_is_other() -> None:
    values = [*"aaaabbbcc", *"defgh", None]
    groups = group_items(pa.table({"kind": values}), "kind")
    assert groups.labels == ["a", "b", "c", "d", "e", "f", "other", "unknown"]
    assert groups.numbers.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 7]


def test_seven_values_need_no_other() -> None:
    groups = group_items(pa.table({"kind": list("gfedcba")}), "kind")
    assert groups.labels == list("abcdefg")
    assert groups.numbers.tolist() == [6, 5, 4, 3, 2, 1, 0]


def test_of_a_list_the_first_value_counts() -> None:
    groups = group_items(pa.table({"genres": [["b", "a"], ["a"], []]}), "genres")
    assert [groups.labels[number] for number in groups.numbers] == ["b", "a", "unknown"]


def test_numbers_are_grouped_by_quintiles() -> None:
    groups = group_items(pa.table({"year": [*range(1990, 2000), None]}), "year")
    assert groups.labels == [
        "1990 to 1991", "1992 to 1993", "1994 to 1995", "1996 to 1997", "1998 to 1999", "unknown",
    ]  # fmt: skip
    assert groups.numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_one_number_is_one_group() -> None:
    groups = group_items(pa.table({"year": [7, 7, 7]}), "year")
    assert (groups.labels, groups.numbers.tolist()) == (["7"], [0, 0, 0])


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"item_id": ["1", "2"], "year": [1, 2], "kind": ["a", "b"]}, "kind"),
        ({"item_id": ["1", "2"], "year": [1, 2], "same": ["a", "a"]}, "year"),
        ({"item_id": ["1", "2"], "title": ["A", "B"]}, None),
    ],
)
def test_chooses_a_feature(columns, chosen, tmp_path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "catalogue.parquet")
    assert choose_feature(tmp_path / "catalogue.parquet", None, {"item_id", "title"}) == chosen


def test_the_feature_that_is_asked_for_must_be_there(tmp_path) -> None:
    pq.write_table(pa.table({"item_id": ["1"], "title": ["A"]}), tmp_path / "catalogue.parquet")
    assert choose_feature(tmp_path / "catalogue.parquet", "title", {"title"}) == "title"
    with pytest.raises(DataError, match=r"one of \['item_id', 'title'\]. Received: 'colour'"):
        choose_feature(tmp_path / "catalogue.parquet", "colour", ())


def test_without_a_feature_all_are_one_group() -> None:
    groups = group_items(pa.table({"item_id": ["1", "2"]}), None)
    assert (groups.labels, groups.numbers.tolist()) == (["items"], [0, 0])


def test_titles() -> None:
    table = pa.table(
        {"item_id": ["1", "2", "3"], "title": ["A", None, "x" * 300], "year": [1999, None, 2000]}
    )
    titles = title_items(table, "item_id", ("title", "year"))
    assert titles[:2] == ["A, 1999 (1)", "2"]
    assert len(titles[2]) == 100
