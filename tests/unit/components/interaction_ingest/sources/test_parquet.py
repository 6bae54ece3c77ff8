import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.reading.cleaning import ROW_COLUMN

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
