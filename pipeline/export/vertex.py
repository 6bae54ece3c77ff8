"""A batch of input data of Vertex AI Vector Search.

    batch/00000.json          a JSON object a line: id, embedding, restricts, numeric_restricts
    batch/delete/00000.txt    an id a line

`batch` is the folder for contentsDeltaUri. Every other file in it would be read as data, so that the manifest
lies beside it.

The layout is that of https://cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure; what
restricts are is said in https://cloud.google.com/vertex-ai/docs/vector-search/filtering.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipeline.export.columns import refuse_non_finite_values
from pipeline.export.content import ExportedItems, ItemBlock
from pipeline.export.formats import ExportFormat
from pipeline.export.json_text import to_json, to_vector_texts
from schemas.errors import ConfigError, DataError

_BATCH_FOLDER: Final = "batch"
_DELETE_FOLDER: Final = "delete"
_MAXIMUM_FILES: Final = 5000


def write_vertex(items: ExportedItems, folder: Path, rows_per_file: int) -> None:
    """Write the batch.

    Args:
        items: What is exported.
        folder: Gets the batch's folder.
        rows_per_file: Items, or ids, of a file.

    Raises:
        ConfigError: There would be too many files, or a column holds lists of fractions.
        DataError: An id holds a line break, or a number is NaN or infinite.
    """
    _check(items, rows_per_file)
    batch = folder / _BATCH_FOLDER
    batch.mkdir()
    types = {column.name: column.type for column in items.columns}
    for number, blocks in enumerate(items.iterate_files(rows_per_file)):
        with (batch / f"{number:05}.json").open("w", encoding="utf-8") as stream:
            for block in blocks:
                stream.writelines(_iterate_lines(block, items.item_id, types))
    for number, ids in enumerate(items.iterate_deleted(rows_per_file)):
        target = batch / _DELETE_FOLDER / f"{number:05}.txt"
        target.parent.mkdir(exist_ok=True)
        for item_id in ids:
            _refuse_line_break(item_id)
        target.write_text("".join(f"{item_id}\n" for item_id in ids), encoding="utf-8")


def _check(items: ExportedItems, rows_per_file: int) -> None:
    for column in items.columns:
        if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            raise ConfigError(
                "Vertex AI: expected single numbers, or lists of texts, integers or truth values. Received: "
                f"{column.name!r} with lists of fractions, of which a namespace holds one alone. Leave it "
                "out: name others in --columns."
            )
    files = sum(-(-count // rows_per_file) for count in (len(items.rows), len(items.changes.deleted)))
    if files > _MAXIMUM_FILES:
        raise ConfigError(
            f"Vertex AI: expected at most {_MAXIMUM_FILES:,} files of a batch. Received: {files:,}. Raise "
            "--rows-per-file."
        )


def _iterate_lines(block: ItemBlock, item_id: str, types: Mapping[str, pa.DataType]) -> Iterator[str]:
    refuse_non_finite_values(block.table, item_id)
    for row, vector in zip(block.table.to_pylist(), to_vector_texts(block.embeddings), strict=True):
        _refuse_line_break(row[item_id])
        rest = to_json(_restrict(row, types))
        # The vector is written already; the rest is an object, which may be empty.
        tail = "}" if rest == "{}" else f",{rest[1:]}"
        yield f'{{"id":{to_json(row[item_id])},"embedding":{vector}{tail}\n'


def _restrict(row: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> dict[str, list[dict[str, Any]]]:
    """Make tokens of texts and truth values, and numeric values of numbers; what is missing is left out."""
    tokens, numbers = [], []
    for name, found in types.items():
        value = row[name]
        if value is None:
            continue
        if pa.types.is_integer(found):
            numbers.append({"namespace": name, "value_int": value})
        elif pa.types.is_float32(found):
            numbers.append({"namespace": name, "value_float": value})
        elif pa.types.is_floating(found):
            numbers.append({"namespace": name, "value_double": value})
        elif allow := _to_tokens(value if isinstance(value, list) else [value]):
            tokens.append({"namespace": name, "allow": allow})
    return {
        key: entries for key, entries in (("restricts", tokens), ("numeric_restricts", numbers)) if entries
    }


def _to_tokens(values: list[Any]) -> list[str]:
    texts = (to_json(value) if not isinstance(value, str) else value for value in values if value is not None)
    return [text for text in dict.fromkeys(texts) if text]


def _refuse_line_break(item_id: str) -> None:
    # In the list of deleted ids, an id ends where its line does.
    if "\n" in item_id or "\r" in item_id:
        raise DataError(
            f"Vertex AI: expected item ids without line breaks. Received: {item_id!r}. Correct the item "
            "table."
        )


FORMAT: Final = ExportFormat(rows_per_file=100_000, metric="DOT_PRODUCT_DISTANCE", write=write_vertex)
