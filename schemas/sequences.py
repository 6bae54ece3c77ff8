"""The sequences: a row for each user, with the user's positives in the order (timestamp, file, row).

A folder of Parquet files, `sequences-00000-of-00003.parquet`, each with these columns:

- the features of the user table, by name, the user id among them: string, int64, float32 or lists of them;
- the item id, the timestamp (int64 seconds since 1970), the context features and, where one is configured,
  `weight` (float32): one list each, all of one length, one entry for each positive;
- `train_end`, `validation_end` and `eval_end`, int32: where in the lists the splits end (schemas.contract).

Every split is a range within each user's lists, since each is made by time, within a user or over all. A
train row is a position in them, and its history is the window before it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.contract import (
    EVAL_END,
    EVAL_SPLIT,
    TRAIN_END,
    TRAIN_SPLIT,
    VALIDATION_END,
    VALIDATION_SPLIT,
    WEIGHT,
)
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec

FILE_NAME: Final = "sequences-{number:05d}-of-{files:05d}.parquet"
"""Name of a file."""

SPLIT_ENDS: Final = (TRAIN_END, VALIDATION_END, EVAL_END)
"""The columns that end the splits, in their order."""

SplitEnd = Literal["train_end", "validation_end", "eval_end"]

_PATTERN: Final = "sequences-*-of-*.parquet"
_TYPES: Final = {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}
# The item ids of a file stand in its dictionary once; a page of a larger one would hold them again and again.
_DICTIONARY_BYTES: Final = 256 << 20


def sequences_schema(spec: FeatureSpec, has_weights: bool) -> pa.Schema:
    """Describe the files of the sequences.

    Args:
        spec: The features.
        has_weights: Whether each positive has a weight.

    Returns:
        The columns in their order.
    """
    fields = [pa.field(feature.name, value_type(feature)) for feature in spec.table_features("user")]
    fields.append(pa.field(spec.item_id.name, pa.list_(pa.string())))
    fields.append(pa.field(spec.timestamp, pa.list_(pa.int64())))
    fields += [
        pa.field(feature.name, pa.list_(value_type(feature))) for feature in spec.table_features("context")
    ]
    if has_weights:
        fields.append(pa.field(WEIGHT, pa.list_(pa.float32())))
    fields += [pa.field(name, pa.int32()) for name in SPLIT_ENDS]
    return pa.schema(fields)


def value_type(feature: Feature) -> pa.DataType:
    """Tell the Arrow type of a feature's value.

    Args:
        feature: The feature.

    Returns:
        string, int64 or float32, or a list of string or float32.
    """
    kind = _TYPES[feature.dtype]
    return pa.list_(kind) if feature.is_list else kind


def write_sequences(table: pa.Table, path: Path) -> None:
    """Write a file of sequences.

    Args:
        table: [users] as `sequences_schema` says.
        path: The file.
    """
    pq.write_table(table, path, **_writer_options(table.schema))


def copy_without_items(folder: Path, target: Path, spec: FeatureSpec, kept_ids: pa.Array) -> int:
    """Write sequences anew without the positives of some items, as if these had never been there.

    Every user stays, if need be without a positive. Memory holds a row group at a time.

    Args:
        folder: The sequences.
        target: The folder to write to, made if it is missing.
        spec: The features.
        kept_ids: [items] string, the ids of all items whose positives stay.

    Returns:
        Number of positives left out.

    Raises:
        DataError: There is no file, one lacks a column, or the ends of its splits are in no order.
    """
    target.mkdir(parents=True, exist_ok=True)
    left_out = 0
    of_users = {feature.name for feature in spec.table_features("user")}
    for path in list_sequence_files(folder):
        _require_columns(path, [*sorted(of_users), spec.item_id.name, *SPLIT_ENDS])
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            with pq.ParquetWriter(target / path.name, schema, **_writer_options(schema)) as writer:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group).combine_chunks()
                    kept, count = _leave_out(table, path, spec.item_id.name, of_users, kept_ids)
                    left_out += count
                    writer.write_table(kept)
    return left_out


@dataclass(frozen=True)
class SequencesPart:
    """The sequences of some users: those of user u are the positions offsets[u] to offsets[u + 1] - 1."""

    users: pa.Table
    """[users] the columns of the user table that were asked for."""
    offsets: npt.NDArray[np.int64]
    """[users + 1]."""
    ends: dict[str, npt.NDArray[np.int64]]
    """By `SPLIT_ENDS`, [users]: the position before which the user's split ends."""
    items: npt.NDArray[np.int32]
    """[positions] row of each item in the catalogue."""
    columns: pa.Table
    """[positions] the timestamp, weight and context features that were asked for."""


