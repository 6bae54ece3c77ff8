import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
import zlib

import fastavro
import pyarrow as pa
import pytest

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.reading.cleaning import ROW_COLUMN
from components.interaction_ingest.reading.entities import load_entity_table
from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.avro import look
from components.interaction_ingest.sources.parts import DataFile
from components.interaction_ingest.sources.reading import list_entity_columns, read_piece
from schemas.errors import DataError
from schemas.features import Feature, ItemTable, TableSource

pytestmark = pytest.mark.unit

# 2026-11-22T12:00:00Z, by `date -ud '2026-11-22 12:00' +%s`.
NOON = 1_795_348_800
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
ROW = {"user": "ann", "item": 1, "timestamp": NOON, "stars": 4.5, "device": "tv", "visits": 3, "tags": ["x"]}
TYPES = {
    "user": "string",
    "item": "long",
    "timestamp": "long",
    "stars": ["null", "double"],
    "device": ["null", "string"],
    "visits": ["null", "int"],
    "tags": ["null", {"type": "array", "items": "string"}],
}
SYNC = bytes(range(16))


def event(**types):
    fields = [{"name": name, "type": kind} for name, kind in {**TYPES, **types}.items()]
    return {"type": "record", "name": "Event", "namespace": "shop", "fields": fields}


def write(rows, schema=None, **options):
    sink = io.BytesIO()
    fastavro.writer(sink, schema or event(), rows, sync_marker=SYNC, **options)
    return sink.getvalue()


def long(value):
    """An integer as the Avro specification says: zigzag, then seven bits a byte."""
    value, content = value << 1 if value >= 0 else (-value << 1) - 1, b""
    while value >= 0x80:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def text(value):
    return long(len(value)) + value


def container(codec, blocks, schema='{"type": "record", "name": "E", "fields": []}'):
    """A file made by hand: blocks are pairs of a number of rows and their bytes, compressed."""
    entries = text(b"avro.schema") + text(schema.encode()) + text(b"avro.codec") + text(codec.encode())
    content = b"Obj\x01" + long(2) + entries + long(0) + SYNC
    return content + b"".join(long(rows) + text(data) + SYNC for rows, data in blocks)


SIMPLE = json.dumps(event(**{name: "string" if name == "user" else TYPES[name] for name in TYPES}))
# user ann, item 1, the time, 4.5 stars, device null, visits -3, tags x: each as the specification has it.
BY_HAND = (
    text(b"ann") + long(1) + long(NOON) + long(1) + b"\x00\x00\x00\x00\x00\x00\x12\x40" + long(0)
    + long(1) + long(-3) + long(1) + long(1) + text(b"x") + long(0)
)  # fmt: skip


def snappy(content):
    return pa.compress(content, codec="snappy", asbytes=True) + zlib.crc32(content).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("codec", "compress"),
    [
        ("null", bytes),
        ("deflate", lambda content: zlib.compress(content)[2:-4]),
        ("snappy", snappy),
        ("zstandard", lambda content: pa.compress(content, codec="zstd", asbytes=True)),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
    ],
)
def test_every_codec_and_rows_made_by_hand(read_log, codec, compress):
    content = container(codec, [(2, compress(BY_HAND * 2)), (1, compress(BY_HAND))], SIMPLE)
    rows, reasons, _, unread = read_log("log.avro", content)
    assert (reasons, unread) == ([], 0)
    assert [row[ROW_COLUMN] for row in rows] == [0, 1, 2]
    expected = {**ROW, "item": "1", "device": None, "visits": -3}
    assert [{name: row[name] for name in ROW} for row in rows] == [expected] * 3


@pytest.mark.parametrize(
    ("kind", "value", "second", "microsecond"),
    [
        ("timestamp-millis", NOON * 1000 + 250, NOON, 250_000),
        ("timestamp-micros", NOON * 10**6 + 7, NOON, 7),
        ("timestamp-nanos", NOON * 10**9 + 7_999, NOON, 7),
        ("local-timestamp-millis", NOON * 1000, NOON, 0),
        ("local-timestamp-micros", -1, -1, 999_999),
        ("something-else", NOON, NOON, 0),
    ],
)
def test_times_of_logical_types(read_log, kind, value, second, microsecond):
    # Written as numbers, and only called times.
    content = container(
        "null",
        [(1, text(b"ann") + long(1) + long(value) + long(0) * 4)],
        json.dumps(event(timestamp={"type": "long", "logicalType": kind})),
    )
    rows, reasons, _, _ = read_log("log.avro", content)
    assert [(row["timestamp"], row["#microsecond"]) for row in rows] == [(second, microsecond)]
    assert reasons == []


