"""What an export writes, in pieces of bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.towers import refuse_non_finite
from pipeline.export.changes import ItemChanges

EMBEDDING: Final = "embedding"
"""Name of the embedding in every format that names it."""

BLOCK_ROWS: Final = 4096


@dataclass(frozen=True)
class ItemBlock:
    """Some items, in memory."""

    table: pa.Table
    """[rows] the id and the exported columns, as plain types."""
    embeddings: npt.NDArray[np.float32]
    """[rows, dim] of unit length."""


@dataclass(frozen=True)
class ExportedItems:
    """The items of a release that are exported, and what a target is to delete."""

    item_id: str
    """Name of the item id column."""
    catalogue: pa.Table
    """[items] the id and the exported columns, as plain types."""
    embeddings: npt.NDArray[np.float32]
    """[items, dim], mapped from the file and not yet in memory."""
    changes: ItemChanges
    """Which of the items are written, and what is deleted."""

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return int(self.embeddings.shape[1])

    @property
    def columns(self) -> list[pa.Field]:
        """The exported columns beside the id."""
        return [field for field in self.catalogue.schema if field.name != self.item_id]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """[exported] the rows of the catalogue that are written, ascending."""
        return np.flatnonzero(self.changes.is_new | self.changes.is_changed)

    @property
    def replaced(self) -> pa.ChunkedArray:
        """Ids of the written items that the target has already."""
        return self.catalogue[self.item_id].filter(pa.array(self.changes.is_changed))

    def iterate_files(self, rows_per_file: int) -> Iterator[Iterator[ItemBlock]]:
        """Read the written items, file by file and within a file block by block.

        Args:
            rows_per_file: Items of a file, fewer in the last one.

        Yields:
            The blocks of a file, of at most `BLOCK_ROWS` items; each is read when it is asked for.
        """
        rows = self.rows
        for start in range(0, len(rows), rows_per_file):
            yield self._iterate_blocks(rows[start : start + rows_per_file])

    def iterate_deleted(self, ids_per_file: int) -> Iterator[list[str]]:
        """Read the ids of the deleted items, file by file.

        Args:
            ids_per_file: Ids of a file, fewer in the last one.

        Yields:
            The ids of a file.
        """
        for start in range(0, len(self.changes.deleted), ids_per_file):
            yield self.changes.deleted.slice(start, ids_per_file).to_pylist()

    def _iterate_blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[ItemBlock]:
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            # What is taken from a column of many chunks is put together first: all of it, without a slice.
            near = self.catalogue.slice(block[0], block[-1] - block[0] + 1)
            table = near.take(pa.array(block - block[0])).combine_chunks()
            embeddings = self.embeddings[block]
            refuse_non_finite(embeddings, table[self.item_id].to_pylist(), "items of a block")
            yield ItemBlock(table, embeddings)
