"""How much an interaction counts in the loss."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import plain, to_floats
from components.interaction_ingest.config import WeightRule


def row_weights(
    column: pa.Array | pa.ChunkedArray, rule: WeightRule
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Find how much each row counts in the loss.

    Args:
        column: [rows] the weights or, with `by_value`, what they depend on.
        rule: The rule.

    Returns:
        [rows] float32 weights, and [rows] bool: whether the row has none, because its value is null,
        negative, not finite or not among those of `by_value`.
    """
    values = plain(column)
    if rule.by_value is None:
        weights = to_floats(values).astype(np.float32)
    else:
        place = pc.index_in(values.cast(pa.string()), value_set=pa.array(list(rule.by_value), pa.string()))
        known = np.array([*rule.by_value.values(), np.nan], np.float32)
        weights = known[place.fill_null(len(rule.by_value)).to_numpy()]
    missing = ~np.isfinite(weights) | (weights < 0)
    return np.where(missing, np.float32(0), weights), missing
