import gzip

import pytest

from pipeline.first_look.dialect import choose_separator, detect_dialect
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


def test_it_reads_a_compressed_file_with_a_mark(tmp_path):
    file = tmp_path / "log.csv.gz"
    file.write_bytes(gzip.compress("\ufeffuser;item\n1;2\n".encode()))
    dialect = detect_dialect(str(file))
    assert (dialect.delimiter, dialect.names) == (";", ("user", "item"))


def test_a_file_without_a_header_is_told(tmp_path):
    file = tmp_path / "u.data"
    file.write_text("196\t242\t3\t881250949\n")
    with pytest.raises(DataError, match=r"names of the columns in the first line\. Received: 196, 242"):
        detect_dialect(str(file))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("straße;ort\n".encode("latin-1"), "Latin-1"),
        ("user;item\n".encode("utf-16"), "UTF-16"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, content, expected):
    file = tmp_path / "log.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=expected):
        detect_dialect(str(file))
