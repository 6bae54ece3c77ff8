import json

import pyarrow as pa
import pytest
from fixtures.tfrecords import frame

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


def to_examples(rows):
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    def lists(name, kind):
        values = [row[name] for row in rows]
        values = [value if isinstance(value, list) else [] if value is None else [value] for value in values]
        return pa.array(
            [[v.encode() if isinstance(v, str) else v for v in value] for value in values], pa.list_(kind)
        )

    kinds = {"item": pa.int64(), "timestamp": pa.int64(), "visits": pa.int64(), "stars": pa.float32()}
    batch = pa.record_batch({name: lists(name, kinds.get(name, pa.binary())) for name in rows[0]})
    return RecordBatchToExamplesEncoder().encode(batch)


def test_malformed_records(read_log):
    first, second, third = to_examples(
        [
            ROW,
            {**ROW, "user": 'b"o,b', "device": None, "visits": None, "tags": []},
            {**ROW, "user": "ünï\u2028", "stars": None, "tags": None},
        ]
    )
    damaged = bytearray(frame(second))
    damaged[20] ^= 1
    content = frame(first) + frame(b"no example") + bytes(damaged) + frame(third) + frame(first)[:-9]
    rows, reasons, _, _ = read_log("log.tfrecord", content)
    assert [(row["user"], row[ROW_COLUMN]) for row in rows] == [("ann", 0), ("ünï\u2028", 3)]
    assert sorted(reasons, key=lambda reason: reason[1]) == [
        ("malformed_example", 2, 1),
        ("malformed_example", 3, 1),
        ("unreadable_rest", 5, 1),
    ]
    length = bytearray(frame(second))
    length[1] ^= 1
    rows, reasons, _, unread = read_log("log.tfrecord", frame(first) + bytes(length) + frame(third))
    assert ([row["user"] for row in rows], reasons) == (["ann"], [("unreadable_rest", 2, 1)])
    assert unread == len(length) + len(frame(third))


def test_a_record_with_several_values_is_rejected_alone(read_log):
    rows = [{**ROW, "user": ["ann", "bob"] if n == 3 else "ann"} for n in range(10)]
    content = b"".join(map(frame, to_examples(rows)))
    found, reasons, letters, _ = read_log("log.tfrecord", content)
    assert [row[ROW_COLUMN] for row in found] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert reasons == [("wrong_type", 4, 1)]
    assert json.loads(letters[0]["text"])["user"] == ["ann", "bob"]