def test_times_of_no_calendar_and_texts_that_are_not_utf8(read_log):
    schema = event(timestamp={"type": "long", "logicalType": "timestamp-millis"})
    good, late = NOON * 1000, 2**62
    data = [(b"ann", good), (b"a\xff", good), (b"bob", late), (b"", good), (b"eve", good)]
    content = b"".join(text(user) + long(1) + long(time) + long(0) * 4 for user, time in data)
    rows, reasons, letters, _ = read_log("log.avro", container("null", [(5, content)], json.dumps(schema)))
    assert [(row["user"], row[ROW_COLUMN]) for row in rows] == [("ann", 0), ("eve", 4)]
    assert sorted(reasons, key=lambda reason: reason[1]) == [
        ("invalid_utf8", 2, 1),
        ("out_of_range_timestamp", 3, 1),
        ("empty_id", 4, 1),
    ]
    assert {letter["text"].split('"timestamp"')[0] for letter in letters if letter["row"] == 2} == {
        '{"user": "a\\\\xff", "item": 1, '
    }


def test_unions_of_numbers_and_texts(read_log):
    schema = event(item=["null", "string", "long"], stars=["int", "double", "null"], visits="boolean")
    rows = [
        {**ROW, "item": "a", "stars": 3, "visits": True},
        {**ROW, "item": 7, "stars": 2.5, "visits": False},
        {**ROW, "item": None, "stars": None, "visits": True},
    ]
    found, reasons, _, _ = read_log("log.avro", write(rows, schema))
    assert [(row["item"], row["stars"], row["visits"]) for row in found] == [("a", 3.0, 1), ("7", 2.5, 0)]
    assert reasons == [("null_id", 3, 1)]


def test_named_types_that_other_columns_define(read_log):
    # The column that defines the type is not read, the one that names it is; another holds itself.
    shop = {"type": "enum", "name": "Device", "symbols": ["tv", "web"]}
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [{"name": "below", "type": {"type": "array", "items": "Tree"}}],
    }
    fields = [
        {"name": "before", "type": shop},
        {"name": "path", "type": tree},
        *({"name": n, "type": t} for n, t in {**TYPES, "device": ["null", "Device"]}.items()),
        {"name": "again", "type": "Tree"},
    ]
    schema = {"type": "record", "name": "Event", "namespace": "shop", "fields": fields}
    more = {"before": "web", "path": {"below": [{"below": []}]}, "again": {"below": []}}
    rows = [{**ROW, **more, "device": device} for device in ("tv", None, "web")]
    found, reasons, _, _ = read_log("log.avro", write(rows, schema))
    assert ([row["device"] for row in found], reasons) == (["tv", None, "web"], [])


def test_columns_that_are_missing_or_of_another_type(read_log):
    schema = event()
    del schema["fields"][4:6]
    found, _, _, _ = read_log("log.avro", write([ROW]))
    assert found[0]["device"] == "tv"
    # What has a default may be missing in a file of many, but not in all of them.
    with pytest.raises(DataError, match="no column 'device', which is a feature of the schema file"):
        read_log("log.avro", write([ROW], schema))
    nested = {"type": "record", "name": "Item", "fields": [{"name": "id", "type": "long"}]}
    with pytest.raises(DataError, match=r"'item' must hold texts, whole numbers or bytes. Found: struct<"):
        read_log("log.avro", write([{**ROW, "item": {"id": 1}}], event(item=nested)))
    with pytest.raises(DataError, match=r"'tags' must hold lists of texts.* Found: int64"):
        read_log("log.avro", write([{**ROW, "tags": 1}], event(tags="int")))
    with pytest.raises(
        DataError, match=r"'item' must hold texts, whole numbers or bytes. Found: dense_union"
    ):
        read_log("log.avro", write([{**ROW, "item": True}], event(item=["boolean", "string"])))


def test_vectors_decimals_and_columns_that_are_only_shown(tmp_path):
    fields = [
        {"name": "iid", "type": "int"},
        {"name": "look", "type": {"type": "array", "items": ["null", "float"]}},
        {
            "name": "price",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}],
        },
        {"name": "title", "type": ["null", "string"]},
        {"name": "maker", "type": {"type": "map", "values": "string"}},
        {"name": "since", "type": ["null", {"type": "int", "logicalType": "date"}]},
    ]
    day = datetime.date(2026, 11, 22)
    rows = [
        {"iid": 1, "look": [1.5, 2.0], "price": decimal.Decimal("12.50"), "title": "One",
         "maker": {"name": "M"}, "since": day},
        {"iid": 2, "look": [0.0, 1.0], "price": None, "title": None, "maker": {}, "since": None},
    ]  # fmt: skip
    (tmp_path / "items.avro").write_bytes(write(rows, {"type": "record", "name": "Item", "fields": fields}))
    features = (
        Feature(name="iid", dtype="string", tower="item", role="item_id"),
        Feature(name="look", dtype="float", length=2, tower="item"),
        Feature(name="price", dtype="float", tower="item", default=0.0),
    )
    loaded = load_entity_table(
        ItemTable(file="items.avro"), str(tmp_path), "items", features[0], features, IngestConfig(),
        ["title", "maker", "since"],
    )  # fmt: skip
    assert loaded.table.to_pylist() == [
        {"iid": "1", "look": [1.5, 2.0], "price": 12.5, "title": "One",
         "maker": '{"name": "M"}', "since": day},
        {"iid": "2", "look": [0.0, 1.0], "price": 0.0, "title": None, "maker": "{}", "since": None},
    ]  # fmt: skip


