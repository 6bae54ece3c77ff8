"""Rows of Avro object container files."""

import bz2
import dataclasses
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.parts import (
    NO_NUMBERS,
    Column,
    DataFile,
    FileLook,
    Piece,
    RawPart,
    SourceFormat,
    reject_unreadable_rest,
    show_json,
)
from components.interaction_ingest.sources.streams import SourceStream
from schemas.errors import DataError
from schemas.features import TableSource

_MAGIC: Final = b"Obj\x01"
_SYNC_BYTES: Final = 16
_ROWS_PER_BATCH: Final = 8_192
_LARGEST_BYTES: Final = 1 << 30
# Of Arrow's decimals.
_LARGEST_PRECISION: Final = 76
_PRIMITIVES: Final[Mapping[str, pa.DataType]] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "fixed": pa.binary(),
}
_TIMES: Final[Mapping[str, pa.DataType]] = {
    "timestamp-millis": pa.timestamp("ms"),
    "timestamp-micros": pa.timestamp("us"),
    "timestamp-nanos": pa.timestamp("ns"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "local-timestamp-nanos": pa.timestamp("ns"),
    "date": pa.date32(),
}
_REMEDY: Final = "Write the table again, as Avro."


@dataclasses.dataclass(frozen=True)
class _Header:
    schema: dict[str, Any]
    """The schema of a row, its names in full."""
    named: dict[str, Any]
    """The types that have a name, by it."""
    codec: str
    """How blocks are compressed."""
    sync: bytes
    """What stands after each block."""


@dataclasses.dataclass(frozen=True)
class _Block:
    index: int
    """Its number in the file, from 0."""
    rows: int
    """How many rows it says it has."""
    content: bytes
    """The rows, compressed."""


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the header of a file and at that of its first block.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: Not used; every format's `look` is given it.

    Returns:
        The columns with their types, and the rows that there are if all blocks are like the first.

    Raises:
        DataError: The file is no Avro container, is cut off in its header, or has rows that are no records or
            compressed in a way that is not known.
        StorageError: The store cannot be reached or refuses.
    """
    if not file.size_bytes:
        return FileLook((), None)
    with SourceStream(file.path, whole_lines=False) as stream:
        content = _Content(stream)
        header = _read_header(content, file.path)
        header_bytes = content.taken
        fields = [(f["name"], _arrow_type(f["type"], header.named)) for f in header.schema["fields"]]
        if content.is_at_end() and not stream.failure:
            return FileLook((), frozenset(name for name, _ in fields), pa.schema(fields))
        # Of a block that is cut off here, the reader tells.
        rows, size = content.take_long() or 0, content.take_long() or 0
        block_bytes = content.taken - header_bytes + size + _SYNC_BYTES
        all_bytes = file.size_bytes * content.read / max(1, stream.stored_position())
        estimate = rows * (all_bytes - header_bytes) / max(1, block_bytes)
    whole = Piece(file.path, file.format, index, 0, 0, max(1, round(estimate)), file.size_bytes)
    return FileLook((whole,), frozenset(name for name, _ in fields), pa.schema(fields))


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: Not used; every format's reader is given it.
        columns: The columns.

    Yields:
        Rows in the order of the file; of a block that is damaged one dead letter for the rest of its rows.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    with SourceStream(piece.path, whole_lines=False) as stream:
        content = _Content(stream)
        try:
            header = _read_header(content, piece.path)
        except DataError as error:
            rest, unread = reject_unreadable_rest(stream, piece, 0, str(error))
            yield RawPart(None, NO_NUMBERS, rest, unread)
            return
        decoder = _Decoder(header, columns)
        blocks = _Blocks(content, header.sync)
        for block in blocks:
            left = block.rows
            try:
                for rows in decoder.rows_of(block):
                    numbers = np.arange(done, done + len(rows), dtype=np.int64)
                    yield RawPart(decoder.to_batch(rows), numbers, records=len(rows))
                    done, left = done + len(rows), left - len(rows)
            except _DamagedError as error:
                letter = DeadLetter(
                    dead_letters.UNREADABLE_ROW_GROUP,
                    piece.path,
                    done + 1,
                    block.index,
                    max(1, left),
                    str(error),
                )
                stored = len(block.content) * stream.stored_position() // max(1, content.read)
                yield RawPart(None, NO_NUMBERS, [letter], stored * left // max(1, block.rows))
                done += left
        problem = stream.failure or blocks.problem
        if problem:
            rest, unread = reject_unreadable_rest(stream, piece, done, problem)
            # Nothing tells how much follows what was cut off.
            unread = piece.size_bytes if blocks.is_cut_off else unread + content.left
            yield RawPart(None, NO_NUMBERS, rest, min(unread, piece.size_bytes))


class _DamagedError(Exception):
    """The rest of a block cannot be read."""


class _Content:
    """The content of a stream, as many bytes at a time as are asked for."""

    def __init__(self, stream: SourceStream) -> None:
        self.read = 0
        """Bytes that were read of the stream, decompressed."""
        self._chunks = stream.chunks()
        self._waiting = bytearray()
        self._start = 0

    @property
    def left(self) -> int:
        """Bytes that were read of the stream but not taken."""
        return len(self._waiting) - self._start

    @property
    def taken(self) -> int:
        """Bytes that were taken."""
        return self.read - self.left

    def is_at_end(self) -> bool:
        """Tell whether everything was taken."""
        return not self._read_on(1)

    def take(self, size: int) -> bytes | None:
        """Take the next bytes; None, and nothing is taken, where there are fewer."""
        if not self._read_on(size):
            return None
        self._start += size
        return bytes(self._waiting[self._start - size : self._start])

    def take_long(self) -> int | None:
        """Take an integer: seven bits a byte, the lowest first, the sign in the lowest bit of all."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)
            if byte is None:
                return None
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                break
        return (value >> 1) ^ -(value & 1)

    def take_bytes(self) -> bytes | None:
        """Take a number and as many bytes."""
        size = self.take_long()
        return None if size is None or not 0 <= size <= _LARGEST_BYTES else self.take(size)

    def _read_on(self, size: int) -> bool:
        while self.left < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            del self._waiting[: self._start]
            self._start = 0
            self._waiting += chunk
            self.read += len(chunk)
        return True


class _Blocks:
    """The blocks of a file, up to where it is cut off or damaged."""

    def __init__(self, content: _Content, sync: bytes) -> None:
        self.problem = ""
        """Why the last blocks could not be told; '' at the end of a whole file."""
        self.is_cut_off = False
        """Whether the file ends too soon."""
        self._content = content
        self._sync = sync

    def __iter__(self) -> Iterator[_Block]:
        index = 0
        while not self._content.is_at_end():
            rows, size = self._content.take_long(), self._content.take_long()
            if rows is not None and size is not None and not (0 <= size <= _LARGEST_BYTES and rows >= 0):
                self.problem = "the size of a block is damaged"
                return
            content = None if size is None else self._content.take(size)
            sync = None if content is None else self._content.take(_SYNC_BYTES)
            if rows is None or content is None or sync is None:
                self.problem, self.is_cut_off = "the file ends in the middle of a block", True
                return
            if sync != self._sync:
                self.problem = "a block does not end with the marker of the file"
                return
            yield _Block(index, rows, content)
            index += 1


class _Decoder:
    """Rows of blocks as columns."""

    def __init__(self, header: _Header, columns: Sequence[Column]) -> None:
        # On first use: a process that only builds the pipeline needs no fastavro.
        import fastavro

        self._columns = columns
        self._types = {
            field["name"]: _arrow_type(field["type"], header.named) for field in header.schema["fields"]
        }
        self._decompress = _CODECS[header.codec]
        self._read_row = fastavro.schemaless_reader
        self._schema = fastavro.parse_schema(_raw_record(header))

    def rows_of(self, block: _Block) -> Iterator[list[Any]]:
        """Give the rows of a block, some thousands at a time."""
        rows: list[Any] = []
        problem = ""
        try:
            content = self._decompress(block.content)
            stream = io.BytesIO(content)
            for _ in range(block.rows):
                if len(rows) == _ROWS_PER_BATCH:
                    yield rows
                    rows = []
                rows.append(self._read_row(stream, self._schema, None))
            if stream.tell() < len(content):
                problem = f"{len(content) - stream.tell():,} bytes follow the last row of a block"
        # What damaged bytes make the decoders raise is not to be listed.
        except Exception as error:
            problem = str(error) or type(error).__name__
        if rows:
            yield rows
        if problem:
            raise _DamagedError(problem)

    def to_batch(self, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """Make columns of rows."""
        return pa.record_batch({column.name: self._to_array(rows, column) for column in self._columns})

    def _to_array(self, rows: Sequence[Mapping[str, Any]], column: Column) -> pa.Array:
        kind = self._types.get(column.source)
        if kind is None:
            return pa.nulls(len(rows))
        return _to_array([row[column.source] for row in rows], kind)


def _to_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_nested(kind) and not (types.is_list(kind) and not types.is_nested(kind.value_type)):
        # Only columns that are shown can be of such a type.
        return pa.array([show_json(value) for value in values], pa.string())
    if types.is_list(kind):
        elements = [element for value in values if value is not None for element in value]
        lengths = [None if value is None else len(value) for value in values]
        offsets = np.cumsum([0] + [length or 0 for length in lengths])
        missing = np.array([length is None for length in lengths] + [False])
        # A list that starts nowhere is null.
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32(), mask=missing), _to_array(elements, kind.value_type)
        )
    if types.is_string(kind):
        # As bytes, since one text that is not UTF-8 would spoil all of them.
        texts = [value if value is None or isinstance(value, bytes) else str(value) for value in values]
        return pa.array(texts, pa.binary())
    if types.is_float64(kind):
        return pa.array([None if value is None else float(value) for value in values], kind)
    if types.is_timestamp(kind):
        return pa.array(values, pa.int64()).view(kind)
    if types.is_date32(kind):
        return pa.array(values, pa.int64()).cast(pa.int32(), safe=False).view(kind)
    return pa.array(values, kind)


