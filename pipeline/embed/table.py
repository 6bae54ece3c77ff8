"""The table that is embedded: its files, and the columns of them that are read."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from components.interaction_ingest.dead_letters import Rejections
from components.interaction_ingest.reading.table_files import TableFiles, look_into_files, name_of
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column, DataFile, Piece
from components.interaction_ingest.sources.reading import list_entity_columns
from components.interaction_ingest.sources.times import take_part_at
from schemas.contract import EMBEDDING_OUTPUT
from schemas.errors import ConfigError, DataError, ReleaseError
from schemas.features import Feature, FeatureSpec, Format, ItemTable, UserTable

TableName = Literal["users", "items"]

_ANY_TABLE: Final[Mapping[TableName, UserTable | ItemTable]] = {"users": UserTable(), "items": ItemTable()}
_HISTORY_SECONDS: Final = "{history}_seconds"
# Their rows name their own columns, so that a column can be in some rows and not in those at the start.
_FORMATS_WITHOUT_COLUMNS: Final = frozenset[Format]({"jsonl", "tfrecord"})


@dataclasses.dataclass(frozen=True)
class StandIn:
    """What stands in every row for a context feature that the tower reads and the table has not."""

    feature: Feature
    """The feature."""
    value: Any
    """A value of it."""


@dataclasses.dataclass(frozen=True)
class InputTable:
    """A table to embed, looked into but not read."""

    name: TableName
    """Whose table it is."""
    source: UserTable | ItemTable
    """How its files are read."""
    id_feature: Feature
    """The id."""
    features: tuple[Feature, ...]
    """The features that the tower reads and the table has or may have, the id not among them; that of now is
    the default of a part of the log's time."""
    stand_ins: tuple[StandIn, ...]
    """For the context features that the table has not."""
    columns: tuple[Column, ...]
    """All columns that are read."""
    pieces: tuple[Piece, ...]
    """What the files are read in, in order."""
    rows: int | None
    """Number of rows; None where the format does not tell."""
    size_bytes: int
    """Size of the files."""
    rejections: Rejections
    """The files that are none of their format."""
    reads_history: bool = False
    """Whether the tower reads a history."""
    history: str | None = None
    """The column with histories; None where the table has none or the tower reads none."""
    history_seconds: str | None = None
    """The column with the times of the histories' items; likewise."""


def choose_source(
    spec: FeatureSpec, table: TableName, path: str | None, file_format: Format | None
) -> UserTable | ItemTable:
    """Say how the table is read.

    Args:
        spec: The tables of the schema file.
        table: Whose table it is.
        path: A file, folder or pattern that takes the place of the schema file's; None: that one.
        file_format: The format of its files; None: what their names end in.

    Returns:
        The schema file's table; with a path, with that as its file and that format.

    Raises:
        ConfigError: There is a format without a path, or no path, and the schema file names no such table.
    """
    source = spec.tables.users if table == "users" else spec.tables.items
    if path is not None:
        # How a table of a path of its own is written is said by that of the schema file, if there is one.
        return dataclasses.replace(source or _ANY_TABLE[table], file=path, format=file_format)
    if source is None:
        raise ConfigError(
            f"Expected --input, since the schema file names no table of {table}. Received: none. Give a file "
            f"of {table}, one a row, with their ids."
        )
    if file_format is not None:
        raise ConfigError(
            f"--format: expected --input, whose format it is. Received: {file_format!r} alone. The schema "
            f"file says how {source.file} is read."
        )
    return source


