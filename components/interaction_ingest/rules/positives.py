"""Which interactions are positives."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import plain, to_floats, to_mask
from components.interaction_ingest.config import PositiveRule


def positive_reasons(
    columns: pa.RecordBatch | pa.Table, rule: PositiveRule
) -> dict[str, npt.NDArray[np.bool_]]:
    """Find the rows that are no positives.

    Args:
        columns: [rows] with the columns of the rule.
        rule: The rule.

    Returns:
        Per reason [rows] bool.
    """
    rows = columns.num_rows
    no_value, below, other = (np.zeros(rows, bool) for _ in range(3))
    for condition in rule.conditions:
        values = plain(columns.column(condition.column))
        if condition.one_of is not None:
            texts = values.cast(pa.string())
            missing = texts.is_null().to_numpy(zero_copy_only=False)
            allowed = to_mask(pc.is_in(texts, value_set=pa.array(condition.one_of, pa.string())))
            other |= ~missing & ~allowed
        else:
            numbers = to_floats(values)
            missing = np.isnan(numbers)
            # Numpy rounds a Python number to the column's own precision: a float32 of 4.1 passes 4.1.
            below |= numbers < condition.at_least
        no_value |= missing
    return {
        "no_value_for_positive_rule": no_value,
        "below_positive_rule": below,
        "not_in_positive_rule": other,
    }
