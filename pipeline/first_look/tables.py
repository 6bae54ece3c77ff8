"""Tables of any format that the ingest reads, as a sample of typed columns."""

import io
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.json

from components.interaction_ingest.sources.casting import to_text
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column, DataFile, FileLook, Piece
from components.interaction_ingest.sources.registry import FORMATS
from components.interaction_ingest.sources.streams import SourceStream
from pipeline.first_look.dialect import (
    Finding,
    detect_decimal,
    detect_dialect,
    detect_encoding,
    read_header,
)
from schemas import storage
from schemas.errors import ConfigError, DataError
from schemas.features import ItemTable

SAMPLE_ROWS: Final = 1_000_000
"""Rows of a table that are looked at."""

TEXT_ENDINGS: Final = (".tsv", ".txt", ".dat", ".data", ".tab")
"""Further endings of files that are read as CSV."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# So many pieces stand for the others between them.
_MANY_PIECES: Final = 8


@dataclass(frozen=True)
class SampledTable:
    """A table, looked into."""

    path: str
    """The file, folder or pattern as it was given."""
    source: ItemTable
    """How it is read."""
    columns: pa.Table
    """[sampled rows] its columns by their names in the files; of text formats as texts."""
    rows: int
    """Number of rows; an estimate unless `is_whole`."""
    is_whole: bool
    """Whether the sample is all of it."""
    rejected: int = 0
    """Rows of the sample that cannot be read."""
    pieces: tuple[Piece, ...] = ()
    """All that the table consists of."""
    findings: Mapping[str, Finding] = field(default_factory=dict)
    """What was found out about how it is read: `encoding`, `delimiter`, `header`, `decimal`."""

    @property
    def stem(self) -> str:
        """The name of its file or folder without endings."""
        return PurePosixPath(self.path.rstrip("/")).name.split(".")[0]

    @property
    def is_text(self) -> bool:
        """Whether a value has no type in the file."""
        return self.source.format == "csv"


def sample_table(path: str, limit: int = SAMPLE_ROWS) -> SampledTable:
    """Look into a table and read a sample of it.

    Args:
        path: A file, a folder or a pattern, as `file` in a schema file; a URI stands for itself.
        limit: Rows that are read at most. Of Parquet they are spread over the whole table by row groups, of
            other formats they are the first ones.

    Returns:
        The table.

    Raises:
        ConfigError: The format cannot be told from the names.
        DataError: There is no such file, it has no rows, or it cannot be read.
        StorageError: A store cannot be reached or refuses.
    """
    files, source, findings = _find(path)
    looks = [FORMATS[file.format].look(file, index, source) for index, file in enumerate(files)]
    pieces = [piece for look in looks for piece in look.pieces]
    if not pieces:
        raise DataError(f"{path} is empty: expected at least one row, found 0. Name another table.")
    batches: list[pa.Table] = []
    done, rejected = 0, 0
    chosen, step = _spread(pieces, limit)
    for piece in chosen:
        parts = _read_piece(piece, source, _name_columns(piece, looks, source))
        for batch, letters in itertools.islice(parts, 0, None, step):
            if batch.num_rows:
                batches.append(batch)
            done, rejected = done + batch.num_rows, rejected + letters
            if done >= limit:
                break
        if done >= limit:
            break
    if not done:
        raise DataError(f"{path}: expected rows of {source.format}. Received: none that can be read.")
    columns = pa.concat_tables(batches, promote_options="permissive").slice(0, limit)
    is_whole = len(chosen) == len(pieces) and step == 1 and (done < limit or done == _count(pieces))
    rows = done if is_whole else max(done, sum(piece.rows for piece in pieces))
    decimal = detect_decimal(columns) if source.format == "csv" else None
    if decimal is not None:
        findings["decimal"] = decimal
        source = replace(source, decimal=decimal.value)
    return SampledTable(path, source, columns, rows, is_whole, rejected, tuple(pieces), findings)


def read_columns(table: SampledTable, names: Sequence[str]) -> Iterator[pa.Table]:
    """Read some columns of the whole table.

    Args:
        table: The table.
        names: Their names in the files.

    Yields:
        [rows] the columns, as in the sample.

    Raises:
        StorageError: A store cannot be reached or refuses.
    """
    if table.is_whole:
        yield table.columns.select(names)
        return
    for piece in table.pieces:
        for batch, _ in _read_piece(piece, table.source, names):
            yield batch.select(names)


def _find(path: str) -> tuple[tuple[DataFile, ...], ItemTable, dict[str, Finding]]:
    """Find the files of a table, how they are read, and what of that was found out."""
    is_local_name = not storage.is_remote(path) and not any(mark in path for mark in "*?{")
    if is_local_name and not Path(path).exists():
        raise DataError(
            f"No file or folder {path}. Expected a table, relative to {Path.cwd()}. Correct the path."
        )
    try:
        files = find_files(ItemTable(file=path), os.curdir)
        format_name = files[0].format
    except ConfigError:
        is_text = PurePosixPath(path.lower().removesuffix(".gz").removesuffix(".zst")).suffix in TEXT_ENDINGS
        if not is_text:
            raise
        format_name = "csv"
        files = find_files(ItemTable(file=path, format=format_name), os.curdir)
    source = ItemTable(file=path, format=format_name)
    if format_name not in ("csv", "jsonl"):
        return files, source, {}
    with_rows = [file for file in files if file.size_bytes]
    if not with_rows:
        raise DataError(f"{path} is empty: expected at least one row, found 0. Name another table.")
    findings: dict[str, Finding] = {}
    encoding = detect_encoding(with_rows[0].path)
    if encoding is not None:
        findings["encoding"] = encoding
        source = replace(source, encoding=encoding.value)
    if format_name == "csv":
        cut = detect_dialect(with_rows[0].path, source.encoding)
        findings |= cut
        source = replace(source, **{key: finding.value for key, finding in cut.items()})
    return files, source, findings


def _spread(pieces: Sequence[Piece], limit: int) -> tuple[list[Piece], int]:
    """Choose pieces over the whole table, and of them every how many batches, that make up the limit."""
    rows = _count(pieces)
    step = 1 if rows is None else math.ceil(rows / limit)
    if len(pieces) >= _MANY_PIECES * step:
        return list(pieces[::step]), 1
    return list(pieces), step


def _count(pieces: Sequence[Piece]) -> int | None:
    """Count the rows of pieces; None where the format has no number."""
    is_counted = FORMATS[pieces[0].format].is_counted
    return sum(piece.rows for piece in pieces) if is_counted else None


def _name_columns(piece: Piece, looks: Sequence[FileLook], source: ItemTable) -> list[str]:
    """Name the columns of a piece's file, in the order of the file where it has one."""
    look = looks[piece.file_index]
    if look.schema is not None:
        return [name for name in dict.fromkeys(look.schema.names) if look.schema.names.count(name) == 1]
    if source.format == "csv":
        names = source.header or read_header(piece.path, source.delimiter, source.encoding)
        return [name for name in names if name]
    known = look.names or frozenset()
    first = _keys_of_first_line(piece, source) if source.format == "jsonl" else []
    return [name for name in first if name in known] + sorted(known - set(first))