def _read_header(content: _Content, path: str) -> _Header:
    import fastavro

    magic = content.take(len(_MAGIC))
    if magic != _MAGIC:
        raise DataError(
            f"{path}: expected an Avro container file, which starts with {_MAGIC!r}. Received: {magic!r}. "
            f"{_REMEDY}"
        )
    metadata = _read_metadata(content)
    sync = None if metadata is None else content.take(_SYNC_BYTES)
    if metadata is None or sync is None:
        raise DataError(f"{path}: the header of the Avro file is cut off or damaged. {_REMEDY}")
    codec = metadata.get("avro.codec", b"null").decode("utf-8", errors="replace")
    if codec not in _CODECS:
        raise DataError(
            f"{path}: expected an Avro file with the codec {', '.join(_CODECS)}. Received: {codec!r}. Write "
            "the table again, with one of these codecs."
        )
    named: dict[str, Any] = {}
    try:
        schema = fastavro.parse_schema(json.loads(metadata["avro.schema"]), named)
    # What a wrong schema makes the parser raise is not to be listed.
    except Exception as error:
        raise DataError(
            f"{path}: the schema of the Avro file cannot be read: {error!r}. {_REMEDY}"
        ) from error
    if not isinstance(schema, dict) or schema["type"] != "record":
        raise DataError(
            f"{path}: expected an Avro file of records. Received: one of {json.dumps(schema)}. Write "
            "each row as a record with a field for each column."
        )
    return _Header(schema, named, codec, sync)


