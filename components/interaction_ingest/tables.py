"""Checks of the three tables before any Beam step starts."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest.config import IngestConfig, PositiveRule, WindowConfig
from components.interaction_ingest.counts import EXAMPLE_IDS_SHOWN, missing_message, show_ids
from components.interaction_ingest.logic import (
    bad_text_ids,
    cast_column,
    cast_timestamp,
    drop_by_reason,
    fill_missing,
    require_file,
)
from components.interaction_ingest.window import Window, resolve_window
from schemas import storage
from schemas.errors import ConfigError, DataError
from schemas.features import Feature, FeatureSpec

_EXPECTED_TYPES = {
    "id": "strings or integers",
    "string": "strings",
    "int": "integers",
    "float": "numbers",
    "multi_valued": "lists of strings",
}


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """One row group of an interaction file."""

    path: str
    """The Parquet file: a path or URI, opened where it is read."""
    file_index: int
    """The file's place in the order of the interaction files."""
    index: int
    """The row group's index in the file."""
    first_row: int
    """Number of the row group's first row in the file."""


@dataclasses.dataclass(frozen=True)
class EntityTable:
    """A checked user or item table."""

    table: pa.Table
    """One row per id: the id (string), the features, cast and filled, and further columns as they came."""
    dropped: dict[str, int]
    """Rows left out, by reason."""
    filled: dict[str, int]
    """Missing values that a default stands in for, by feature."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The three tables, checked as far as their metadata and the two small ones allow."""

    row_groups: tuple[RowGroup, ...]
    """The row groups of the interactions, in order."""
    rows: int
    """Number of interactions."""
    window: Window
    """The days that are read."""
    users: EntityTable
    """The user table."""
    items: EntityTable
    """The item table."""


