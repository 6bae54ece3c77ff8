"""The items of a release as its answers show them."""

import functools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_REMEMBERED_ITEMS: Final = 1 << 16


class Catalogue:
    """The catalogue of an index, looked up by id and by row."""

    def __init__(self, table: pa.Table, item_id: str, display: Sequence[str]) -> None:
        """Prepare the lookups.

        Args:
            table: The items in the order of the index.
            item_id: Name of the id's column.
            display: Columns that are shown; those that the table lacks are not.
        """
        self.table = table.combine_chunks()
        """The items in the order of the index, each column in one piece."""
        ids = self.table[item_id]
        self.ids: pa.Array = ids.chunk(0) if ids.num_chunks == 1 else ids.combine_chunks()
        """[items] string."""
        self.id_bytes: np.ndarray = self.ids.cast(pa.binary()).to_numpy(zero_copy_only=False)
        """[items] bytes, as the models read them."""
        self._rows = {item: row for row, item in enumerate(self.ids.to_pylist())}
        shown = [name for name in dict.fromkeys(display) if name in table.column_names and name != item_id]
        self._shown = self.table.select(shown)
        # Most answers show the same items again and again.
        self.describe = functools.lru_cache(_REMEMBERED_ITEMS)(self._describe)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.ids)

    def find(self, item: str) -> int | None:
        """Find an item's row.

        Args:
            item: Its id.

        Returns:
            The row; None of an item that is not in the catalogue.
        """
        return self._rows.get(item)

    def find_all(self, items: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Find the rows of some items.

        Args:
            items: Their ids.

        Returns:
            The rows of those in the catalogue, in their order, and the others, each once and sorted.
        """
        rows = [self._rows.get(item, -1) for item in items]
        unknown = sorted({item for item, row in zip(items, rows, strict=True) if row < 0})
        return np.array([row for row in rows if row >= 0], np.int64), unknown

    def search(self, text: str, limit: int) -> list[int]:
        """Find items whose id starts with a text, or whose displayed texts hold it, whatever the case.

        Args:
            text: What to look for; '' finds every item.
            limit: The most items.

        Returns:
            Rows: those whose id starts with it first, each group in the catalogue's order.
        """
        found = np.flatnonzero(pc.starts_with(self.ids, text).to_numpy(zero_copy_only=False))[:limit].tolist()
        is_found = np.zeros(len(self), bool)
        for column in self._shown.columns:
            if len(found) >= limit:
                break
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                holds = pc.match_substring(column, text, ignore_case=True).fill_null(False)
                is_found |= holds.to_numpy()
        is_found[found] = False
        return [*found, *np.flatnonzero(is_found)[: limit - len(found)].tolist()]

    def _describe(self, row: int) -> dict[str, Any]:
        display = {name: self._shown[name][row].as_py() for name in self._shown.column_names}
        return {"item_id": self.ids[row].as_py(), "display": display}