def _read_metadata(content: _Content) -> dict[str, bytes] | None:
    metadata: dict[str, bytes] = {}
    while count := content.take_long():
        # A negative number of entries is followed by their size.
        if count < 0 and content.take_long() is None:
            return None
        for _ in range(abs(count)):
            name, value = content.take_bytes(), content.take_bytes()
            if name is None or value is None:
                return None
            metadata[name.decode("utf-8", errors="replace")] = value
    return metadata if count == 0 else None


def _arrow_type(schema: Any, named: Mapping[str, Any], within: frozenset[str] = frozenset()) -> pa.DataType:
    """Tell the type of a column; of an integer it is the largest one."""
    if isinstance(schema, list):
        return _union_type([_arrow_type(one, named, within) for one in schema if one != "null"])
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
        # A type that holds itself has no end.
        return pa.struct([]) if schema in within else _arrow_type(named[schema], named, within)
    kind, logical = schema["type"], schema.get("logicalType")
    if logical in _TIMES:
        return _TIMES[logical]
    if _is_decimal(schema):
        # Wider ones are numbers all the same.
        is_exact = schema["precision"] <= _LARGEST_PRECISION
        return pa.decimal256(schema["precision"], schema.get("scale", 0)) if is_exact else pa.float64()
    if kind == "array":
        return pa.list_(_arrow_type(schema["items"], named, within))
    if kind == "map":
        return pa.map_(pa.string(), _arrow_type(schema["values"], named, within))
    if kind in ("record", "error"):
        inner = within | {schema["name"]}
        return pa.struct([(f["name"], _arrow_type(f["type"], named, inner)) for f in schema["fields"]])
    return _PRIMITIVES[kind] if isinstance(kind, str) else _arrow_type(kind, named, within)


