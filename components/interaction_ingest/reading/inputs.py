"""The three tables, found, opened and checked before any Beam step starts."""

import dataclasses
import difflib
from collections.abc import Sequence

from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.dead_letters import Rejections
from components.interaction_ingest.reading.cleaning import interaction_columns
from components.interaction_ingest.reading.entities import EntityTable, load_entity_table, without_table
from components.interaction_ingest.reading.newest import find_newest_second
from components.interaction_ingest.reading.table_files import (
    TableFiles,
    look_into_files,
    name_of,
    needs_numbers,
)
from components.interaction_ingest.reading.time_unit import find_time_unit
from components.interaction_ingest.sources.files import DailyLogs, choose_days, find_files
from components.interaction_ingest.sources.parts import Column, DataFile, Piece
from components.interaction_ingest.sources.reading import list_columns
from components.interaction_ingest.window import Window, find_latest_second, resolve_window
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec, InteractionTable, TimeUnit


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
    """The user table; without a row where there is none."""
    items: EntityTable
    """The item table, likewise."""
    time_unit: TimeUnit = "s"
    """What times that are numbers count."""
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
    _require_defaults(spec, config)
    interactions = open_interactions(spec, config, data_directory, window)
    looked, daily = interactions.looked, interactions.daily
    return Inputs(
        row_groups=looked.pieces,
        rows=looked.rows,
        window=interactions.window,
        users=_load_users(spec, config, data_directory),
        items=_load_items(spec, config, data_directory),
        time_unit=looked.pieces[0].time_unit,
        is_counted=looked.is_counted,
        files=looked.files,
        daily=daily,
        rejections=looked.rejections,
    )


def check_items(spec: FeatureSpec, config: IngestConfig, data_directory: str) -> EntityTable:
    """Check the item table alone, and load it as `check_inputs` does.

    Args:
        spec: The columns that are needed, and the files.
        config: What to do about missing metadata and malformed rows.
        data_directory: The folder of the files: a path or URI.

    Returns:
        The cleaned item table.

    Raises:
        ConfigError: As `check_inputs`.
        DataError: As `check_inputs`, for this table.
        StorageError: The files' store cannot be reached or refuses.
    """
    _require_defaults(spec, config)
    return _load_items(spec, config, data_directory)


def _require_defaults(spec: FeatureSpec, config: IngestConfig) -> None:
    if config.missing_metadata != "default":
        return
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


def _load_users(spec: FeatureSpec, config: IngestConfig, data_directory: str) -> EntityTable:
    source = spec.tables.users
    if source is None:
        return without_table(spec.user_id)
    return load_entity_table(
        source, data_directory, "users", spec.user_id, spec.table_features("user"), config
    )


def _load_items(spec: FeatureSpec, config: IngestConfig, data_directory: str) -> EntityTable:
    source = spec.tables.items
    if source is None:
        return without_table(spec.item_id)
    return load_entity_table(
        source, data_directory, "items", spec.item_id, spec.table_features("item"), config
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
        ("items", tables.items, [*items, *tables.display]),
    ):
        for name in () if source is None else source.columns:
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
        DataError: A file is missing or all are unreadable, a column is missing or has the wrong type,
            too many days are missing, or the unit of the times cannot be told.
        StorageError: The files' store cannot be reached or refuses.
    """
    log = spec.tables.interactions
    asked = window or WindowConfig()
    columns = list_columns(spec, config)
    for column in columns:
        if column.is_compared and column.feature is not None and column.feature.dtype == "string":
            raise DataError(needs_numbers(name_of(log.file), column, "a feature of dtype string"))
    files, daily = find_files(log, data_directory), None
    if files[0].day is not None:
        files, daily = choose_days(files, asked, log.file)
    looked = look_into_log(log, files, columns, config)
    if daily is not None:
        return InteractionFiles(looked, daily, daily.asked)
    resolved = resolve_window(asked, lambda: find_newest_second(looked, log, columns))
    return InteractionFiles(looked, daily, resolved)


def look_into_log(
    log: InteractionTable, files: Sequence[DataFile], columns: Sequence[Column], config: IngestConfig
) -> TableFiles:
    """Look into files of interactions.

    Args:
        log: How they are read.
        files: The files.
        columns: The columns that are needed.
        config: The latest time that an interaction can have.

    Returns:
        Their pieces.

    Raises:
        DataError: No file can be used, a column is in none, or the unit of the times cannot be told.
        StorageError: The store cannot be reached or refuses.
    """
    looked = look_into_files(log, "interactions", files, columns, find_latest_second(config.latest_time))
    time = next((column for column in columns if column.kind == "timestamp"), None)
    return looked if time is None else looked.with_unit(find_time_unit(looked.pieces, log, time))