def _keys_of_first_line(piece: Piece, source: ItemTable) -> list[str]:
    with SourceStream(piece.path, whole_lines=True, encoding=source.encoding) as stream:
        line = next(stream.chunks(), b"").removeprefix(_BYTE_ORDER_MARK).split(b"\n", 1)[0]
    try:
        return list(json.loads(line))
    except (ValueError, TypeError):
        # What is wrong with it is told where the table is read.
        return []


def _read_piece(piece: Piece, source: ItemTable, names: Sequence[str]) -> Iterator[tuple[pa.Table, int]]:
    """Give the columns, and the number of rows that cannot be read."""
    if piece.format == "jsonl":
        yield from _read_json_lines(piece, source, names)
        return
    columns = [Column(name, name, "any") for name in names]
    for part in FORMATS[piece.format].read(piece, source, columns):
        rejected = sum(letter.rows for letter in part.letters)
        if part.batch is None:
            yield pa.table({name: pa.nulls(0) for name in names}), rejected
            continue
        yield pa.table({name: to_text(part.batch.column(name))[0] for name in names}), rejected


def _read_json_lines(piece: Piece, source: ItemTable, names: Sequence[str]) -> Iterator[tuple[pa.Table, int]]:
    """Give the columns with the types that their values have; the reader of the ingest is told types."""
    with SourceStream(piece.path, whole_lines=True, encoding=source.encoding) as stream:
        for chunk in stream.chunks():
            try:
                table = pa.json.read_json(
                    io.BytesIO(chunk.removeprefix(_BYTE_ORDER_MARK)),
                    read_options=pa.json.ReadOptions(block_size=len(chunk) + 1),
                )
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"{piece.path}: expected an object in each line, with values of one type for each key. "
                    f"Received: {error}. Correct the file."
                ) from error
            present = set(table.column_names)
            yield (
                pa.table(
                    {
                        name: _plain_json(table.column(name)) if name in present else pa.nulls(len(table))
                        for name in names
                    }
                ),
                0,
            )


def _plain_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # Arrow makes times of texts that look like them; the ingest reads the texts.
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.string())
    return column
