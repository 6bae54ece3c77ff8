"""Rows of Parquet files."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.parts import (
    NO_NUMBERS,
    Bounds,
    Column,
    DataFile,
    FileLook,
    Piece,
    RawPart,
    SourceFormat,
)
from schemas import storage
from schemas.errors import DataError, StorageError
from schemas.features import TableSource

READ_ROWS: Final = 65_536
"""Rows of a batch."""


def open_table(location: str) -> pq.ParquetFile:
    """Open a Parquet file where it is.

    Args:
        location: A path or URI.

    Returns:
        The open file.

    Raises:
        StorageError: It cannot be opened.
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no Parquet file.
    """
    # An object store answers few large requests much sooner than many small ones.
    return pq.ParquetFile(storage.open_input(location), pre_buffer=storage.is_remote(location))


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the metadata of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: Not used; every format's `look` is given it.

    Returns:
        The columns with their types, and a piece for each row group that has a row.

    Raises:
        DataError: It is no Parquet file, or cannot be read.
        StorageError: The store cannot be reached or refuses.
    """
    table = _open(file)
    pieces: list[Piece] = []
    first_row = 0
    for group in range(table.num_row_groups):
        metadata = table.metadata.row_group(group)
        size = sum(metadata.column(i).total_compressed_size for i in range(metadata.num_columns))
        rows = metadata.num_rows
        if rows:
            pieces.append(Piece(file.path, file.format, index, group, first_row, rows, size))
        first_row += rows
    schema = table.schema_arrow
    return FileLook(tuple(pieces), frozenset(schema.names), schema)


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a row group.

    Args:
        piece: The row group.
        source: Not used; every format's reader is given it.
        columns: The columns.

    Yields:
        Rows in the order of the file; of what is damaged in the end one dead letter for all of its rows.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    try:
        table = open_table(piece.path)
        present = {column.source for column in columns} & set(table.schema_arrow.names)
        batches = table.iter_batches(batch_size=READ_ROWS, row_groups=[piece.index], columns=sorted(present))
        for batch in batches:
            numbers = np.arange(done, done + batch.num_rows, dtype=np.int64) + piece.first_row
            named = {
                column.name: batch.column(column.source)
                if column.source in present
                else pa.nulls(batch.num_rows)
                for column in columns
            }
            yield RawPart(pa.record_batch(named), numbers, row_group=piece.index)
            done += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        if storage.is_remote(piece.path) and "AWS Error" in str(error):
            raise StorageError(f"Cannot read {piece.path}: {error}") from error
        rows = piece.rows - done
        letter = DeadLetter(
            dead_letters.UNREADABLE_ROW_GROUP, piece.path, None, piece.index, rows, _first_line(error)
        )
        yield RawPart(None, NO_NUMBERS, [letter], piece.size_bytes * rows // max(1, piece.rows))


def find_bounds(pieces: Sequence[Piece], column: str) -> list[Bounds | None]:
    """Find the smallest and the largest value of a column in the statistics of row groups.

    Args:
        pieces: The row groups.
        column: The column's name in the files.

    Returns:
        The bounds of each; None where the file does not say, or cannot be read.
    """
    bounds: list[Bounds | None] = []
    # Each file is opened once, however many row groups it has, and no two at a time.
    for location, of_file in itertools.groupby(pieces, key=lambda piece: piece.path):
        table = _open_to_see(location)
        bounds += [_read_bounds(table, piece.index, column) for piece in of_file]
    return bounds


def _open_to_see(location: str) -> pq.ParquetFile | None:
    try:
        return open_table(location)
    except (OSError, pa.ArrowException):
        return None


def _read_bounds(table: pq.ParquetFile | None, row_group: int, column: str) -> Bounds | None:
    if table is None:
        return None
    try:
        kind = table.schema_arrow.field(column).type
        chunk = table.metadata.row_group(row_group).column(table.schema_arrow.get_field_index(column))
        # The columns of the file are counted by leaves, those of the table are not.
        if chunk.path_in_schema != column or pa.types.is_dictionary(kind):
            return None
        statistics = chunk.statistics
        if statistics is None or not statistics.has_min_max:
            return None
        return Bounds(statistics.min, statistics.max, kind)
    except (OSError, KeyError, UnicodeDecodeError, OverflowError, pa.ArrowException):
        return None


def _open(file: DataFile) -> pq.ParquetFile:
    remedy = "Write the table again, as Parquet."
    if not file.size_bytes:
        raise DataError(f"{file.path} is empty: expected a Parquet file, found 0 bytes. {remedy}")
    try:
        return open_table(file.path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{file.path}: expected a Parquet file. It cannot be read as one: {error} {remedy}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


FORMAT: Final = SourceFormat(
    "parquet",
    "Parquet",
    ("pyarrow",),
    (".parquet", ".pq"),
    look,
    read,
    is_counted=True,
    find_bounds=find_bounds,
)
"""Parquet files, read by row group."""
