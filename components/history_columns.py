"""The histories of some queries as the raw columns that the user tower reads."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import GAP_PADDING, HISTORY_PADDING
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec, History

_PADDING = {"string": HISTORY_PADDING, "int": 0, "float": 0.0}


def history_columns(
    item_rows: npt.NDArray[np.integer],
    catalogue: pa.Table,
    spec: FeatureSpec,
    seconds: npt.NDArray[np.integer] | None = None,
    now: npt.NDArray[np.integer] | None = None,
) -> dict[str, pa.Array]:
    """Put together the ids, item features and time gaps of some histories.

    Time and memory go with the number of queries, not with the catalogue: ask for some thousands at a time.

    Args:
        item_rows: [queries, length] row of each item in the catalogue, the newest last, -1 where there is
            none.
        catalogue: Holds the item id and the features of the history.
        spec: The features, with a history.
        seconds: [queries, length] time of each interaction in seconds since 1970; of padding, any number.
            None: the times are not known, and there is no column of gaps.
        now: [queries] the time up to which the gaps are counted; given with `seconds`.

    Returns:
        By the names in `spec.history.columns`, each [queries] lists: the ids and single values with `length`
        entries, multi-valued features with length x values_per_item (an item's first values, empty texts
        left out, and '' after them), lists of numbers with length x numbers. An item that is not there is
        '', 0 or 0.0; its gap is -1. Nothing if the features have no history.

    Raises:
        DataError: The catalogue lacks a column.
    """
    history = spec.history
    if history is None:
        return {}
    features = {history.name: spec.item_id} | {
        history.feature_column(feature.name): feature for feature in spec.history_features
    }
    missing = sorted({feature.name for feature in features.values()} - set(catalogue.column_names))
    if missing:
        raise DataError(
            f"Expected a catalogue with the item features of the history. Received: no {', '.join(missing)}. "
            "Run the pipeline again with this schema file."
        )
    used = np.zeros(len(catalogue), bool)
    used[item_rows[item_rows >= 0]] = True
    # The padding is one more item after those that the histories hold, so -1 finds it.
    places = np.append(np.cumsum(used) - 1, used.sum())[item_rows]
    names = list(dict.fromkeys(feature.name for feature in features.values()))
    items = catalogue.select(names).take(pa.array(np.flatnonzero(used))).combine_chunks()
    columns = {}
    for name, feature in features.items():
        values, width = _item_values(_whole(items.column(feature.name)), feature, history)
        within = places[..., np.newaxis] * width + np.arange(width)
        columns[name] = _lists(values.take(pa.array(within.ravel())), len(item_rows))
    if history.time_gap_buckets is not None and seconds is not None and now is not None:
        gaps = np.where(item_rows >= 0, now[:, np.newaxis] - seconds, GAP_PADDING).astype(np.int64)
        columns[history.gap_column] = _lists(pa.array(gaps.ravel()), len(item_rows))
    return columns


def _item_values(column: pa.Array, feature: Feature, history: History) -> tuple[pa.Array, int]:
    """Give [(items + 1) x width] values, item by item and the padding last, and the width."""
    if feature.multi_valued:
        width = history.values_per_item
        texts, lengths = _present_texts(column)
        ends = np.cumsum(lengths)
        within = np.arange(width)
        places = (ends - lengths)[:, np.newaxis] + within
        # The place after the last text is that of the padding.
        places = np.where(within < lengths[:, np.newaxis], places, len(texts))
        values = _append(texts, feature, 1).take(pa.array(places.ravel()))
    else:
        width = feature.length or 1
        values = column.flatten() if feature.length is not None else column
    return _append(values, feature, width), width


def _present_texts(column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Give the texts of all lists that are not empty, and [items] how many of them each list has."""
    texts = column.flatten()
    is_present = pc.greater(pc.binary_length(texts), 0)
    owners = pc.list_parent_indices(column).filter(is_present).to_numpy()
    return texts.filter(is_present), np.bincount(owners, minlength=len(column)).astype(np.int64)


def _append(values: pa.Array, feature: Feature, count: int) -> pa.Array:
    return pa.concat_arrays([values, pa.array([_PADDING[feature.dtype]] * count, values.type)])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _lists(values: pa.Array, rows: int) -> pa.ListArray:
    width = len(values) // rows if rows else 0
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * width, pa.int32()), values)
