"""Checks of the three tables before any Beam step starts."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    IngestCounts,
    merge_counts,
    missing_message,
    show_ids,
)
from components.interaction_ingest.dead_letters import (
    UNREADABLE_FILE,
    DeadLetter,
    Rejections,
    make_rejections,
    refuse_too_many,
)
from components.interaction_ingest.logic import cast_timestamp, fill_missing, interaction_columns
from components.interaction_ingest.sources.files import DailyLogs, DataFile, choose_days, find_files
from components.interaction_ingest.sources.parquet import open_table
from components.interaction_ingest.sources.parts import LAST_SECOND, Column, Piece, to_text_column
from components.interaction_ingest.sources.reading import (
    is_possible_time,
    list_columns,
    list_entity_columns,
    look_into,
    read_piece,
)
from components.interaction_ingest.window import Window, find_latest_second, resolve_window
from schemas.errors import ConfigError, DataError
from schemas.features import Feature, FeatureSpec, InteractionTable, ItemTable, TableSource, UserTable

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

    @property
    def rows(self) -> int:
        """Number of rows; an estimate but for Parquet."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def is_counted(self) -> bool:
        """Whether `rows` is no estimate."""
        return all(file.format == "parquet" for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Size of the files."""
        return sum(file.size_bytes for file in self.files)


@dataclasses.dataclass(frozen=True)
class EntityTable:
    """A checked user or item table."""

    table: pa.Table
    """One row per id: the id (string), the features, cast and filled, and further columns as they came."""
    dropped: dict[str, int]
    """Rows left out, by reason."""
    filled: dict[str, int]
    """Missing values that a default stands in for, by feature."""
    files: tuple[DataFile, ...] = ()
    """The files that were read."""
    rejections: tuple[Rejections, ...] = ()
    """The rows left out."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The three tables, checked as far as their metadata and the two small ones allow."""

    row_groups: tuple[Piece, ...]
    """What the interactions are read in, in order."""
    rows: int
    """Number of interactions; an estimate but for Parquet."""
    window: Window
    """The days that are read."""
    users: EntityTable
    """The user table."""
    items: EntityTable
    """The item table."""
    is_counted: bool = True
    """Whether `rows` is no estimate."""
    files: tuple[DataFile, ...] = ()
    """The files of the interactions."""
    daily: DailyLogs | None = None
    """The days of daily logs."""
    rejections: Rejections = dataclasses.field(default_factory=Rejections)
    """Files of the interactions that are none of their format."""


def check_inputs(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, window: WindowConfig | None = None
) -> Inputs:
    """Check the three tables before any Beam step starts, and load the two small ones.

    Args:
        spec: The columns that are needed, and the files.
        config: The rules with columns of their own, and what to do about missing metadata and malformed rows.
        data_directory: The folder of the files: a path or URI.
        window: The days to read; None: all.

    Returns:
        The pieces of the interactions, the window's days, and the cleaned user and item tables.

    Raises:
        ConfigError: `missing_metadata: default`, and a feature of the tables has no default; or the
            format of a table cannot be told.
        DataError: A file is missing or all are unreadable; a column is missing or has the wrong
            type; an id repeats; a value without a default is missing; too many days are missing, or rows
            malformed.
        StorageError: The files' store cannot be reached or refuses.
    """
    if config.missing_metadata == "default":
        without = [
            feature.name
            for feature in (*spec.table_features("user"), *spec.table_features("item"))
            if feature.role is None and feature.default is None
        ]
        if without:
            raise ConfigError(
                "ingest.missing_metadata is 'default', so every user and item feature but the ids needs a "
                f"'default' in the schema file. Without one: {', '.join(without)}. Add them, or set "
                "ingest.missing_metadata to refuse or drop."
            )
    interactions = open_interactions(spec, config, data_directory, window)
    looked, daily = interactions.looked, interactions.daily
    return Inputs(
        row_groups=looked.pieces,
        rows=looked.rows,
        window=interactions.window,
        users=load_entity_table(
            spec.tables.users, data_directory, "users", spec.user_id, spec.table_features("user"), config
        ),
        items=load_entity_table(
            spec.tables.items,
            data_directory,
            "items",
            spec.item_id,
            spec.table_features("item"),
            config,
            spec.tables.items.display,
        ),
        is_counted=looked.is_counted,
        files=looked.files,
        daily=daily,
        rejections=looked.rejections,
    )


def check_mapped_names(spec: FeatureSpec, config: IngestConfig) -> None:
    """Refuse a name under `columns` of a table that is no column of it, as a misspelt one is.

    Args:
        spec: The tables, and their features.
        config: The rules that read columns of their own.

    Raises:
        ConfigError: There is such a name.
    """
    tables = spec.tables
    items = [feature.name for feature in spec.table_features("item")]
    for table, source, names in (
        ("interactions", tables.interactions, interaction_columns(spec, config)),
        ("users", tables.users, [feature.name for feature in spec.table_features("user")]),
        ("items", tables.items, [*items, *tables.items.display]),
    ):
        for name in source.columns:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
                raise ConfigError(
                    f"tables.{table}.columns: expected names of columns that are read: {', '.join(names)}. "
                    f"Received: {name!r}. Did you mean {nearest[0]!r}?"
                )


@dataclasses.dataclass(frozen=True)
class InteractionFiles:
    """The interactions that an ingest reads, opened but not read."""

    looked: TableFiles
    """Their pieces."""
    daily: DailyLogs | None
    """The days, where each file has one."""
    window: Window
    """The days that are read."""


def open_interactions(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, window: WindowConfig | None
) -> InteractionFiles:
    """Find the interactions and check their columns.

    Args:
        spec: The features.
        config: The positive rule and the weight, which may read columns of their own.
        data_directory: The folder of the tables.
        window: The days to read; None: all.

    Returns:
        The files' pieces and the days.

    Raises:
        ConfigError: A name under `columns` of a table is none of its columns.
        DataError: A file is missing or all are unreadable, a column is missing or has the wrong type,
            or too many days are missing.
        StorageError: The files' store cannot be reached or refuses.
    """
    check_mapped_names(spec, config)
    log = spec.tables.interactions
    asked = window or WindowConfig()
    columns = list_columns(spec, config)
    for column in columns:
        if column.is_compared and column.feature is not None and column.feature.dtype == "string":
            raise DataError(_needs_numbers(_name_of(log.file), column, "a feature of dtype string"))
    files, daily = find_files(log, data_directory), None
    if files[0].day is not None:
        files, daily = choose_days(files, asked, log.file)
    looked = look_into_files(log, "interactions", files, columns, find_latest_second(config.latest_time))
    if daily is not None:
        return InteractionFiles(looked, daily, daily.asked)
    resolved = resolve_window(asked, lambda: find_newest_second(looked, log, columns))
    return InteractionFiles(looked, daily, resolved)


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
    first_names: tuple[str, frozenset[str]] | None = None
    for index, file in enumerate(files):
        try:
            found, names = _look_into_file(file, index, table, columns)
        except DataError as error:
            problem = problem or error
            letters.append(DeadLetter(UNREADABLE_FILE, file.path, text=str(error)))
            unread_bytes += file.size_bytes
            continue
        pieces += [dataclasses.replace(piece, latest_second=latest_second) for piece in found]
        if names is not None:
            first_names = first_names or (_name_of(file.path), names)
            present |= names
    if first_names is not None and files[0].format == "parquet":
        # What has a default may be missing in a file of many, but where it is in none, its name is wrong.
        _check_names(*first_names, [c for c in columns if c.source not in present], every=True)
    if problem is not None and not pieces:
        raise problem
    if not pieces:
        raise DataError(
            f"{files[0].path if len(files) == 1 else table.file} is empty: expected at least one row, found 0"
            ". Write the table again."
        )
    return TableFiles(tuple(files), tuple(pieces), make_rejections(name, letters, unread_bytes))


def _look_into_file(
    file: DataFile, index: int, table: TableSource, columns: Sequence[Column]
) -> tuple[list[Piece], frozenset[str] | None]:
    """Check the columns of a file; gives its pieces and its columns' names, None if it has no row."""
    if file.format != "parquet":
        names, rows = look_into(file, table)
        if names is not None:
            _check_names(_name_of(file.path), names, columns, every=file.format == "csv")
        whole = Piece(file.path, file.format, index, 0, 0, rows, file.size_bytes)
        return [whole] if file.size_bytes else [], names
    parquet = _open_parquet(file)
    _check_columns(_name_of(file.path), parquet.schema_arrow, columns)
    pieces: list[Piece] = []
    first_row = 0
    for group in range(parquet.num_row_groups):
        metadata = parquet.metadata.row_group(group)
        size = sum(metadata.column(i).total_compressed_size for i in range(metadata.num_columns))
        rows = metadata.num_rows
        if rows:
            pieces.append(Piece(file.path, "parquet", index, group, first_row, rows, size))
        first_row += rows
    return pieces, frozenset(parquet.schema_arrow.names)


def load_entity_table(
    source: UserTable | ItemTable,
    data_directory: str,
    name: str,
    id_feature: Feature,
    features: Sequence[Feature],
    config: IngestConfig,
    further_columns: Sequence[str] = (),
) -> EntityTable:
    """Read and clean a user or item table.

    Args:
        source: Its files, and how they are read.
        data_directory: The folder that they are in: a path or URI.
        name: `users` or `items`.
        id_feature: The id, which must be unique.
        features: The features to read, the id among them.
        config: How many malformed rows there may be.
        further_columns: Columns to carry along unchecked, such as what is shown with a recommendation.

    Returns:
        The table without malformed rows, which are counted.

    Raises:
        ConfigError: The format cannot be told from the names of the files.
        DataError: The files cannot be used; the message says why.
        StorageError: The store cannot be reached or refuses.
    """
    files = find_files(source, data_directory)
    file = _name_of(source.file)
    columns = list_entity_columns(source, features, further_columns)
    looked = look_into_files(source, name, files, columns)
    batches: list[pa.RecordBatch] = []
    rejections = [looked.rejections]
    for piece in looked.pieces:
        for batch, rejected in read_piece(piece, source, name, columns, [id_feature.name]):
            batches.append(_decode_dictionaries(batch))
            rejections.append(rejected)
    parts = [pa.Table.from_batches([batch]) for batch in batches if batch.num_rows]
    parts = _unify_shown(parts, [column.name for column in columns if column.kind == "any"])
    raw = pa.concat_tables(parts, promote_options="permissive") if parts else None
    kept = 0 if raw is None else len(raw)
    counts = merge_counts([*(part.count() for part in rejections), IngestCounts.of_read(kept)])
    refuse_too_many(source.file, counts, looked.size_bytes, config.maximum_rejected_fraction)
    if raw is None:
        raise DataError(f"{source.file} is empty: expected at least one row, found 0. Write the table again.")
    ids = raw.column(id_feature.name).combine_chunks()
    _refuse_duplicates(file, id_feature.name, ids)

    loaded: dict[str, pa.Array] = {}
    filled: dict[str, int] = {}
    missing: dict[str, int] = {}
    for feature in features:
        if feature.role is not None:
            loaded[feature.name] = ids
            continue
        loaded[feature.name], count = fill_missing(raw.column(feature.name).combine_chunks(), feature)
        if count:
            (missing if feature.default is None else filled)[feature.name] = count
    if missing:
        raise DataError(missing_message(file, missing))
    for further in further_columns:
        loaded.setdefault(further, raw.column(further).combine_chunks())
    return EntityTable(
        pa.table(loaded), dict(counts.dropped), filled, files, tuple(r for r in rejections if len(r.letters))
    )


def find_newest_second(looked: TableFiles, source: TableSource, columns: Sequence[Column]) -> int | None:
    """Find the time of the newest interaction that is not malformed.

    Args:
        looked: The interactions.
        source: How they are read.
        columns: Their columns.

    Returns:
        Seconds since 1970; None if no row has a usable time and usable ids.

    Raises:
        StorageError: The store cannot be reached or refuses.
    """
    [column] = [column for column in columns if column.kind == "timestamp"]
    ids = [column for column in columns if column.feature is not None and column.feature.role is not None]
    # What the statistics of a row group say is a bound: its newest row may be malformed. So the row groups
    # are read from the highest bound down, of a log in order only the last one.
    bounds = [
        (_newest_of_statistics(piece, column.source) if piece.format == "parquet" else None, piece)
        for piece in looked.pieces
    ]
    newest: int | None = None
    for bound, piece in sorted(
        bounds, key=lambda pair: LAST_SECOND if pair[0] is None else pair[0], reverse=True
    ):
        if newest is not None and bound is not None and bound <= newest:
            break
        # What cannot be read is met again, and counted then.
        for batch, _ in read_piece(piece, source, "interactions", [*ids, column], [c.name for c in ids]):
            second = pc.max(batch.column(column.name)).as_py()
            newest = second if newest is None or (second is not None and second > newest) else newest
    return newest


def can_hold(piece: Piece, column: Column, text: str) -> bool:
    """Tell from the statistics of a row group whether an id may stand in it.

    Args:
        piece: The row group, or a file of another format.
        column: The id.
        text: The id's text, also where the file has numbers.

    Returns:
        False if it stands in no row; True otherwise, also where that is not known.
    """
    bounds = _read_bounds(piece, column.source)
    if bounds is None:
        return True
    low, high, _ = bounds
    if isinstance(low, int) and isinstance(high, int):
        return bool(re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text)) and low <= int(text) <= high
    return not (isinstance(low, str) and isinstance(high, str)) or low <= text <= high


