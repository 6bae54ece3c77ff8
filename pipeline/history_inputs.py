"""What the user tower reads of one user's history."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.history_columns import history_columns
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec, History


def history_inputs(
    spec: FeatureSpec,
    history: History,
    recent: Sequence[str],
    seconds: Sequence[int],
    now: int,
    catalogue: pa.Table,
) -> dict[str, pa.Array]:
    """Put together the columns of one history.

    Args:
        spec: The features.
        history: The history, which says how many items and which of their features.
        recent: Item ids of the catalogue, oldest first, however many.
        seconds: Times of the interactions in seconds since 1970, one for each.
        now: The time to count up to.
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
    start = history.length - len(newest)
    rows, times = np.full((2, 1, history.length), -1, np.int64)
    rows[0, start:] = pc.index_in(newest, value_set=ids).to_numpy()
    times[0, start:] = seconds[-history.length :]
    return history_columns(rows, catalogue, spec, times, np.array([now]))
