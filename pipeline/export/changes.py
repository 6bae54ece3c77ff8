"""What an index that holds one release lacks of another, and has too much."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.retraining.catalogue import compare_catalogues
from schemas.features import FeatureSpec

_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class ItemChanges:
    """The items of a catalogue that are to be written, and those that are to be deleted."""

    is_new: npt.NDArray[np.bool_]
    """[items] whether the target lacks the item."""
    is_changed: npt.NDArray[np.bool_]
    """[items] whether the target has the item with another embedding or another value of a column."""
    deleted: pa.Array
    """Ids of the items that the target has and the catalogue lacks."""


def take_all(items: int) -> ItemChanges:
    """Take every item, for a target that is empty.

    Args:
        items: Number of items of the catalogue.

    Returns:
        All of them as new ones.
    """
    return ItemChanges(np.ones(items, bool), np.zeros(items, bool), pa.array([], pa.string()))


def find_changes(
    catalogue: pa.Table,
    embeddings: npt.NDArray[np.float32],
    earlier: pa.Table,
    earlier_embeddings: npt.NDArray[np.float32],
    spec: FeatureSpec,
) -> ItemChanges:
    """Find what differs from an earlier release, bit for bit.

    Args:
        catalogue: [items] the id and the columns that are exported, as plain types.
        embeddings: [items, dim].
        earlier: [earlier items] the same of the earlier release; columns that it lacks have other values.
        earlier_embeddings: [earlier items, dim].
        spec: The features.

    Returns:
        The differences.
    """
    # A column of another type has other values, whatever they are.
    same = [name for name in catalogue.column_names if name in earlier.column_names]
    same = [name for name in same if catalogue.schema.field(name).type == earlier.schema.field(name).type]
    change = compare_catalogues(earlier.select(same), catalogue, spec)
    is_changed = change.find_changed(catalogue.column_names)
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        rows = change.released_rows[start : start + _BLOCK_ROWS]
        known = np.flatnonzero(rows >= 0)
        differs = embeddings[start + known] != earlier_embeddings[rows[known]]
        is_changed[start + known] |= differs.any(axis=1)
    return ItemChanges(change.is_new, is_changed, change.gone)