def _read_bounds(piece: Piece, column: str) -> tuple[Any, Any, pa.DataType] | None:
    """Give the smallest and the largest value of a row group's column, and its type, where they are known."""
    if piece.format != "parquet":
        return None
    try:
        table = open_table(piece.path)
        kind = table.schema_arrow.field(column).type
        chunk = table.metadata.row_group(piece.index).column(table.schema_arrow.get_field_index(column))
        # The columns of the file are counted by leaves, those of the table are not.
        if chunk.path_in_schema != column or pa.types.is_dictionary(kind):
            return None
        statistics = chunk.statistics
        if statistics is None or not statistics.has_min_max:
            return None
        return statistics.min, statistics.max, kind
    except (OSError, KeyError, UnicodeDecodeError, OverflowError, pa.ArrowException):
        return None


def _newest_of_statistics(piece: Piece, column: str) -> int | None:
    bounds = _read_bounds(piece, column)
    if bounds is None:
        return None
    _, latest, kind = bounds
    try:
        second = cast_timestamp(pa.array([latest], kind))[0].as_py()
    except (OverflowError, pa.ArrowException):
        return None
    # With an impossible time in it, the row group has to be read.
    return second if is_possible_time(second, piece.latest_second) else None


def _name_of(location: str) -> str:
    return PurePosixPath(location).name


