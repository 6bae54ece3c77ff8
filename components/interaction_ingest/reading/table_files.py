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
from components.interaction_ingest.sources.lists import is_list
from components.interaction_ingest.sources.parts import LAST_SECOND, Column, DataFile, FileLook, Piece
from components.interaction_ingest.sources.registry import FORMATS
from schemas.errors import DataError
from schemas.features import InteractionTable, ItemTable, TableSource, TimeUnit, UserTable

_EXPECTED_TYPES = {
    "id": "texts, whole numbers or bytes",
    "label": "texts, numbers, booleans, dates or timestamps",
    "number": "numbers, booleans, or texts of them",
    "time": "numbers, dates, timestamps, or texts of them",
    "labels": "lists of texts, numbers or booleans, or texts of lists",
    "numbers": "lists of numbers, or texts of lists",
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

    def with_unit(self, unit: TimeUnit) -> "TableFiles":
        """Say what the times count.

        Args:
            unit: The unit of those that are numbers.

        Returns:
            The same files.
        """
        pieces = tuple(dataclasses.replace(piece, time_unit=unit) for piece in self.pieces)
        return dataclasses.replace(self, pieces=pieces)

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
        _check_names(name_of(file.path), look.names, columns, every=look.is_header, hint=look.hint)
    return look


def name_of(location: str) -> str:
    """Give the last part of a location, for messages.

    Args:
        location: A path or URI.

    Returns:
        The name.
    """
    return PurePosixPath(location).name


def _check_names(
    file: str, names: frozenset[str], columns: Sequence[Column], every: bool, hint: str = ""
) -> None:
    for column in columns:
        if column.source in names or not (every or column.is_required):
            continue
        remedy = hint or (
            f"{_suggest(column, columns, names)}Rename the column, or map it under 'columns' of the table in "
            "the schema file."
        )
        raise DataError(
            f"{file}: no column {column.source!r}, which is {_purpose(column)}. Its columns: "
            f"{', '.join(sorted(names))}. {remedy}"
        )


def _suggest(column: Column, columns: Iterable[Column], names: Iterable[str]) -> str:
    """Suggest the nearest name that is not that of another column already; '' where all are."""
    free = set(names) - {other.source for other in columns}
    nearest = difflib.get_close_matches(column.source, sorted(free), n=1, cutoff=0.0)
    return f"Did you mean {nearest[0]!r}? " if nearest else ""


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


def _require_column(file: str, schema: pa.Schema, column: Column, columns: Iterable[Column]) -> pa.DataType:
    name = column.source
    count = schema.names.count(name)
    if count == 1:
        return schema.field(name).type
    if count > 1:
        raise DataError(f"{file}: {count} columns are named {name!r}. Expected one: rename the others.")
    raise DataError(
        f"{file}: no column {name!r}, which is {_purpose(column)}. Its columns: {', '.join(schema.names)}. "
        f"{_suggest(column, columns, schema.names)}Rename the column, or correct the configuration."
    )


def _check_columns(file: str, schema: pa.Schema, columns: Sequence[Column]) -> None:
    for column in columns:
        if not column.is_required and column.source not in schema.names:
            continue
        found = _value_type(_require_column(file, schema, column, columns))
        kind = _kind_of(column)
        if kind is None or _fits(found, kind):
            continue
        if column.kind == "number":
            raise DataError(needs_numbers(file, column, str(found)))
        remedies = {
            "timestamp": "name another column under tables.interactions.timestamp",
            "text": "name another column in ingest.positives or ingest.weight",
        }
        raise DataError(
            f"{file}: column {column.source!r} must hold {_EXPECTED_TYPES[kind]}. Found: {found}. Write it "
            "with one of these types, or "
            f"{remedies.get(column.kind, 'correct the feature in the schema file')}."
        )


def _kind_of(column: Column) -> str | None:
    """Tell what a column must hold; None for anything."""
    feature = column.feature
    if column.kind == "timestamp" or (feature is not None and feature.time_part is not None):
        return "time"
    if feature is None:
        return {"number": "number", "text": "label"}.get(column.kind)
    if feature.role is not None:
        return "id"
    if feature.is_list:
        return "labels" if feature.multi_valued else "numbers"
    return "label" if feature.dtype == "string" else "number"


def _fits(found: pa.DataType, kind: str) -> bool:
    """Tell whether a column of a type can hold what is needed; whether each value fits is seen later."""
    types = pa.types
    is_text = (
        types.is_string(found)
        or types.is_large_string(found)
        or types.is_string_view(found)
        or types.is_binary(found)
        or types.is_large_binary(found)
    )
    if types.is_null(found) or is_text:
        return True
    if kind in ("labels", "numbers"):
        return is_list(found) and _fits(_value_type(found.value_type), kind.removesuffix("s"))
    is_number = types.is_integer(found) or types.is_floating(found) or types.is_decimal(found)
    if kind == "id":
        return bool(is_number or types.is_fixed_size_binary(found))
    if kind == "time":
        return bool(is_number or types.is_date(found) or types.is_timestamp(found))
    if kind == "number":
        return bool(is_number or types.is_boolean(found))
    return bool(is_number or types.is_boolean(found) or types.is_date(found) or types.is_timestamp(found))


def _value_type(found: pa.DataType) -> pa.DataType:
    """Give the type of the values themselves, without a dictionary or an extension around them."""
    if isinstance(found, pa.BaseExtensionType):
        return found.storage_type
    return found.value_type if pa.types.is_dictionary(found) else found
