"""The columns of a catalogue that go along with the embeddings, as types that every target knows."""

import difflib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ConfigError, DataError

_TEXT_LIKE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_null,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)


def choose_columns(
    wanted: Sequence[str] | None, schema: pa.Schema, item_id: str, reserved: Sequence[str]
) -> list[str]:
    """Choose the columns that are exported beside the id and the embedding.

    Args:
        wanted: Their names; None: all that the catalogue has.
        schema: The catalogue's.
        item_id: Name of the item id column, which is exported in any case.
        reserved: Names that the export gives to other things.

    Returns:
        The names, each once, in the order of `wanted` or of the catalogue.

    Raises:
        ConfigError: The catalogue lacks a column, or one has values or a name that cannot be exported.
    """
    names = [name for name in schema.names if name != item_id]
    chosen = names if wanted is None else [name for name in dict.fromkeys(wanted) if name != item_id]
    for name in chosen:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            raise ConfigError(
                f"--columns: expected columns of the catalogue: {', '.join(names) or 'it has none'}. "
                f"Received: {name!r}." + (f" Did you mean {nearest[0]!r}?" if nearest else "")
            )
    unusable = {name: str(schema.field(name).type) for name in chosen if to_plain_type(schema, name) is None}
    if unusable:
        name, found = next(iter(unusable.items()))
        raise ConfigError(
            "Expected columns of texts, numbers, truth values, times, or lists of them. Received: "
            f"{name!r} of type {found}. {_tell_choice([n for n in chosen if n not in unusable])}"
        )
    for name in [item_id, *chosen]:
        if name in reserved:
            raise ConfigError(
                f"Expected no column named {name!r}, as the export calls something else. Received: one. "
                f"{_tell_choice([n for n in chosen if n not in reserved])}"
            )
    return chosen


def to_plain_type(schema: pa.Schema, name: str) -> pa.DataType | None:
    """Find the type that a column is exported as.

    Args:
        schema: The catalogue's.
        name: One of its columns.

    Returns:
        string, int64, float32, float64, bool, or a list of one of them; None where a column is none of them.
    """
    found = schema.field(name).type
    if pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found):
        values = _to_plain_scalar(found.value_type)
        return None if values is None else pa.list_(values)
    return _to_plain_scalar(found)


def to_plain_table(table: pa.Table, item_id: str, columns: Sequence[str]) -> pa.Table:
    """Take the id and columns out of a catalogue, as types that every target knows.

    Args:
        table: [items] the catalogue.
        item_id: Name of the item id column.
        columns: Columns that `choose_columns` has accepted; those that the table lacks are left out.

    Returns:
        [items] the id as string, and the columns, times as texts of ISO 8601.

    Raises:
        DataError: A value is too large for its type, such as an integer for 64 bits with a sign.
    """
    plain = {item_id: table[item_id].cast(pa.string())}
    for name in columns:
        target = to_plain_type(table.schema, name) if name in table.column_names else None
        if target is None:
            continue
        try:
            plain[name] = table[name].cast(target)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"Cannot export column {name!r} as {target}: {error}. Leave it out: name others in --columns."
            ) from error
    return pa.table(plain)


def refuse_non_finite_values(table: pa.Table, item_id: str) -> None:
    """Refuse numbers that JSON and most targets cannot hold.

    Args:
        table: [items] the id, and columns of plain types.
        item_id: Name of the item id column.

    Raises:
        DataError: A number is NaN or infinite.
    """
    for field in table.schema:
        column = table[field.name].combine_chunks()
        is_list = pa.types.is_list(field.type)
        values = column.flatten() if is_list else column
        if not pa.types.is_floating(values.type):
            continue
        bad = pc.invert(pc.fill_null(pc.is_finite(values), True))
        if pc.any(bad).as_py():
            place = pc.index(bad, True).as_py()
            row = pc.list_parent_indices(column)[place].as_py() if is_list else place
            raise DataError(
                f"{field.name}: expected finite numbers, as JSON and vector searches hold no others. "
                f"Received: {values[place].as_py()} of item {table[item_id][row].as_py()!r}. Correct the "
                "item table, or leave the column out: name others in --columns."
            )


def _to_plain_scalar(found: pa.DataType) -> pa.DataType | None:
    if any(is_kind(found) for is_kind in _TEXT_LIKE):
        return pa.string()
    if pa.types.is_boolean(found):
        return pa.bool_()
    if pa.types.is_integer(found):
        return pa.int64()
    if pa.types.is_float16(found) or pa.types.is_float32(found):
        return pa.float32()
    if pa.types.is_floating(found) or pa.types.is_decimal(found):
        return pa.float64()
    return None


def _tell_choice(others: Sequence[str]) -> str:
    return f"Leave it out: --columns {','.join(others) or repr('')}."
