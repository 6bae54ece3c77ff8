"""The files of a table, looked into: their columns checked, and cut into pieces."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from components.interaction_ingest.counts import empty_message
from components.interaction_ingest.dead_letters import (
    UNREADABLE_FILE,
    DeadLetter,
    Rejections,
    make_rejections,
)
from components.interaction_ingest.sources.parts import LAST_SECOND, Column, DataFile, FileLook, Piece
from components.interaction_ingest.sources.registry import FORMATS
from schemas.errors import DataError
from schemas.features import InteractionTable, ItemTable, TableSource, UserTable

_EXPECTED_TYPES = {
    "id": "strings or integers",
    "string": "strings",
    "int": "integers",
    "float": "numbers",
    "multi_valued": "lists of strings",
    "vector": "lists of numbers",
    "text": "strings or integers",
}


@dataclasses.dataclass(frozen=True)
class TableFiles:
    """The files of a table, looked into."""

    files: tuple[DataFile, ...]
    """Every file that is read."""
    pieces: tuple[Piece, ...]
    """What they are read in, in order."""
    rejections: Rejections
    """The files that are none of their format."""
    names: frozenset[str] = frozenset()
    """Every column of the files, read or not; of a format in which each row names its own, those of the rows
    at the files' starts."""

    @property
    def rows(self) -> int:
        """Number of rows; an estimate but for Parquet."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def is_counted(self) -> bool:
        """Whether `rows` is no estimate."""
        return all(FORMATS[file.format].is_counted for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Size of the files."""
        return sum(file.size_bytes for file in self.files)


def look_into_files(
    table: InteractionTable | UserTable | ItemTable,
    name: str,
    files: Sequence[DataFile],
    columns: Sequence[Column],
    latest_second: int = LAST_SECOND,
) -> TableFiles:
    """Check the columns of a table's files, and cut them into pieces.

    Args:
        table: How they are read.
        name: `interactions`, `users` or `items`.
        files: The files.
        columns: The columns that are needed.
        latest_second: Seconds since 1970 of the latest time that an interaction can have.

    Returns:
        The pieces; of a file that cannot be opened, or whose columns are not those needed, a rejection.

    Raises:
        DataError: No file can be used, or a column is in none.
        StorageError: The store cannot be reached or refuses.
    """
    pieces: list[Piece] = []
    letters: list[DeadLetter] = []
    unread_bytes = 0
    problem: DataError | None = None
    present: frozenset[str] = frozenset()
    all_names: frozenset[str] = frozenset()
    first_names: tuple[str, frozenset[str]] | None = None
    for index, file in enumerate(files):
        try:
            look = _look_into_file(file, index, table, columns)
        except DataError as error:
            problem = problem or error
            letters.append(DeadLetter(UNREADABLE_FILE, file.path, text=str(error)))
            unread_bytes += file.size_bytes
            continue
        pieces += [dataclasses.replace(piece, latest_second=latest_second) for piece in look.pieces]
        all_names |= look.names or frozenset()
        if look.schema is not None:
            names = frozenset(look.schema.names)
            first_names = first_names or (name_of(file.path), names)
            present |= names
    if first_names is not None:
        # What has a default may be missing in a file of many, but where it is in none, its name is wrong.
        _check_names(*first_names, [c for c in columns if c.source not in present], every=True)
    if problem is not None and not pieces:
        raise problem
    if not pieces:
        raise DataError(empty_message(files[0].path if len(files) == 1 else table.file))
    return TableFiles(tuple(files), tuple(pieces), make_rejections(name, letters, unread_bytes), all_names)


def _look_into_file(file: DataFile, index: int, table: TableSource, columns: Sequence[Column]) -> FileLook:
    """Look into a file, and check its columns."""
    look = FORMATS[file.format].look(file, index, table)
    if look.schema is not None:
        _check_columns(name_of(file.path), look.schema, columns)
    elif look.names is not None:
        _check_names(name_of(file.path), look.names, columns, every=look.is_header)
    return look


def name_of(location: str) -> str:
    """Give the last part of a location, for messages.

    Args:
        location: A path or URI.

    Returns:
        The name.
    """
    return PurePosixPath(location).name


