"""Which column a row is rejected for, and what was expected of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.interaction_ingest.dead_letters import Misfit
from components.interaction_ingest.sources.parts import Column


def find_misfits(
    raw: pa.RecordBatch, cast: pa.RecordBatch, columns: Sequence[Column], rows: npt.NDArray[np.int64]
) -> list[Misfit]:
    """Find the first column of each row whose value could not be cast.

    Args:
        raw: [rows of the batch] the columns as they were read.
        cast: [rows of the batch] the same columns, null where a value did not fit.
        columns: The columns, in the order in which they are named.
        rows: [rows] places in the batch.

    Returns:
        [rows].
    """
    lost = [
        raw.column(column.name).is_valid().to_numpy(zero_copy_only=False)[rows]
        & cast.column(column.name).is_null().to_numpy(zero_copy_only=False)[rows]
        for column in columns
    ]
    firsts = np.argmax(lost, axis=0).tolist() if len(rows) else []
    return [Misfit(columns[first].source, _expected(columns[first])) for first in firsts]


def _expected(column: Column) -> str:
    feature = column.feature
    if feature is None:
        return {"timestamp": "a time", "number": "a number", "text": "a text"}.get(column.kind, "any value")
    if feature.time_part is not None:
        return "a date or time"
    if feature.role is not None:
        return "an id: a text or a whole number"
    if feature.multi_valued:
        return "a list of texts"
    if feature.length is not None:
        return f"a list of {feature.length} numbers"
    return {"string": "a text", "int": "a whole number", "float": "a number"}[feature.dtype]
