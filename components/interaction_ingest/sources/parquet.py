"""Rows of Parquet files."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.parts import NO_NUMBERS, Column, Piece, RawPart
from schemas import storage
from schemas.errors import StorageError
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
            yield RawPart(pa.record_batch(named), numbers)
            done += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        if storage.is_remote(piece.path) and "AWS Error" in str(error):
            raise StorageError(f"Cannot read {piece.path}: {error}") from error
        rows = piece.rows - done
        letter = DeadLetter(
            dead_letters.UNREADABLE_ROW_GROUP, piece.path, None, piece.index, rows, _first_line(error)
        )
        yield RawPart(None, NO_NUMBERS, [letter], piece.size_bytes * rows // max(1, piece.rows))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