def test_decimals_of_any_precision_and_those_that_are_none(tmp_path):
    wide = {"type": "bytes", "logicalType": "decimal", "precision": 80, "scale": 1}
    fields = [
        {"name": "iid", "type": "int"},
        {"name": "price", "type": ["null", wide]},
        # Without a precision it is no decimal, and read as what it is stored as.
        {"name": "note", "type": {"type": "string", "logicalType": "decimal"}},
        {"name": "mark", "type": {"type": "bytes", "logicalType": "decimal"}},
        {"name": "code", "type": {"type": "fixed", "name": "C", "size": 2, "logicalType": "decimal"}},
    ]
    # An integer, its lowest byte last, in tenths: 10^20 and -25.
    large = (10**20).to_bytes(34, "big")
    rows = [
        long(1) + long(1) + text(large) + text(b"n") + text(b"m") + b"ab",
        long(2) + long(1) + text(b"\xe7") + text(b"o") + text(b"p") + b"cd",
    ]
    schema = json.dumps({"type": "record", "name": "Item", "fields": fields})
    (tmp_path / "items.avro").write_bytes(container("null", [(2, b"".join(rows))], schema))
    features = (
        Feature(name="iid", dtype="string", tower="item", role="item_id"),
        Feature(name="price", dtype="float", tower="item"),
    )
    loaded = load_entity_table(
        ItemTable(file="items.avro"), str(tmp_path), "items", features[0], features, IngestConfig(),
        ["note", "mark", "code"],
    )  # fmt: skip
    first, second = loaded.table.to_pylist()
    assert first == {"iid": "1", "price": pytest.approx(1e19), "note": "n", "mark": "m", "code": "ab"}
    assert second == {"iid": "2", "price": -2.5, "note": "o", "mark": "p", "code": "cd"}


def blocks_of(rows, per_block):
    parts = []
    for start in range(0, len(rows), per_block):
        sink = io.BytesIO()
        for row in rows[start : start + per_block]:
            fastavro.schemaless_writer(sink, fastavro.parse_schema(event()), row)
        parts.append((len(rows[start : start + per_block]), sink.getvalue()))
    return parts


def test_a_file_that_is_cut_off_gives_the_blocks_before(read_log):
    rows = [{**ROW, "item": n} for n in range(30)]
    content = container("null", blocks_of(rows, 10), json.dumps(event()))
    for cut in (20, 100):
        found, reasons, letters, unread = read_log("log.avro", content[:-cut])
        assert [row["item"] for row in found] == [str(n) for n in range(20)]
        assert reasons == [("unreadable_rest", 21, 1)]
        assert letters[0]["text"] == "the file ends in the middle of a block"
        # Nothing tells how much is missing, so the whole file counts.
        assert unread == len(content) - cut
    found, reasons, _, _ = read_log("log.avro.gz", gzip.compress(content)[:-30])
    assert len(found) in (0, 10, 20)
    assert reasons[0][0] == "unreadable_rest"


def test_a_file_that_is_cut_off_anywhere_is_told(read_log):
    blocks = [container("null", blocks_of([{**ROW, "item": n} for n in range(6)], 2)[:n], json.dumps(event()))
              for n in range(4)]  # fmt: skip
    header, *ends = map(len, blocks)
    for cut in range(1, len(blocks[-1])):
        content = blocks[-1][:cut]
        if cut <= header:
            with pytest.raises(DataError, match="is empty" if cut == header else r"cut off|expected an Avro"):
                read_log("log.avro", content)
            continue
        found, reasons, _, _ = read_log("log.avro", content)
        whole = sum(end <= cut for end in ends)
        assert [row["item"] for row in found] == [str(n) for n in range(2 * whole)]
        assert reasons == ([] if cut in ends else [("unreadable_rest", 2 * whole + 1, 1)])


def test_a_compressed_file_that_is_cut_off_after_its_header_is_told(read_log):
    packer = zlib.compressobj(wbits=31)
    head = container("null", [], json.dumps(event()))
    content = packer.compress(head) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert read_log("log.avro.gz", content)[1] == [("unreadable_rest", 1, 1)]