def list_sequence_files(folder: Path) -> list[Path]:
    """List the files of the sequences.

    Args:
        folder: The artifact's folder.

    Returns:
        At least one, in their order.

    Raises:
        DataError: There is none.
    """
    files = sorted(folder.glob(_PATTERN))
    if not files:
        raise DataError(f"Expected sequences ({_PATTERN}) in {folder}. Received: none. Run the ingest again.")
    return files


def count_positions(folder: Path, until: SplitEnd = EVAL_END) -> tuple[int, int]:
    """Count the users and their positives.

    Args:
        folder: The artifact's folder.
        until: The split's end after which a user's positives do not count.

    Returns:
        Users and positives: as many as `read_sequences` gives until the same end.

    Raises:
        DataError: There is no file, one lacks a column, or the ends of its splits are in no order.
    """
    users = positions = 0
    for ends in _read_ends(folder):
        users += len(ends[until])
        positions += int(ends[until].sum())
    return users, positions


def count_split_rows(folder: Path) -> dict[str, int]:
    """Count the rows of each split.

    Args:
        folder: The artifact's folder.

    Returns:
        Rows of train, validation and eval, by the name of the split.

    Raises:
        DataError: There is no file, one lacks a column, or the ends of its splits are in no order.
    """
    totals = np.zeros(len(SPLIT_ENDS), np.int64)
    for ends in _read_ends(folder):
        totals += [ends[name].sum() for name in SPLIT_ENDS]
    rows = np.diff(totals, prepend=0).tolist()
    return dict(zip((TRAIN_SPLIT, VALIDATION_SPLIT, EVAL_SPLIT), rows, strict=True))


def read_sequences(
    folder: Path,
    spec: FeatureSpec,
    catalogue_ids: pa.Array,
    *,
    user_columns: Sequence[str] = (),
    position_columns: Sequence[str] = (),
    until: SplitEnd | None = EVAL_END,
) -> Iterator[SequencesPart]:
    """Read the sequences part by part, always in the same order.

    Args:
        folder: The artifact's folder.
        spec: The features.
        catalogue_ids: [items] string, the ids of the catalogue in its order.
        user_columns: Columns of the user table to read.
        position_columns: Columns with an entry for each positive to read besides the item id.
        until: The split's end after which a user's positives are left out; None leaves none out, those that
            are in no split among them.

    Yields:
        The users of a row group.

    Raises:
        DataError: There is no file, one lacks a column, an item is not in the catalogue, or the ends of a
            user's splits do not fit its positives.
    """
    item = spec.item_id.name
    wanted = list(dict.fromkeys([*user_columns, item, *position_columns, *SPLIT_ENDS]))
    for path in list_sequence_files(folder):
        _require_columns(path, wanted)
        with pq.ParquetFile(path, read_dictionary=[_items_path(spec)]) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=wanted).unify_dictionaries().combine_chunks()
                yield _to_part(table, path, item, catalogue_ids, user_columns, position_columns, until)


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    strings, integers = [], []
    for field in schema:
        leaf, kind = field.name, field.type
        while pa.types.is_list(kind):
            leaf, kind = f"{leaf}.list.element", kind.value_type
        if pa.types.is_string(kind):
            strings.append(leaf)
        elif pa.types.is_integer(kind):
            integers.append(leaf)
    return {
        "compression": "zstd",
        "compression_level": 1,
        # Times that hardly ever repeat would make a dictionary as long as the column; their gaps are small.
        "use_dictionary": strings,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        "column_encoding": dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
    }


