import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.sources import parquet
from components.interaction_ingest.sources.parts import Piece

pytestmark = pytest.mark.unit

# 2026-11-22T00:00:00Z, by `date -ud 2026-11-22 +%s`.
NOON = 1_795_305_600 + 43_200
ROW = {
    "user": "ann",
    "item": 1,
    "timestamp": NOON,
    "stars": 4.5,
    "device": "tv",
    "visits": 3,
    "tags": ["x", "y"],
}


def test_damaged_parquet(read_log):
    rows = [{**ROW, "user": f"user {n}"} for n in range(300)]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows), sink, row_group_size=100, compression="GZIP", use_dictionary=False
    )
    content = bytearray(sink.getvalue())
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    start = column.data_page_offset + 40
    content[start : start + 60] = b"\x00" * 60
    found, reasons, letters, unread = read_log("log.parquet", bytes(content))
    assert [row[ROW_COLUMN] for row in found] == [*range(100), *range(200, 300)]
    assert reasons == [("unreadable_row_group", None, 100)]
    assert letters[0]["row_group"] == 1
    assert unread > 0


def test_the_statistics_of_a_file_are_read_by_opening_it_once(tmp_path, monkeypatch):
    for name, first in (("a", 0), ("b", 100)):
        seconds = pa.array([first + second for second in (3, 1, 2, 7, 5, 9)])
        pq.write_table(pa.table({"at": seconds}), tmp_path / f"{name}.parquet", row_group_size=2)
    (tmp_path / "c.parquet").write_bytes(b"none")
    pieces = [
        Piece(str(tmp_path / f"{name}.parquet"), "parquet", 0, group, 0, 2, 1)
        for name in "abc"
        for group in range(3)
    ]
    opened = []
    open_table = parquet.open_table
    monkeypatch.setattr(parquet, "open_table", lambda path: opened.append(path) or open_table(path))
    found = parquet.find_bounds(pieces, "at")
    bounds = [None if one is None else (one.low, one.high) for one in found]
    assert bounds == [(1, 3), (2, 7), (5, 9), (101, 103), (102, 107), (105, 109), None, None, None]
    assert len(opened) == 3
