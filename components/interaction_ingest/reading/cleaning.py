"""What of the interactions is left out before they are put in order."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import FIRST_PRINTED, bytes_of, to_mask
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import OUTSIDE_WINDOW, IngestCounts
from components.interaction_ingest.rules.positives import positive_reasons
from components.interaction_ingest.rules.weights import row_weights
from components.interaction_ingest.window import ALL_DAYS, Window
from schemas.contract import HISTORY_PADDING
from schemas.features import FeatureSpec

FILE_COLUMN: Final = "#file"
"""Column of a cleaned batch: the index of the file that the row came from."""
ROW_COLUMN: Final = "#row"
"""Column of a cleaned batch: the number of the row in its file."""
MICROSECOND_COLUMN: Final = "#microsecond"
"""Column of a cleaned interaction: what its timestamp has beyond whole seconds, for the order alone."""
WEIGHT_COLUMN: Final = "#weight"
"""Column of a cleaned batch: the weight of the row in the loss, where one is configured."""


def interaction_columns(spec: FeatureSpec, config: IngestConfig) -> list[str]:
    """List the columns of the interactions that are read.

    Args:
        spec: The features.
        config: The positive rule and the weight.

    Returns:
        Column names, each once.
    """
    names = [spec.user_id.name, spec.item_id.name, spec.timestamp]
    names += [feature.name for feature in spec.table_features("context")]
    return list(dict.fromkeys([*names, *rule_columns(config)]))


def rule_columns(config: IngestConfig) -> list[str]:
    """List the columns of the interactions that the rules read.

    Args:
        config: The positive rule and the weight.

    Returns:
        Column names; one that two rules read stands there twice.
    """
    names = [] if config.positives is None else [c.column for c in config.positives.conditions]
    return names if config.weight is None else [*names, config.weight.column]


def clean_batch(
    batch: pa.RecordBatch, file_index: int, spec: FeatureSpec, config: IngestConfig, window: Window = ALL_DAYS
) -> tuple[pa.RecordBatch, IngestCounts]:
    """Drop what is no positive of the window from a batch of interactions.

    Args:
        batch: [rows] with the columns of `interaction_columns`, as `read_piece` gives them.
        file_index: Index of the file that the batch comes from.
        spec: The features.
        config: The positive rule and the weight.
        window: The days that are read.

    Returns:
        The rows kept (ids as string, timestamp as int64 seconds, context features, FILE_COLUMN int32,
        ROW_COLUMN int64, MICROSECOND_COLUMN int32 and, with a weight, WEIGHT_COLUMN float32); and the counts,
        each dropped row under the first reason that holds.
    """
    reasons: dict[str, npt.NDArray[np.bool_]] = {}
    if not window.is_open:
        reasons[OUTSIDE_WINDOW] = _outside_window(batch.column(spec.timestamp), window)
    if config.positives is not None:
        reasons |= positive_reasons(batch, config.positives)
    weights = None
    if config.weight is not None:
        weights, reasons["no_weight"] = row_weights(batch.column(config.weight.column), config.weight)
    keep, dropped = drop_by_reason(batch.num_rows, reasons)
    names = [spec.user_id.name, spec.item_id.name, spec.timestamp, MICROSECOND_COLUMN, ROW_COLUMN]
    names += [feature.name for feature in spec.table_features("context")]
    kept = batch.select(names).append_column(
        FILE_COLUMN, pa.array(np.full(batch.num_rows, file_index, np.int32))
    )
    if weights is not None:
        kept = kept.append_column(WEIGHT_COLUMN, pa.array(weights))
    if dropped:
        kept = kept.filter(pa.array(keep))
    return kept, IngestCounts(rows=Counter(read=batch.num_rows), dropped=dropped)


def bad_text_ids(columns: Sequence[pa.Array]) -> dict[str, npt.NDArray[np.bool_]]:
    """Find the rows with an id that cannot be used.

    Args:
        columns: Id columns, each [rows] string.

    Returns:
        Per reason [rows] bool: whether one of the row's ids is such.
    """
    # TFT keeps vocabularies as text, one value per line; '' is the history's padding.
    return {
        "empty_id": np.logical_or.reduce([to_mask(pc.equal(ids, HISTORY_PADDING)) for ids in columns]),
        "line_break_in_id": np.logical_or.reduce([_have_line_break(ids) for ids in columns]),
    }


def _have_line_break(ids: pa.Array) -> npt.NDArray[np.bool_]:
    if not (bytes_of(ids) < FIRST_PRINTED).any():
        return np.zeros(len(ids), bool)
    return to_mask(pc.match_substring_regex(ids, "[\r\n]"))


def drop_by_reason(
    rows: int, reasons: dict[str, npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.bool_], Counter[str]]:
    """Count the rows to drop, each under the first reason that holds.

    Args:
        rows: Number of rows.
        reasons: Per reason [rows] bool.

    Returns:
        [rows] bool, whether to keep the row; and the counts that are not 0.
    """
    keep = np.ones(rows, bool)
    dropped: Counter[str] = Counter()
    for reason, mask in reasons.items():
        count = int((keep & mask).sum())
        if count:
            dropped[reason] = count
        keep &= ~mask
    return keep, dropped


def _outside_window(timestamps: pa.Array, window: Window) -> npt.NDArray[np.bool_]:
    seconds = timestamps.fill_null(0).to_numpy(zero_copy_only=False)
    outside = np.zeros(len(seconds), bool)
    if window.start_second is not None:
        outside |= seconds < window.start_second
    if window.end_second is not None:
        outside |= seconds >= window.end_second
    return outside


def place_of(batch: pa.RecordBatch) -> tuple[int, int]:
    """Tell where a batch begins: batches that are parts of files need no sorting row by row afterwards.

    Args:
        batch: What `clean_batch` gives, or rows of it.

    Returns:
        The file and the row of its first row; (0, 0) without a row.
    """
    if not batch.num_rows:
        return 0, 0
    return batch.column(FILE_COLUMN)[0].as_py(), batch.column(ROW_COLUMN)[0].as_py()