def _open_parquet(file: DataFile) -> pq.ParquetFile:
    remedy = "Write the table again, as Parquet."
    if not file.size_bytes:
        raise DataError(f"{file.path} is empty: expected a Parquet file, found 0 bytes. {remedy}")
    try:
        return open_table(file.path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{file.path}: expected a Parquet file. It cannot be read as one: {error} {remedy}"
        ) from error


def _unify_shown(parts: list[pa.Table], names: Sequence[str]) -> list[pa.Table]:
    """Make texts of columns that are only shown where they are of one type here and of another there."""
    for name in names:
        kinds = {part.schema.field(name).type for part in parts}
        if len({kind for kind in kinds if not pa.types.is_null(kind)}) > 1:
            parts = [
                part.set_column(part.column_names.index(name), name, to_text_column(part.column(name)))
                for part in parts
            ]
    return parts


def _decode_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    decoded = {
        name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.record_batch(decoded)


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


def _needs_numbers(file: str, column: Column, found: str) -> str:
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
            raise DataError(_needs_numbers(file, column, str(found)))
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


def _refuse_duplicates(file: str, name: str, ids: pa.Array) -> None:
    counts = pc.value_counts(ids)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{file}: {name!r} must be unique, but {len(repeated):,} ids stand in more than one row, such as "
            f"{show_ids(repeated.slice(0, EXAMPLE_IDS_SHOWN).to_pylist())}. Keep one row of each."
        )
