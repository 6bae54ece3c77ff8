"""What the user tower reads of one user's history."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.history_columns import history_columns
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec, History


def history_inputs(
    spec: FeatureSpec,
    history: History,
    rows: npt.NDArray[np.integer],
    seconds: Sequence[int] | npt.NDArray[np.integer],
    now: int,
    catalogue: pa.Table,
) -> dict[str, pa.Array]:
    """Put together the columns of one history, in a time that does not grow with the catalogue.

    Args:
        spec: The features.
        history: The history, which says how many items and which of their features.
        rows: Rows of the items in the catalogue, oldest first, however many.
        seconds: Times of the interactions in seconds since 1970, one for each.
        now: The time to count up to.
        catalogue: The release's catalogue.

    Returns:
        Per column one list of the newest items' values, padded on the left.

    Raises:
        ReleaseError: The catalogue lacks a feature.
    """
    check_history_features(history, catalogue.column_names)
    newest = np.asarray(rows)[-history.length :]
    start = history.length - len(newest)
    places, times = np.full((2, 1, history.length), -1, np.int64)
    places[0, start:] = np.arange(len(newest))
    times[0, start:] = seconds[-history.length :]
    names = dict.fromkeys([spec.item_id.name, *history.item_features])
    items = catalogue.select(list(names)).take(pa.array(newest))
    return history_columns(places, items, spec, times, np.array([now]))


def check_history_features(history: History, catalogue_columns: Sequence[str]) -> None:
    """Refuse a catalogue without the features of the history's items.

    Args:
        history: The history.
        catalogue_columns: Names of the catalogue's columns.

    Raises:
        ReleaseError: The catalogue lacks a feature.
    """
    missing = sorted(set(history.item_features) - set(catalogue_columns))
    if missing:
        raise ReleaseError(
            f"The history carries {missing}, which the release's catalogue does not have. "
            "Use the configuration that the release was made with."
        )