def _leave_out(
    table: pa.Table, path: Path, item: str, of_users: Collection[str], kept_ids: pa.Array
) -> tuple[pa.Table, int]:
    """Give the table without the positives of other items, and the number of these."""
    lists = _whole(table.column(item))
    is_kept = pc.is_in(lists.flatten(), value_set=kept_ids)
    count = len(is_kept) - (is_kept.true_count if len(is_kept) else 0)
    if not count:
        return table, 0
    # Before each position, and after the last one: how many are kept.
    kept_before = np.concatenate([[0], np.cumsum(is_kept.to_numpy(zero_copy_only=False))])
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ends = _to_ends(table, path)
    columns = {}
    for field in table.schema:
        column = _whole(table.column(field.name))
        if field.name in ends:
            end = kept_before[bounds[:-1] + ends[field.name]] - kept_before[bounds[:-1]]
            column = pa.array(end, field.type)
        elif field.name not in of_users:
            values = column.flatten().filter(is_kept)
            column = pa.ListArray.from_arrays(pa.array(kept_before[bounds], pa.int32()), values, field.type)
        columns[field.name] = column
    return pa.table(columns, table.schema), count


def _require_columns(path: Path, wanted: Sequence[str]) -> None:
    missing = sorted(set(wanted) - set(pq.read_schema(path).names))
    if missing:
        raise DataError(
            f"{path}: expected the columns {', '.join(wanted)}. Received: no {', '.join(missing)}. "
            "Run the ingest again with this schema file and configuration."
        )


def _read_ends(folder: Path) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
    """Read where the splits end, file by file."""
    for path in list_sequence_files(folder):
        _require_columns(path, SPLIT_ENDS)
        yield _to_ends(pq.read_table(path, columns=list(SPLIT_ENDS)), path)


def _to_ends(table: pa.Table, path: Path) -> dict[str, npt.NDArray[np.int64]]:
    """Give by `SPLIT_ENDS`, [users], where in its lists the user's split ends."""
    ends = [table.column(name).to_numpy().astype(np.int64) for name in SPLIT_ENDS]
    is_wrong = (ends[0] < 0) | (np.diff(ends, axis=0) < 0).any(axis=0)
    if is_wrong.any():
        user = int(np.flatnonzero(is_wrong)[0])
        raise DataError(
            f"{path}: expected 0 <= {' <= '.join(SPLIT_ENDS)}. Received: "
            f"{', '.join(str(end[user]) for end in ends)}. Run the ingest again."
        )
    return dict(zip(SPLIT_ENDS, ends, strict=True))


def _to_part(
    table: pa.Table,
    path: Path,
    item: str,
    catalogue_ids: pa.Array,
    user_columns: Sequence[str],
    position_columns: Sequence[str],
    until: SplitEnd | None,
) -> SequencesPart:
    lists = _whole(table.column(item))
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    ends = _to_ends(table, path)
    if (ends[EVAL_END] > lengths).any():
        user = int(np.flatnonzero(ends[EVAL_END] > lengths)[0])
        raise DataError(
            f"{path}: expected {EVAL_END} up to the number of the user's positives, {lengths[user]}. "
            f"Received: {ends[EVAL_END][user]}. Run the ingest again."
        )
    kept_lengths = lengths if until is None else ends[until]
    encoded = lists.flatten()
    if (kept_lengths == lengths).all():
        kept = None
    else:
        owners = np.repeat(np.arange(len(lengths)), lengths)
        kept = pa.array(np.flatnonzero(np.arange(len(owners)) - starts[owners] < kept_lengths[owners]))
        encoded = encoded.take(kept)
    offsets = np.concatenate([[0], np.cumsum(kept_lengths)])
    columns = {}
    for name in position_columns:
        values = _whole(table.column(name)).flatten()
        columns[name] = values if kept is None else values.take(kept)
    return SequencesPart(
        users=table.select(list(user_columns)),
        offsets=offsets,
        ends={name: offsets[:-1] + np.minimum(end, kept_lengths) for name, end in ends.items()},
        items=_to_rows(encoded, catalogue_ids, path),
        columns=pa.table(columns),
    )


def _to_rows(encoded: pa.DictionaryArray, catalogue_ids: pa.Array, path: Path) -> npt.NDArray[np.int32]:
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    rows = (
        pc.index_in(encoded.dictionary, value_set=catalogue_ids).fill_null(-1).to_numpy(zero_copy_only=False)
    )
    items = rows.astype(np.int32)[codes] if len(codes) else np.zeros(0, np.int32)
    if (items < 0).any():
        unknown = encoded.dictionary[int(codes[np.flatnonzero(items < 0)[0]])].as_py()
        raise DataError(
            f"{path}: expected items of the catalogue. Received: {unknown!r}, which is not in it. Give the "
            "catalogue of the same ingest."
        )
    return items


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _items_path(spec: FeatureSpec) -> str:
    return f"{spec.item_id.name}.list.element"
