"""The user and item tables that there are none of, made of what the log says."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.interaction_ingest.sources.casting import cast_leniently
from pipeline.first_look.entities import EntityRows
from pipeline.first_look.profiles import ColumnProfile
from pipeline.first_look.tables import read_columns

_TYPES: Final = {"int": pa.int64(), "float": pa.float64()}


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
        typed = {rows.key.name: batch.column(rows.key.name).cast(pa.string())}
        typed |= {name: _cast(batch.column(name), profile) for name, profile in profiles.items()}
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


def _cast(column: pa.ChunkedArray, profile: ColumnProfile) -> pa.Array:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
    if profile.separator is not None:
        return pc.split_pattern(values, profile.separator)
    target = _TYPES.get(profile.kind)
    if target is None or not pa.types.is_string(values.type):
        return values

    def cast(texts: pa.Array) -> Any:
        return pc.utf8_trim_whitespace(texts.cast(pa.string())).cast(target)

    return cast_leniently(values, cast)[0]