def _union_type(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """Tell the type that holds every value of a union, null apart: a wider number, or a text."""
    types = pa.types
    if not kinds:
        return pa.null()
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if all(types.is_integer(kind) or types.is_floating(kind) for kind in kinds):
        return pa.float64()
    if all(types.is_integer(kind) or types.is_string(kind) for kind in kinds):
        return pa.string()
    return pa.dense_union([pa.field(str(kind), kind) for kind in kinds])


def _raw_record(header: _Header) -> dict[str, Any]:
    """Describe a row as it is stored: texts as bytes, times as numbers."""
    raw: dict[str, Any] = _raw(header.schema, header.named, set())
    return raw


def _raw(schema: Any, named: Mapping[str, Any], defined: set[str]) -> Any:
    if isinstance(schema, list):
        return [_raw(one, named, defined) for one in schema]
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return "bytes" if schema == "string" else schema
        return schema if schema in defined else _raw(named[schema], named, defined)
    kind = schema["type"]
    if not isinstance(kind, str):
        return _raw(kind, named, defined)
    if "name" in schema:
        defined.add(schema["name"])
    if kind in ("record", "error"):
        fields = [{"name": f["name"], "type": _raw(f["type"], named, defined)} for f in schema["fields"]]
        return {"type": "record", "name": schema["name"], "fields": fields}
    if kind in ("array", "map"):
        inner = "items" if kind == "array" else "values"
        return {"type": kind, inner: _raw(schema[inner], named, defined)}
    if _is_decimal(schema):
        return schema
    if kind in ("enum", "fixed"):
        return {key: value for key, value in schema.items() if key != "logicalType"}
    return _raw(kind, named, defined)


def _is_decimal(schema: Mapping[str, Any]) -> bool:
    """Tell whether a type is a decimal; the specification has a logical type ignored that is not valid."""
    is_of_bytes = schema["type"] in ("bytes", "fixed")
    return is_of_bytes and schema.get("logicalType") == "decimal" and schema.get("precision", 0) > 0


def _decompress_snappy(content: bytes) -> bytes:
    size = shift = 0
    for byte in content[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > _LARGEST_BYTES:
        raise ValueError("the size of a block is damaged")
    # The checksum of what is compressed follows it.
    plain = pa.Codec("snappy").decompress(content[:-4], size, asbytes=True)
    if zlib.crc32(plain) != int.from_bytes(content[-4:], "big"):
        raise ValueError("the checksum of a block is wrong")
    return plain


def _decompress_zstandard(content: bytes) -> bytes:
    return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()


_CODECS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "null": bytes,
    "deflate": lambda content: zlib.decompress(content, wbits=-15),
    "snappy": _decompress_snappy,
    "zstandard": _decompress_zstandard,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}

FORMAT: Final = SourceFormat("avro", "Avro", ("fastavro", "pyarrow"), (".avro",), look, read)
"""Avro object container files."""
