import json

import pytest

from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.sources import streams
from schemas.errors import DataError

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
