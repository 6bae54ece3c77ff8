"""Rows of CSV files."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.csv_rows import read_blocks, split_header
from components.interaction_ingest.sources.parts import (
    NO_NUMBERS,
    Column,
    DataFile,
    FileLook,
    Piece,
    RawPart,
    SourceFormat,
    look_of_start,
    reject_unreadable_rest,
    show_bytes,
)
from components.interaction_ingest.sources.streams import SourceStream
from schemas.errors import DataError
from schemas.features import TableSource


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the start of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: The delimiter.

    Returns:
        The names in the header, and an estimate of the number of rows.

    Raises:
        DataError: The header has a name twice, or a quotation mark that is not closed.
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(file.path, whole_lines=False) as stream:
        block = next(read_blocks(stream, source.delimiter), None)
        if block is None:
            return look_of_start(stream, file, index, (), 0)
        if block.unclosed and block.unclosed[0].number == 0:
            raise DataError(
                f"{file.path}: the header has a quotation mark that is not closed: "
                f"{show_bytes(block.unclosed[0].text[:200])}. Close it, or write the file again."
            )
        fields, block = split_header(block, source.delimiter)
        repeated = sorted({name for name in fields if fields.count(name) > 1 and name})
        if repeated:
            raise DataError(
                f"{file.path}: the header has {', '.join(repeated)} twice. Expected each once: rename them."
            )
        return look_of_start(stream, file, index, fields, len(block.numbers), is_header=True)


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: The delimiter.
        columns: The columns.

    Yields:
        The values as bytes, in the order of the file, and the rows that are none.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    names: list[str] = []
    with SourceStream(piece.path, whole_lines=False) as stream:
        for whole in read_blocks(stream, source.delimiter):
            header, block = ([], whole) if names else split_header(whole, source.delimiter)
            names = names or header
            # The header is row 0.
            numbers = block.numbers - 1
            done += len(numbers) + len(block.unclosed)
            letters = [
                DeadLetter(
                    dead_letters.UNCLOSED_QUOTE,
                    piece.path,
                    row.number,
                    rows=row.lines,
                    text=show_bytes(row.text),
                )
                for row in block.unclosed
            ]
            records = len(numbers) + len(letters)
            if not len(numbers):
                yield RawPart(None, NO_NUMBERS, letters, records=records)
                continue
            batch, invalid = _parse_csv(block.content, names, source.delimiter, columns)
            places = np.array([row.number - 1 for row in invalid], np.int64)
            letters += _invalid_rows(invalid, numbers[places], piece.path)
            yield RawPart(batch, np.delete(numbers, places), letters, records=records)
        rest, unread = reject_unreadable_rest(stream, piece, done)
        if rest:
            yield RawPart(None, NO_NUMBERS, rest, unread)


def _parse_csv(
    content: bytes, names: Sequence[str], delimiter: str, columns: Sequence[Column]
) -> tuple[pa.RecordBatch, list[pa.csv.InvalidRow]]:
    """Parse whole rows; what has too many or too few fields is left out, and numbered from 1."""
    invalid: list[pa.csv.InvalidRow] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    wanted = [column.source for column in columns]
    table = pa.csv.read_csv(
        pa.BufferReader(content),
        read_options=pa.csv.ReadOptions(
            # With threads the numbers of the rows are not known.
            use_threads=False,
            block_size=len(content) + 1,
            # The others may have no name, or one that stands there twice.
            column_names=[name if name in wanted else f"#{place}" for place, name in enumerate(names)],
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
        ),
        # As bytes, since one text that is not UTF-8 would spoil all of them.
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            include_missing_columns=True,
            column_types={name: pa.binary() for name in wanted},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    values = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(values, names=[column.name for column in columns]), invalid


def _invalid_rows(
    rows: Sequence[pa.csv.InvalidRow], numbers: npt.NDArray[np.int64], path: str
) -> list[DeadLetter]:
    return [
        DeadLetter(
            dead_letters.TOO_MANY_FIELDS
            if row.actual_columns > row.expected_columns
            else dead_letters.TOO_FEW_FIELDS,
            path,
            int(number) + 1,
            # A quotation mark that is closed too late swallows the lines after it.
            rows=row.text.count("\n") + 1,
            text=row.text,
        )
        for row, number in zip(rows, numbers, strict=True)
    ]


FORMAT: Final = SourceFormat("csv", "CSV", ("pyarrow",), (".csv",), look, read)
"""CSV files with a header."""
