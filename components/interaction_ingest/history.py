"""What stands beside the ids of a history: features of its items, and the time since each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import GAP_PADDING, HISTORY_PADDING
from schemas.features import Feature, FeatureSpec, History

_PADDING = {"string": HISTORY_PADDING.encode(), "int": 0, "float": 0.0}


@dataclasses.dataclass(frozen=True)
class HistoryValues:
    """An item feature in the form that histories are made from."""

    values: pa.Array
    """[(items + 1) * width] binary, int64 or float32, item by item; padding follows as one more item."""
    width: int
    """Values of an item."""

    @property
    def items(self) -> int:
        """Number of items, the padding not counted."""
        return len(self.values) // self.width - 1

    @property
    def bytes_per_item(self) -> float:
        """Mean size of an item's values."""
        return float(self.values.nbytes * self.width / len(self.values))


def history_values(column: pa.Array, feature: Feature, history: History) -> HistoryValues:
    """Bring an item feature to the form that histories are made from.

    Args:
        column: [items] binary, int64, float32, or lists of binary or float32, without nulls.
        feature: The feature.
        history: How many values of each item are kept: the first ones, empty texts left out.

    Returns:
        The values, an item with fewer padded after its last one.
    """
    shape = history.feature_shape(feature)
    width = shape[1] if len(shape) == 2 else 1
    if feature.multi_valued:
        texts, lengths = _present_texts(column)
        offsets = np.cumsum(lengths) - lengths
        places = offsets[:, np.newaxis] + np.arange(width)
        # The place after the last text is that of the padding.
        places = np.where(np.arange(width) < lengths[:, np.newaxis], places, len(texts))
        values = _append(texts, [_PADDING["string"]]).take(pa.array(places.ravel()))
    else:
        values = column.flatten() if feature.length is not None else column
    return HistoryValues(_append(values, [_PADDING[feature.dtype]] * width), width)


def count_cut_values(items: pa.Table, spec: FeatureSpec) -> dict[str, int]:
    """Count the values of the items that a history has no place for.

    Args:
        items: The cleaned item table.
        spec: The features.

    Returns:
        Per multi-valued feature of the history the values beyond `values_per_item`, each item counted once;
        only numbers above 0.
    """
    cut = {}
    for feature in spec.history_features:
        if spec.history is not None and feature.multi_valued:
            _, lengths = _present_texts(items.column(feature.name).combine_chunks())
            count = int(np.maximum(lengths - spec.history.values_per_item, 0).sum())
            if count:
                cut[feature.name] = count
    return cut


def history_positions(
    starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], length: int
) -> npt.NDArray[np.int64]:
    """Find the positives just before some rows.

    Args:
        starts: [bucket rows] int64 first position of each row's user, rows in time order within the user.
        rows: [rows] int64 positions to build a history for.
        length: Number of positives, N.

    Returns:
        [rows, N] int64 positions in the bucket, the newest last, -1 for padding on the left.
    """
    positions = rows[:, np.newaxis] + np.arange(-length, 0)
    return np.where(positions >= starts[rows][:, np.newaxis], positions, -1)


def feature_columns(
    item_rows: npt.NDArray[np.int64], items: Mapping[str, HistoryValues], history: History
) -> dict[str, pa.Array]:
    """Put together the item features of some histories.

    Args:
        item_rows: [rows, N] int64 row of each item in the item table, -1 for padding.
        items: The item features of the history by name.
        history: What the columns are called.

    Returns:
        Per column [rows] lists of N items' values, one item after the other.
    """
    columns = {}
    for name in history.item_features:
        feature = items[name]
        places = np.where(item_rows < 0, feature.items, item_rows)[..., np.newaxis] * feature.width
        places = places + np.arange(feature.width)
        values = feature.values.take(pa.array(places.ravel()))
        columns[history.feature_column(name)] = _lists(values, len(item_rows))
    return columns


def gap_column(seconds: npt.NDArray[np.int64], before: npt.NDArray[np.int64], present: Any) -> pa.Array:
    """Count the seconds since each interaction of some histories.

    Args:
        seconds: [rows] int64 time of each row.
        before: [rows, N] int64 time of each interaction of its history.
        present: [rows, N] bool, whether there is one.

    Returns:
        [rows] lists of N int64, GAP_PADDING where there is no interaction.
    """
    gaps = np.where(present, seconds[:, np.newaxis] - before, GAP_PADDING)
    return _lists(pa.array(gaps.ravel()), len(gaps))


def bytes_per_row(items: Mapping[str, HistoryValues], history: History) -> float:
    """Estimate how much memory the item features of a row's history take.

    Args:
        items: The item features of the history by name.
        history: Its length.

    Returns:
        Bytes.
    """
    return history.length * sum(items[name].bytes_per_item for name in history.item_features)


def _present_texts(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Give the texts of all lists that are not empty, and [rows] how many of them each list has."""
    texts = column.flatten()
    is_present = pc.greater(pc.binary_length(texts), 0)
    owners = pc.list_parent_indices(column).filter(is_present).to_numpy()
    return texts.filter(is_present), np.bincount(owners, minlength=len(column)).astype(np.int64)


def _append(values: pa.Array, further: list[Any]) -> pa.Array:
    return pa.concat_arrays([values, pa.array(further, values.type)])


def _lists(values: pa.Array, rows: int) -> pa.ListArray:
    width = len(values) // rows if rows else 0
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * width, pa.int32()), values)
