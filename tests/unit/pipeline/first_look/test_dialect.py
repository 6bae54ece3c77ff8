import gzip

import pyarrow as pa
import pytest

from pipeline.first_look.dialect import (
    choose_separator,
    detect_decimal,
    detect_dialect,
    detect_encoding,
    has_header,
    read_header,
)
from schemas.errors import DataError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_told_by_how_many_fields_it_makes(separator):
    lines = [separator.join(row) for row in (["user", "item", "when"], ["1", "2", "3"], ["4", "5", "6"])]
    assert choose_separator(lines) == separator


def test_a_comma_within_texts_separates_nothing():
    # By commas the rows have 2, 1 and 3 fields, by semicolons 2 each.
    lines = ["id;title, year", "1;Heat", "2;Good, bad, ugly"]
    assert choose_separator(lines) == ";"


def test_a_quoted_field_may_hold_the_separator():
    assert choose_separator(["id,title", '1,"a;b"', '2,"c;d"']) == ","


def test_several_characters_may_separate():
    assert choose_separator(["1::Toy Story (1995)::Animation|Comedy", "2::Heat (1995)::Action"]) == "::"


def test_a_compressed_file_with_a_mark_is_read(tmp_path):
    file = tmp_path / "log.csv.gz"
    file.write_bytes(gzip.compress("\ufeffuser; item\n1;2\n".encode()))
    assert {key: found.value for key, found in detect_dialect(str(file), "utf-8").items()} == {
        "delimiter": ";"
    }
    assert read_header(str(file), ";", "utf-8") == ["user", "item"]


def test_a_file_without_a_header_has_names_of_its_own(tmp_path):
    file = tmp_path / "u.data"
    file.write_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    header = detect_dialect(str(file), "utf-8")["header"]
    assert header.value == ("column_1", "column_2", "column_3", "column_4")
    assert "196, 242, 3, 881250949" in header.evidence


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["id", "age"], ["1", "30"]], True),
        ([["1", "30"], ["2", "31"]], False),
        # A time tells where the ids are texts.
        ([["c1", "2024-01-01"], ["c2", "2024-01-02"]], False),
        ([["c1", "when"], ["c2", "2024-01-02"]], True),
        # A year is the name of a column among others with names.
        ([["id", "2024"], ["1", "5"]], True),
        # An index of pandas has no name.
        ([["", "id"], ["0", "7"]], True),
        ([["name", "sex"], ["Ann", "F"], ["Bob", "M"], ["Eve", "F"]], True),
        ([["Ann", "F"], ["Bob", "M"], ["Eve", "F"]], False),
        # Files put one after the other.
        ([["name", "sex"], ["Ann", "F"], ["name", "sex"], ["Bob", "M"]], True),
        ([["1", "30"]], False),
        ([["id", "age"]], True),
    ],
)
def test_a_header_has_no_values(rows, expected):
    assert has_header(rows) is expected


def test_an_empty_file_is_told(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        detect_dialect(str(tmp_path / "log.csv"), "utf-8")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("straße;ort\n".encode(), None),
        ("straße;ort\n".encode("latin-1"), "latin-1"),
        ("price\n5 €\n".encode("cp1252"), "cp1252"),
        ("user;item\n".encode("utf-16"), None),
        ("user;item\n".encode("utf-16-le"), "utf-16-le"),
        ("user;item\n".encode("utf-16-be"), "utf-16-be"),
        # One damaged line of three with letters beyond ASCII.
        ("Öl\nTüte\n".encode() + b"S\xfc\xdf\n", None),
    ],
)
def test_the_encoding_is_told_by_the_bytes(tmp_path, content, expected):
    (tmp_path / "log.csv").write_bytes(content)
    found = detect_encoding(str(tmp_path / "log.csv"))
    assert (found and found.value) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"price": ["1,5", "20", None]}, ","),
        ({"price": ["1.5", "20"]}, None),
        ({"price": ["1,5", "20"], "weight": ["0.5", "0.25"]}, None),
        # Thousands, and lists.
        ({"price": ["1,234", "12,500", "7"]}, None),
        ({"codes": ["1,2,3", "4,5"]}, None),
    ],
)
def test_a_comma_before_fractions_is_told(columns, expected):
    found = detect_decimal(
        pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    )
    assert (found and found.value) == expected
