"""What the user tower reads of histories, looked up by item: made once for a release."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.history_columns import history_columns
from pipeline.queries.history import check_history_features
from pipeline.serving.models import Tensor
from schemas.contract import GAP_PADDING
from schemas.features import FeatureSpec, History

_ITEMS_AT_ONCE: Final = 1 << 16


class HistoryValues:
    """Every item's values in the columns of a history, and the padding's in the last place."""

    def __init__(
        self, spec: FeatureSpec, history: History, inputs: Mapping[str, Tensor], catalogue: pa.Table
    ) -> None:
        """Look the values up.

        Args:
            spec: The features.
            history: The history.
            inputs: The user tower's; of the history's columns, those among them are made.
            catalogue: The items.

        Raises:
            ReleaseError: The catalogue lacks a feature.
        """
        check_history_features(history, catalogue.column_names)
        self._gap_column = history.gap_column
        self.length = history.length
        """How many items the tower reads."""
        self.reads_gaps = history.gap_column in inputs
        """Whether the tower reads how long ago the items were."""
        # Row -1 is the padding.
        rows = np.append(np.arange(catalogue.num_rows), -1)[:, np.newaxis]
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(rows), _ITEMS_AT_ONCE):
            columns = history_columns(rows[start : start + _ITEMS_AT_ONCE], catalogue, spec)
            for name, column in columns.items():
                if name in inputs:
                    parts.setdefault(name, []).append(_to_array(column, inputs[name]))
        self._values = {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def take(
        self, rows: npt.NDArray[np.integer], seconds: npt.NDArray[np.integer], now: int
    ) -> dict[str, np.ndarray]:
        """Put together the columns of one history.

        Args:
            rows: Rows of its items, oldest first, however many.
            seconds: The times of the interactions in seconds since 1970, one for each.
            now: The time to count up to.

        Returns:
            By column, the newest items' values, padded on the left.
        """
        newest = rows[-self.length :]
        padded = np.full(self.length, -1, np.int64)
        padded[self.length - len(newest) :] = newest
        columns = {name: values[padded] for name, values in self._values.items()}
        if self.reads_gaps:
            gaps = np.full(self.length, GAP_PADDING, np.int64)
            gaps[self.length - len(newest) :] = now - seconds[-self.length :]
            columns[self._gap_column] = gaps
        return columns


def _to_array(column: pa.ListArray, tensor: Tensor) -> np.ndarray:
    """Give [items, ...] the values of an item in the shape of a place in the history."""
    values = column.flatten()
    shape = (len(column), *tensor.shape[2:])
    if not tensor.is_text:
        return values.to_numpy(zero_copy_only=False).astype(tensor.dtype, copy=False).reshape(shape)
    # Each text is one object, however many items have it.
    encoded = pc.dictionary_encode(values.cast(pa.binary()))
    texts = encoded.dictionary.to_numpy(zero_copy_only=False)
    return texts[encoded.indices.to_numpy()].reshape(shape)
