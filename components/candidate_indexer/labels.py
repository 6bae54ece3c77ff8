"""The values of a feature that items can be filtered by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class ItemLabels:
    """Every item's values.

    Items with the same values share a set, of which there are few where there are few values.
    """

    values: Sequence[str]
    """Every value once."""
    sets: Sequence[tuple[int, ...]]
    """Every set of values that an item has, as places in `values`; one of them may be empty."""
    set_of_item: npt.NDArray[np.int32]
    """[items] the place of the item's set in `sets`."""


def read_labels(column: pa.ChunkedArray) -> ItemLabels:
    """Read the values of all items.

    Args:
        column: Strings, integers, or lists of strings; missing ones and '' are no values.

    Returns:
        The values.
    """
    values: dict[str, int] = {}
    sets: dict[tuple[int, ...], int] = {}
    set_of_item = np.empty(len(column), np.int32)
    for item, texts in enumerate(_iterate_texts(column)):
        members = {values.setdefault(text, len(values)) for text in texts if text}
        set_of_item[item] = sets.setdefault(tuple(sorted(members)), len(sets))
    return ItemLabels(list(values), list(sets), set_of_item)


def _iterate_texts(column: pa.ChunkedArray) -> Iterator[list[str | None]]:
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    kind = pa.list_(pa.string()) if is_list else pa.string()
    for start in range(0, len(column), _BATCH_ROWS):
        for value in column.slice(start, _BATCH_ROWS).cast(kind).to_pylist():
            yield (value or []) if is_list else [value]
