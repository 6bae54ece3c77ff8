import gzip
import hashlib
import io
import json
import zlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.tfrecords import frame

from components.interaction_ingest.config import IngestConfig, PositiveRule
from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.reading.newest import find_newest_second
from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources import json_lines
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.reading import list_columns, read_piece
from components.interaction_ingest.sources.registry import FORMATS
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec, InteractionTable
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

CONFIG = IngestConfig(positives=PositiveRule(column="stars", at_least=0))
SPEC_DATA = {
    "name": "shop",
    "features": [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {
            "name": "item",
            "dtype": "string",
            "tower": "item",
            "role": "item_id",
            "encoding": {"kind": "vocabulary"},
        },
        {"name": "device", "dtype": "string", "tower": "context", "default": "web"},
        {"name": "visits", "dtype": "int", "tower": "context", "default": 0},
        {"name": "tags", "dtype": "string", "tower": "context", "multi_valued": True, "default": "none"},
    ],
    "history": {"name": "history"},
}
# 2026-11-22T00:00:00Z, by `date -ud 2026-11-22 +%s`.
NOON = 1_795_305_600 + 43_200
ROWS = [
    {
        "user": "ann",
        "item": 1,
        "timestamp": NOON,
        "stars": 4.5,
        "device": "tv",
        "visits": 3,
        "tags": ["x", "y"],
    },
    {
        "user": 'b"o,b',
        "item": 22,
        "timestamp": NOON + 1,
        "stars": 1.0,
        "device": None,
        "visits": None,
        "tags": [],
    },
    {
        "user": "ünï\u2028",
        "item": 3,
        "timestamp": NOON + 2,
        "stars": None,
        "device": "app",
        "visits": -1,
        "tags": None,
    },
]
EXPECTED = [{**row, "item": str(row["item"])} for row in ROWS]


def to_csv(rows):
    def field(value):
        if value is None:
            return ""
        text = "|".join(value) if isinstance(value, list) else str(value)
        return '"' + text.replace('"', '""') + '"' if isinstance(value, str | list) else text

    lines = [",".join(rows[0])] + [",".join(map(field, row.values())) for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def to_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


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


def read(tmp_path, name, content, **options):
    (tmp_path / name).write_bytes(content)
    table = InteractionTable(file=name, **options)
    columns = list_columns(
        parse(
            FeatureSpec, {**SPEC_DATA, "tables": {"interactions": {"file": name, **options}}}, source="test"
        ),
        CONFIG,
    )
    looked = look_into_files(table, "interactions", find_files(table, str(tmp_path)), columns)
    batches, letters, unread = [], [], 0
    for piece in looked.pieces:
        for batch, rejections in read_piece(piece, table, "interactions", columns, ["user", "item"]):
            batches.append(batch)
            letters += rejections.letters.to_pylist()
            unread += rejections.unread_bytes
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    rows = pa.concat_tables(tables, promote_options="permissive").to_pylist() if tables else []
    return rows, [(letter["reason"], letter["row"], letter["rows"]) for letter in letters], letters, unread


def plain(rows):
    return [{name: row[name] for name in ROWS[0]} for row in rows]


def to_parquet(rows):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def to_avro(rows):
    kinds = {str: "string", int: "long", float: "double", list: {"type": "array", "items": "string"}}
    fields = [{"name": name, "type": ["null", kinds[type(value)]]} for name, value in rows[0].items()]
    sink = io.BytesIO()
    fastavro.writer(sink, {"type": "record", "name": "Event", "fields": fields}, rows)
    return sink.getvalue()


CONTENTS = {
    "parquet": to_parquet,
    "csv": to_csv,
    "jsonl": to_jsonl,
    "tfrecord": lambda rows: b"".join(map(frame, to_examples(rows))),
    "avro": to_avro,
}


@pytest.mark.parametrize("compression", ["", "gz", "zst"])
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "tfrecord", "avro"])
def test_every_format_gives_the_same_rows(tmp_path, ending, compression):
    if ending == "parquet" and compression:
        pytest.skip("Parquet is compressed inside")
    content = CONTENTS[ending](ROWS)
    if compression == "gz":
        half = len(content) // 2
        content = gzip.compress(content[:half]) + gzip.compress(content[half:])
    elif compression:
        content = pa.compress(content, codec="zstd", asbytes=True)
    rows, reasons, _, unread = read(tmp_path, ".".join(filter(None, ["log", ending, compression])), content)
    expected = [dict(row) for row in EXPECTED]
    if ending == "csv":
        # A CSV field without quotation marks and without content is null, with them it is empty.
        expected[1]["tags"] = []
    if ending == "tfrecord":
        # An empty list and none are the same in a tf.Example.
        expected[2]["tags"] = rows[2]["tags"]
        assert not rows[2]["tags"]
    assert plain(rows) == expected
    assert [row[ROW_COLUMN] for row in rows] == [0, 1, 2]
    assert (reasons, unread) == ([], 0)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "tfrecord", "avro"])
