import json

import pytest

from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources import streams
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column
from components.interaction_ingest.sources.reading import read_piece
from schemas.errors import DataError
from schemas.features import Feature, ItemTable

pytestmark = pytest.mark.unit

# 2026-11-22T00:00:00Z, by `date -ud 2026-11-22 +%s`.
NOON = 1_795_305_600 + 43_200


def test_malformed_csv_rows(read_log, tmp_path):
    content = (
        b"user,item,timestamp,stars,device,visits,tags\n"
        b"a,1,10,5,tv,1,x\n"
        b"a,1,10,5,tv,1,x,one,too,many\n"
        b"\n"
        b"a,1,10\n"
        b"\xff\xfe,1,10,5,tv,1,x\n"
        b",1,10,5,tv,1,x\n"
        b'"",1,10,5,tv,1,x\n'
        b"b,1,soon,5,tv,1,x\n"
        b"b,1,1795305600000000,5,tv,1,x\n"
        b"b,1,,5,tv,1,x\n"
        b"b,1,10,good,tv,1,x\n"
        b"b,1,10,5,tv,1.5,x\n"
        b'"c\nd",1,10,5,tv,1,x\n'
        b"e,2, 11 ,4,,,\n"
    )
    rows, reasons, letters, unread = read_log("log.csv", content)
    assert [(row["user"], row["timestamp"], row[ROW_COLUMN]) for row in rows] == [
        ("a", 10, 0),
        ("e", 11, 12),
    ]
    assert (rows[1]["device"], rows[1]["visits"], rows[1]["tags"]) == (None, None, None)
    assert sorted(reasons, key=lambda reason: reason[1]) == [
        ("too_many_fields", 2, 1),
        ("too_few_fields", 3, 1),
        ("invalid_utf8", 4, 1),
        ("null_id", 5, 1),
        ("empty_id", 6, 1),
        ("wrong_type", 7, 1),
        ("out_of_range_timestamp", 8, 1),
        ("null_timestamp", 9, 1),
        ("wrong_type", 10, 1),
        ("wrong_type", 11, 1),
        ("line_break_in_id", 12, 1),
    ]
    assert unread == 0
    by_row = {letter["row"]: letter["text"] for letter in letters}
    assert by_row[2] == "a,1,10,5,tv,1,x,one,too,many"
    assert json.loads(by_row[4])["user"] == r"\xff\xfe"
    assert json.loads(by_row[7])["timestamp"] == "soon"
    assert {letter["file"] for letter in letters} == {str(tmp_path / "log.csv")}


