"""The user and item tables that there are none of, made of what the log says."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest.sources.casting import cast_leniently
from components.interaction_ingest.sources.labels import to_ids
from components.interaction_ingest.sources.lists import to_lists
from components.interaction_ingest.sources.numbers import to_integers, to_numbers
from pipeline.first_look.entities import EntityRows
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.tables import read_columns
from schemas.features import Feature, TableSource

_READERS: Final = {"int": to_integers, "float": to_numbers}
_LISTS: Final = {
    "texts": Feature(name="labels", dtype="string", tower="item", multi_valued=True),
    "numbers": Feature(name="numbers", dtype="float", tower="item", length=1),
}


def write_derived_table(rows: EntityRows, names: list[str], path: Path) -> int:
    """Write a table with a row for each id that stands in a column, of the first row with it.

    Args:
        rows: The users or items.
        names: The further columns to write.
        path: The Parquet file.

    Returns:
        Its number of rows.

    Raises:
        OSError: It cannot be written.
        StorageError: The table's store cannot be reached or refuses.
    """
    profiles = {column.name: column for column in rows.columns if column.name in names}
    kept: pa.Table | None = None
    for batch in read_columns(rows.source, [rows.key.name, *profiles]):
        typed = {rows.key.name: to_ids(_join(batch.column(rows.key.name)), rows.source.is_text)}
        typed |= {
            name: _cast(batch.column(name), profile, rows.source.source) for name, profile in profiles.items()
        }
        found = pa.table(typed)
        whole = found if kept is None else pa.concat_tables([kept, found])
        kept = _first_of_each(whole, rows.key.name)
    assert kept is not None  # a table has at least one batch
    is_id = pc.and_(pc.not_equal(kept.column(rows.key.name), ""), kept.column(rows.key.name).is_valid())
    kept = kept.filter(is_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(kept, path)
    return len(kept)


def _first_of_each(table: pa.Table, key: str) -> pa.Table:
    numbered = table.append_column("#", pa.array(range(len(table)), pa.int64()))
    firsts = numbered.select([key, "#"]).group_by(key).aggregate([("#", "min")]).column("#_min")
    return table.take(pc.take(firsts, pc.sort_indices(firsts)))


def _cast(column: pa.ChunkedArray, profile: ColumnProfile, source: TableSource) -> pa.Array:
    """Read values as the ingest does, those that it cannot read as missing."""
    values = _join(column)
    if not pa.types.is_string(values.type):
        return values
    if profile.list_syntax is not None:
        written = TableSource(
            list_format=profile.list_syntax.format, list_separator=profile.list_syntax.separator
        )
        return cast_leniently(values, lambda texts: to_lists(texts, _LISTS[profile.kind], written))[0]
    read = _READERS.get(profile.kind)
    return values if read is None else cast_leniently(values, lambda texts: read(texts, source.decimal))[0]


def _join(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks()
    if not isinstance(values, pa.ChunkedArray):
        return values
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