def _check_names(file: str, names: frozenset[str], columns: Iterable[Column], every: bool) -> None:
    for column in columns:
        if column.source in names or not (every or column.is_required):
            continue
        nearest = difflib.get_close_matches(column.source, names, n=1, cutoff=0.0)
        raise DataError(
            f"{file}: no column {column.source!r}, which is {_purpose(column)}. Its columns: "
            f"{', '.join(sorted(names))}. Did you mean {nearest[0]!r}? Rename the column, or map it under "
            "'columns' of the table in the schema file."
        )


def needs_numbers(file: str, column: Column, found: str) -> str:
    """Say that a rule needs numbers.

    Args:
        file: Name of the file.
        column: The column.
        found: What it holds.

    Returns:
        What was expected, what came, what to do.
    """
    return (
        f"{file}: column {column.source!r} must hold numbers, since ingest.positives or ingest.weight needs "
        f"them. Found: {found}. Write it as numbers, or name another column."
    )


def _purpose(column: Column) -> str:
    return {
        "feature": "a feature of the schema file",
        "timestamp": "the time of the interaction",
        "number": "the column of ingest.positives or ingest.weight",
        "text": "the column of ingest.positives or ingest.weight",
        "any": "a column to show with recommendations",
    }[column.kind]


def _require_column(file: str, schema: pa.Schema, name: str, what: str) -> pa.DataType:
    count = schema.names.count(name)
    if count == 1:
        return schema.field(name).type
    if count > 1:
        raise DataError(f"{file}: {count} columns are named {name!r}. Expected one: rename the others.")
    nearest = difflib.get_close_matches(name, schema.names, n=1, cutoff=0.0)
    raise DataError(
        f"{file}: no column {name!r}, which is {what}. Its columns: {', '.join(schema.names)}. "
        f"Did you mean {nearest[0]!r}? Rename the column, or correct the configuration."
    )


def _check_columns(file: str, schema: pa.Schema, columns: Iterable[Column]) -> None:
    for column in columns:
        if not column.is_required and column.source not in schema.names:
            continue
        found = _require_column(file, schema, column.source, _purpose(column))
        name = repr(column.source)
        if column.kind == "timestamp":
            is_integer = _fits(found, "id") and not _fits(found, "string")
            if not is_integer and not pa.types.is_timestamp(_value_type(found)):
                raise DataError(
                    f"{file}: column {name} must hold integer seconds since 1970 or timestamps. Found: "
                    f"{found}. Write it with one of these types, or name another column under "
                    "tables.interactions.timestamp."
                )
        elif column.kind == "number" and not _fits(found, "float"):
            raise DataError(needs_numbers(file, column, str(found)))
        elif column.kind == "text" and not _fits(found, "text"):
            raise DataError(
                f"{file}: column {name} must hold {_EXPECTED_TYPES['text']}, since ingest.positives or "
                f"ingest.weight compares it with texts. Found: {found}. Name another column."
            )
        elif column.feature is not None:
            feature = column.feature
            kind: str = "id" if feature.role else "multi_valued" if feature.multi_valued else feature.dtype
            kind = "vector" if feature.length is not None else kind
            if not _fits(found, kind):
                raise DataError(
                    f"{file}: column {name} must hold {_EXPECTED_TYPES[kind]}. Found: {found}. "
                    "Write it with that type, or correct the feature's dtype in the schema file."
                )


def _fits(found: pa.DataType, kind: str) -> bool:
    found = _value_type(found)
    types = pa.types
    if types.is_null(found):
        return True
    if kind in ("multi_valued", "vector"):
        is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return bool(is_list and _fits(found.value_type, "string" if kind == "multi_valued" else "float"))
    is_string = types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    is_integer = types.is_integer(found)
    if kind == "string":
        return bool(is_string)
    if kind in ("id", "text"):
        return bool(is_string or is_integer)
    if kind == "int":
        return bool(is_integer or types.is_boolean(found))
    return bool(is_integer or types.is_boolean(found) or types.is_floating(found) or types.is_decimal(found))


def _value_type(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_dictionary(found) else found