def test_columns_are_mapped_and_others_left_alone(tmp_path, ending):
    # Avro allows no space in a name.
    user = "customer" if ending == "avro" else "Customer Id"
    names = {"user": user, "item": "sku", "timestamp": "ts", "stars": "rating"}
    rows = [{"extra": 1, **{names.get(name, name): value for name, value in row.items()}} for row in ROWS]
    if ending == "tfrecord":
        rows = [{name: value for name, value in row.items() if name != "extra"} for row in rows]
        kinds = {"sku": "item", "ts": "timestamp", "rating": "stars", "Customer Id": "user"}
        examples = to_examples(
            [{kinds.get(name, name): value for name, value in row.items()} for row in rows]
        )
        import tensorflow as tf

        content = b""
        for serialized in examples:
            example = tf.train.Example.FromString(serialized)
            for ours, theirs in names.items():
                example.features.feature[theirs].CopyFrom(example.features.feature[ours])
                del example.features.feature[ours]
            content += frame(example.SerializeToString())
    else:
        content = CONTENTS[ending](rows)
    found, reasons, _, _ = read(tmp_path, f"log.{ending}", content, columns=names)
    assert [(row["user"], row["item"], row["timestamp"], row["stars"]) for row in found] == [
        (row["user"], row["item"], row["timestamp"], row["stars"]) for row in EXPECTED
    ]
    assert reasons == []
    with pytest.raises(
        DataError, match=r"no column 'Sku', which is a feature.*map it under 'columns'|no column 'Sku'"
    ):
        read(tmp_path, f"log.{ending}", content, columns={**names, "item": "Sku"})


def many(ending):
    rows = [{**ROWS[0], "user": f"user {zlib.crc32(str(n).encode())}", "item": n} for n in range(3000)]
    return rows, CONTENTS[ending](rows)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "tfrecord"])
def test_a_truncated_gzip_file_gives_the_rows_before_the_cut(tmp_path, ending):
    rows, content = many(ending)
    stored = gzip.compress(content)
    cut = len(stored) // 2
    found, reasons, letters, unread = read(tmp_path, f"log.{ending}.gz", stored[:cut])
    assert 500 < len(found) < 2500
    assert [row["user"] for row in found] == [row["user"] for row in rows[: len(found)]]
    assert [row["item"] for row in found] == [str(n) for n in range(len(found))]
    assert reasons == [("unreadable_rest", len(found) + 1, 1)]
    assert "the file ends in the middle of its compressed content" in letters[0]["text"]
    # Nothing tells how much is missing, so the whole file counts.
    assert unread == cut


@pytest.mark.parametrize("compression", ["gz", "zst"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "tfrecord"])
def test_a_damaged_file_counts_the_bytes_that_cannot_be_read(tmp_path, ending, compression):
    rows = [{**ROWS[0], "user": hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()} for n in range(6000)]
    content = CONTENTS[ending](rows)
    stored = bytearray(
        gzip.compress(content) if compression == "gz" else pa.compress(content, codec="zstd", asbytes=True)
    )
    start = len(stored) // 4
    stored[start:] = b"\xff" * (len(stored) - start)
    found, reasons, _, unread = read(tmp_path, f"log.{ending}.{compression}", bytes(stored))
    good = {row["user"] for row in rows}
    # What comes out between the damage and its discovery may be garbage, which the formats notice.
    assert 500 < len([row for row in found if row["user"] in good]) < 3000
    assert reasons[-1][0] == "unreadable_rest"
    assert len(stored) - start - (1 << 17) <= unread <= len(stored)
    assert unread > len(stored) // 2


def test_a_checksum_that_is_wrong_spoils_the_whole_file(tmp_path):
    rows, content = many("jsonl")
    stored = bytearray(gzip.compress(content))
    stored[-6] ^= 1
    found, reasons, _, unread = read(tmp_path, "log.jsonl.gz", bytes(stored))
    assert [row["item"] for row in found] == [str(row["item"]) for row in rows[: len(found)]]
    assert reasons == [("unreadable_rest", len(found) + 1, 1)]
    assert unread == len(stored)


def test_a_truncated_zstd_file(tmp_path):
    rows = [{**ROWS[0], "user": f"user {n * 7919 % 10007}", "item": n} for n in range(9000)]
    stored = pa.compress(to_jsonl(rows), codec="zstd", asbytes=True)[:-5]
    found, reasons, _, unread = read(tmp_path, "log.jsonl.zst", stored)
    assert [row["item"] for row in found] == [str(n) for n in range(len(found))]
    assert reasons == [("unreadable_rest", len(found) + 1, 1)]
    assert unread == len(stored)