def open_table(
    spec: FeatureSpec,
    table: TableName,
    source: UserTable | ItemTable,
    directory: str,
    inputs: Collection[str],
    now: float,
) -> InputTable:
    """Find the files, and check that they have what the tower reads.

    A context feature and the history may be missing, in the table or in some of its rows: of a part of the
    log's time that of now takes its place, of another feature its default, of the history what the release
    knows.

    Args:
        spec: The features.
        table: Whose table it is.
        source: Its files, and how they are read.
        directory: The folder that they are in: a path or URI.
        inputs: Names of the tower's inputs.
        now: The time that the embeddings are for, in seconds since 1970.

    Returns:
        The table.

    Raises:
        ConfigError: The format cannot be told from the names of the files.
        DataError: There is no such file, or it lacks a column or has one of another type.
        ReleaseError: The tower reads what the schema file does not have.
        StorageError: The store cannot be reached or refuses.
    """
    id_feature = spec.user_id if table == "users" else spec.item_id
    declared = [f for f in spec.tower_features("user" if table == "users" else "item") if f.name in inputs]
    of_history = spec.history.columns if spec.history is not None and table == "users" else ()
    reads_history = bool(set(of_history) & set(inputs))
    unknown = sorted(set(inputs) - {feature.name for feature in declared} - set(of_history))
    if unknown:
        raise ReleaseError(
            f"The release's tower of {table} reads {unknown}, which the schema file does not have. "
            "Use the configuration that the release was made with."
        )
    if id_feature.name == EMBEDDING_OUTPUT:
        raise ConfigError(
            f"Expected an id that is not called {EMBEDDING_OUTPUT!r}, as the column of the embeddings is. "
            "Rename it in the schema file, and map it under 'columns' of its tables."
        )
    own = [feature for feature in declared if feature.tower != "context" and feature.role is None]
    contexts = [_default_to_now(spec, feature, now) for feature in declared if feature.tower == "context"]
    needed = list_entity_columns(source, [id_feature, *own], ())
    files = find_files(source, directory)
    looked = look_into_files(source, table, files, needed)
    present = tuple(feature for feature in contexts if _may_have(feature.name, looked, files))
    absent = [feature for feature in contexts if feature not in present]
    stand_ins = _find_stand_ins(absent, name_of(source.file))
    optional = [Column(feature.name, feature.name, "feature", feature) for feature in present]
    history, seconds = _find_history(spec, inputs, looked, files) if reads_history else (None, None)
    optional += [column for column in (history, seconds) if column is not None]
    if optional:
        # Once more, for the types of what may be there.
        looked = look_into_files(source, table, files, [*needed, *optional])
    return InputTable(
        name=table,
        source=source,
        id_feature=id_feature,
        features=(*own, *present),
        stand_ins=stand_ins,
        columns=(*needed, *optional),
        pieces=looked.pieces,
        rows=looked.rows if looked.is_counted else None,
        size_bytes=looked.size_bytes,
        rejections=looked.rejections,
        reads_history=reads_history,
        history=None if history is None else history.name,
        history_seconds=None if seconds is None else seconds.name,
    )


def _default_to_now(spec: FeatureSpec, feature: Feature, now: float) -> Feature:
    """Let the part of now stand in for a part of the log's time, whether all rows lack it or some."""
    if not spec.is_of_log_time(feature):
        return feature
    # The limits are those of the log, which now can be beyond.
    return dataclasses.replace(feature, default=take_part_at(now, feature), minimum=None, maximum=None)


def _find_stand_ins(absent: Sequence[Feature], file: str) -> tuple[StandIn, ...]:
    without = [feature.name for feature in absent if feature.default is None]
    if without:
        raise DataError(
            f"{file}: the user tower reads the context features {without}. Expected a column for each, or a "
            "default in the schema file. Received: neither. Add the columns to the table."
        )
    return tuple(StandIn(feature, feature.default_value) for feature in absent)


def _find_history(
    spec: FeatureSpec,
    inputs: Collection[str],
    looked: TableFiles,
    files: Sequence[DataFile],
) -> tuple[Column | None, Column | None]:
    """Find the columns of given histories and of their times, where the tower reads them."""
    if spec.history is None or not _may_have(spec.history.name, looked, files):
        return None, None
    name = spec.history.name
    # With a default, it may be missing in some files of many.
    items = Feature(name=name, dtype="string", tower="user", multi_valued=True, default="")
    seconds = _HISTORY_SECONDS.format(history=name)
    is_feature = any(feature.name == seconds for feature in spec.features)
    has_seconds = spec.history.gap_column in inputs and seconds in looked.names and not is_feature
    return Column(name, name, "feature", items), Column(seconds, seconds, "any") if has_seconds else None


def _may_have(name: str, looked: TableFiles, files: Sequence[DataFile]) -> bool:
    return name in looked.names or any(file.format in _FORMATS_WITHOUT_COLUMNS for file in files)