def test_a_damaged_block_costs_the_rest_of_its_rows(read_log):
    rows = [{**ROW, "item": n} for n in range(30)]
    first, second, third = blocks_of(rows, 10)
    # The length of the fifth user's name, in a block of rows that are all of one length.
    size = len(second[1]) // 10
    damaged = bytearray(second[1])
    assert damaged[4 * size] == 6
    damaged[4 * size] = 0xFF
    content = container("null", [first, (10, bytes(damaged)), third], json.dumps(event()))
    found, reasons, letters, unread = read_log("log.avro", content)
    assert [row["item"] for row in found] == [str(n) for n in [*range(14), *range(20, 30)]]
    assert [row[ROW_COLUMN] for row in found] == [*range(14), *range(20, 30)]
    assert reasons == [("unreadable_row_group", 15, 6)]
    assert letters[0]["row_group"] == 1
    assert unread == 6 * len(second[1]) // 10


def test_a_block_that_cannot_be_decompressed_costs_all_of_its_rows(read_log):
    rows = [{**ROW, "item": n} for n in range(30)]
    blocks = [(count, snappy(data)) for count, data in blocks_of(rows, 10)]
    blocks[1] = (10, blocks[1][1][:-1] + b"?")
    found, reasons, letters, unread = read_log("log.avro", container("snappy", blocks, json.dumps(event())))
    assert [row["item"] for row in found] == [str(n) for n in [*range(10), *range(20, 30)]]
    assert (reasons, unread) == ([("unreadable_row_group", 11, 10)], len(blocks[1][1]))
    assert letters[0]["text"] == "the checksum of a block is wrong"


def test_bytes_after_the_last_row_of_a_block_are_told(read_log):
    [(_, data)] = blocks_of([ROW] * 3, 3)
    found, reasons, letters, _ = read_log("log.avro", container("null", [(2, data)], json.dumps(event())))
    assert (len(found), reasons) == (2, [("unreadable_row_group", 3, 1)])
    assert "bytes follow the last row of a block" in letters[0]["text"]


def test_what_follows_a_wrong_marker_is_not_read(read_log):
    blocks = blocks_of([{**ROW, "item": n} for n in range(30)], 10)
    content = container("null", blocks, json.dumps(event()))
    place = content.rindex(SYNC, 0, len(content) - 16)
    damaged = content[:place] + b"x" * 16 + content[place + 16 :]
    found, reasons, letters, unread = read_log("log.avro", damaged)
    assert len(found) == 10
    assert reasons == [("unreadable_rest", 11, 1)]
    assert letters[0]["text"] == "a block does not end with the marker of the file"
    assert len(blocks[2][1]) <= unread <= len(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 or so", "expected an Avro container file, which starts with"),
        (b"Obj\x01", "the header of the Avro file is cut off or damaged"),
        (container("lzo", []), r"codec null, deflate, snappy, zstandard, bzip2, xz. Received: 'lzo'"),
        (container("null", [], '{"type": "record"}'), "the schema of the Avro file cannot be read"),
        (container("null", [], '"long"'), "expected an Avro file of records"),
        (container("null", [], json.dumps(event())), "is empty: expected at least one row"),
        (b"", "is empty: expected at least one row"),
    ],
)
def test_files_that_are_no_table(read_log, content, message):
    with pytest.raises(DataError, match=message):
        read_log("log.avro", content)


def test_the_number_of_rows_is_told_from_the_first_block(tmp_path):
    rows = [{**ROW, "item": n % 50} for n in range(40_000)]
    for content in (write(rows, codec="deflate"), gzip.compress(write(rows))):
        (tmp_path / "log").write_bytes(content)
        file = DataFile(str(tmp_path / "log"), "log", "avro", len(content), NOW)
        [piece] = look(file, 3, TableSource()).pieces
        assert 30_000 < piece.rows < 50_000
        assert (piece.file_index, piece.first_row, piece.size_bytes) == (3, 0, len(content))


def test_many_rows_of_one_block_come_in_batches(tmp_path):
    rows = [{**ROW, "item": n} for n in range(20_000)]
    (tmp_path / "items.avro").write_bytes(container("null", blocks_of(rows, 20_000), json.dumps(event())))
    source = ItemTable(file="items.avro")
    columns = list_entity_columns(
        source, [Feature(name="item", dtype="string", tower="item", role="item_id")], ()
    )
    file = DataFile(str(tmp_path / "items.avro"), "items.avro", "avro", 1, NOW)
    [piece] = look_into_files(source, "items", [file], columns).pieces
    sizes = [batch.num_rows for batch, _ in read_piece(piece, source, "items", columns, ["item"])]
    assert sum(sizes) == 20_000
    assert max(sizes) < 10_000
