"""Parquet files for whatever reads them.

items/00000.parquet      the item id (string), `embedding` (list of float), and the columns
deletes/00000.parquet    the ids of the deleted items, in a column of the same name
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.content import EMBEDDING, ExportedItems, ItemBlock
from pipeline.export.formats import ExportFormat

ITEMS_FOLDER: Final = "items"
DELETES_FOLDER: Final = "deletes"


def write_parquet(items: ExportedItems, folder: Path, rows_per_file: int) -> None:
    """Write the items and the deleted ids.

    Args:
        items: What is exported.
        folder: Gets the two folders.
        rows_per_file: Items, or ids, of a file.
    """
    write_items(items, folder / ITEMS_FOLDER, rows_per_file)
    for number, ids in enumerate(items.iterate_deleted(rows_per_file)):
        target = folder / DELETES_FOLDER / f"{number:05}.parquet"
        target.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({items.item_id: pa.array(ids, pa.string())}), target)


def write_items(
    items: ExportedItems,
    folder: Path,
    rows_per_file: int,
    check: Callable[[ItemBlock], None] | None = None,
) -> None:
    """Write the items, one row group a block.

    Args:
        items: What is exported.
        folder: Made if there is an item.
        rows_per_file: Items of a file.
        check: Refuses what the target cannot hold; None: it holds everything.
    """
    columns = items.columns
    schema = pa.schema(
        [
            (items.item_id, pa.string()),
            (EMBEDDING, pa.list_(pa.float32())),
            *((c.name, c.type) for c in columns),
        ]
    )
    for number, blocks in enumerate(items.iterate_files(rows_per_file)):
        folder.mkdir(exist_ok=True)
        with pq.ParquetWriter(folder / f"{number:05}.parquet", schema) as writer:
            for table in _to_tables(blocks, check):
                writer.write_table(table.select(schema.names).cast(schema))


def _to_tables(blocks: Iterator[ItemBlock], check: Callable[[ItemBlock], None] | None) -> Iterator[pa.Table]:
    for block in blocks:
        if check is not None:
            check(block)
        yield block.table.append_column(EMBEDDING, _to_lists(block.embeddings))


def _to_lists(embeddings: npt.NDArray[np.float32]) -> pa.ListArray:
    rows, dim = embeddings.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(dim))
    return pa.ListArray.from_arrays(offsets, pa.array(embeddings.reshape(-1)))


FORMAT: Final = ExportFormat(
    rows_per_file=250_000, metric="inner product", write=write_parquet, reserved=(EMBEDDING,)
)
