"""The user and item tables, cleaned."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import (
    EXAMPLE_IDS_SHOWN,
    IngestCounts,
    empty_message,
    merge_counts,
    missing_message,
    show_ids,
)
from components.interaction_ingest.dead_letters import Rejections, refuse_too_many
from components.interaction_ingest.missing import fill_missing
from components.interaction_ingest.reading.table_files import look_into_files, name_of
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import DataFile, to_text_column
from components.interaction_ingest.sources.reading import list_entity_columns, read_piece
from schemas.errors import DataError
from schemas.features import Feature, ItemTable, UserTable


@dataclasses.dataclass(frozen=True)
class EntityTable:
    """A checked user or item table."""

    table: pa.Table
    """One row per id: the id (string), the features, cast and filled, and further columns as they came."""
    dropped: dict[str, int]
    """Rows left out, by reason."""
    filled: dict[str, int]
    """Missing values that a default stands in for, by feature."""
    cleaned: dict[str, int] = dataclasses.field(default_factory=dict)
    """Labels whose line breaks became spaces, by feature."""
    files: tuple[DataFile, ...] = ()
    """The files that were read."""
    rejections: tuple[Rejections, ...] = ()
    """The rows left out."""
    names: frozenset[str] = frozenset()
    """Every column of the files, by its name there, read or not."""


def without_table(id_feature: Feature) -> EntityTable:
    """Stand in for a table that the schema file does not name: the ids are those of the interactions.

    Args:
        id_feature: The id, the table's only feature.

    Returns:
        A table without a row.
    """
    return EntityTable(pa.table({id_feature.name: pa.array([], pa.string())}), {}, {})


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
    file = name_of(source.file)
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
    if raw is None and counts.dropped:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(counts.dropped.items()))
        raise DataError(
            f"{source.file}: expected at least one row that can be used. Received: {counts.rows['read']:,} "
            f"malformed ones ({reasons}), such as {next(iter(counts.examples.values()))}. Correct the data."
        )
    if raw is None:
        raise DataError(empty_message(source.file))
    ids = raw.column(id_feature.name).combine_chunks()
    refuse_duplicates(file, id_feature.name, ids)

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
        pa.table(loaded),
        dict(counts.dropped),
        filled,
        dict(counts.cleaned),
        files,
        tuple(r for r in rejections if len(r.letters)),
        looked.names,
    )


def _decode_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    decoded = {
        name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.record_batch(decoded)


def refuse_duplicates(file: str, name: str, ids: pa.Array) -> None:
    """Refuse ids that stand in more than one row.

    Args:
        file: What messages call the table.
        name: Name of the id.
        ids: [rows] string.

    Raises:
        DataError: There are such ids.
    """
    counts = pc.value_counts(ids)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise DataError(
            f"{file}: {name!r} must be unique, but {len(repeated):,} ids stand in more than one row, such as "
            f"{show_ids(repeated.slice(0, EXAMPLE_IDS_SHOWN).to_pylist())}. Keep one row of each."
        )


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
