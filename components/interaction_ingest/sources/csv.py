"""Rows of CSV files."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from components.interaction_ingest import dead_letters
from components.interaction_ingest.dead_letters import DeadLetter
from components.interaction_ingest.sources.csv_rows import mark_of, read_blocks, split_header
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

_DELIMITERS: Final = ("::", ";", "\t", "|", ",")
_VALUE: Final = re.compile(r"[+-]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d.*")
_SHOWN_CHARACTERS: Final = 200


def look(file: DataFile, index: int, source: TableSource) -> FileLook:
    """Look at the start of a file.

    Args:
        file: The file.
        index: Its place among the table's files.
        source: The delimiter, the encoding, and the names where the file has no header.

    Returns:
        The names of the columns, and an estimate of the number of rows.

    Raises:
        DataError: The header has a name twice, or a quotation mark that is not closed; or the first row has
            not as many fields as `header` has names.
        StorageError: The store cannot be reached or refuses.
    """
    with SourceStream(file.path, whole_lines=False, encoding=source.encoding) as stream:
        block = next(read_blocks(stream, source.delimiter), None)
        if block is None:
            return look_of_start(stream, file, index, (), 0)
        if block.unclosed and block.unclosed[0].number == 0:
            raise DataError(
                f"{file.path}: the first row has a quotation mark that is not closed: "
                f"{_show(block.unclosed[0].text[:200], source)}. Close it, or write the file again."
            )
        fields, rows = split_header(block, source.delimiter)
        if source.header is not None:
            _check_number(file, fields, source, source.header)
            return look_of_start(stream, file, index, source.header, len(block.numbers), is_header=True)
        names = [name.strip() for name in fields]
        repeated = sorted({name for name in names if names.count(name) > 1 and name})
        hint = _explain_names(names, source.delimiter)
        if repeated:
            remedy = hint or "Expected each once: rename them."
            raise DataError(f"{file.path}: the header has {', '.join(repeated)} twice. {remedy}")
        return look_of_start(stream, file, index, names, len(rows.numbers), is_header=True, hint=hint)


def read(piece: Piece, source: TableSource, columns: Sequence[Column]) -> Iterator[RawPart]:
    """Read a file.

    Args:
        piece: The file.
        source: The delimiter, the encoding, and the names where the file has no header.
        columns: The columns.

    Yields:
        The values as bytes, in the order of the file, and the rows that are none.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    done = 0
    names = list(source.header or ())
    # A header is row 0.
    first = 0 if source.header else 1
    with SourceStream(piece.path, whole_lines=False, encoding=source.encoding) as stream:
        for whole in read_blocks(stream, source.delimiter):
            header, block = ([], whole) if names else split_header(whole, source.delimiter)
            names = names or [name.strip() for name in header]
            numbers = block.numbers - first
            done += len(numbers) + len(block.unclosed)
            letters = [
                DeadLetter(
                    dead_letters.UNCLOSED_QUOTE,
                    piece.path,
                    row.number + 1 - first,
                    rows=row.lines,
                    text=_show(row.text, source),
                )
                for row in block.unclosed
            ]
            records = len(numbers) + len(letters)
            if not len(numbers):
                yield RawPart(None, NO_NUMBERS, letters, records=records)
                continue
            batch, invalid = _parse_csv(block.content, names, source.delimiter, columns)
            places = np.array([row.number - 1 for row in invalid], np.int64)
            letters += _invalid_rows(invalid, numbers[places], piece.path, source)
            yield RawPart(batch, np.delete(numbers, places), letters, records=records)
        rest, unread = reject_unreadable_rest(stream, piece, done)
        if rest:
            yield RawPart(None, NO_NUMBERS, rest, unread)


def _check_number(file: DataFile, fields: Sequence[str], source: TableSource, header: Sequence[str]) -> None:
    if len(fields) in (0, len(header)):
        return
    hint = _find_delimiter(fields, source.delimiter)
    raise DataError(
        f"{file.path}: expected {len(header)} fields in each row, one for each name in the table's 'header'. "
        f"Received: {len(fields)} in the first row, {_shorten(fields)}. "
        f"{hint or 'Correct the header, or the delimiter.'}"
    )


def _explain_names(names: Sequence[str], delimiter: str) -> str:
    """Say why the first row may be no header, or not cut into names; '' where it looks like one."""
    hint = _find_delimiter(names, delimiter)
    fields = re.split("|".join(map(re.escape, _DELIMITERS)), names[0]) if hint else names
    if any(_VALUE.fullmatch(field.strip()) for field in fields):
        header = (
            "The first row looks like values: if the file has no header, set 'header' to the names of its "
            "columns in the schema file."
        )
        return f"{hint} {header}".strip()
    return hint


def _find_delimiter(names: Sequence[str], delimiter: str) -> str:
    """Say what to set where the first row is a single field with another separator in it."""
    if len(names) != 1:
        return ""
    other = next((one for one in _DELIMITERS if one != delimiter and one in names[0]), None)
    if other is None:
        return ""
    return (
        f"{delimiter!r} does not separate its first row, {_shorten(names)}: set delimiter: "
        f"{json.dumps(other)} for the table in the schema file."
    )


def _shorten(fields: Sequence[str]) -> str:
    shown = ", ".join(map(repr, fields))
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def _show(content: bytes, source: TableSource) -> str:
    return show_bytes(content).replace(mark_of(source.delimiter), source.delimiter)


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
            delimiter=mark_of(delimiter), newlines_in_values=True, invalid_row_handler=skip
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
    mark = mark_of(delimiter)
    if mark != delimiter:
        # Within quotation marks it stands for itself.
        values = [pc.replace_substring(column, mark, delimiter) for column in values]
    return pa.record_batch(values, names=[column.name for column in columns]), invalid


def _invalid_rows(
    rows: Sequence[pa.csv.InvalidRow], numbers: npt.NDArray[np.int64], path: str, source: TableSource
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
            text=row.text.replace(mark_of(source.delimiter), source.delimiter),
        )
        for row, number in zip(rows, numbers, strict=True)
    ]


FORMAT: Final = SourceFormat("csv", "CSV", ("pyarrow",), (".csv",), look, read, is_untyped=True)
"""CSV files."""