def test_parquet_text_that_is_not_utf8_and_times_out_of_range(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    table = pa.Table.from_pylist(ROWS).set_column(0, "user", bad)
    times = pa.array([NOON * 1000, 10, NOON * 10**6], pa.int64())
    sink = io.BytesIO()
    pq.write_table(table.set_column(2, "timestamp", times), sink)
    rows, reasons, letters, _ = read(tmp_path, "log.parquet", sink.getvalue())
    assert rows == []
    assert reasons == [
        ("invalid_utf8", 2, 1),
        ("out_of_range_timestamp", 1, 1),
        ("out_of_range_timestamp", 3, 1),
    ]
    assert json.loads(letters[0]["text"])["user"] == r"\xff"


def test_a_column_that_two_names_map_to_is_refused():
    columns = {"user": "sku", "item": "sku"}
    with pytest.raises(ConfigError, match=r"each name once in the values of columns.*\['sku'\]"):
        parse(FeatureSpec, {**SPEC_DATA, "tables": {"interactions": {"columns": columns}}}, source="test")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_newest_interaction_of_a_log_with_times_out_of_range(tmp_path, ending):
    rows = [*ROWS, {**ROWS[0], "timestamp": NOON * 1000}]
    (tmp_path / f"log.{ending}").write_bytes(CONTENTS[ending](rows))
    spec = parse(
        FeatureSpec, {**SPEC_DATA, "tables": {"interactions": {"file": f"log.{ending}"}}}, source="test"
    )
    source, columns = spec.tables.interactions, list_columns(spec, CONFIG)
    looked = look_into_files(source, "interactions", find_files(source, str(tmp_path)), columns)
    assert find_newest_second(looked, source, columns) == NOON + 2


def test_one_bad_element_of_a_list_rejects_its_row_alone(tmp_path):
    rows = [{**ROWS[0], "tags": ["x", f"tag {n}"]} for n in range(1000)]
    table = pa.Table.from_pylist(rows)
    texts = [b"\xff" if n == 1001 else b"tag" for n in range(2000)]
    child = pa.Array.from_buffers(pa.string(), 2000, pa.array(texts).buffers())
    lists = pa.ListArray.from_arrays(pa.array(range(0, 2001, 2), pa.int32()), child)
    sink = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index("tags"), "tags", lists), sink)
    found, reasons, letters, _ = read(tmp_path, "log.parquet", sink.getvalue())
    assert (len(found), reasons) == (999, [("invalid_utf8", 501, 1)])
    assert json.loads(letters[0]["text"])["tags"] == ["tag", r"\xff"]
    examples = to_examples(rows[:20])
    examples[7] = examples[7].replace(b"tag 7", b"tag \xff")
    found, reasons, _, _ = read(tmp_path, "log.tfrecord", b"".join(map(frame, examples)))
    assert (len(found), reasons) == (19, [("invalid_utf8", 8, 1)])


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-22T12:00:00Z", 0),
        ("2026-11-22T12:00:00.123456789Z", 123_456),
        ("2026-11-22 12:00:00.5", 500_000),
        ("2026-11-22T12:00", 0),
        ("2026-11-22 12:00:00 UTC", 0),
        ("2026-11-22T13:00:00+01", 0),
        ("2026-11-22T13:30:00+0130", 0),
        ("2026-11-22T06:00:00.25-06:00", 250_000),
        (f" {NOON} ", 0),
    ],
)
def test_times_as_texts(tmp_path, text, microsecond):
    [row], reasons, _, _ = read(tmp_path, "log.jsonl", to_jsonl([{**ROWS[0], "timestamp": text}]))
    assert (row["timestamp"], row["#microsecond"], reasons) == (NOON, microsecond, [])


def test_the_fraction_of_a_timestamp_is_kept(tmp_path):
    times = pa.array([NOON * 1000 + 900, NOON * 1000 - 1], pa.timestamp("ms"))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS[:2]).set_column(2, "timestamp", times), sink)
    rows, _, _, _ = read(tmp_path, "log.parquet", sink.getvalue())
    assert [(row["timestamp"], row["#microsecond"]) for row in rows] == [
        (NOON, 900_000),
        (NOON - 1, 999_000),
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_that_vanish_in_a_parser_stop_the_run(tmp_path, monkeypatch, ending):
    reader = {"csv": pa.csv.read_csv, "jsonl": json_lines._parse_block}[ending]
    if ending == "csv":
        monkeypatch.setattr(pa.csv, "read_csv", lambda *args, **options: reader(*args, **options)[:2])
    else:
        monkeypatch.setattr(json_lines, "_parse_block", lambda *args: reader(*args)[:2])
    with pytest.raises(DataError, match=r"3 rows are in a part of the file, 2 were read or rejected"):
        read(tmp_path, f"log.{ending}", CONTENTS[ending](ROWS))


def test_the_number_of_rows_of_a_compressed_file_is_estimated_from_its_start(tmp_path):
    rows = [{**ROWS[0], "user": f"user {n}"} for n in range(60_000)]
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(to_jsonl(rows)))
    table = InteractionTable(file="log.jsonl.gz")
    [file] = find_files(table, str(tmp_path))
    [piece] = FORMATS["jsonl"].look(file, 0, table).pieces
    assert 45_000 < piece.rows < 75_000
