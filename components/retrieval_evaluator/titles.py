"""What a person reads instead of an item's id, and of a feature's value."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_NUMBERS_SHOWN = 8


def describe_items(
    rows: npt.NDArray[np.integer], catalogue: pa.Table, item_id: str, title: str | None
) -> list[dict[str, str]]:
    """Give the ids and titles of some items.

    Args:
        rows: [items] rows in the catalogue; those below 0 are left out.
        catalogue: Holds the item id and the title.
        item_id: Name of the item id column.
        title: The column that is shown; None: the id.

    Returns:
        `item` and `title` of each, in their order.
    """
    taken = catalogue.take(pa.array(rows[rows >= 0]))
    ids = taken[item_id].to_pylist()
    titles = ids if title is None else [show_value(value) for value in taken[title].to_pylist()]
    return [{"item": str(item), "title": text or str(item)} for item, text in zip(ids, titles, strict=True)]


def show_value(value: Any) -> str:
    """Write a value as a person reads it.

    Args:
        value: A number, a text, a list of them, or nothing.

    Returns:
        The text; '' of nothing.
    """
    if value is None:
        return ""
    if isinstance(value, list):
        if len(value) > _NUMBERS_SHOWN:
            return f"{len(value)} values"
        return ", ".join(map(show_value, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def choose_title(display: Sequence[str], columns: Sequence[str]) -> str | None:
    """Choose the column that stands for an item.

    Args:
        display: The columns that the schema file says are to be shown, in its order.
        columns: Those that the index has.

    Returns:
        The first that is there; None where none is.
    """
    return next((name for name in display if name in columns), None)
