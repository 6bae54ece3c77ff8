import json

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


def test_malformed_json_lines(read_log):
    good = '{"user": "a", "item": %s, "timestamp": %s, "stars": 4}\n'
    content = (
        good % (1, 10)
        + "not json\n"
        + "\n"
        + "[1, 2]\n"
        + good % ('"x"', '"2026-11-22T12:00:00Z"')
        + good % ("1.5", 10)
        + '{"user": "a", "user": "b", "item": 1, "timestamp": 1}\n'
        + good % ("null", 10)
        + good % (1, 2**62)
        + good % (2**70, 10)
        + '{"item": 1, "timestamp": 10}\n'
        + '{"user": "2020-01-01", "item": 4, "timestamp": "2026-11-22 12:00:00+01:00", "tags": "x"}\n'
        + '{"user": "2020-01-01", "item": 4, "timestamp": "2026-11-22 12:00:00+01:00", "tags": ["x"]}\n'
    ).encode() + b'{"user": "\xff", "item": 1, "timestamp": 1}\n{"user": "b", "item"'
    rows, reasons, letters, _ = read_log("log.jsonl", content)
    assert [(row["user"], row["item"], row["timestamp"], row[ROW_COLUMN]) for row in rows] == [
        ("a", "1", 10, 0),
        ("a", "x", NOON, 4),
        ("a", "1180591620717411303424", 10, 9),
        ("2020-01-01", "4", NOON - 3600, 12),
    ]
    assert (rows[0]["device"], rows[0]["tags"], rows[3]["tags"]) == (None, None, ["x"])
    assert sorted(reasons, key=lambda reason: reason[1]) == [
        ("malformed_json", 2, 1),
        ("malformed_json", 4, 1),
        ("wrong_type", 6, 1),
        ("malformed_json", 7, 1),
        ("null_id", 8, 1),
        ("out_of_range_timestamp", 9, 1),
        ("null_id", 11, 1),
        ("wrong_type", 12, 1),
        ("invalid_utf8", 14, 1),
        ("malformed_json", 15, 1),
    ]
    assert {letter["row"]: letter["text"] for letter in letters}[2] == "not json"


def test_json_lines_of_mixed_types_keep_their_order(read_log):
    rows = [{**ROW, "user": n if n % 2 else f"u{n}", "visits": "?" if n == 5 else n} for n in range(9)]
    found, reasons, _, _ = read_log("log.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert [row["user"] for row in found] == ["u0", "1", "u2", "3", "u4", "u6", "7", "u8"]
    assert [row[ROW_COLUMN] for row in found] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert reasons == [("wrong_type", 6, 1)]
