"""What the user tower reads of one user's history beside the ids, as the ingest would have written it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.history_columns import history_columns
from components.interaction_ingest.reading.inputs import open_interactions
from components.interaction_ingest.reading.newest import find_newest_second
from components.interaction_ingest.sources.reading import list_columns
from pipeline.config import PipelineConfig
from schemas.contract import GAP_PADDING
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec, History


def feature_inputs(
    spec: FeatureSpec, history: History, recent: Sequence[str], catalogue: pa.Table
) -> dict[str, pa.Array]:
    """Look the history's item features up.

    Args:
        spec: The features.
        history: The history, which says which item features.
        recent: Item ids of the catalogue, oldest first, however many.
        catalogue: The release's catalogue.

    Returns:
        Per column one list of the newest items' values, padded on the left.

    Raises:
        ReleaseError: The catalogue lacks a feature.
    """
    missing = sorted(set(history.item_features) - set(catalogue.column_names))
    if missing:
        raise ReleaseError(
            f"The history carries {missing}, which the release's catalogue does not have. "
            "Use the configuration that the release was made with."
        )
    ids = catalogue[spec.item_id.name].combine_chunks()
    newest = pa.array(recent[-history.length :], ids.type)
    item_rows = np.full((1, history.length), -1, np.int64)
    item_rows[0, history.length - len(newest) :] = pc.index_in(newest, value_set=ids).to_numpy()
    columns = history_columns(item_rows, catalogue, spec)
    return {name: values for name, values in columns.items() if name != history.name}


def gap_inputs(history: History, seconds: Sequence[int], now: int) -> dict[str, pa.Array]:
    """Count the seconds since each interaction of the history.

    Args:
        history: The history.
        seconds: Times of the interactions in seconds since 1970, oldest first, however many.
        now: The time to count up to.

    Returns:
        The column with one list of the newest interactions' gaps, padded on the left.
    """
    newest = np.asarray(seconds[-history.length :], np.int64)
    before = np.zeros((1, history.length), np.int64)
    before[0, history.length - len(newest) :] = newest
    present = np.arange(history.length)[np.newaxis] >= history.length - len(newest)
    gaps = np.where(present, now - before, GAP_PADDING)
    return {history.gap_column: pa.array(gaps.tolist(), pa.list_(pa.int64()))}


def newest_second(config: PipelineConfig, spec: FeatureSpec) -> int:
    """Find the end of the log, which is what a recommendation takes for now.

    Args:
        config: The configuration: the data directory and the window.
        spec: The features.

    Returns:
        Seconds since 1970 of the newest interaction within the window, whoever's it is.

    Raises:
        DataError: The log cannot be read, or no interaction has a time.
        StorageError: The log's store cannot be reached or refuses.
    """
    log = spec.tables.interactions
    files = open_interactions(spec, config.ingest, config.data.directory, config.ingest.window)
    newest = find_newest_second(files.looked, log, list_columns(spec, config.ingest))
    if newest is None:
        raise DataError(
            f"{log.file}: expected an interaction with a time. Received: none. Write the log again."
        )
    end = files.window.end_second
    return newest if end is None else min(newest, end - 1)
