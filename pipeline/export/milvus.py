"""Parquet files for an import into Milvus, and filters of what is to be deleted before it.

    items/00000.parquet    a column for each field of the collection
    deletes/00000.json     {"filter": "item_id in [...]"}

An import adds entities without a look at those of the same primary key. So the filters name the items that
are replaced, too.

The layout is that of https://milvus.io/docs/prepare-source-data.md and
https://milvus.io/docs/import-data.md; the limits are those of https://milvus.io/docs/limitations.md,
https://milvus.io/docs/string.md and https://milvus.io/docs/array_data_type.md.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export.columns import refuse_non_finite_values
from pipeline.export.content import EMBEDDING, ExportedItems, ItemBlock
from pipeline.export.formats import ExportFormat
from pipeline.export.json_text import split_texts, to_json
from pipeline.export.parquet import DELETES_FOLDER, ITEMS_FOLDER, write_items
from schemas.errors import ConfigError, DataError

_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_MAXIMUM_FIELDS: Final = 64
_MAXIMUM_DIM: Final = 32_768
_MAXIMUM_TEXT_BYTES: Final = 65_535
_MAXIMUM_LIST_LENGTH: Final = 4096
_MAXIMUM_FILES: Final = 1024
_IDS_PER_FILTER: Final = 1000
_FILTER_BYTES: Final = 1 << 20
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")


def write_milvus(items: ExportedItems, folder: Path, rows_per_file: int) -> None:
    """Write the items and the filters.

    Args:
        items: What is exported.
        folder: Gets the two folders.
        rows_per_file: Items of a file.

    Raises:
        ConfigError: A column has a name that no field may have, or there are too many columns or files.
        DataError: A value is longer than a field may hold, or is none that Milvus has.
    """
    _check_schema(items, rows_per_file)
    write_items(
        items, folder / ITEMS_FOLDER, rows_per_file, lambda block: _check_values(block, items.item_id)
    )
    for number, ids in enumerate(split_texts(_quote_ids(items), _IDS_PER_FILTER, _FILTER_BYTES)):
        target = folder / DELETES_FOLDER / f"{number:05}.json"
        target.parent.mkdir(exist_ok=True)
        body = {"filter": f"{items.item_id} in [{','.join(ids)}]"}
        target.write_text(to_json(body) + "\n", encoding="utf-8")


def _check_schema(items: ExportedItems, rows_per_file: int) -> None:
    names = [items.item_id, *(column.name for column in items.columns)]
    for name in names:
        if not _FIELD_NAME.fullmatch(name):
            raise ConfigError(
                "Milvus: expected column names of letters, digits and underscores, no digit first. Received: "
                f"{name!r}. Leave it out: name others in --columns, or rename it in the schema file."
            )
    fields = len(names) + 1
    if fields > _MAXIMUM_FIELDS:
        raise ConfigError(
            f"Milvus: expected at most {_MAXIMUM_FIELDS} fields of a collection. Received: {fields}. Name "
            "fewer in --columns."
        )
    if items.dim > _MAXIMUM_DIM:
        raise ConfigError(
            f"Milvus: expected embeddings of at most {_MAXIMUM_DIM:,} dimensions. Received: {items.dim:,}."
        )
    files = -(-len(items.rows) // rows_per_file)
    if files > _MAXIMUM_FILES:
        raise ConfigError(
            f"Milvus: expected at most {_MAXIMUM_FILES:,} files, as one import takes. Received: {files:,}. "
            "Raise --rows-per-file."
        )


def _check_values(block: ItemBlock, item_id: str) -> None:
    refuse_non_finite_values(block.table, item_id)
    for field in block.table.schema:
        column = block.table[field.name].combine_chunks()
        if pa.types.is_list(field.type):
            _check_lists(column, field.name)
            column = column.flatten()
        if pa.types.is_string(column.type):
            longest = pc.max(pc.binary_length(column)).as_py() or 0
            if longest > _MAXIMUM_TEXT_BYTES:
                raise DataError(
                    f"{field.name}: expected texts of at most {_MAXIMUM_TEXT_BYTES:,} bytes, as a VARCHAR of "
                    f"Milvus holds. Received: one of {longest:,}. Leave the column out: name others in "
                    "--columns."
                )


def _check_lists(column: pa.ListArray, name: str) -> None:
    longest = pc.max(pc.list_value_length(column)).as_py() or 0
    if longest > _MAXIMUM_LIST_LENGTH:
        raise DataError(
            f"{name}: expected lists of at most {_MAXIMUM_LIST_LENGTH:,} values, as an ARRAY of Milvus "
            f"holds. Received: one of {longest:,}. Leave the column out: name others in --columns."
        )
    if column.flatten().null_count:
        raise DataError(
            f"{name}: expected lists without missing values, as an ARRAY of Milvus holds none. Received: "
            f"{column.flatten().null_count:,} of them. Leave the column out: name others in --columns."
        )


def _quote_ids(items: ExportedItems) -> Iterator[str]:
    """Quote what is to be deleted as a filter expression has it."""
    for text in chain(items.replaced.to_pylist(), items.changes.deleted.to_pylist()):
        if _CONTROL_CHARACTER.search(text):
            raise DataError(
                "Milvus: expected item ids without control characters, which a filter cannot name. Received: "
                f"{text!r}. Import a whole release into a new collection: leave out --since."
            )
        yield to_json(text)


FORMAT: Final = ExportFormat(rows_per_file=250_000, metric="IP", write=write_milvus, reserved=(EMBEDDING,))
