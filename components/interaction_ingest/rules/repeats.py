"""Positives of a user and an item that another one stands for."""

from typing import Any

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.splits import SKIPPED


def once_per_split(
    users: npt.NDArray[np.int64], items: npt.NDArray[Any], splits: npt.NDArray[np.int8], last: bool
) -> npt.NDArray[np.bool_]:
    """Find one row for each user, item and split.

    A later split takes nothing away from an earlier one: what is trained on does not depend on what is held
    out.

    Args:
        users: [rows] number of each row's user; rows in time order within the user.
        items: [rows] number of each row's item.
        splits: [rows] split codes; all rows that are skipped stay.
        last: Whether the newest of the repeated rows is the one, and not the oldest.

    Returns:
        [rows] bool, whether the row stays.
    """
    chosen = splits == SKIPPED
    pairs = (users * (SKIPPED + 1) + splits) * (int(items.max(initial=0)) + 1) + items
    direction = slice(None, None, -1) if last else slice(None)
    # A view: what is set in it is set in `chosen`.
    chosen[direction][np.unique(pairs[direction], return_index=True)[1]] = True
    return chosen