def test_row_numbers_hold_over_blocks_with_malformed_rows_between(read_log, monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_BYTES", 200)
    monkeypatch.setattr(streams, "SLICE_BYTES", 200)
    bad = {7, 8, 50, 51, 98}
    lines = ["user,item,timestamp,stars,device,visits,tags"]
    lines += [f"u{n},1,10,5,tv,1,x" + (",more" if n in bad else "") for n in range(100)]
    rows, reasons, _, _ = read_log("log.csv", "\n".join(lines).encode())
    assert [(row["user"], row[ROW_COLUMN]) for row in rows] == [
        (f"u{n}", n) for n in range(100) if n not in bad
    ]
    assert sorted(row for _, row, _ in reasons) == [n + 1 for n in sorted(bad)]


@pytest.mark.parametrize("row", ['"never closed,1,10,5,tv,1,x', 'ann,1,10,5,tv,1,"never closed'])
def test_an_unclosed_quotation_mark_is_counted_with_the_lines_it_swallows(read_log, row):
    header, good = "user,item,timestamp,stars,device,visits,tags\n", "ann,1,10,5,tv,1,x\n"
    rows, reasons, letters, _ = read_log("log.csv", f"{header}{good}{row}\n{good * 998}".encode())
    assert (len(rows), reasons) == (1, [("unclosed_quote", 2, 999)])
    assert letters[0]["text"].startswith(row)


def test_a_quotation_mark_that_another_value_closes_is_rejected(read_log):
    header, good = "user,item,timestamp,stars,device,visits,tags\n", "ann,1,10,5,tv,1,x\n"
    content = header + good + 'ann,1,10,5,tv,1,"x\n' + good * 10 + 'ann,1,10,5,tv,1,5" x"\n' + good
    rows, reasons, _, _ = read_log("log.csv", content.encode())
    assert [row[ROW_COLUMN] for row in rows] == [0, 2]
    assert reasons == [("unclosed_quote", 2, 12)]


def test_a_file_without_rows(read_log):
    assert read_log("log.csv", b"user,item,timestamp,stars,device,visits,tags\n")[:2] == ([], [])


def test_columns_that_stand_twice_are_refused(read_log):
    with pytest.raises(DataError, match=r"log\.csv: the header has user twice"):
        read_log("log.csv", b"user,item,timestamp,stars,device,visits,tags,user\na,1,1,1,,,,b\n")


def test_a_quoted_value_longer_than_a_block(read_log):
    lines = ["user,item,timestamp,stars,device,visits,tags,note"]
    for n in range(4000):
        note = "long " * 600_000 if n == 5 else "a\nb"
        lines.append(f'"u{n}",1,{NOON},4.5,"tv",3,"x|y","{note}"')
    found, reasons, _, _ = read_log("log.csv", "".join(f"{line}\n" for line in lines).encode())
    assert [row["user"] for row in found] == [f"u{n}" for n in range(4000)]
    assert reasons == []


def read_items(tmp_path, content, **options):
    """Read films of a CSV file: their rows, and the reasons and texts of what is left out."""
    (tmp_path / "films.csv").write_bytes(content)
    table = ItemTable(file="films.csv", **options)
    columns = (
        Column("id", "id", "feature", Feature(name="id", dtype="string", tower="item", role="item_id")),
        Column("title", "title", "feature", Feature(name="title", dtype="string", tower="item")),
    )
    looked = look_into_files(table, "items", find_files(table, str(tmp_path)), columns)
    rows, letters = [], []
    for piece in looked.pieces:
        for batch, rejections in read_piece(piece, table, "items", columns, ["id"]):
            rows += [(row["id"], row["title"]) for row in batch.to_pylist()]
            letters += [(one["reason"], one["row"], one["text"]) for one in rejections.letters.to_pylist()]
    return rows, letters


@pytest.mark.parametrize("chunk_bytes", [5, 1 << 20])
def test_a_file_without_a_header_with_a_separator_of_two_characters(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(streams, "SLICE_BYTES", chunk_bytes)
    content = '1::Am\xe9lie::x\n2::"a::b: c"::y\n3::one::too::many\n4:::d::z\n'.encode("latin-1")
    rows, letters = read_items(
        tmp_path, content, delimiter="::", encoding="latin-1", header=("id", "title", "more")
    )
    assert rows == [("1", "Amélie"), ("2", "a::b: c"), ("4", ":d")]
    assert letters == [("too_many_fields", 3, "3::one::too::many")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_told_by_its_mark(tmp_path, encoding):
    text = "id,title\n1,Amélie \U0001f600\n2,b\n"
    content = text.encode(encoding) if encoding == "utf-16" else b"\xfe\xff" + text.encode(encoding)
    assert read_items(tmp_path, content) == ([("1", "Amélie \U0001f600"), ("2", "b")], [])


def test_what_is_none_of_the_encoding_is_malformed(tmp_path):
    rows, letters = read_items(tmp_path, b"id,title\n1,a\x81b\n2,\xe9\n", encoding="cp1252")
    assert rows == [("2", "é")]
    assert [letter[:2] for letter in letters] == [("invalid_utf8", 1)]
    rows, letters = read_items(tmp_path, "id,title\n1,a\n".encode("utf-16") + b"\x00")
    assert (rows, [letter[0] for letter in letters]) == ([("1", "a")], ["too_few_fields"])


def test_blanks_around_the_names_of_a_header(tmp_path):
    assert read_items(tmp_path, b" id , title\n1,a\n") == ([("1", "a")], [])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            b"id;title\n1;a\n",
            {},
            r"Its columns: id;title\. ',' does not separate its first row, 'id;title': set delimiter: \";\"",
        ),
        (b"id\ttitle\n1\ta\n", {}, r'set delimiter: "\\t" for the table in the schema file\.$'),
        (b"id,title\n1,a\n", {"delimiter": ";"}, r'set delimiter: "," for'),
        (b"1::Toy Story\n", {}, r'set delimiter: "::" for .* looks like values: .*set \'header\''),
        (
            b"1,Toy Story\n",
            {},
            r"^films.csv: no column 'id'.*Story\. The first row looks like values: if the file",
        ),
        (b"1,1,Toy\n", {}, r"header has 1 twice\. The first row looks like values"),
        (b"id,name\n1,a\n", {}, r"no column 'title'.*Did you mean 'name'\?"),
        (b"id\n1\n", {}, r"no column 'title'.*Its columns: id\. Rename the column"),
        (
            b"1,a,x\n",
            {"header": ("id", "title")},
            r"expected 2 fields in each row.*Received: 3 in the first row, '1', 'a', 'x'\. Correct the",
        ),
        (
            b"1;a\n",
            {"header": ("id", "title")},
            r"Received: 1 in the first row, '1;a'.* set delimiter: \";\"",
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_told(tmp_path, content, options, message):
    with pytest.raises(DataError, match=message):
        read_items(tmp_path, content, **options)