def check_inputs(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, window: WindowConfig | None = None
) -> Inputs:
    """Check the three tables before any Beam step starts, and load the two small ones.

    Args:
        spec: The columns that are needed, and the files.
        config: The positive rule, and what to do about missing metadata.
        data_directory: The folder of the files: a path or URI.
        window: The days to read; None: all.

    Returns:
        The row groups of the interactions, the window's days, and the cleaned user and item tables.

    Raises:
        ConfigError: `missing_metadata: default`, and a feature of the tables has no default.
        DataError: A file is missing, empty or not Parquet; a column is missing or has the wrong
            type; an id repeats or is null; a value without a default is missing.
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
    interactions = storage.join(data_directory, spec.tables.interactions.file)
    log_name = _name_of(interactions)
    parquet = _open_parquet(interactions)
    _check_columns(
        log_name,
        parquet.schema_arrow,
        (spec.user_id, spec.item_id, *spec.table_features("context")),
    )
    _check_timestamp(log_name, parquet.schema_arrow, spec.timestamp)
    if config.positives is not None:
        _check_rule_column(log_name, parquet.schema_arrow, config.positives)
    groups, first_row = [], 0
    for index in range(parquet.num_row_groups):
        groups.append(RowGroup(interactions, 0, index, first_row))
        first_row += parquet.metadata.row_group(index).num_rows
    return Inputs(
        row_groups=tuple(groups),
        rows=first_row,
        window=resolve_window(
            window or WindowConfig(), lambda: find_newest_second(parquet, spec.timestamp, interactions)
        ),
        users=load_entity_table(
            storage.join(data_directory, spec.tables.users.file), spec.user_id, spec.table_features("user")
        ),
        items=load_entity_table(
            storage.join(data_directory, spec.tables.items.file),
            spec.item_id,
            spec.table_features("item"),
            spec.tables.items.display,
        ),
    )


def load_entity_table(
    path: str, id_feature: Feature, features: Sequence[Feature], further_columns: Sequence[str] = ()
) -> EntityTable:
    """Read and clean a user or item table.

    Args:
        path: The Parquet file: a path or URI.
        id_feature: The id, which must be unique.
        features: The features to read, the id among them.
        further_columns: Columns to carry along unchecked, such as what is shown with a recommendation.

    Returns:
        The table without rows whose id is empty or has a line break, which are counted.

    Raises:
        DataError: The file cannot be used; the message says why.
    """
    parquet, file = _open_parquet(path), _name_of(path)
    _check_columns(file, parquet.schema_arrow, features)
    names = [feature.name for feature in features]
    extra = [name for name in further_columns if name not in names]
    for name in extra:
        _require_column(file, parquet.schema_arrow, name, "a column to show with recommendations")
    try:
        raw = parquet.read(columns=[*names, *extra])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    ids = cast_column(raw.column(id_feature.name), id_feature, file)
    if ids.null_count:
        raise DataError(
            f"{file}: {ids.null_count:,} of {len(ids):,} rows have no {id_feature.name!r}. "
            "Every row needs an id: fill them in or remove the rows."
        )
    keep, dropped = drop_by_reason(len(ids), bad_text_ids([ids]))
    raw, ids = raw.filter(pa.array(keep)), ids.filter(pa.array(keep))
    _refuse_duplicates(file, id_feature.name, ids)

    columns: dict[str, pa.Array] = {}
    filled: dict[str, int] = {}
    missing: dict[str, int] = {}
    for feature in features:
        if feature.role is not None:
            columns[feature.name] = ids
            continue
        values = cast_column(raw.column(feature.name), feature, file)
        columns[feature.name], count = fill_missing(values, feature)
        if count:
            (missing if feature.default is None else filled)[feature.name] = count
    if missing:
        raise DataError(missing_message(file, missing))
    for name in extra:
        column = raw.column(name).combine_chunks()
        columns[name] = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return EntityTable(pa.table(columns), dict(dropped), filled)


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


def find_newest_second(table: pq.ParquetFile, column: str, source: str) -> int | None:
    """Find the time of the newest interaction, from the file's statistics where it has them.

    Args:
        table: The interactions.
        column: Name of the timestamp.
        source: The file, for messages.

    Returns:
        Seconds since 1970; None if no row has a time.

    Raises:
        DataError: The column cannot be read.
    """
    newest: list[int] = []
    try:
        for index in range(table.num_row_groups):
            values = _newest_of_statistics(table, index, column)
            if values is None:
                values = table.read_row_group(index, columns=[column]).column(column)
            second = pc.max(cast_timestamp(values)).as_py()
            newest += [] if second is None else [second]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source}: the column {column!r} cannot be read: {error}") from error
    return max(newest, default=None)


def _newest_of_statistics(table: pq.ParquetFile, row_group: int, column: str) -> pa.Array | None:
    kind = table.schema_arrow.field(column).type
    chunk = table.metadata.row_group(row_group).column(table.schema_arrow.get_field_index(column))
    # The columns of the file are counted by leaves, those of the table are not.
    if chunk.path_in_schema != column or pa.types.is_dictionary(kind):
        return None
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return pa.array([statistics.max], kind)


def _name_of(location: str) -> str:
    return PurePosixPath(location).name


def _open_parquet(location: str) -> pq.ParquetFile:
    remedy = "Write the table again, as Parquet."
    if require_file(location).size_bytes == 0:
        raise DataError(f"{location} is empty: expected a Parquet file, found 0 bytes. {remedy}")
    try:
        parquet = open_table(location)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{location}: expected a Parquet file. It cannot be read as one: {error} {remedy}"
        ) from error
    if parquet.metadata.num_rows == 0:
        raise DataError(f"{location} is empty: expected at least one row, found 0. {remedy}")
    return parquet


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


def _check_columns(file: str, schema: pa.Schema, features: Iterable[Feature]) -> None:
    for feature in features:
        found = _require_column(file, schema, feature.name, "a feature of the schema file")
        kind = "id" if feature.role else "multi_valued" if feature.multi_valued else feature.dtype
        if not _fits(found, kind):
            raise DataError(
                f"{file}: column {feature.name!r} must hold {_EXPECTED_TYPES[kind]}. Found: {found}. "
                "Write it with that type, or correct the feature's dtype in the schema file."
            )


def _check_timestamp(file: str, schema: pa.Schema, name: str) -> None:
    found = _require_column(file, schema, name, "the time of the interaction")
    if not (_fits(found, "id") and not _fits(found, "string")) and not pa.types.is_timestamp(
        _value_type(found)
    ):
        raise DataError(
            f"{file}: column {name!r} must hold integer seconds since 1970 or timestamps. Found: {found}. "
            "Write it with one of these types, or name another column under tables.interactions.timestamp."
        )


def _check_rule_column(file: str, schema: pa.Schema, rule: PositiveRule) -> None:
    found = _require_column(file, schema, rule.column, "the column of ingest.positives")
    if not _fits(found, "float"):
        raise DataError(
            f"{file}: column {rule.column!r} must hold numbers, since ingest.positives compares it. "
            f"Found: {found}. Write it as numbers, or name another column."
        )


def _fits(found: pa.DataType, kind: str) -> bool:
    found = _value_type(found)
    types = pa.types
    if types.is_null(found):
        return True
    if kind == "multi_valued":
        is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return bool(is_list and _fits(found.value_type, "string"))
    is_string = types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    is_integer = types.is_integer(found)
    if kind == "string":
        return bool(is_string)
    if kind == "id":
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
